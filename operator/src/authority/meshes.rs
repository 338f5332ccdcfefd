//! The authorities of meshes: read once, put back when their Secret is lost, never silently replaced.
//!
//! Nodes trust the authority they were told, offline. A mesh whose authority changed without a word would fall into two
//! halves that refuse each other, so a lost Secret is written again from memory; where that is lost too (the operator
//! started anew), the mesh says so and waits for its owner. Inputs: Secrets, what the mesh's status shows, and the
//! owner's word ([`Past`]). Outputs: authorities. What it does not do: sign; decide who deserves a certificate.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams};
use peat_crds::PeatMesh;
use peat_crds::names::{annotation, label, secret};
use peat_operator_core::labels;
use peat_operator_core::mesh::ValidatedMesh;
use peat_operator_core::names::{MeshKey, MeshUid};

use super::store::{ATTEMPTS, Place, StoreError, content, create, parse, read};
use super::{Authority, Kind};
use crate::error::is_not_found;

/// On the Secret of a mesh's authority: `namespace/name` of the mesh, so that everything of a mesh that was deleted
/// while the operator was away can still be found by name.
const MESH_ANNOTATION: &str = "peat.mesh/mesh";
/// Component label of those Secrets.
const COMPONENT: &str = "authority";

/// Selects the Secrets of meshes' authorities.
pub(crate) fn selector() -> String {
    format!("{}={COMPONENT},{}", label::COMPONENT, label::MESH_UID)
}

/// What a mesh says about an authority that it had.
#[derive(Debug, Clone, Copy, Default)]
pub struct Past<'a> {
    /// Public key of the authority that the status shows.
    shown: Option<&'a str>,
    /// Public key of the authority that the owner of the mesh gives up.
    given_up: Option<&'a str>,
}

impl<'a> Past<'a> {
    /// The past of `mesh`, from its status and its annotation.
    pub fn of(mesh: &'a PeatMesh) -> Self {
        let authority = mesh.status.as_ref().and_then(|status| status.authority.as_ref());
        let signing = authority.and_then(|authority| authority.certificates.first());
        Self {
            shown: signing.map(|certificate| certificate.public_key.as_str()),
            given_up: mesh.annotations().get(annotation::REPLACE_AUTHORITY).map(String::as_str),
        }
    }

