//! The mesh controller: PeatMesh in, authority, ConfigMaps and status out.
//!
//! Steps: dereference (caches, authority), validate (done when the mesh was read), build, apply, status; see
//! `peat_operator_core::mesh`. A mesh that is gone leaves nothing behind: its ConfigMaps and its authority are removed,
//! also when it went while the operator was away. No finalizer: a mesh can be deleted without an operator.
//! What it does not do: touch pods or peers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use peat_crds::mesh::status::{AuthorityCertificate, PeatMeshStatus, PeerCounts, PodCounts};
use peat_crds::{PeatMesh, names};
use peat_operator_core::inject::census;
use peat_operator_core::mesh::status::{AuthorityState, InjectionState, Observed, rejected};
use peat_operator_core::mesh::{Facts, ValidatedMesh, build, status};
use peat_operator_core::names::{EndpointId, MeshUid};
use peat_operator_core::resources::{Applied, Resources};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::apply::{Applier, ApplyError};
use super::{Caches, Queues, Reconciler};
use crate::authority::Authority;
use crate::authority::meshes::{Authorities, Past};
use crate::authority::store::StoreError;
use crate::cache::Uid;
use crate::error::{Chain, is_conflict, is_not_found};
use crate::queue::{Next, Queue};
use crate::records::{MeshRecord, MeshState};
use crate::settings::Settings;

/// Field manager of the status.
const STATUS_MANAGER: &str = "peat-operator-mesh-status";
/// The list of bootstrap peers may be this old: kubelets refresh every mounted copy at each change.
const BOOTSTRAP_AGE: Duration = Duration::from_secs(5 * 60);
/// Everything is looked at this often, so that a ConfigMap that somebody edited does not stay edited.
const RESYNC: Duration = Duration::from_secs(10 * 60);

/// A mesh could not be brought to where it should be.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// Its authority.
    #[error("provide the authority of the mesh")]
    Authority(#[from] StoreError),
    /// Its objects.
    #[error("apply the objects of the mesh")]
    Apply(#[from] ApplyError),
    /// Its status.
    #[error("write the status of the mesh")]
    Status(#[source] kube::Error),
}

/// The peers that the ConfigMaps of a mesh name, and since when.
struct Bootstrap {
    peers: Vec<(EndpointId, SocketAddr)>,
    since: Instant,
}

/// The controller.
pub struct MeshController {
    client: Client,
    caches: Arc<Caches>,
    queues: Arc<Queues>,
    authorities: Arc<Authorities>,
    settings: Settings,
    injection: watch::Receiver<InjectionState>,
    applier: Applier,
    bootstrap: Mutex<BTreeMap<Uid, Bootstrap>>,
}

impl std::fmt::Debug for MeshController {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MeshController").finish_non_exhaustive()
    }
}

impl Reconciler for MeshController {
    type Error = MeshError;
    const NAME: &'static str = "mesh";

    fn queue(&self) -> &Queue<Uid> {
        &self.queues.meshes
    }

    async fn reconcile(&self, uid: &str) -> Result<Next, MeshError> {
        let Some(record) = self.caches.meshes.get(uid) else {
            self.remove(uid).await?;
            return Ok(Next::Wait);
        };
        match &record.state {
            // It cannot even be addressed by our types; a change of the object brings it back here.
            MeshState::Unreadable(error) => {
                tracing::warn!(mesh = %record.key, error, "a PeatMesh could not be read");
                Ok(Next::Wait)
            }
            MeshState::Invalid(mesh, error) => {
                let generation = mesh.metadata.generation;
                self.write_status(mesh, rejected(error, generation, mesh.status.as_ref(), &now())).await?;
                Ok(Next::Wait)
            }
            MeshState::Valid(mesh, valid) => self.serve(&record, mesh, valid).await,
        }
    }
}

impl MeshController {
    /// A controller that has written nothing yet.
    pub fn new(
        client: Client,
        caches: Arc<Caches>,
        queues: Arc<Queues>,
        authorities: Arc<Authorities>,
        settings: Settings,
        injection: watch::Receiver<InjectionState>,
    ) -> Self {
        let applier = Applier::new(client.clone());
        Self { client, caches, queues, authorities, settings, injection, applier, bootstrap: Mutex::default() }
    }

    async fn serve(&self, record: &MeshRecord, mesh: &PeatMesh, valid: &ValidatedMesh) -> Result<Next, MeshError> {
        if valid.paused {
            let observed = self.observe(valid, AuthorityState::Pending);
            let observed = Observed { authority: known_authority(mesh), ..observed };
            self.write_status(mesh, status(valid, None, observed, conditions(mesh), &now())).await?;
            return Ok(Next::Wait);
        }
        let outcome = self.provide(record, mesh, valid).await;
        let (state, applied) = match &outcome {
            Ok((authority, applied)) => (AuthorityState::Ready(authority.describe(Timestamp::now())), Some(applied)),
            Err(MeshError::Authority(error)) => (failed_authority(mesh, error), None),
            Err(_) => (known_authority(mesh), None),
        };
        let observed = self.observe(valid, state);
        self.write_status(mesh, status(valid, applied, observed, conditions(mesh), &now())).await?;
        outcome.map(|_| Next::After(RESYNC))
    }

    /// Authority and objects of a mesh.
    async fn provide(
        &self,
        record: &MeshRecord,
        object: &PeatMesh,
        mesh: &ValidatedMesh,
    ) -> Result<(Arc<Authority>, Resources<Applied>), MeshError> {
        let stored = self.caches.secrets.group(&record.uid).first().map(|secret| secret.version.clone());
        let past = Past::of(object);
        let authority = self.authorities.provide(mesh, stored.as_deref(), past, Timestamp::now()).await?;
        let facts = Facts {
            membership_url: self.settings.membership_url.clone(),
            membership_ca: self.settings.membership_ca(),
            trust_bundle: authority.bundle_pem(),
            bootstrap: self.bootstrap(&record.uid),
        };
        let applied = self.applier.apply(&record.uid, build(mesh, &self.served(mesh), &facts)).await?;
        Ok((authority, applied))
    }

    /// Namespaces with pods of the mesh, as far as it admits them and something can be written there.
    fn served(&self, mesh: &ValidatedMesh) -> BTreeSet<String> {
        let pods = self.caches.pods.group(&mesh.uid.0);
        let names: BTreeSet<String> = pods.iter().map(|pod| pod.namespace.clone()).collect();
        let usable = |name: &String| !self.caches.namespace(name).terminating && self.caches.admits(mesh, name);
        names.into_iter().filter(usable).collect()
    }

    /// Up to 16 peers with an address; rewritten only when old, or when there were none.
    fn bootstrap(&self, uid: &str) -> Vec<(EndpointId, SocketAddr)> {
        let mut all = self.bootstrap.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(uid).filter(|b| !b.peers.is_empty() && b.since.elapsed() < BOOTSTRAP_AGE) {
            return known.peers.clone();
        }
        let peers = self.caches.directory.bootstrap(uid);
        all.insert(uid.to_owned(), Bootstrap { peers: peers.clone(), since: Instant::now() });
        peers
    }

    fn observe(&self, mesh: &ValidatedMesh, authority: AuthorityState) -> Observed {
        let known = self.caches.peers_of(&mesh.uid.0);
        let registered = known.iter().filter(|record| record.member().is_some()).count();
        Observed {
            authority,
            injection: self.injection.borrow().clone(),
            pods: self.count(mesh),
            peers: PeerCounts { known: number(known.len()), registered: number(registered) },
            sidecar_image: mesh.sidecar.image.clone().unwrap_or_else(|| self.settings.sidecar_image.clone()),
        }
    }

    fn count(&self, mesh: &ValidatedMesh) -> PodCounts {
        let (index, config) = (self.caches.index(), self.settings.inject_config());
        let mut counts = BTreeMap::new();
        let injected = self.caches.pods.group(&mesh.uid.0);
        let asking = self.caches.asking.all();
        let metas = injected.iter().filter(|pod| !pod.ended).map(|pod| (&pod.namespace, &pod.meta));
        for (namespace, meta) in metas.chain(asking.iter().map(|pod| (&pod.namespace, &pod.meta))) {
            let namespace = self.caches.namespace(namespace);
            census::count(&mut counts, &census::examine(meta, namespace.view(), &index, &config));
        }
        counts.remove(&mesh.key).unwrap_or_default()
    }

    /// Writes the status if it differs from the one that was read.
    async fn write_status(&self, mesh: &PeatMesh, wanted: PeatMeshStatus) -> Result<(), MeshError> {
        if mesh.status.as_ref() == Some(&wanted) {
            return Ok(());
        }
        apply_status(&self.client, mesh, &wanted).await.map_err(MeshError::Status)
    }

    /// Removes what a mesh that is gone has left: its ConfigMaps wherever they may be, and at last its authority, which
    /// is the only record of its name.
    async fn remove(&self, uid: &str) -> Result<(), MeshError> {
        let uid = MeshUid(uid.to_owned());
        self.bootstrap.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid.0);
        if let Some(key) = self.authorities.key_of(&uid).await? {
            let name = names::mesh_config_map(&key.name, &uid.0);
            for namespace in self.caches.namespaces.all() {
                self.applier.delete(&namespace.name, &name).await?;
            }
        }
        self.authorities.delete(&uid).await?;
        self.applier.forget_mesh(&uid.0);
        Ok(())
    }
}

