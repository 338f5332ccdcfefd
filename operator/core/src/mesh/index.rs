//! The meshes of a cluster, as the injector and the counts look them up.
//!
//! Inputs: each PeatMesh after [`validate`](fn@super::validate), valid or not. Outputs: lookups by key and by
//! namespace. What it does not do: watch; the shell feeds it.

use std::collections::BTreeMap;

use super::{ValidateError, ValidatedMesh};
use crate::names::{MeshKey, MeshUid};

/// What is known about a namespace, borrowed from its metadata.
#[derive(Debug, Clone, Copy)]
pub struct NamespaceView<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: &'a BTreeMap<String, String>,
}

/// The meshes of a cluster. A mesh that is not valid is kept as such, so that a pod which asks for it hears why.
#[derive(Debug, Clone, Default)]
pub struct MeshIndex {
    meshes: BTreeMap<MeshKey, Result<ValidatedMesh, ValidateError>>,
}

impl MeshIndex {
    /// Adds or replaces a mesh.
    pub fn insert(&mut self, key: MeshKey, mesh: Result<ValidatedMesh, ValidateError>) {
        self.meshes.insert(key, mesh);
    }

    /// Removes a mesh.
    pub fn remove(&mut self, key: &MeshKey) {
        self.meshes.remove(key);
    }

    /// The mesh of that key: valid, not valid, or none.
    pub fn find(&self, key: &MeshKey) -> Option<&Result<ValidatedMesh, ValidateError>> {
        self.meshes.get(key)
    }

    /// The valid mesh with this UID.
    pub fn by_uid(&self, uid: &MeshUid) -> Option<&ValidatedMesh> {
        self.valid().find(|mesh| mesh.uid == *uid)
    }

    /// Every valid mesh, by key.
    pub fn valid(&self) -> impl Iterator<Item = &ValidatedMesh> {
        self.meshes.values().filter_map(|mesh| mesh.as_ref().ok())
    }

    /// Keys of the meshes of a namespace, in order of name.
    pub fn in_namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a MeshKey> {
        let first = MeshKey::new(namespace, "");
        self.meshes.range(first..).map(|(key, _)| key).take_while(move |key| key.namespace == namespace)
    }

    /// Keys of the meshes with this name, in order of namespace.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a MeshKey> {
        self.meshes.keys().filter(move |key| key.name == name)
    }
}
