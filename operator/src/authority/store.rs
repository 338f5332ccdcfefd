//! Authorities as Secrets of the operator's own namespace.
//!
//! Guarantees: a Secret is created once and never overwritten by a fresh authority, also when two replicas start
//! together; rotation replaces it under its resource version. What it does not do: read Secrets elsewhere.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, PostParams};
use peat_crds::names::{label, secret};
use peat_operator_core::labels;
use peat_operator_core::mesh::ValidatedMesh;
use peat_operator_core::names::{MeshKey, MeshUid};

use super::{Authority, AuthorityError, Kind};
use crate::error::{is_conflict, is_not_found};

/// Field manager of the Secrets.
pub const FIELD_MANAGER: &str = "peat-operator-authority";
/// How often a write that lost a race is tried again before the caller's back-off takes over.
const ATTEMPTS: usize = 4;

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
    /// Other writers kept changing it.
    #[error("settle on a content of secret {name} with other writers")]
    Contended {
        /// Name of the Secret.
        name: String,
    },
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
pub async fn ensure(api: &Api<Secret>, place: &Place, now: Timestamp) -> Result<Authority, StoreError> {
    for _ in 0..ATTEMPTS {
        if let Some(secret) = read(api, place).await? {
            return parse(place, &secret);
        }
        let made = Authority::create(place.kind, &place.subject, now).map_err(|source| content(place, source))?;
        match api.create(&params(), &secret(place, &made, None)).await {
            Ok(_) => return Ok(made),
            // Another replica was first: its authority is the one.
            Err(error) if is_conflict(&error) => {}
            Err(source) => return Err(failed("create", place, source)),
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

/// On the Secret of a mesh's authority: `namespace/name` of the mesh, so that everything of a mesh that was deleted while
/// the operator was away can still be found by name.
const MESH_ANNOTATION: &str = "peat.mesh/mesh";
/// Component label of those Secrets.
const COMPONENT: &str = "authority";

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

/// The authority of a mesh.
fn mesh_place(mesh: &ValidatedMesh) -> Place {
    Place {
        name: format!("{}{}", secret::AUTHORITY_PREFIX, mesh.uid),
        kind: Kind::Mesh,
        subject: format!("mesh {}", mesh.uid),
        labels: labels::of_mesh(&mesh.uid, COMPONENT),
        annotations: [(MESH_ANNOTATION.to_owned(), mesh.key.to_string())].into(),
    }
}

/// The authorities of all meshes, each read once.
///
/// A Secret that somebody deletes while the operator runs is not missed until the operator starts anew: the mesh goes on
/// under the authority that its nodes know.
pub struct Authorities {
    secrets: Api<Secret>,
    known: Mutex<BTreeMap<MeshUid, Arc<Authority>>>,
}

impl std::fmt::Debug for Authorities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authorities").finish_non_exhaustive()
    }
}

impl Authorities {
    /// `secrets`: of the operator's namespace.
    pub fn new(secrets: Api<Secret>) -> Self {
        Self { secrets, known: Mutex::default() }
    }

    /// The authority of `mesh`, made first if it has none.
    pub async fn of(&self, mesh: &ValidatedMesh, now: Timestamp) -> Result<Arc<Authority>, StoreError> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&mesh.uid).cloned();
        if let Some(authority) = known {
            return Ok(authority);
        }
        let authority = Arc::new(ensure(&self.secrets, &mesh_place(mesh), now).await?);
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(all.entry(mesh.uid.clone()).or_insert(authority)))
    }

    /// Every mesh that has an authority, with its name where the Secret says it.
    pub async fn meshes(&self) -> Result<Vec<(MeshUid, Option<MeshKey>)>, StoreError> {
        let selector = format!("{}={COMPONENT},{}", label::COMPONENT, label::MESH_UID);
        let found = self.secrets.list_metadata(&ListParams::default().labels(&selector)).await;
        let found = found.map_err(|source| StoreError::Api { verb: "list", name: selector, source })?;
        let uid = |labels: &BTreeMap<String, String>| labels.get(label::MESH_UID).cloned().map(MeshUid);
        Ok(found.iter().filter_map(|secret| Some((uid(secret.labels())?, key(secret.annotations())))).collect())
    }

    /// Namespace and name of a mesh that is gone, from its Secret; none when there is no such Secret.
    pub async fn key_of(&self, uid: &MeshUid) -> Result<Option<MeshKey>, StoreError> {
        let name = format!("{}{uid}", secret::AUTHORITY_PREFIX);
        let found = self.secrets.get_metadata_opt(&name).await;
        let found = found.map_err(|source| StoreError::Api { verb: "get", name, source })?;
        Ok(found.and_then(|secret| key(secret.annotations())))
    }

    /// Deletes the authority of a mesh that is gone. Succeeds when there is none.
    pub async fn delete(&self, uid: &MeshUid) -> Result<(), StoreError> {
        let name = format!("{}{uid}", secret::AUTHORITY_PREFIX);
        match self.secrets.delete(&name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(error) if is_not_found(&error) => {}
            Err(source) => return Err(StoreError::Api { verb: "delete", name, source }),
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        Ok(())
    }
}

fn key(annotations: &BTreeMap<String, String>) -> Option<MeshKey> {
    let (namespace, name) = annotations.get(MESH_ANNOTATION)?.split_once('/')?;
    Some(MeshKey::new(namespace, name))
}

async fn read(api: &Api<Secret>, place: &Place) -> Result<Option<Secret>, StoreError> {
    api.get_opt(&place.name).await.map_err(|source| failed("get", place, source))
}

fn parse(place: &Place, secret: &Secret) -> Result<Authority, StoreError> {
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

fn content(place: &Place, source: AuthorityError) -> StoreError {
    StoreError::Content { name: place.name.clone(), source }
}
