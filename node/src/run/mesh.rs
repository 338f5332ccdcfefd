//! Everything behind the API: the network, the driver of the engine, and whom the node meets.
//!
//! Inputs: the open [`Store`], the [`Config`], and the handle that the API calls. Outputs: a [`Mesh`] that runs until it
//! leaves or is dropped. What it does not do: serve the API, health or metrics.

use super::RunError;
use crate::clock;
use crate::config::{Config, FlagsMode, ManagedMode, MeshKey, Mode, PeerFlag, Relay};
use crate::driver::{self, Message};
use crate::expiry;
use crate::handle::{Engine, NodeHandle};
use crate::identity::Identity;
use crate::membership::Membership;
use crate::metrics::Metrics;
use crate::rights;
use crate::shutdown::{DRAIN_LIMIT, DrainError, WORD_LIMIT, drain};
use crate::store::Store;
use crate::transport::{self, Certificates, Credentials, Keyring, Transport};
use peat_node_core::docs::epoch::Limits;
use peat_node_core::event::{Address, Input, Source};
use peat_node_core::ids::PeerId;
use peat_node_core::rights::Rights;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Memory for hot documents; at 17 KB each, some 1,400 of them.
const CACHE_BYTES: usize = 24 * 1024 * 1024;

/// Peers have this long to take the last frames and the goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_millis(1900);

/// The driver has this long for its last batch.
const LAST_BATCH_LIMIT: Duration = Duration::from_secs(5);

/// What a [`Mesh`] is made of.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) config: &'a Config,
    pub(super) identity: &'a Identity,
    pub(super) node: &'a NodeHandle,
    pub(super) store: Arc<dyn Store>,
    pub(super) metrics: &'a Arc<Metrics>,
    pub(super) stop: &'a CancellationToken,
}

/// The running parts.
#[derive(Debug)]
pub(super) struct Mesh {
    messages: mpsc::Sender<Message>,
    transport: Transport,
    /// Whether the peers of this node are known to it.
    told: watch::Receiver<bool>,
    driver_ended: oneshot::Receiver<()>,
}

impl Mesh {
    pub(super) async fn start(parts: Parts<'_>) -> Result<Self, RunError> {
        let (messages, inputs) = mpsc::channel(driver::INPUTS);
        let certificates = parts.certificates();
        let transport = parts.bind(&messages, certificates.as_ref()).await?;
        let driver::Running { committed, recent, ended } = parts.drive(&messages, inputs, &transport).await?;
        let (tell, told) = watch::channel(matches!(parts.config.mode, Mode::Flags(_)));
        parts.node.attach(Engine {
            messages: messages.clone(),
            store: Arc::clone(&parts.store),
            committed,
            recent,
            told: told.clone(),
            vault: parts.config.vault.clone(),
            kinds: parts.config.kinds.clone(),
            relay: parts.relay(),
        });
        transport.listen();
        info!(udp = ?transport.bound(), "the mesh is open");
        parts.meet(&messages, &transport, certificates, tell).await;
        Ok(Self { messages, transport, told, driver_ended: ended })
    }

    /// UDP sockets, ports resolved.
    pub(super) fn udp(&self) -> Vec<SocketAddr> {
        self.transport.bound()
    }

    /// Resolves when the node cannot go on.
    pub(super) async fn failed(&mut self) {
        // Fails when the thread is gone without a word, which is the same.
        let _ = (&mut self.driver_ended).await;
    }

    /// Lets a peer take what is only here, says goodbye, and ends the driver.
    pub(super) async fn leave(mut self) {
        if let Err(reason) = part(&self.messages, &self.told, (DRAIN_LIMIT, WORD_LIMIT)).await {
            warn!(%reason, "leaving nevertheless; the store keeps what it has");
        }
        self.transport.close(GOODBYE_LIMIT).await;
        end(&self.messages, &mut self.driver_ended, LAST_BATCH_LIMIT).await;
    }
}

impl Drop for Mesh {
    /// Without a goodbye, or after it, the driver's thread must not stay; a full queue means that it is gone or stuck.
    fn drop(&mut self) {
        let _ = self.messages.try_send(Message::Stop);
    }
}

/// Tells the engine that this node leaves, and waits as [`drain`] does; a driver that is stuck takes no message.
async fn part(
    messages: &mpsc::Sender<Message>,
    told: &watch::Receiver<bool>,
    (limit, word_limit): (Duration, Duration),
) -> Result<(), DrainError> {
    let end = Instant::now() + limit;
    // It fails at once when the driver is gone, which the drain then tells.
    if timeout_at(end, messages.send(Message::Event(Input::Leave))).await.is_err() {
        return Err(DrainError::Silent);
    }
    drain(messages, told, (end.saturating_duration_since(Instant::now()), word_limit)).await
}

/// Tells the driver to end, and waits until it has.
async fn end(messages: &mpsc::Sender<Message>, ended: &mut oneshot::Receiver<()>, limit: Duration) {
    let last = async {
        if messages.send(Message::Stop).await.is_ok() {
            // Fails when the thread is gone without a word, which is the same.
            let _ = ended.await;
        }
    };
    if timeout(limit, last).await.is_err() {
        warn!("the driver does not end: the process goes without it, and the store has what was answered");
    }
}