/// Writes the status of a mesh. One that is gone, or another by now, is left alone.
pub(crate) async fn apply_status(client: &Client, mesh: &PeatMesh, status: &PeatMeshStatus) -> Result<(), kube::Error> {
    let (namespace, name) = (mesh.namespace().unwrap_or_default(), mesh.name_any());
    let api: Api<PeatMesh> = Api::namespaced(client.clone(), &namespace);
    let patch = json!({
        "apiVersion": PeatMesh::api_version(&()),
        "kind": PeatMesh::kind(&()),
        // The UID keeps the status of a deleted mesh away from a new one of the same name.
        "metadata": { "name": name, "uid": mesh.metadata.uid },
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    match api.patch_status(&name, &params, &Patch::Apply(patch)).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The authority that the status shows, while it is not looked at.
fn known_authority(mesh: &PeatMesh) -> AuthorityState {
    let shown = shown_authority(mesh);
    if shown.is_empty() { AuthorityState::Pending } else { AuthorityState::Ready(shown) }
}

fn failed_authority(mesh: &PeatMesh, error: &StoreError) -> AuthorityState {
    let why = Chain(error).to_string();
    AuthorityState::Failed { reason: error.reason(), why, shown: shown_authority(mesh) }
}

fn shown_authority(mesh: &PeatMesh) -> Vec<AuthorityCertificate> {
    let shown = mesh.status.as_ref().and_then(|status| status.authority.as_ref());
    shown.map(|authority| authority.certificates.clone()).unwrap_or_default()
}

fn conditions(mesh: &PeatMesh) -> &[Condition] {
    mesh.status.as_ref().map_or(&[], |status| status.conditions.as_slice())
}

/// Whole seconds, as the API server stores them, so that a status compares equal after a round trip.
pub(crate) fn now() -> Time {
    Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default())
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
