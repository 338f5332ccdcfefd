//! Applies the objects of a mesh by server-side apply, and removes those it no longer wants.
//!
//! Inputs: prepared resources. Outputs: applied resources. ConfigMaps are written and deleted by name, never listed or
//! read: the operator needs no right to look into anybody's ConfigMaps.
//! What it does not do: decide what should exist.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use peat_operator_core::resources::{Applied, Prepared, Resources};

use crate::cache::Uid;
use crate::error::is_not_found;

/// Field manager of a mesh's objects.
pub(super) const FIELD_MANAGER: &str = "peat-operator";

/// Writing an object of a mesh failed.
#[derive(Debug, thiserror::Error)]
#[error("{verb} config map {namespace}/{name}")]
pub struct ApplyError {
    verb: &'static str,
    namespace: String,
    name: String,
    source: kube::Error,
}

/// Writes objects of meshes, and remembers what it wrote so that an unchanged object costs nothing.
pub(super) struct Applier {
    client: Client,
    written: Mutex<BTreeMap<Uid, BTreeMap<String, ConfigMap>>>,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Applier").finish_non_exhaustive()
    }
}

impl Applier {
    /// An applier that has written nothing yet.
    pub(super) fn new(client: Client) -> Self {
        Self { client, written: Mutex::default() }
    }

    /// Applies everything of the mesh `uid`, then deletes what it had and is not in `prepared`.
    ///
    /// A namespace that vanished meanwhile is skipped: the caller's cache is about to hear of it.
    pub(super) async fn apply(
        &self,
        uid: &str,
        prepared: Resources<Prepared>,
    ) -> Result<Resources<Applied>, ApplyError> {
        let Resources { config_maps, stage: _ } = prepared;
        let known = self.written_for(uid);
        let wanted: BTreeSet<String> = config_maps.iter().filter_map(ResourceExt::namespace).collect();
        let mut applied = Vec::with_capacity(config_maps.len());
        for config_map in config_maps {
            let namespace = config_map.namespace().unwrap_or_default();
            if known.get(&namespace) == Some(&config_map) {
                applied.push(config_map);
            } else if let Some(stored) = self.write(&namespace, &config_map).await? {
                self.remember(uid, namespace, config_map);
                applied.push(stored);
            }
        }
        for (namespace, config_map) in known.iter().filter(|(namespace, _)| !wanted.contains(*namespace)) {
            self.delete(namespace, &config_map.name_any()).await?;
            self.forget(uid, namespace);
        }
        Ok(Resources::applied(applied))
    }

    /// Deletes a ConfigMap by name; one that does not exist is fine.
    pub(super) async fn delete(&self, namespace: &str, name: &str) -> Result<(), ApplyError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        match api.delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(source) => Err(failed("delete", namespace, name, source)),
        }
    }

    /// Forgets a mesh that is gone.
    pub(super) fn forget_mesh(&self, uid: &str) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    async fn write(&self, namespace: &str, config_map: &ConfigMap) -> Result<Option<ConfigMap>, ApplyError> {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let name = config_map.name_any();
        let params = PatchParams::apply(FIELD_MANAGER).force();
        match api.patch(&name, &params, &Patch::Apply(config_map)).await {
            Ok(stored) => Ok(Some(stored)),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(source) => Err(failed("apply", namespace, &name, source)),
        }
    }

    fn written_for(&self, uid: &str) -> BTreeMap<String, ConfigMap> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned().unwrap_or_default()
    }

    fn remember(&self, uid: &str, namespace: String, config_map: ConfigMap) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.entry(uid.to_owned()).or_default().insert(namespace, config_map);
    }

    fn forget(&self, uid: &str, namespace: &str) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_mesh) = written.get_mut(uid) {
            of_mesh.remove(namespace);
        }
    }
}

fn failed(verb: &'static str, namespace: &str, name: &str, source: kube::Error) -> ApplyError {
    ApplyError { verb, namespace: namespace.to_owned(), name: name.to_owned(), source }
}
