//! A node from its configuration to its end.
//!
//! Purpose: wire the parts, in this order: key, API, health, store, driver, network, membership. The API opens first,
//! so that an application finds it whatever the disk and the network do. Inputs: a checked [`Config`] and a token.
//! Outputs: nothing, or the first error that keeps the node from running. What it does not do: parse, log set-up, exit.

mod error;

pub use error::RunError;

use crate::admin::{self, Admin};
use crate::api::Api;
use crate::config::{Config, FlagsMode, IdentitySource, Listen, ManagedMode, MeshKey, Mode, PeerFlag, Relay};
use crate::driver::{self, Message};
use crate::expiry;
use crate::handle::{Engine, NodeHandle};
use crate::identity::{Identity, write_private};
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::rights;
use crate::shutdown::{DRAIN_LIMIT, drain};
use crate::store::{DiskStore, Store, StoreError};
use crate::telemetry::traces;
use crate::transport::{self, Certificates, Credentials, Keyring, Transport};
use peat_node_core::docs::epoch::Limits;
use peat_node_core::event::{Input, Source};
use peat_node_core::ids::PeerId;
use peat_node_core::rights::Rights;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

/// Memory for hot documents; at 17 KB each, some 1,400 of them.
const CACHE_BYTES: usize = 24 * 1024 * 1024;

/// Calls that run when the node leaves have this long to end.
const CALLS_LIMIT: Duration = Duration::from_secs(5);

/// Peers have this long to take the last frames and the goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_millis(1900);

/// The driver has this long for its last batch.
const LAST_BATCH_LIMIT: Duration = Duration::from_secs(5);

/// Name of a node that was given none, kept in the data folder.
const NODE_ID_FILE: &str = "node-id";

