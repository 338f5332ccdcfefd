//! The seam between the engine and whoever serves it to applications.
//!
//! Purpose: one cheap handle with every verb of a node. Writes and peer changes go to the driver and are answered when
//! they are durable; reads go straight to the store and never wait for the driver, so a slow disk does not slow them.
//! Inputs: checked names and parsed documents. Outputs: plain values of the core, or a [`HandleError`].
//! What it does not do: know a wire format, a status code or a listener.
//!
//! A handle exists before the store is open (the API opens first); until then every call but [`NodeHandle::status`]
//! answers [`HandleError::Starting`].

mod detail;
mod feed;
mod listed;
mod write;

pub use detail::PeerDetail;
pub use listed::Listed;

use crate::changes::{self, Readers, Recent};
use crate::driver::{Message, Request};
use crate::shutdown::{self, DrainError};
use crate::store::backup::Encoder;
use crate::store::{Row, Seq, SetAside, Store, StoreError};
use crate::traffic::Traffic;
use crate::vault::{Content, SealError, Vault};
use arc_swap::ArcSwapOption;
use futures::stream::{self, BoxStream, StreamExt as _};
use peat_node_core::docs::row::{RowError, Version, View};
use peat_node_core::docs::{Document, Kind, Kinds};
use peat_node_core::event::{Address, Condition, Edit, Reply, RequestError};
use peat_node_core::ids::{Collection, Key, PeerId};
use peat_node_core::{PeerView, Stats};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// A call that did not go well.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// The store is not open yet; trying again soon helps.
    #[error("the node is starting: its store is not open yet")]
    Starting,
    /// The node is shutting down, or its driver has ended.
    #[error("the node is shutting down")]
    Stopped,
    /// The engine refused or failed.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document could not be encrypted.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// No peer had everything in time.
    #[error(transparent)]
    Drain(#[from] DrainError),
}

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The API answers, the store is not open. Left when the driver runs.
    Initializing,
    /// Running with sync off. Left by `StartSync` or a stop signal.
    Ready,
    /// Running with sync on. Left by `StopSync` or a stop signal.
    Syncing,
    /// A stop signal came. Left by the end of the process.
    ShuttingDown,
}

/// Items that come as they are read; an error is the last one.
pub type Items<T> = BoxStream<'static, Result<T, HandleError>>;

/// What `GetStatus` tells. Cheap: no store access, no driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub endpoint: PeerId,
    /// Where the node is in its life.
    pub phase: Phase,
    /// Whether documents are exchanged.
    pub sync_active: bool,
    /// Live, authenticated peers.
    pub connected_peers: usize,
}

/// Bytes of mesh traffic since the process started, the proofs of membership included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncStats {
    /// UDP payload bytes sent.
    pub bytes_sent: u64,
    /// UDP payload bytes received.
    pub bytes_received: u64,
}

/// What the driver last published about itself.
#[derive(Debug, Clone)]
pub struct Published {
    /// Every peer the core knows of.
    pub peers: Vec<PeerView>,
    /// Counters and gauges of the core.
    pub stats: Stats,
    /// Whether an application wrote something that no peer was connected to hear, and none has heard since.
    pub unsent: bool,
    /// What the uptimes in `peers` count from.
    pub began: Instant,
    /// Wall time that is sure to have come, since the Unix epoch.
    pub known_time: Duration,
    /// When this was so.
    pub at: Instant,
}

/// The running half behind a handle.
pub(crate) struct Engine {
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) store: Arc<dyn Store>,
    /// Highest sequence number that is durable.
    pub(crate) committed: watch::Receiver<Seq>,
    /// The last rows before it.
    pub(crate) recent: Arc<Recent>,
    /// Whether the peers of this node are known to it.
    pub(crate) told: watch::Receiver<bool>,
    /// The key of documents.
    pub(crate) vault: Vault,
    /// How new documents merge.
    pub(crate) kinds: Kinds,
    /// The relay that this node uses.
    pub(crate) relay: Option<Address>,
}

struct Shared {
    endpoint: PeerId,
    traffic: Arc<Traffic>,
    /// Written by the driver; none before it runs.
    published: Arc<ArcSwapOption<Published>>,
    stopping: AtomicBool,
    started: watch::Sender<bool>,
    readers: Arc<Readers>,
    engine: OnceLock<Engine>,
}

/// A node, as everything but its engine sees it. Cheap to clone.
#[derive(Clone)]
pub struct NodeHandle(Arc<Shared>);

impl std::fmt::Debug for NodeHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("NodeHandle").field(&self.0.endpoint).finish()
    }
}

