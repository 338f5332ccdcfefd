//! A node from its configuration to its end.
//!
//! Purpose: wire the parts, in this order: key, API, health, store, driver, network, membership. The API opens first,
//! so that an application finds it whatever the disk and the network do. Inputs: a checked [`Config`] and a token.
//! Outputs: nothing, or the first error that keeps the node from running. What it does not do: parse, log set-up, exit.

mod error;
mod mesh;

pub use error::RunError;

use crate::admin::{self, Admin};
use crate::api::Api;
use crate::config::{Config, IdentitySource, Listen};
use crate::handle::NodeHandle;
use crate::identity::{Identity, write_private};
use crate::metrics::Metrics;
use crate::store::{DiskStore, Store, StoreError};
use crate::telemetry::traces;
use mesh::{Mesh, Parts};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::info;

/// Calls that run when the node leaves have this long to end.
const CALLS_LIMIT: Duration = Duration::from_secs(5);

/// Name of a node that was given none, kept in the data folder.
const NODE_ID_FILE: &str = "node-id";

/// Runs a node until `shutdown` is cancelled; then leaves in order and returns.
///
/// # Errors
/// [`RunError`] when a part cannot start, or the driver fails later. What was started is stopped before it returns.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let mut node = tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            // A store that is large or damaged may open for longer than the process has. It may be left at any point.
            info!("left before the node ran");
            return Ok(());
        }
        started = Node::start(&config) => started?,
    };
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        () = node.failed() => Err(RunError::DriverEnded),
    };
    node.leave().await;
    traces::flush().await;
    ended
}

/// A running node. Dropping it stops it without a goodbye.
#[derive(Debug)]
pub struct Node {
    handle: NodeHandle,
    api: Api,
    admin: Option<(SocketAddr, JoinHandle<()>)>,
    mesh: Mesh,
    stop: DropGuard,
}

impl Node {
    /// Starts all parts. The API answers before this returns, and documents are exchanged after.
    ///
    /// # Errors
    /// [`RunError`] with the first part that cannot start; nothing runs then.
    pub async fn start(config: &Config) -> Result<Self, RunError> {
        let identity = match &config.identity {
            IdentitySource::Own => Identity::load_or_generate(&config.key_dir)?,
            IdentitySource::Derived { key, node_id } => Identity::derived(key, node_id),
        };
        let handle = NodeHandle::starting(identity.id());
        let metrics = Arc::new(Metrics::default());
        metrics.stored_in(config.data_dir.clone());
        if let Some(endpoint) = &config.otlp_endpoint {
            traces::start(endpoint, &identity.id(), metrics.spans())?;
        }
        let name = match &config.node_id {
            Some(name) => name.clone(),
            None => kept_name(&config.data_dir)?,
        };
        let api = Api::start(&config.api, name, handle.clone(), Arc::clone(metrics.calls()))?;
        let version = env!("CARGO_PKG_VERSION");
        info!(endpoint = %identity.id(), version, listen = ?api.addresses(), "peat-node starts");
        let token = CancellationToken::new();
        let stop = token.clone().drop_guard();
        let admin = health(config.admin_listen, &handle, &metrics, &token).await?;
        let store = open(config).await?;
        let parts = Parts { config, identity: &identity, node: &handle, store, metrics: &metrics, stop: &token };
        let mesh = Mesh::start(parts).await?;
        Ok(Self { handle, api, admin, mesh, stop })
    }

    /// The verbs of the node.
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Where the API is served, ports resolved.
    pub fn api(&self) -> &[Listen] {
        self.api.addresses()
    }

    /// Where health and metrics are served, port resolved.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(|(address, _)| *address)
    }

    /// UDP sockets of the mesh, ports resolved.
    pub fn udp(&self) -> Vec<SocketAddr> {
        self.mesh.udp()
    }

    /// Resolves when the node cannot go on.
    pub async fn failed(&mut self) {
        self.mesh.failed().await;
    }

    /// Accepts nothing more, lets calls end and a peer take what is only here, says goodbye, and ends.
    pub async fn leave(self) {
        let Self { handle, api, admin, mesh, stop } = self;
        handle.stopping();
        api.stop(CALLS_LIMIT).await;
        mesh.leave().await;
        drop(stop);
        if let Some((_, admin)) = admin {
            admin.abort();
        }
        info!("left");
    }
}

/// Serves health and metrics, if an address is given.
async fn health(
    address: Option<SocketAddr>,
    node: &NodeHandle,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
) -> Result<Option<(SocketAddr, JoinHandle<()>)>, RunError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |source| RunError::Admin { address, source };
    let listener = admin::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let admin = Admin { node: node.clone(), metrics: Arc::clone(metrics) };
    Ok(Some((bound, tokio::spawn(admin::serve(listener, admin, stop.child_token())))))
}

async fn open(config: &Config) -> Result<Arc<dyn Store>, RunError> {
    let (folder, keys) = (config.data_dir.clone(), config.store_keys.clone());
    let opened = spawn_blocking(move || DiskStore::open_sealed(&folder, &keys)).await;
    Ok(Arc::new(opened.map_err(|_| StoreError::Stopped)??))
}

/// The random name of a node that was given none, the same at every start.
fn kept_name(data_dir: &Path) -> Result<String, RunError> {
    let path = data_dir.join(NODE_ID_FILE);
    let failed = |source| RunError::DataDir { path: path.clone(), source };
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        Ok(_) | Err(_) => {
            let name = uuid::Uuid::new_v4().to_string();
            std::fs::create_dir_all(data_dir).and_then(|()| write_private(&path, name.as_bytes())).map_err(failed)?;
            Ok(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use tokio::task::yield_now;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Of a node that is served at `peat.sock`.
    fn config(folder: &Path) -> Config {
        let (listen, data) = (format!("unix://{}", folder.join("peat.sock").display()), folder.join("data"));
        let args = ["peat-node", "--listen", &listen, "--mesh-listen", "127.0.0.1", "--data-dir"].map(OsString::from);
        let args = args.into_iter().chain([data.into_os_string()]).collect();
        Config::read(crate::cli::parse(args, |_| None).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_node_that_is_to_leave_before_it_started_touches_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        timeout(PATIENCE, run(config(folder.path()), shutdown)).await.unwrap().unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_node_that_is_to_leave_while_its_store_opens_does_so_and_leaves_no_socket() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("peat.sock");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let shutdown = CancellationToken::new();
            // The API is there before the store is opened, which takes a thread of its own.
            let told = async {
                while !socket.exists() {
                    yield_now().await;
                }
                shutdown.cancel();
            };
            let both = async { tokio::join!(run(config(folder.path()), shutdown.clone()), told) };
            let (ended, ()) = timeout(PATIENCE, both).await.unwrap();
            ended.unwrap();
        });
        // It waits for that thread.
        drop(runtime);
        assert!(!socket.exists());
        assert!(folder.path().join("data").exists(), "it had begun");
    }
}
