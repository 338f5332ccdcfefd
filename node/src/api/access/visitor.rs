//! The callers of one connection, and what lets each of their calls in.
//!
//! Purpose: one question at every call, and one future that tells when a connection must go. Inputs: headers, the chain
//! that the handshake proved, the rules of this moment. Outputs: an [`Admission`], or a [`Refusal`] as UNAUTHENTICATED.
//! What it does not do: decide what a caller may do; whoever is in may do everything.

use super::Access;
use super::tokens::{Admission, TokenError};
use connectrpc::ConnectError;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;
use std::time::Duration;

/// A certificate is looked at again at least this often, so that a step of the clock counts.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Refusal {
    /// A call without a token.
    TokenMissing,
    /// A call with a token that is none of ours.
    TokenWrong,
    /// A call by a certificate, or a stream by either, that is no longer good.
    Withdrawn,
    /// A handshake without a certificate, or with one that is not good.
    Certificate,
    /// A handshake that failed for another reason.
    Handshake,
    /// A handshake that took too long.
    Slow,
    /// A handshake that was the oldest of too many.
    Crowded,
    /// No TLS at all.
    PlainText,
}

impl Refusal {
    /// Name for metrics and the log.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::TokenWrong => "token_wrong",
            Self::Withdrawn => "withdrawn",
            Self::Certificate => "certificate",
            Self::Handshake => "handshake",
            Self::Slow => "handshake_slow",
            Self::Crowded => "handshake_crowded",
            Self::PlainText => "plain_text",
        }
    }

    /// The error as the caller of a protocol sees it.
    pub(in crate::api) fn into_status(self) -> ConnectError {
        let text = match self {
            Self::TokenMissing => "this listener asks who calls: send `authorization: Bearer TOKEN`",
            Self::TokenWrong => "the token is not one of those that are let in",
            Self::Withdrawn => "what let this caller in is no longer good",
            Self::Certificate | Self::Handshake | Self::Slow | Self::Crowded | Self::PlainText => {
                "the connection is not secure"
            }
        };
        // RFC 9110, 11.6.1: a 401 says which scheme would do.
        let scheme = (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        ConnectError::unauthenticated(text).with_headers(HeaderMap::from_iter([scheme]))
    }
}

/// How the callers of a connection prove who they are.
#[derive(Debug, Clone)]
pub(in crate::api) enum Visitor {
    /// Nobody asks.
    Anyone,
    /// By a token at each call.
    Bearer(Arc<Access>),
    /// By the certificate of the connection, so that its calls need nothing.
    Certified(Arc<Certified>),
}

/// A connection that showed a certificate.
#[derive(Debug)]
pub(in crate::api) struct Certified {
    access: Arc<Access>,
    chain: Vec<CertificateDer<'static>>,
    not_after: Duration,
    admission: Admission,
}

impl Certified {
    /// `chain`: leaf first, as the handshake proved it; `not_after`: of the leaf, since the Unix epoch.
    pub(super) fn new(access: Arc<Access>, chain: Vec<CertificateDer<'static>>, not_after: Duration) -> Self {
        Self { access, chain, not_after, admission: Admission::new() }
    }

    /// Returns when the chain is no longer good, by its dates or by the authorities of that moment.
    async fn withdrawn(&self) {
        let mut rules = self.access.rules.subscribe();
        loop {
            let now = UnixTime::now();
            let authority = rules.borrow_and_update().authority.clone();
            if authority.is_none_or(|authority| authority.verify(&self.chain, now).is_err()) {
                self.admission.cancel();
                return;
            }
            // A certificate is good in its last second.
            let left = self.not_after.saturating_sub(Duration::from_secs(now.as_secs())) + Duration::from_secs(1);
            let changed = tokio::time::timeout(left.min(LOOK_AGAIN), rules.changed());
            // Time is over, or the rules changed; they cannot go before this.
            let _ = changed.await;
        }
    }
}

impl Visitor {
    /// Lets a call in, or not. Takes the token from the headers: nothing behind this sees it.
    ///
    /// None: what let it in cannot be withdrawn.
    pub(in crate::api) fn admit(&self, headers: &mut HeaderMap) -> Result<Option<Admission>, Refusal> {
        let admitted = match self {
            Self::Anyone => Ok(None),
            Self::Bearer(access) => access.admit(headers).map(Some),
            Self::Certified(certified) if certified.admission.is_cancelled() => {
                Err(certified.access.refused(Refusal::Withdrawn))
            }
            Self::Certified(certified) => Ok(Some(certified.admission.clone())),
        };
        headers.remove(AUTHORIZATION);
        admitted
    }

    /// Returns when the whole connection must go; for most it never does.
    pub(in crate::api) async fn withdrawn(&self) {
        match self {
            Self::Anyone | Self::Bearer(_) => std::future::pending().await,
            Self::Certified(certified) => certified.withdrawn().await,
        }
    }
}

impl Access {
    fn admit(&self, headers: &HeaderMap) -> Result<Admission, Refusal> {
        // A listener that asks for tokens has some: the files in use are never fewer than at the start.
        let tokens = self.rules.borrow().tokens.clone();
        let admitted = tokens.ok_or(TokenError::Wrong).and_then(|tokens| tokens.admit(headers));
        admitted.map_err(|error| match error {
            TokenError::Missing => self.refused(Refusal::TokenMissing),
            TokenError::Wrong => self.refused(Refusal::TokenWrong),
        })
    }
}