    /// Whether an authority may be made where none is found.
    fn allows_another(&self, place: &Place) -> Result<(), StoreError> {
        match self.shown {
            Some(key) if self.given_up != Some(key) => {
                Err(StoreError::Lost { name: place.name.clone(), key: key.to_owned() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

#[derive(Clone)]
struct Known {
    authority: Arc<Authority>,
    /// Resource version of the Secret it was read from or written to.
    version: Option<String>,
}

/// The authorities of all meshes.
pub struct Authorities {
    secrets: Api<Secret>,
    known: Mutex<BTreeMap<MeshUid, Known>>,
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

    /// The authority of `mesh` if it has one. Goes on with the one in memory when the Secret is lost.
    pub async fn find(&self, mesh: &ValidatedMesh) -> Result<Arc<Authority>, StoreError> {
        if let Some(known) = self.lock().get(&mesh.uid) {
            return Ok(Arc::clone(&known.authority));
        }
        let place = place(mesh);
        match read(&self.secrets, &place).await? {
            Some(secret) => self.read_from(mesh, &place, &secret),
            None => Err(StoreError::Missing { name: place.name }),
        }
    }

    /// The authority of `mesh`: as it was when nothing changed, else from its Secret, else put back, else made.
    ///
    /// `stored`: resource version of the Secret as the watch saw it last, none when it saw none.
    /// Errors: [`StoreError::Lost`] when it had one that nobody knows any more and nobody gave up.
    pub async fn provide(
        &self,
        mesh: &ValidatedMesh,
        stored: Option<&str>,
        past: Past<'_>,
        now: Timestamp,
    ) -> Result<Arc<Authority>, StoreError> {
        let known = self.lock().get(&mesh.uid).cloned();
        if let Some(known) = known.as_ref().filter(|known| stored.is_some() && known.version.as_deref() == stored) {
            return Ok(Arc::clone(&known.authority));
        }
        let place = place(mesh);
        for _ in 0..ATTEMPTS {
            if let Some(secret) = read(&self.secrets, &place).await? {
                return self.read_from(mesh, &place, &secret);
            }
            let authority = match &known {
                Some(known) => Arc::clone(&known.authority),
                None => {
                    past.allows_another(&place)?;
                    let made = Authority::create(place.kind, &place.subject, now);
                    Arc::new(made.map_err(|source| content(&place, source))?)
                }
            };
            if let Some(written) = create(&self.secrets, &place, &authority).await? {
                if known.is_some() {
                    tracing::warn!(secret = place.name, mesh = %mesh.key, "an authority was lost and is put back");
                }
                return Ok(self.remember(mesh, authority, &written));
            }
        }
        Err(StoreError::Contended { name: place.name })
    }

    /// Namespace and name of a mesh that is gone, from its Secret; none when there is no such Secret.
    pub async fn key_of(&self, uid: &MeshUid) -> Result<Option<MeshKey>, StoreError> {
        let name = name(uid);
        let found = self.secrets.get_metadata_opt(&name).await;
        let found = found.map_err(|source| StoreError::Api { verb: "get", name, source })?;
        Ok(found.and_then(|secret| key(secret.annotations())))
    }

    /// Deletes the authority of a mesh that is gone. Succeeds when there is none.
    pub async fn delete(&self, uid: &MeshUid) -> Result<(), StoreError> {
        let name = name(uid);
        // Forgotten first: what is not known is not put back.
        self.lock().remove(uid);
        match self.secrets.delete(&name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(source) => Err(StoreError::Api { verb: "delete", name, source }),
        }
    }

    fn read_from(&self, mesh: &ValidatedMesh, place: &Place, secret: &Secret) -> Result<Arc<Authority>, StoreError> {
        Ok(self.remember(mesh, Arc::new(parse(place, secret)?), secret))
    }

    fn remember(&self, mesh: &ValidatedMesh, authority: Arc<Authority>, secret: &Secret) -> Arc<Authority> {
        let known = Known { authority: Arc::clone(&authority), version: secret.resource_version() };
        self.lock().insert(mesh.uid.clone(), known);
        authority
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<MeshUid, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(uid: &MeshUid) -> String {
    format!("{}{uid}", secret::AUTHORITY_PREFIX)
}

fn place(mesh: &ValidatedMesh) -> Place {
    Place {
        name: name(&mesh.uid),
        kind: Kind::Mesh,
        subject: format!("mesh {}", mesh.uid),
        labels: labels::of_mesh(&mesh.uid, COMPONENT),
        annotations: [(MESH_ANNOTATION.to_owned(), mesh.key.to_string())].into(),
    }
}

fn key(annotations: &BTreeMap<String, String>) -> Option<MeshKey> {
    let (namespace, name) = annotations.get(MESH_ANNOTATION)?.split_once('/')?;
    Some(MeshKey::new(namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(annotations: &str, status: &str) -> PeatMesh {
        let text = format!(
            "{{apiVersion: peat.mesh/v1alpha1, kind: PeatMesh, metadata: {{name: harbour, namespace: coast, uid: u1, \
             annotations: {annotations}}}, spec: {{}}, status: {status}}}"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    fn place_of(mesh: &PeatMesh) -> Place {
        place(&peat_operator_core::mesh::validate(mesh).unwrap())
    }

    fn verdict(mesh: &PeatMesh) -> Result<(), StoreError> {
        Past::of(mesh).allows_another(&place_of(mesh))
    }

    #[test]
    fn a_mesh_gets_its_first_authority_and_another_one_only_when_its_owner_gave_that_one_up() {
        let shows = "{authority: {certificates: [{subject: s, publicKey: abcd, notAfter: later}]}}";
        assert!(verdict(&mesh("{}", "{}")).is_ok());
        assert!(verdict(&mesh("{peat.mesh/replace-authority: abcd}", shows)).is_ok());
        for annotations in ["{}", "{peat.mesh/replace-authority: 'true'}", "{peat.mesh/replace-authority: dcba}"] {
            let error = verdict(&mesh(annotations, shows)).unwrap_err();
            assert_eq!(error.reason(), "AuthorityLost");
            let text = error.to_string();
            assert!(text.contains("peat-authority-u1") && text.contains("replace-authority: abcd"), "{text}");
        }
    }
}