impl NodeHandle {
    /// A handle of a node that is still starting.
    pub fn starting(endpoint: PeerId) -> Self {
        Self(Arc::new(Shared {
            endpoint,
            traffic: Arc::default(),
            published: Arc::default(),
            stopping: AtomicBool::new(false),
            started: watch::Sender::new(false),
            readers: Arc::default(),
            engine: OnceLock::new(),
        }))
    }

    /// Replaces a document; done means durable.
    ///
    /// # Errors
    /// [`HandleError::Request`] with `Storage` or `TooLarge`; `Starting` and `Stopped`.
    pub async fn put(&self, key: Key, document: Document) -> Result<(), HandleError> {
        self.write(key, Edit::Put(document), Condition::Always).await.map(drop)
    }

    /// Deletes a document, here and on every peer; done means durable. None there is fine.
    ///
    /// # Errors
    /// As [`NodeHandle::put`].
    pub async fn delete(&self, key: Key) -> Result<(), HandleError> {
        self.write(key, Edit::Delete, Condition::Always).await.map(drop)
    }

    /// Wishes `peer` to be connected; answered when it is attached or its next dial failed. Lifts a ban.
    ///
    /// # Errors
    /// [`HandleError::Request`] with `NoAddress`, `Unreachable`, `Own`, `Revoked` or `TooManyPeers`; `Starting` and
    /// `Stopped`.
    pub async fn connect(&self, peer: PeerId, addresses: Vec<Address>) -> Result<(), HandleError> {
        self.call(Request::Connect { peer, addresses }).await
    }

    /// Whether the store was opened, after which no call answers `Starting`.
    ///
    /// # Errors
    /// `Starting`.
    pub fn opened(&self) -> Result<(), HandleError> {
        self.engine().map(|_| ())
    }

    /// The URL of the relay that this node uses.
    ///
    /// # Errors
    /// `Starting`.
    pub fn relay(&self) -> Result<Option<&Address>, HandleError> {
        Ok(self.engine()?.relay.as_ref())
    }

    /// Closes and bans `peer` until the next [`NodeHandle::connect`]; when it returns, the peer is not connected.
    ///
    /// # Errors
    /// [`HandleError::Request`] with `TooManyPeers`; `Starting` and `Stopped`.
    pub async fn disconnect(&self, peer: PeerId) -> Result<(), HandleError> {
        self.call(Request::Disconnect { peer }).await
    }

    /// Turns the exchange of documents on or off.
    ///
    /// # Errors
    /// `Starting` and `Stopped`.
    pub async fn set_sync(&self, active: bool) -> Result<(), HandleError> {
        self.call(Request::Sync { active }).await
    }

    /// Waits until some peer says that it has stored what it was sent of all that is here, or did not ask for it when
    /// told, as a node does that leaves; it goes on.
    ///
    /// # Errors
    /// `Starting`; [`HandleError::Drain`] after `limit`, with what is left.
    pub async fn drain(&self, limit: Duration) -> Result<(), HandleError> {
        let engine = self.engine()?;
        Ok(shutdown::drain(&engine.messages, &engine.told, (limit, limit)).await?)
    }

    /// A document as it is stored now; `None` when there is none or it is deleted.
    ///
    /// Reads on the blocking pool: a row that is not in memory may wait for the disk.
    ///
    /// # Errors
    /// [`HandleError::Store`], also for a corrupt row; `Starting`.
    pub async fn get(&self, key: Key) -> Result<Option<Content>, HandleError> {
        let engine = self.engine()?;
        let (store, vault) = (Arc::clone(&engine.store), engine.vault.clone());
        let found = changes::blocking(move || content(&*store, &vault, &key)).await?;
        Ok(found.map(|(content, _)| content))
    }

    /// As [`NodeHandle::get`], with the version for [`Condition::Version`], for those who are on the blocking pool: it
    /// waits for the disk.
    ///
    /// # Errors
    /// As [`NodeHandle::get`].
    pub fn read(&self, key: &Key) -> Result<Option<(Content, Version)>, HandleError> {
        let engine = self.engine()?;
        Ok(content(&*engine.store, &engine.vault, key)?)
    }

    /// How new documents of `collection` merge.
    ///
    /// # Errors
    /// `Starting`.
    pub fn kind(&self, collection: &Collection) -> Result<Kind, HandleError> {
        Ok(self.engine()?.kinds.of(collection.as_str()))
    }

