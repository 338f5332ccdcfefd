//! The network: QUIC connections to peers, on Iroh.
//!
//! Purpose: dial whom the core asks for, answer who calls, make both sides prove their membership, then carry frames.
//! Inputs: [`Output`]s of the core. Outputs: [`Input`]s to the driver. No relay but that of `--relay`, no discovery and
//! no public service is ever contacted: a node talks to the addresses it was given.
//! What it does not do: decide whom to dial or when again; the core does.

mod bind;
pub mod certificate;
mod credentials;
pub(crate) mod der;
mod dial;
mod handshake;
mod keyring;
mod link;
mod refusal;
mod relay;

pub use bind::TransportError;
pub use credentials::{Certificates, Credentials, Held};
pub use handshake::VERSIONS;
pub use keyring::Keyring;
pub use refusal::Refusal;

use crate::config::{MeshConfig, Relay};
use crate::driver::{Message, Network};
use crate::identity::Identity;
use crate::metrics::{Handshake, Metrics};
use crate::traffic::Traffic;
use bind::bind;
use bytes::Bytes;
use credentials::{Channel, Proven, Role};
use handshake::{Agreed, HandshakeError, handshake};
use iroh::Endpoint;
use iroh::endpoint::{Connection, ConnectionError, Incoming, RecvStream, SendStream, VarInt};
use link::{Link, LinkError};
use peat_node_core::event::{Address, CloseReason, Direction, Input, Output};
use peat_node_core::ids::{ConnId, PeerId};
use refusal::{BROKEN, LEAVING, WITHDRAWN, closing};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

/// Names the protocol to QUIC; its versions are negotiated inside.
pub const ALPN: &[u8] = b"peat/mesh/1";

const EXPORTER_LABEL: &[u8] = b"EXPORTER-peat-mesh-proof";

/// From the end of the QUIC handshake to the end of ours.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);

/// A peer has this long to persist what it was sent before we leave.
const FAREWELL_LIMIT: Duration = Duration::from_millis(1500);

/// Handshakes of strangers at once; more are refused, and dial again.
const HANDSHAKES: usize = 64;

/// Connections that others opened, at once. A node has 16 to 32 neighbours; more than this are refused.
const INBOUND: usize = 256;

/// Dials at once; more wait for their turn.
const DIALS: usize = 32;

/// What a transport works with.
#[derive(Debug)]
pub struct Setup<'a> {
    /// Our key.
    pub identity: &'a Identity,
    /// Sockets.
    pub config: &'a MeshConfig,
    /// What we show and demand.
    pub credentials: Credentials,
    /// To the driver.
    pub messages: mpsc::Sender<Message>,
    /// Byte counts.
    pub traffic: Arc<Traffic>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends all tasks.
    pub stop: CancellationToken,
}

struct Live {
    queue: mpsc::Sender<Bytes>,
    connection: Connection,
    proven: Proven,
}

struct Shared {
    endpoint: Endpoint,
    me: PeerId,
    credentials: Credentials,
    /// Its URL.
    relay: Option<Address>,
    messages: mpsc::Sender<Message>,
    traffic: Arc<Traffic>,
    metrics: Arc<Metrics>,
    live: Mutex<BTreeMap<ConnId, Live>>,
    /// Why the last dial of each peer failed, so that a reason that stays is logged once. One entry for each wished
    /// peer.
    failures: Mutex<BTreeMap<PeerId, String>>,
    next: AtomicU64,
    rooms: link::Rooms,
    dials: Semaphore,
    runtime: tokio::runtime::Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The network of one node. Cheap to clone.
#[derive(Clone)]
pub struct Transport(Arc<Shared>);

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Transport").field(&self.0.me).finish()
    }
}

impl Transport {
    /// Binds the UDP sockets. Nothing is answered before [`Transport::listen`].
    ///
    /// # Errors
    /// [`TransportError::Bind`], for example for a port that is taken.
    pub async fn bind(setup: Setup<'_>) -> Result<Self, TransportError> {
        let Setup { identity, config, credentials, messages, traffic, metrics, stop } = setup;
        let endpoint = bind(identity, config).await?;
        metrics.inputs(messages.downgrade());
        Ok(Self(Arc::new(Shared {
            endpoint,
            me: identity.id(),
            credentials,
            relay: config.relay.as_ref().map(Relay::address),
            messages,
            traffic,
            metrics,
            live: Mutex::default(),
            failures: Mutex::default(),
            next: AtomicU64::new(1),
            rooms: link::Rooms::default(),
            dials: Semaphore::new(DIALS),
            runtime: tokio::runtime::Handle::current(),
            tasks: TaskTracker::new(),
            stop,
        })))
    }

