//! Authorities as Secrets of the operator's own namespace.
//!
//! Guarantees: a Secret is created once and never overwritten by a fresh authority, also when two replicas start
//! together; rotation replaces it under its resource version. What it does not do: read Secrets elsewhere, or remember
//! which mesh has which; [`super::meshes`] does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use peat_crds::names::{label, secret};
use peat_operator_core::labels;

use super::{Authority, AuthorityError, Kind};
use crate::error::{is_conflict, is_not_found};

/// Field manager of the Secrets.
pub const FIELD_MANAGER: &str = "peat-operator-authority";
/// How often a write that lost a race is tried again before the caller's back-off takes over.
pub(super) const ATTEMPTS: usize = 4;

/// Reading or writing the Secret of an authority failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The API server refused or could not be reached.
    #[error("{verb} secret {name}")]
    Api {
        /// What was attempted.
        verb: &'static str,
        /// Name of the Secret.
        name: String,
        /// Why it failed.
        source: kube::Error,
    },
    /// The content is not an authority, or none could be made.
    #[error("use secret {name}")]
    Content {
        /// Name of the Secret.
        name: String,
        /// Why not.
        source: AuthorityError,
    },
    /// A mesh's authority that was not made yet, or was lost.
    #[error("find secret {name}")]
    Missing {
        /// Name of the Secret.
        name: String,
    },
    /// The authority is gone, and so is what would let a new one pass for it.
    #[error(
        "secret {name} is gone, and nodes hold certificates that only its key can renew: restore it from a backup, or have \
         another authority made by writing peat.mesh/replace-authority: {key} as an annotation of the PeatMesh"
    )]
    Lost {
        /// Name of the Secret.
        name: String,
        /// Public key of the authority, 64 hexadecimal digits.
        key: String,
    },
    /// Other writers kept changing it.
    #[error("settle on a content of secret {name} with other writers")]
    Contended {
        /// Name of the Secret.
        name: String,
    },
}

impl StoreError {
    /// Reason of the condition: from a fixed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api { .. } | Self::Contended { .. } | Self::Missing { .. } => "AuthorityFailed",
            Self::Content { .. } => "AuthorityDamaged",
            Self::Lost { .. } => "AuthorityLost",
        }
    }
}

/// Which Secret holds which authority.
#[derive(Debug, Clone)]
pub struct Place {
    /// Name of the Secret.
    pub name: String,
    /// What the authority signs.
    pub kind: Kind,
    /// Goes into the subject of its certificates.
    pub subject: String,
    /// Labels of the Secret.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Secret.
    pub annotations: BTreeMap<String, String>,
}

/// The authority in its Secret, made there first if absent.
async fn ensure(api: &Api<Secret>, place: &Place, now: Timestamp) -> Result<Authority, StoreError> {
    for _ in 0..ATTEMPTS {
        if let Some(secret) = read(api, place).await? {
            return parse(place, &secret);
        }
        let made = Authority::create(place.kind, &place.subject, now).map_err(|source| content(place, source))?;
        // Else another replica was first: its authority is the one.
        if create(api, place, &made).await?.is_some() {
            return Ok(made);
        }
    }
    Err(StoreError::Contended { name: place.name.clone() })
}

/// [`ensure`], and a rotation when it is due.
pub async fn ensure_current(api: &Api<Secret>, place: &Place, now: Timestamp) -> Result<Authority, StoreError> {
    for _ in 0..ATTEMPTS {
        let Some(found) = read(api, place).await? else {
            return ensure(api, place, now).await;
        };
        let mut authority = parse(place, &found)?;
        if !authority.rotate(&place.subject, now).map_err(|source| content(place, source))? {
            return Ok(authority);
        }
        let next = secret(place, &authority, found.metadata.resource_version);
        match api.replace(&place.name, &params(), &next).await {
            Ok(_) => return Ok(authority),
            Err(error) if is_conflict(&error) || is_not_found(&error) => {}
            Err(source) => return Err(failed("replace", place, source)),
        }
    }
    Err(StoreError::Contended { name: place.name.clone() })
}

/// The authority of the operator's own TLS.
pub fn operator_place() -> Place {
    let labels = [(label::MANAGED_BY, labels::MANAGER), (label::NAME, "peat-operator"), (label::PART_OF, "peat")];
    Place {
        name: secret::OPERATOR_CA.to_owned(),
        kind: Kind::Operator,
        subject: "operator".to_owned(),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        annotations: BTreeMap::new(),
    }
}

/// Stores an authority where there is none; none when somebody else was first.
pub(super) async fn create(
    api: &Api<Secret>,
    place: &Place,
    authority: &Authority,
) -> Result<Option<Secret>, StoreError> {
    match api.create(&params(), &secret(place, authority, None)).await {
        Ok(stored) => Ok(Some(stored)),
        Err(error) if is_conflict(&error) => Ok(None),
        Err(source) => Err(failed("create", place, source)),
    }
}

/// The Secret, if there is one.
pub(super) async fn read(api: &Api<Secret>, place: &Place) -> Result<Option<Secret>, StoreError> {
    api.get_opt(&place.name).await.map_err(|source| failed("get", place, source))
}

/// The authority that a Secret holds.
pub(super) fn parse(place: &Place, secret: &Secret) -> Result<Authority, StoreError> {
    let empty = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&empty);
    Authority::from_data(place.kind, data).map_err(|source| content(place, source))
}

fn secret(place: &Place, authority: &Authority, resource_version: Option<String>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(place.name.clone()),
            labels: Some(place.labels.clone()),
            annotations: Some(place.annotations.clone()).filter(|all| !all.is_empty()),
            resource_version,
            ..ObjectMeta::default()
        },
        data: Some(authority.to_data()),
        ..Secret::default()
    }
}

fn params() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn failed(verb: &'static str, place: &Place, source: kube::Error) -> StoreError {
    StoreError::Api { verb, name: place.name.clone(), source }
}

pub(super) fn content(place: &Place, source: AuthorityError) -> StoreError {
    StoreError::Content { name: place.name.clone(), source }
}