    /// The store of this moment as the bytes of a backup, in pieces that are read as they are polled.
    ///
    /// # Errors
    /// `Starting` and [`HandleError::Store`]; then that as the last item, after which the pieces are of no use.
    pub async fn backup(&self) -> Result<Items<Vec<u8>>, HandleError> {
        let store = Arc::clone(&self.engine()?.store);
        let encoder = changes::blocking(move || Ok(Encoder::new(store.entries()?))).await?;
        let pieces = stream::try_unfold(encoder, async |mut encoder| {
            let read = changes::blocking(move || Ok((encoder.piece()?, encoder))).await?;
            Ok(match read {
                (Some(piece), encoder) => Some((piece, encoder)),
                (None, _) => None,
            })
        });
        Ok(pieces.boxed())
    }

    /// Where the node stands.
    pub fn status(&self) -> Status {
        let published = self.0.published.load();
        // The driver publishes a moment before callers can reach it: whoever is told of a started node may call it.
        let published = published.as_ref().filter(|_| self.0.engine.get().is_some());
        let stats = published.map(|published| &published.stats);
        let sync_active = stats.is_some_and(|stats| stats.sync_active);
        let phase = match (self.0.stopping.load(Ordering::Acquire), stats) {
            (true, _) => Phase::ShuttingDown,
            (false, None) => Phase::Initializing,
            (false, Some(_)) if sync_active => Phase::Syncing,
            (false, Some(_)) => Phase::Ready,
        };
        let connected_peers = stats.map_or(0, |stats| stats.connected_peers);
        Status { endpoint: self.0.endpoint, phase, sync_active, connected_peers }
    }

    /// Every peer the node knows of, connected or not.
    pub fn peers(&self) -> Vec<PeerView> {
        self.published().map(|published| published.peers.clone()).unwrap_or_default()
    }

    /// Mesh traffic so far.
    pub fn sync_stats(&self) -> SyncStats {
        self.0.traffic.totals()
    }

    /// Resolves when the store is open.
    pub(crate) async fn started(&self) {
        // Never fails: the sender lives as long as this handle.
        let _ = self.0.started.subscribe().wait_for(|started| *started).await;
    }

    pub(crate) fn attach(&self, engine: Engine) {
        // A second engine is a programming error; the first one stays.
        let _ = self.0.engine.set(engine);
        self.0.started.send_replace(true);
    }

    pub(crate) fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    pub(crate) fn traffic(&self) -> &Arc<Traffic> {
        &self.0.traffic
    }

    pub(crate) fn published(&self) -> Option<Arc<Published>> {
        self.0.published.load_full()
    }

    /// Where the driver publishes.
    pub(crate) fn view(&self) -> Arc<ArcSwapOption<Published>> {
        Arc::clone(&self.0.published)
    }

    pub(crate) fn set_aside(&self) -> SetAside {
        self.0.engine.get().map(|engine| engine.store.set_aside()).unwrap_or_default()
    }

    /// Whether any source wants `peer`.
    pub(crate) fn is_told_of(&self, peer: &PeerId) -> bool {
        self.published()
            .is_some_and(|view| view.peers.iter().any(|known| known.peer == *peer && !known.sources.is_empty()))
    }

    pub(crate) fn driver_alive(&self) -> bool {
        self.0.engine.get().is_some_and(|engine| !engine.messages.is_closed())
    }

    fn engine(&self) -> Result<&Engine, HandleError> {
        self.0.engine.get().ok_or(HandleError::Starting)
    }

    async fn call(&self, request: Request) -> Result<(), HandleError> {
        self.ask(request).await.map(drop)
    }

    async fn ask(&self, request: Request) -> Result<Reply, HandleError> {
        let (answer, answered) = oneshot::channel();
        let message = Message::Request { request, answer };
        self.engine()?.messages.send(message).await.map_err(|_| HandleError::Stopped)?;
        Ok(answered.await.map_err(|_| HandleError::Stopped)??)
    }
}

/// What is stored under `key`, with its version; none for a deleted document.
fn content(store: &dyn Store, vault: &Vault, key: &Key) -> Result<Option<(Content, Version)>, StoreError> {
    let Some(row) = store.read(key)? else { return Ok(None) };
    versioned(vault, key, &row)
}

/// As [`content`], of a row that was read.
fn versioned(vault: &Vault, key: &Key, row: &Row) -> Result<Option<(Content, Version)>, StoreError> {
    let view = view(key, row)?;
    let content = vault.content(key, &view).map_err(|source| corrupt(key, source))?;
    Ok(content.map(|content| (content, view.version)))
}

fn view<'a>(key: &Key, row: &'a Row) -> Result<View<'a>, StoreError> {
    View::parse(&row.bytes).map_err(|source| corrupt(key, source))
}

fn corrupt(key: &Key, source: RowError) -> StoreError {
    StoreError::Corrupt { key: key.clone(), source: Box::new(source) }
}