    /// The addresses that UDP is bound to.
    pub fn bound(&self) -> Vec<SocketAddr> {
        self.0.endpoint.bound_sockets()
    }

    /// Answers callers from now on.
    pub fn listen(&self) {
        if let Some(url) = self.0.relay.clone() {
            let shared = Arc::clone(&self.0);
            self.0.tasks.spawn(async move { relay::follow(&shared, &url).await });
        }
        let shared = Arc::clone(&self.0);
        self.0.tasks.spawn(async move {
            let (handshakes, inbound) = (Arc::new(Semaphore::new(HANDSHAKES)), Arc::new(Semaphore::new(INBOUND)));
            loop {
                let incoming = tokio::select! {
                    () = shared.stop.cancelled() => return,
                    incoming = shared.endpoint.accept() => incoming,
                };
                let Some(incoming) = incoming else { return };
                if handshakes.available_permits() < HANDSHAKES / 2 && !incoming.remote_addr_validated() {
                    // Under load only those count who can receive at the address they claim; they call again at once.
                    let _ = incoming.retry();
                    continue;
                }
                let slots = (Arc::clone(&handshakes).try_acquire_owned(), Arc::clone(&inbound).try_acquire_owned());
                let (Ok(handshake), Ok(inbound)) = slots else {
                    shared.metrics.handshake(Handshake::Refused(Refusal::Busy.category()));
                    incoming.refuse();
                    continue;
                };
                let shared = Arc::clone(&shared);
                shared.tasks.clone().spawn(async move {
                    let met = shared.answer(incoming).await;
                    drop(handshake);
                    if let Some(met) = met {
                        shared.serve(met, Direction::In).await;
                    }
                    drop(inbound);
                });
            }
        });
    }

    /// Lets every peer take the frames that wait, says goodbye and closes the sockets; all within `limit`.
    pub async fn close(&self, limit: Duration) {
        self.0.stop.cancel();
        // Without its queue a writer ends its stream once it is empty; see [`farewell`].
        drop(std::mem::take(&mut *self.0.live()));
        self.0.tasks.close();
        let finish = async {
            self.0.tasks.wait().await;
            self.0.endpoint.close().await;
        };
        if tokio::time::timeout(limit, finish).await.is_err() {
            debug!("some connections were not closed in time");
        }
    }
}

impl Network for Transport {
    fn act(&self, output: Output) {
        match output {
            Output::Send { conn, peer: _, frame } => {
                let live = self.0.live();
                // None: it is gone, and the report of that is on its way to the core.
                if let Some(live) = live.get(&conn)
                    && live.queue.try_send(frame).is_err()
                {
                    live.connection.close(BROKEN.0, BROKEN.1);
                }
            }
            Output::Close { conn, peer: _, reason } => {
                if let Some(live) = self.0.live().get(&conn) {
                    let (code, text) = closing(reason);
                    live.connection.close(code, text);
                }
            }
            Output::Dial { peer, addresses, patience } => {
                let shared = Arc::clone(&self.0);
                self.0.tasks.spawn_on(async move { shared.dial(peer, addresses, patience).await }, &self.0.runtime);
            }
        }
    }
}

/// A peer that has proved itself, and the stream of the handshake.
struct Met {
    peer: PeerId,
    connection: Connection,
    agreed: Agreed,
    send: SendStream,
    recv: RecvStream,
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, BTreeMap<ConnId, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer ended its stream: it leaves, and waits for our close as a sign that we have what it sent. The driver
    /// answers after the frames before, so they are durable by then.
    async fn settled(&self) {
        let (answer, view) = oneshot::channel();
        if self.messages.send(Message::View(answer)).await.is_ok() {
            let _ = tokio::time::timeout(FAREWELL_LIMIT, view).await;
        }
    }

