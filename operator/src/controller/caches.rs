//! Everything the operator knows of the cluster, and the questions that several parts ask of it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use peat_operator_core::mesh::{MeshIndex, ValidatedMesh};
use peat_operator_core::names::MeshKey;

use crate::cache::Cache;
use crate::membership::{Directory, Sessions};
use crate::records::{
    AskingRecord, MeshRecord, MeshState, NamespaceRecord, NodeRecord, PeerRecord, PodRecord, SecretRecord,
};

/// Caches of every kind, and the indexes made from them.
#[derive(Debug, Default)]
pub struct Caches {
    /// PeatMeshes, grouped by namespace.
    pub meshes: Arc<Cache<MeshRecord>>,
    /// Namespaces, by name.
    pub namespaces: Arc<Cache<NamespaceRecord>>,
    /// Kubernetes nodes with a zone, by name.
    pub nodes: Arc<Cache<NodeRecord>>,
    /// Injected pods, grouped by mesh UID.
    pub pods: Arc<Cache<PodRecord>>,
    /// Pods that ask and have no sidecar, grouped by namespace.
    pub asking: Arc<Cache<AskingRecord>>,
    /// Secrets of authorities, grouped by mesh UID.
    pub secrets: Arc<Cache<SecretRecord>>,
    /// PeatPeers, grouped by pod UID; those of nodes outside the cluster by the key of their mesh.
    pub peers: Arc<Cache<PeerRecord>>,
    /// Who is in which mesh, for the streams.
    pub directory: Arc<Directory>,
    /// Which pods have a live stream.
    pub(crate) sessions: Arc<Sessions>,
    index: RwLock<Arc<MeshIndex>>,
}

impl Caches {
    /// The meshes as the injector looks them up; a snapshot.
    pub fn index(&self) -> Arc<MeshIndex> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the index anew after a change of a mesh; there are few.
    pub(super) fn reindex(&self) {
        let mut index = MeshIndex::default();
        for record in self.meshes.all() {
            match &record.state {
                MeshState::Valid(_, mesh) => index.insert(record.key.clone(), Ok(mesh.as_ref().clone())),
                MeshState::Invalid(_, error) => index.insert(record.key.clone(), Err(error.clone())),
                MeshState::Unreadable(_) => {}
            }
        }
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
    }

    /// The mesh of that UID if it can be used, else why not.
    pub fn served_mesh(&self, uid: &str) -> Result<Arc<ValidatedMesh>, String> {
        let record = self.meshes.get(uid).ok_or_else(|| "no PeatMesh has this UID".to_owned())?;
        match &record.state {
            MeshState::Valid(_, mesh) => Ok(Arc::clone(mesh)),
            MeshState::Invalid(_, error) => Err(error.to_string()),
            MeshState::Unreadable(error) => Err(error.clone()),
        }
    }

    /// PeatPeers of the pods of a mesh, in the order of their UIDs.
    pub fn peers_of(&self, mesh_uid: &str) -> Vec<Arc<PeerRecord>> {
        let of_mesh = |record: &Arc<PeerRecord>| {
            !record.is_external() && record.peer.spec.mesh_ref.uid.as_deref() == Some(mesh_uid)
        };
        self.peers.all().into_iter().filter(of_mesh).collect()
    }

    /// PeatPeers of nodes outside the cluster that name this mesh.
    pub fn external_of(&self, mesh: &MeshKey) -> Vec<Arc<PeerRecord>> {
        self.peers.group(&mesh.to_string())
    }

    /// What the core wants to know of a namespace; one that is not cached yet has no labels.
    pub fn namespace(&self, name: &str) -> Arc<NamespaceRecord> {
        let unknown = || NamespaceRecord {
            name: name.to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            terminating: false,
        };
        self.namespaces.get(name).unwrap_or_else(|| Arc::new(unknown()))
    }

    /// Zone of the Kubernetes node that `pod` runs on, if it has one.
    pub fn zone_of(&self, pod: &PodRecord) -> Option<String> {
        Some(self.nodes.get(pod.node.as_ref()?)?.zone.clone())
    }

    /// Whether `mesh` admits pods of the namespace with this name.
    pub fn admits(&self, mesh: &ValidatedMesh, namespace: &str) -> bool {
        mesh.admits(namespace, &self.namespace(namespace).labels)
    }
}