impl Parts<'_> {
    /// Those of a mesh that an operator keeps.
    fn certificates(&self) -> Option<Arc<Certificates>> {
        let Mode::Managed(managed) = &self.config.mode else { return None };
        let node = self.node.clone();
        Some(Arc::new(Certificates::new(managed.mesh_uid.clone(), move |peer| node.is_told_of(peer))))
    }

    fn relay(&self) -> Option<Address> {
        self.config.mesh.relay.as_ref().map(Relay::address)
    }

    /// The sockets of the mesh; a file of keys is read again whenever it changes.
    async fn bind(
        &self,
        messages: &mpsc::Sender<Message>,
        certificates: Option<&Arc<Certificates>>,
    ) -> Result<Transport, RunError> {
        let mode = &self.config.mode;
        let credentials = credentials(mode, certificates);
        let setup = transport::Setup {
            identity: self.identity,
            config: &self.config.mesh,
            credentials: credentials.clone(),
            messages: messages.clone(),
            traffic: Arc::clone(self.node.traffic()),
            metrics: Arc::clone(self.metrics),
            stop: self.stop.child_token(),
        };
        let transport = Transport::bind(setup).await?;
        if let (Credentials::SharedKey(keyring), Mode::Flags(FlagsMode { key_file: Some(file), .. })) =
            (&credentials, mode)
        {
            transport.follow(keyring, file)?;
        }
        Ok(transport)
    }

    /// The engine on its thread, and what gives it work beside calls and peers: expiry, and the file of rights.
    async fn drive(
        &self,
        messages: &mpsc::Sender<Message>,
        inputs: mpsc::Receiver<Message>,
        transport: &Transport,
    ) -> Result<driver::Running, RunError> {
        let (config, metrics, stop) = (self.config, self.metrics, self.stop);
        let (watched, rights) = config.mesh.rights_file.as_deref().map(rights::read).transpose()?.unzip();
        let running = driver::start(driver::Setup {
            config: self.engine(rights.unwrap_or_default()),
            quotas: config.quotas,
            store: Arc::clone(&self.store),
            network: transport.clone(),
            inputs,
            published: self.node.view(),
            metrics: Arc::clone(metrics),
        })
        .await?;
        tokio::spawn(expiry::run(Arc::clone(&self.store), messages.clone(), config.gc, stop.child_token()));
        tokio::spawn(clock::keep(config.data_dir.clone(), self.node.clone(), stop.child_token()));
        if let Some(watched) = watched {
            tokio::spawn(rights::follow(watched, messages.clone(), Arc::clone(metrics), stop.child_token()));
        }
        Ok(running)
    }

    fn engine(&self, rights: Rights) -> peat_node_core::Config {
        let config = self.config;
        peat_node_core::Config {
            me: self.identity.id(),
            actor: rand::random(),
            seed: rand::random(),
            sync_active: config.mesh.auto_sync,
            cache_bytes: CACHE_BYTES,
            tombstone_ttl: config.gc.tombstone_ttl,
            known_time: clock::read(&config.data_dir),
            history: Limits::default(),
            rights,
            kinds: config.kinds.clone(),
        }
    }

    /// Learns of peers from the operator, or from flags.
    async fn meet(
        &self,
        messages: &mpsc::Sender<Message>,
        transport: &Transport,
        certificates: Option<Arc<Certificates>>,
        told: watch::Sender<bool>,
    ) {
        match (&self.config.mode, certificates) {
            (Mode::Managed(managed), Some(certificates)) => {
                let membership = Membership {
                    managed: managed.as_ref().clone(),
                    key_dir: self.config.key_dir.clone(),
                    identity: self.identity.clone(),
                    relay: self.relay(),
                    port: advertised_port(&transport.bound(), managed).unwrap_or(self.config.mesh.udp_port),
                    certificates,
                    messages: messages.clone(),
                    node: self.node.clone(),
                    told,
                    metrics: Arc::clone(self.metrics),
                };
                tokio::spawn(membership.run(self.stop.child_token()));
            }
            (Mode::Flags(flags), _) => want(messages, &flags.peers).await,
            (Mode::Managed(_), None) => {}
        }
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

/// The UDP port of the pod IP's family; the two differ when the system chose them.
fn advertised_port(bound: &[SocketAddr], managed: &ManagedMode) -> Option<u16> {
    let of_family = |address: &&SocketAddr| managed.pod_ip.is_none_or(|ip| ip.is_ipv4() == address.is_ipv4());
    bound.iter().find(of_family).map(SocketAddr::port)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_driver_that_is_stuck_does_not_keep_a_node_that_leaves_whether_its_queue_has_room_or_not() {
        for (room, name) in [(1, "none"), (9, "some")] {
            let (messages, _inputs) = mpsc::channel(room);
            messages.try_send(Message::Stop).unwrap();
            let (_telling, told) = watch::channel(true);
            let (_driver, mut ended) = oneshot::channel();
            let leaving = async {
                let parted = part(&messages, &told, (SOON, SOON)).await;
                end(&messages, &mut ended, SOON).await;
                parted
            };
            let parted = timeout(Duration::from_secs(30), leaving).await.expect(name);
            assert_eq!(parted, Err(DrainError::Silent), "{name}");
        }
    }
}
