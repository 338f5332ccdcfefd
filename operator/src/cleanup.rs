//! `peat-operator cleanup`: removes what an operator wrote, so that an uninstall leaves nothing behind.
//!
//! Inputs: [`CleanupArgs`] and a client with the rights of the chart's clean-up job. Outputs: no webhook configuration,
//! a stopped operator, PeatMeshes whose status says so, no PeatPeers of pods, no ConfigMaps of meshes, no Secrets of
//! authorities. Idempotent: what is gone already is fine. What it does not do: touch application pods, what users
//! wrote, or the definitions.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Parser;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::{Client, ResourceExt};
use peat_crds::names::{label, mesh_config_map, secret};
use peat_crds::{PeatMesh, PeatPeer};
use peat_operator_core::labels::MANAGER;
use peat_operator_core::mesh::status::unserved;
use serde_json::json;

use crate::controller::mesh::{apply_status, now};
use crate::error::is_not_found;

/// Requests under way at once while ConfigMaps are removed: enough to hide the latency, few enough for any API server.
const CONCURRENT_DELETES: usize = 16;
/// Between two looks at the Deployment that is being stopped.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Flags of `peat-operator cleanup`.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "peat-operator cleanup",
    about = "Removes what an operator wrote; run by the chart before an uninstall"
)]
pub struct CleanupArgs {
    /// Namespace of the operator
    #[arg(long, env = "PEAT_OPERATOR_NAMESPACE")]
    pub namespace: String,
    /// Deployment of the operator, stopped first
    #[arg(long, default_value = "peat-operator")]
    pub deployment: String,
    /// MutatingWebhookConfiguration, removed before the operator stops so that no pod waits for it
    #[arg(long, default_value = "peat-operator")]
    pub webhook_configuration: String,
    /// Seconds after which what is left is left
    #[arg(long, default_value_t = 25)]
    pub timeout: u64,
}

/// The clean-up did not get to its end; running it again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// The API server refused or could not be reached.
    #[error("{attempted}")]
    Api {
        /// What was attempted.
        attempted: &'static str,
        /// Why it failed.
        source: kube::Error,
    },
    /// Not done in time.
    #[error("not done within {0:?}")]
    TimedOut(Duration),
}

/// Removes everything, within the time that `args` allow.
pub async fn run(args: CleanupArgs, client: Client) -> Result<(), CleanupError> {
    let limit = Duration::from_secs(args.timeout);
    tokio::time::timeout(limit, remove(&args, client)).await.unwrap_or(Err(CleanupError::TimedOut(limit)))
}

async fn remove(args: &CleanupArgs, client: Client) -> Result<(), CleanupError> {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let deleted = configurations.delete(&args.webhook_configuration, &DeleteParams::default()).await;
    unless_gone("delete the webhook configuration", deleted.map(drop))?;
    stop_operator(args, client.clone()).await?;
    // A mesh whose object our types cannot read still has ConfigMaps.
    let all = Api::<DeserializeGuard<PeatMesh>>::all(client.clone());
    let meshes = list(all, &ListParams::default(), "list PeatMeshes").await?;
    say_that_nobody_serves(&client, &meshes).await?;
    let peers = remove_peers(client.clone()).await?;
    let config_maps = remove_config_maps(client.clone(), &meshes).await?;
    let secrets = remove_secrets(&args.namespace, client).await?;
    tracing::info!(peers, config_maps, secrets, "removed what the operator wrote");
    Ok(())
}