    async fn answer(&self, incoming: Incoming) -> Option<Met> {
        let limited = tokio::time::timeout(HANDSHAKE_LIMIT, async {
            let connection = incoming.accept().ok()?.await.ok()?;
            let refused = match connection.accept_bi().await {
                Ok((send, recv)) => match self.prove(&connection, send, recv, Role::Acceptor).await {
                    Ok(met) => return Some(met),
                    Err(HandshakeError::Refused(refusal)) => refusal,
                    Err(HandshakeError::Interrupted(_)) => return None,
                },
                Err(_) => return None,
            };
            debug!(peer = %PeerId(*connection.remote_id().as_bytes()).short(), reason = %refused, "refused a peer");
            self.metrics.handshake(Handshake::Refused(refused.category()));
            connection.close(refused.code(), refused.to_string().as_bytes());
            None
        });
        limited.await.unwrap_or_else(|_| {
            self.metrics.handshake(Handshake::Refused(Refusal::Slow.category()));
            None
        })
    }

    async fn prove(
        &self,
        connection: &Connection,
        mut send: SendStream,
        mut recv: RecvStream,
        role: Role,
    ) -> Result<Met, HandshakeError> {
        let mut exporter = [0; 32];
        let exported = connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"");
        // It fails only before the TLS handshake is over, and here it is over.
        exported.map_err(|_| HandshakeError::Refused(Refusal::Malformed))?;
        let peer = PeerId(*connection.remote_id().as_bytes());
        let channel = Channel { role, me: self.me, peer, exporter };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let agreed = handshake(&mut send, &mut recv, &self.credentials, &channel, now).await?;
        self.metrics.handshake(Handshake::Accepted);
        Ok(Met { peer, connection: connection.clone(), agreed, send, recv })
    }

    /// Reports the connection, carries its frames, and reports its end.
    async fn serve(&self, met: Met, direction: Direction) {
        let Met { peer, connection, agreed: Agreed { version, proven }, send, recv } = met;
        let conn = ConnId(self.next.fetch_add(1, Ordering::Relaxed));
        let (queue, queued) = mpsc::channel(link::QUEUE);
        self.live().insert(conn, Live { queue, connection: connection.clone(), proven: proven.clone() });
        // After it is among those that a change of the keys ends.
        if !self.credentials.accepts(&proven) {
            connection.close(WITHDRAWN.0, WITHDRAWN.1);
        }
        let member = match proven {
            Proven::Member(member) => Some(member),
            Proven::Key(_) => None,
        };
        self.traffic.watch(conn, &connection, version, member);
        let link = Link { conn, peer, messages: self.messages.clone() };
        info!(peer = %peer.short(), ?direction, "a peer is connected");
        let connected = Input::Connected { conn, peer, direction, version };
        if self.messages.send(Message::Event(connected)).await.is_ok() {
            let ended = tokio::select! {
                ended = link.write(send, queued) => ended,
                ended = link.read(recv, self.rooms.clone()) => ended,
                _ = connection.closed() => Ok(()),
            };
            if let Err(error @ LinkError::TooLong(_)) = ended {
                warn!(peer = %peer.short(), %error, "closing a connection");
                let (code, text) = closing(CloseReason::Malformed);
                connection.close(code, text);
            }
            if self.stop.is_cancelled() {
                farewell(&connection).await;
            } else if connection.close_reason().is_none() {
                self.settled().await;
            }
        }
        self.live().remove(&conn);
        connection.close(BROKEN.0, BROKEN.1);
        self.traffic.retire(conn);
        info!(peer = %peer.short(), reason = closed_because(&connection), "a connection ended");
        // Fails only when the driver has ended, and then nobody wants to know.
        let _ = self.messages.send(Message::Event(Input::Disconnected { conn, peer })).await;
    }
}

/// The peer closes when it has persisted what it read to the end of our stream; see [`Shared::settled`].
async fn farewell(connection: &Connection) {
    let _ = tokio::time::timeout(FAREWELL_LIMIT, connection.closed()).await;
    connection.close(LEAVING.0, LEAVING.1);
}

/// The code by which the other side closed.
fn close_code(connection: &Connection) -> Option<VarInt> {
    match connection.close_reason()? {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code),
        _ => None,
    }
}

/// What the other side said when it closed, for people.
fn closed_because(connection: &Connection) -> Option<String> {
    match connection.close_reason()? {
        ConnectionError::ApplicationClosed(close) => Some(String::from_utf8_lossy(&close.reason).into_owned()),
        ConnectionError::LocallyClosed => Some("closed by this node".to_owned()),
        ConnectionError::TimedOut => Some("timed out".to_owned()),
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
