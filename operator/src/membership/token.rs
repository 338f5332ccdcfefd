//! Asks the API server whose token a node presents.
//!
//! Input: a projected service account token. Output: the pod it is bound to. Tokens are never logged.
//! Source: TokenReview of authentication.k8s.io/v1; bound tokens are KEP-1205, the extra keys KEP-4193.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use kube::api::{Api, PostParams};
use peat_crds::names::TOKEN_AUDIENCE;

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// The pod and the ServiceAccount a token was issued for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenSubject {
    pub(crate) namespace: String,
    pub(crate) service_account: String,
    pub(crate) pod_name: String,
    pub(crate) pod_uid: String,
}

/// The token proves nothing, or the API server could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// It is not a valid token for us: forged, expired, of another audience, of a deleted pod.
    #[error("the token is not valid for audience {TOKEN_AUDIENCE}: {0}")]
    Invalid(String),
    /// It names no pod.
    #[error("the token is not bound to a pod: mount it as a projected volume")]
    Unbound,
    /// No answer.
    #[error("review the token")]
    Review(#[source] kube::Error),
}

/// Reviews `token` and returns its subject.
pub(crate) async fn review(reviews: &Api<TokenReview>, token: &str) -> Result<TokenSubject, TokenError> {
    let review = TokenReview {
        spec: TokenReviewSpec { audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]), token: token.to_owned() },
        ..TokenReview::default()
    };
    let answer = reviews.create(&PostParams::default(), &review).await.map_err(TokenError::Review)?;
    subject(answer.status.unwrap_or_default())
}

/// What an answer of the API server proves.
fn subject(status: TokenReviewStatus) -> Result<TokenSubject, TokenError> {
    if status.authenticated != Some(true) {
        return Err(TokenError::Invalid(status.error.unwrap_or_else(|| "not authenticated".to_owned())));
    }
    // An authenticator that knows no audiences leaves the list empty; such an answer proves nothing about ours.
    if !status.audiences.unwrap_or_default().iter().any(|audience| audience == TOKEN_AUDIENCE) {
        return Err(TokenError::Invalid("issued for another audience".to_owned()));
    }
    let user = status.user.unwrap_or_default();
    let (namespace, service_account) = service_account(&user).ok_or(TokenError::Unbound)?;
    let extra = user.extra.unwrap_or_default();
    let pod_name = single(&extra, POD_NAME).ok_or(TokenError::Unbound)?;
    let pod_uid = single(&extra, POD_UID).ok_or(TokenError::Unbound)?;
    Ok(TokenSubject { namespace, service_account, pod_name, pod_uid })
}

fn service_account(user: &UserInfo) -> Option<(String, String)> {
    let rest = user.username.as_deref()?.strip_prefix(SERVICE_ACCOUNT_PREFIX)?;
    let (namespace, name) = rest.split_once(':')?;
    Some((namespace.to_owned(), name.to_owned()))
}

fn single(extra: &BTreeMap<String, Vec<String>>, key: &str) -> Option<String> {
    match extra.get(key).map(Vec::as_slice) {
        Some([value]) if !value.is_empty() => Some(value.clone()),
        Some(_) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> TokenReviewStatus {
        TokenReviewStatus {
            authenticated: Some(true),
            audiences: Some(vec![TOKEN_AUDIENCE.to_owned()]),
            user: Some(UserInfo {
                username: Some("system:serviceaccount:harbour:ferry".to_owned()),
                extra: Some(BTreeMap::from([
                    (POD_NAME.to_owned(), vec!["ferry-0".to_owned()]),
                    (POD_UID.to_owned(), vec!["uid-1".to_owned()]),
                ])),
                ..UserInfo::default()
            }),
            error: None,
        }
    }

    #[test]
    fn a_bound_token_names_pod_and_service_account() {
        let subject = subject(answer()).unwrap();
        assert_eq!((subject.namespace.as_str(), subject.service_account.as_str()), ("harbour", "ferry"));
        assert_eq!((subject.pod_name.as_str(), subject.pod_uid.as_str()), ("ferry-0", "uid-1"));
    }

    #[test]
    fn an_answer_that_does_not_echo_the_audience_proves_nothing() {
        for audiences in [None, Some(vec![]), Some(vec!["https://kubernetes.default.svc".to_owned()])] {
            let status = TokenReviewStatus { audiences, ..answer() };
            assert!(matches!(subject(status), Err(TokenError::Invalid(_))));
        }
    }

    #[test]
    fn a_token_without_a_pod_is_unbound() {
        let mut status = answer();
        status.user.as_mut().unwrap().extra = None;
        assert!(matches!(subject(status), Err(TokenError::Unbound)));
        let mut user = answer();
        user.user.as_mut().unwrap().username = Some("kubernetes-admin".to_owned());
        assert!(matches!(subject(user), Err(TokenError::Unbound)));
    }
}
