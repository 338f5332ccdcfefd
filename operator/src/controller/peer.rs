//! The peer controller: one PeatPeer for every injected pod, and none without.
//!
//! Inputs: pods and PeatPeers by their watches. Outputs: PeatPeers created and deleted. It also removes the orphans of
//! a time without an operator, because every PeatPeer that is listed at the start is looked at once. What it does not
//! do: write statuses (the membership server does, when a node proves its key), or wait for garbage collection, which
//! is only the fall-back.

use std::sync::Arc;

use kube::Client;
use peat_crds::PeatPeer;
use peat_operator_core::mesh::ValidatedMesh;

use super::{Caches, Queues, Reconciler};
use crate::cache::Uid;
use crate::membership::RecordError;
use crate::membership::record::{delete, ensure_first};
use crate::queue::{Next, Queue};
use crate::records::{PeerRecord, PodRecord};

/// A pod's PeatPeers could not be brought to where they should be.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The pod has none and none could be made.
    #[error("make a PeatPeer")]
    Create(#[from] RecordError),
    /// One that should not be there could not be deleted.
    #[error("delete PeatPeer {name}")]
    Delete {
        /// `namespace/name`.
        name: String,
        /// Why not.
        source: kube::Error,
    },
}

/// What should become of a pod's PeatPeers.
#[derive(Debug, PartialEq)]
enum Plan {
    /// Delete these, which belong to no pod that should be a peer.
    Delete(Vec<Arc<PeerRecord>>),
    /// Make the first one.
    Create(Arc<PodRecord>, Arc<ValidatedMesh>),
    /// All is as it should be, or the mesh is paused.
    Nothing,
}

/// The controller.
#[derive(Clone)]
pub struct PeerController {
    client: Client,
    caches: Arc<Caches>,
    queues: Arc<Queues>,
}

impl std::fmt::Debug for PeerController {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerController").finish_non_exhaustive()
    }
}

impl PeerController {
    /// A controller over these caches.
    pub fn new(client: Client, caches: Arc<Caches>, queues: Arc<Queues>) -> Self {
        Self { client, caches, queues }
    }

    /// Decides from the caches; no request is made.
    fn plan(&self, pod_uid: &str) -> Plan {
        let existing = self.caches.peers.group(pod_uid);
        let Some(pod) = self.caches.pods.get(pod_uid).filter(|pod| !pod.ended) else { return Plan::Delete(existing) };
        // A mesh that cannot be read or used now may be again: its peers stay.
        if self.caches.meshes.get(&pod.mesh_uid).is_none() {
            return Plan::Delete(existing);
        }
        let Ok(mesh) = self.caches.served_mesh(&pod.mesh_uid) else { return Plan::Nothing };
        if mesh.paused {
            return Plan::Nothing;
        }
        if !self.caches.admits(&mesh, &pod.namespace) {
            return Plan::Delete(existing);
        }
        let foreign = |record: &Arc<PeerRecord>| record.peer.spec.mesh_ref.uid.as_ref() != Some(&pod.mesh_uid);
        let foreign: Vec<_> = existing.iter().filter(|record| foreign(record)).cloned().collect();
        if !foreign.is_empty() {
            return Plan::Delete(foreign);
        }
        if existing.is_empty() { Plan::Create(pod, mesh) } else { Plan::Nothing }
    }

    async fn delete(&self, peer: &PeatPeer, name: &str) -> Result<(), PeerError> {
        delete(&self.client, peer).await.map_err(|source| PeerError::Delete { name: name.to_owned(), source })
    }
}

impl Reconciler for PeerController {
    type Error = PeerError;
    const NAME: &'static str = "peer";

    fn queue(&self) -> &Queue<Uid> {
        &self.queues.pods
    }

    async fn reconcile(&self, pod_uid: &str) -> Result<Next, PeerError> {
        match self.plan(pod_uid) {
            Plan::Nothing => {}
            Plan::Create(pod, mesh) => ensure_first(&self.client, &pod, &mesh).await?,
            Plan::Delete(records) => {
                for record in records {
                    self.delete(&record.peer, &format!("{}/{}", record.namespace, record.name)).await?;
                }
            }
        }
        Ok(Next::Wait)
    }
}
