//! The controller of nodes outside the cluster: PeatPeers of type External in, what pods are told and a status out.
//!
//! Inputs: PeatPeers that users write, meshes, namespaces. Outputs: the directory, from which streams and ConfigMaps
//! are fed, and the status that says whether pods are told. Looked at again when record, mesh or namespace change, and
//! when another peer takes or leaves the key. What it does not do: reach the node; each peer verifies it when it
//! connects.

use std::sync::Arc;

use kube::Client;
use peat_operator_core::discovery::Peer;
use peat_operator_core::mesh::ValidatedMesh;
use peat_operator_core::peer::{self, ExternalError, validate};

use super::mesh::now;
use super::{Caches, Queues, Reconciler};
use crate::cache::Uid;
use crate::membership::record::apply_status;
use crate::queue::{Next, Queue};
use crate::records::PeerRecord;

/// The status of a node outside could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write the status of PeatPeer {namespace}/{name}")]
pub struct StatusError {
    namespace: String,
    name: String,
    source: kube::Error,
}

/// The controller.
pub struct ExternalController {
    client: Client,
    caches: Arc<Caches>,
    queues: Arc<Queues>,
}

impl std::fmt::Debug for ExternalController {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExternalController").finish_non_exhaustive()
    }
}

impl ExternalController {
    /// A controller over these caches.
    pub fn new(client: Client, caches: Arc<Caches>, queues: Arc<Queues>) -> Self {
        Self { client, caches, queues }
    }

    /// Has pods told about the node, or says why not.
    fn place(&self, record: &PeerRecord) -> Result<Peer, ExternalError> {
        let judged = self.judge(record);
        let wanted = judged.as_ref().ok().map(|(mesh, peer)| (mesh.uid.0.as_str(), peer.clone()));
        let placed = self.caches.directory.place_outside(&record.uid, wanted);
        let (_, peer) = judged?;
        placed.map(|()| peer).map_err(|_| ExternalError::EndpointTaken)
    }

    fn judge(&self, record: &PeerRecord) -> Result<(ValidatedMesh, Peer), ExternalError> {
        let valid = validate(&record.peer).map_err(ExternalError::Invalid)?;
        let index = self.caches.index();
        let mesh = index.find(&valid.mesh).and_then(|found| found.as_ref().ok());
        let admits = mesh.is_some_and(|mesh| self.caches.admits(mesh, &record.namespace));
        let key = valid.mesh.clone();
        let peer = peer::external(valid, mesh, admits)?;
        mesh.map(|mesh| (mesh.clone(), peer)).ok_or(ExternalError::NoMesh(key))
    }
}

impl Reconciler for ExternalController {
    type Error = StatusError;
    const NAME: &'static str = "external";

    fn queue(&self) -> &Queue<Uid> {
        &self.queues.external
    }

    async fn reconcile(&self, uid: &str) -> Result<Next, StatusError> {
        let Some(record) = self.caches.peers.get(uid).filter(|record| record.is_external()) else {
            // Gone: taking it out conflicts with nobody.
            let _ = self.caches.directory.place_outside(uid, None);
            return Ok(Next::Wait);
        };
        let old = record.peer.status.as_ref();
        let conditions = old.map_or(&[][..], |status| status.conditions.as_slice());
        let generation = record.peer.metadata.generation;
        let now = now();
        let wanted = match self.place(&record) {
            Ok(peer) => peer::status::external(peer, generation, conditions, &now),
            Err(error) => {
                let endpoint = old.and_then(|status| status.endpoint_id.clone());
                peer::status::rejected(&error, endpoint, generation, conditions, &now)
            }
        };
        if old == Some(&wanted) {
            return Ok(Next::Wait);
        }
        let failed = |source| StatusError { namespace: record.namespace.clone(), name: record.name.clone(), source };
        // A record that changed meanwhile comes again by its watch.
        apply_status(&self.client, &record.peer, &wanted).await.map_err(failed)?;
        Ok(Next::Wait)
    }
}