/// Scales to zero and waits until no pod is left: a running operator would write again what is removed.
async fn stop_operator(args: &CleanupArgs, client: Client) -> Result<(), CleanupError> {
    let deployments: Api<Deployment> = Api::namespaced(client, &args.namespace);
    let none = Patch::Merge(json!({ "spec": { "replicas": 0 } }));
    let scaled = deployments.patch_scale(&args.deployment, &PatchParams::default(), &none).await;
    unless_gone("stop the operator", scaled.map(drop))?;
    loop {
        let found = deployments.get_opt(&args.deployment).await.map_err(failed("look at the operator"))?;
        let running = found
            .and_then(|deployment| deployment.status)
            .is_some_and(|status| status.replicas.unwrap_or(0) > 0 || status.terminating_replicas.unwrap_or(0) > 0);
        if !running {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Before the authorities go: a later operator must not take them for lost, nor people a mesh for served.
async fn say_that_nobody_serves(client: &Client, meshes: &[DeserializeGuard<PeatMesh>]) -> Result<(), CleanupError> {
    for mesh in meshes.iter().filter_map(|mesh| mesh.0.as_ref().ok()) {
        let status = unserved(mesh.metadata.generation, mesh.status.as_ref(), &now());
        apply_status(client, mesh, &status).await.map_err(failed("write the status of PeatMeshes"))?;
    }
    Ok(())
}

/// PeatPeers that the operator made; those that a user wrote stay.
async fn remove_peers(client: Client) -> Result<usize, CleanupError> {
    let ours = ListParams::default().labels(&format!("{}={MANAGER}", label::MANAGED_BY));
    let api = Api::<PartialObjectMeta<PeatPeer>>::all(client.clone());
    let peers = list(api, &ours, "list PeatPeers").await?;
    let namespaces: BTreeSet<String> = peers.iter().filter_map(ResourceExt::namespace).collect();
    for namespace in namespaces {
        let api: Api<PeatPeer> = Api::namespaced(client.clone(), &namespace);
        let deleted = api.delete_collection(&DeleteParams::default(), &ours).await;
        unless_gone("delete PeatPeers", deleted.map(drop))?;
    }
    Ok(peers.len())
}

/// ConfigMaps by name, in every namespace: the operator may not list them, so it cannot know which exist.
async fn remove_config_maps(client: Client, meshes: &[DeserializeGuard<PeatMesh>]) -> Result<usize, CleanupError> {
    let namespaces = list(Api::<Namespace>::all(client.clone()), &ListParams::default(), "list namespaces").await?;
    let names = meshes.iter().filter_map(|mesh| Some(mesh_config_map(&mesh.name_any(), &mesh.uid()?)));
    let places: Vec<(String, String)> =
        names.flat_map(|name| namespaces.iter().map(move |namespace| (namespace.name_any(), name.clone()))).collect();
    let deletions = futures::stream::iter(places).map(|(namespace, name)| {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
        async move { unless_gone("delete ConfigMaps", api.delete(&name, &DeleteParams::default()).await.map(drop)) }
    });
    let existed: Vec<bool> = deletions.buffer_unordered(CONCURRENT_DELETES).try_collect().await?;
    Ok(existed.into_iter().filter(|existed| *existed).count())
}

async fn remove_secrets(namespace: &str, client: Client) -> Result<usize, CleanupError> {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let secrets = list(api.clone(), &ListParams::default(), "list Secrets").await?;
    let ours = |name: &String| name == secret::OPERATOR_CA || name.starts_with(secret::AUTHORITY_PREFIX);
    let names: Vec<String> = secrets.iter().map(ResourceExt::name_any).filter(ours).collect();
    for name in &names {
        unless_gone("delete Secrets", api.delete(name, &DeleteParams::default()).await.map(drop))?;
    }
    Ok(names.len())
}

/// The objects, or none when the API server does not know their kind.
async fn list<K>(api: Api<K>, which: &ListParams, attempted: &'static str) -> Result<Vec<K>, CleanupError>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match api.list(which).await {
        Ok(found) => Ok(found.items),
        Err(error) if is_not_found(&error) => Ok(Vec::new()),
        Err(error) => Err(failed(attempted)(error)),
    }
}

/// Whether there was something; that there was nothing is no failure.
fn unless_gone(attempted: &'static str, outcome: Result<(), kube::Error>) -> Result<bool, CleanupError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(failed(attempted)(error)),
    }
}

fn failed(attempted: &'static str) -> impl FnOnce(kube::Error) -> CleanupError {
    move |source| CleanupError::Api { attempted, source }
}