/// Runs a node until `shutdown` is cancelled; then leaves in order and returns.
///
/// # Errors
/// [`RunError`] when a part cannot start, or the driver fails later. What was started is stopped before it returns.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let mut node = Node::start(&config).await?;
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
    admin: Option<(SocketAddr, JoinHandle<io::Result<()>>)>,
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
        let mesh = Mesh::start(config, &identity, &handle, store, &metrics, &token).await?;
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
        self.mesh.transport.bound()
    }

    /// Resolves when the node cannot go on.
    pub async fn failed(&mut self) {
        // Fails when the thread is gone without a word, which is the same.
        let _ = (&mut self.mesh.driver_ended).await;
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
) -> Result<Option<(SocketAddr, JoinHandle<io::Result<()>>)>, RunError> {
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

/// The sockets of the mesh; a file of keys is read again whenever it changes.
async fn bind(setup: transport::Setup<'_>, mode: &Mode) -> Result<Transport, RunError> {
    let credentials = setup.credentials.clone();
    let transport = Transport::bind(setup).await?;
    if let (Credentials::SharedKey(keyring), Mode::Flags(FlagsMode { key_file: Some(file), .. })) = (&credentials, mode)
    {
        transport.follow(keyring, file)?;
    }
    Ok(transport)
}

/// Everything behind the API.
#[derive(Debug)]
struct Mesh {
    messages: mpsc::Sender<Message>,
    transport: Transport,
    /// Whether the peers of this node are known to it.
    told: watch::Receiver<bool>,
    driver_ended: oneshot::Receiver<()>,
}

impl Mesh {
    async fn start(
        config: &Config,
        identity: &Identity,
        node: &NodeHandle,
        store: Arc<dyn Store>,
        metrics: &Arc<Metrics>,
        stop: &CancellationToken,
    ) -> Result<Self, RunError> {
        let (messages, inputs) = mpsc::channel(driver::INPUTS);
        let certificates = match &config.mode {
            Mode::Managed(managed) => Some(Arc::new(certificates(managed, node))),
            Mode::Flags(_) => None,
        };
        let credentials = credentials(&config.mode, certificates.as_ref());
        let transport = bind(
            transport::Setup {
                identity,
                config: &config.mesh,
                credentials,
                messages: messages.clone(),
                traffic: Arc::clone(node.traffic()),
                metrics: Arc::clone(metrics),
                stop: stop.child_token(),
            },
            &config.mode,
        )
        .await?;
        let (watched, rights) = config.mesh.rights_file.as_deref().map(rights::read).transpose()?.unzip();
        let setup = driver::Setup {
            config: engine_config(identity.id(), config, rights.unwrap_or_default()),
            quotas: config.quotas,
            store: Arc::clone(&store),
            network: transport.clone(),
            inputs,
            published: node.view(),
            metrics: Arc::clone(metrics),
        };
        let driver::Running { committed, recent, ended } = driver::start(setup).await?;
        tokio::spawn(expiry::run(Arc::clone(&store), messages.clone(), config.gc, stop.child_token()));
        if let Some(watched) = watched {
            tokio::spawn(rights::follow(watched, messages.clone(), Arc::clone(metrics), stop.child_token()));
        }
        let (tell, told) = watch::channel(matches!(config.mode, Mode::Flags(_)));
        node.attach(Engine {
            messages: messages.clone(),
            store,
            committed,
            recent,
            told: told.clone(),
            vault: config.vault.clone(),
            kinds: config.kinds.clone(),
            relay: config.mesh.relay.as_ref().map(Relay::address),
        });
        transport.listen();
        info!(udp = ?transport.bound(), "the mesh is open");
        match (&config.mode, certificates) {
            (Mode::Managed(managed), Some(certificates)) => {
                let membership = Membership {
                    managed: managed.as_ref().clone(),
                    key_dir: config.key_dir.clone(),
                    identity: identity.clone(),
                    relay: config.mesh.relay.as_ref().map(Relay::address),
                    port: advertised_port(&transport.bound(), managed).unwrap_or(config.mesh.udp_port),
                    certificates,
                    messages: messages.clone(),
                    node: node.clone(),
                    told: tell,
                    metrics: Arc::clone(metrics),
                };
                tokio::spawn(membership.run(stop.child_token()));
            }
            (Mode::Flags(flags), _) => want(&messages, &flags.peers).await,
            (Mode::Managed(_), None) => {}
        }
        Ok(Self { messages, transport, told, driver_ended: ended })
    }

    /// Lets a peer take what is only here, says goodbye, and ends the driver.
    async fn leave(mut self) {
        // Fails when the driver is gone, which the drain then tells.
        let _ = self.messages.send(Message::Event(Input::Leave)).await;
        if let Err(reason) = drain(&self.messages, &self.told, DRAIN_LIMIT).await {
            warn!(%reason, "leaving nevertheless; the store keeps it");
        }
        self.transport.close(GOODBYE_LIMIT).await;
        if self.messages.send(Message::Stop).await.is_ok() {
            let _ = tokio::time::timeout(LAST_BATCH_LIMIT, &mut self.driver_ended).await;
        }
    }
}

impl Drop for Mesh {
    /// Without a goodbye, or after it, the driver's thread must not stay; a full queue means that it is gone or stuck.
    fn drop(&mut self) {
        let _ = self.messages.try_send(Message::Stop);
    }
}

/// The peers of `--peer`, several addresses of one peer together.
async fn want(messages: &mpsc::Sender<Message>, flags: &[PeerFlag]) {
    let mut peers: BTreeMap<PeerId, Vec<String>> = BTreeMap::new();
    for PeerFlag { id, address } in flags {
        peers.entry(*id).or_default().extend(address.clone());
    }
    for (peer, addresses) in peers {
        let input = Input::Want { source: Source::Flag, peer, addresses };
        // Fails only when the driver has ended, which `run` notices by itself.
        let _ = messages.send(Message::Event(input)).await;
    }
}

fn credentials(mode: &Mode, certificates: Option<&Arc<Certificates>>) -> Credentials {
    match (mode, certificates) {
        (Mode::Flags(flags), _) => match &flags.key {
            MeshKey::Shared(keys) => Credentials::SharedKey(Arc::new(Keyring::new(flags.app_id.clone(), Some(keys)))),
            MeshKey::Empty => Credentials::SharedKey(Arc::new(Keyring::new(flags.app_id.clone(), None))),
            MeshKey::Absent => Credentials::Nobody,
        },
        (Mode::Managed(_), Some(certificates)) => Credentials::Certificates(Arc::clone(certificates)),
        (Mode::Managed(_), None) => Credentials::Nobody,
    }
}

fn certificates(managed: &ManagedMode, node: &NodeHandle) -> Certificates {
    let node = node.clone();
    Certificates::new(managed.mesh_uid.clone(), move |peer| node.is_told_of(peer))
}

/// The UDP port of the pod IP's family; the two differ when the system chose them.
fn advertised_port(bound: &[SocketAddr], managed: &ManagedMode) -> Option<u16> {
    let of_family = |address: &&SocketAddr| managed.pod_ip.is_none_or(|ip| ip.is_ipv4() == address.is_ipv4());
    bound.iter().find(of_family).map(SocketAddr::port)
}

fn engine_config(me: PeerId, config: &Config, rights: Rights) -> peat_node_core::Config {
    peat_node_core::Config {
        me,
        actor: rand::random(),
        seed: rand::random(),
        sync_active: config.mesh.auto_sync,
        cache_bytes: CACHE_BYTES,
        tombstone_ttl: config.gc.tombstone_ttl,
        history: Limits::default(),
        rights,
        kinds: config.kinds.clone(),
    }
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
