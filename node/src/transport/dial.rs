//! Dialling one peer: names to addresses, QUIC, proof.
//!
//! Purpose: one attempt, all addresses at once, with a time limit for each step, reported to the driver as `Connected`
//! or `DialFailed`. Inputs: endpoint id, and `host:port` texts or URLs of relays. What it does not do: try again; the
//! core does.

use super::credentials::Role;
use super::handshake::HandshakeError;
use super::refusal::is_lasting;
use super::{ALPN, HANDSHAKE_LIMIT, Met, Refusal, Shared, close_code, closed_because};
use crate::config::{is_relay, is_usable, relay_url};
use crate::driver::Message;
use crate::metrics::Handshake;
use futures::future::join_all;
use iroh::{EndpointAddr, EndpointId, TransportAddr};
use peat_node_core::event::{Address, DialFailure, Direction, Input};
use peat_node_core::ids::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tracing::warn;

/// A resolver that does not answer must not hold up the addresses that need none.
const RESOLVE_LIMIT: Duration = Duration::from_secs(3);

/// A peer that ended the handshake says why within this, or does not say.
const REASON_LIMIT: Duration = Duration::from_secs(1);

/// A dial that failed. The text is shown to callers of `ConnectPeer`.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("the endpoint id is not a public key")]
    Key,
    #[error("the peer is met only at {0}, which this node does not use: start it with --relay")]
    OtherRelay(String),
    #[error("no address of {0} could be resolved")]
    Unresolved(String),
    #[error("no answer from {0}")]
    Silent(String),
    #[error("{0}")]
    Connect(String),
    #[error("refused by the peer: {reason}")]
    RefusedByPeer { reason: String, lasting: bool },
    #[error("this node refuses the peer: {0}")]
    Refused(Refusal),
}

impl DialError {
    /// The class, for metrics.
    const fn category(&self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::OtherRelay(_) => "other_relay",
            Self::Unresolved(_) => "unresolved",
            Self::Silent(_) => "silent",
            Self::Connect(_) => "connect",
            Self::RefusedByPeer { .. } => "refused_by_peer",
            Self::Refused(_) => "refused",
        }
    }

    fn into_failure(self) -> DialFailure {
        let reason = self.to_string();
        let lasting = match &self {
            Self::Key => true,
            Self::OtherRelay(_) | Self::Unresolved(_) | Self::Silent(_) | Self::Connect(_) => false,
            Self::RefusedByPeer { lasting, .. } => *lasting,
            Self::Refused(refusal) => !refusal.is_passing(),
        };
        if lasting { DialFailure::Refused(reason) } else { DialFailure::Unreachable(reason) }
    }
}

impl Shared {
    pub(super) async fn dial(&self, peer: PeerId, addresses: Vec<Address>, patience: Duration) {
        let attempt = async {
            // Never closed, so this is only a turn to wait for.
            let _turn = self.dials.acquire().await;
            self.attempt(peer, &addresses, patience).await
        };
        let outcome = tokio::select! {
            () = self.stop.cancelled() => return,
            outcome = attempt => outcome,
        };
        match outcome {
            Ok(met) => {
                self.failures().remove(&peer);
                self.serve(met, Direction::Out).await;
            }
            Err(error) => {
                self.metrics.dial_failed(error.category());
                let reason = error.to_string();
                let before = self.failures().insert(peer, reason.clone());
                if before.as_ref() != Some(&reason) {
                    warn!(peer = %peer.short(), %reason, "a peer cannot be reached; trying again");
                }
                let failed = Input::DialFailed { peer, failure: error.into_failure() };
                let _ = self.messages.send(Message::Event(failed)).await;
            }
        }
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<PeerId, String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn attempt(&self, peer: PeerId, addresses: &[Address], patience: Duration) -> Result<Met, DialError> {
        // Without credentials the peer could only refuse us.
        self.credentials.mode().map_err(DialError::Refused)?;
        let id = EndpointId::from_bytes(&peer.0).map_err(|_| DialError::Key)?;
        let usable: Vec<_> = addresses.iter().filter(|address| is_usable(address, self.relay.as_ref())).collect();
        if usable.is_empty() && !addresses.is_empty() {
            return Err(DialError::OtherRelay(addresses.join(", ")));
        }
        let resolved = resolve(&usable).await;
        if resolved.is_empty() {
            return Err(DialError::Unresolved(addresses.join(", ")));
        }
        let target = EndpointAddr::from_parts(id, resolved);
        let connecting = timeout(patience, self.endpoint.connect(target, ALPN)).await;
        let connection = connecting
            .map_err(|_| DialError::Silent(addresses.join(", ")))?
            .map_err(|error| DialError::Connect(causes(&error)))?;
        let proving = timeout(HANDSHAKE_LIMIT, async {
            let (send, recv) = connection.open_bi().await.map_err(|error| HandshakeError::Interrupted(error.into()))?;
            self.prove(&connection, send, recv, Role::Dialer).await
        });
        let refusal = match proving.await {
            Ok(Ok(met)) => return Ok(met),
            Ok(Err(HandshakeError::Refused(refusal))) => refusal,
            Ok(Err(HandshakeError::Interrupted(error))) => {
                self.metrics.handshake(Handshake::RefusedByPeer);
                // The end of the stream may arrive before the close that says why.
                let _ = timeout(REASON_LIMIT, connection.closed()).await;
                let reason = closed_because(&connection).unwrap_or_else(|| error.to_string());
                let lasting = close_code(&connection).is_some_and(is_lasting);
                return Err(DialError::RefusedByPeer { reason, lasting });
            }
            Err(_) => Refusal::Slow,
        };
        self.metrics.handshake(Handshake::Refused(refusal.category()));
        connection.close(refusal.code(), refusal.to_string().as_bytes());
        Err(DialError::Refused(refusal))
    }
}

/// Every address that any of the texts stands for. The name of the relay is resolved by whoever connects to it.
async fn resolve(addresses: &[&Address]) -> BTreeSet<TransportAddr> {
    let lookups = addresses.iter().map(|address| async move {
        if is_relay(address) {
            return relay_url(address).into_iter().map(TransportAddr::Relay).collect();
        }
        match timeout(RESOLVE_LIMIT, lookup_host(address.as_str())).await {
            Ok(Ok(found)) => found.map(TransportAddr::Ip).collect(),
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    });
    join_all(lookups).await.into_iter().flatten().collect()
}

/// The innermost cause says what happened; the outer ones only where.
fn causes(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
