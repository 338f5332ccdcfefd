//! The end of the process: who asks for it, and what is waited for.
//!
//! Purpose: a token that SIGTERM and SIGINT cancel, and the wait until some peer has everything. Inputs: signals, the
//! driver's view. Outputs: a token; a verdict. What it does not do: close anything; see `run`.

use crate::driver::Message;
use crate::handle::Published;
use peat_node_core::event::Input;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// How long an unheard write keeps the process: a pod's default grace period is 30 s, and the limits of calls, goodbye
/// and last batch need some of it.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(16);

/// How long a node that leaves waits for a peer's word when everything was handed over: that may leave too, or not sync.
pub(crate) const WORD_LIMIT: Duration = Duration::from_secs(4);

/// How often the driver is asked while it drains.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// A token that the first SIGTERM or SIGINT cancels.
///
/// # Errors
/// When the system does not let a handler be set.
pub fn on_signals() -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: leaving"),
            _ = interrupt.recv() => info!("SIGINT: leaving"),
        }
        cancel.cancel();
    });
    Ok(token)
}

/// A drain that did not end in time. The text says what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// No peer has all of it.
    #[error("no peer has everything: {0}")]
    Pending(&'static str),
    /// The store may be slow, or the driver gone.
    #[error("the driver does not answer")]
    Silent,
}

/// Tells the engine that a caller waits for peers, until it is dropped.
struct Waiting<'a>(&'a mpsc::Sender<Message>);

impl<'a> Waiting<'a> {
    /// None when the driver is gone.
    async fn begin(messages: &'a mpsc::Sender<Message>) -> Option<Self> {
        messages.send(Message::Event(Input::Drain { begins: true })).await.ok()?;
        Some(Self(messages))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let ends = Message::Event(Input::Drain { begins: false });
        let Err(mpsc::error::TrySendError::Full(ends)) = self.0.try_send(ends) else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let messages = self.0.clone();
            // Fails when the driver is gone.
            runtime.spawn(async move { drop(messages.send(ends).await) });
        }
    }
}

/// Waits until some connected peer says that it has stored what it was sent of everything, at most `limit`, and at most
/// `word_limit` once it was handed over. Until `told` is true it is not known whom this node has for peers.
///
/// # Errors
/// [`DrainError`] at a limit.
pub(crate) async fn drain(
    messages: &mpsc::Sender<Message>,
    told: &watch::Receiver<bool>,
    (limit, word_limit): (Duration, Duration),
) -> Result<(), DrainError> {
    let end = Instant::now() + limit;
    let (mut left, mut handed_over) = (None, None);
    let Ok(Some(_waiting)) = timeout_at(end, Waiting::begin(messages)).await else { return Err(DrainError::Silent) };
    loop {
        let (answer, view) = oneshot::channel();
        let asked = async {
            messages.send(Message::View(answer)).await.ok()?;
            view.await.ok()
        };
        let Ok(Some(view)) = timeout_at(end, asked).await else {
            return Err(left.map_or(DrainError::Silent, DrainError::Pending));
        };
        let told = *told.borrow();
        match pending(&view, told) {
            None => return Ok(()),
            Some(UNCONFIRMED) if handed_over.get_or_insert_with(Instant::now).elapsed() >= word_limit => {
                return Err(DrainError::Pending(UNCONFIRMED));
            }
            Some(what) => left = Some(what),
        }
        sleep_until(Instant::now() + ASK_EVERY).await;
    }
}

/// Everything was handed over to a connection.
const UNCONFIRMED: &str = "no peer has said that it stored what it was sent";

/// What no peer has yet; none when some connected peer has everything, or nobody is to have anything.
fn pending(view: &Published, told: bool) -> Option<&'static str> {
    let connected: Vec<_> = view.peers.iter().filter(|peer| peer.connected.is_some()).collect();
    // A peer that is wished for may still come back in time.
    let wished = view.peers.iter().any(|peer| !peer.sources.is_empty());
    match connected.as_slice() {
        _ if !view.stats.sync_active => None,
        [] if view.unsent && wished => Some("documents were written while no peer was connected"),
        [] if view.unsent && !told => Some("documents were written before the operator told of any peer"),
        [] => None,
        peers if peers.iter().all(|peer| peer.backlog > 0) => Some("documents wait to be sent"),
        peers if peers.iter().all(|peer| peer.backlog > 0 || peer.unconfirmed) => Some(UNCONFIRMED),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peat_node_core::Stats;

    fn view(unsent: bool, sync_active: bool) -> Published {
        let stats = Stats {
            rows: 1,
            connected_peers: 0,
            backlog: 0,
            sync_active,
            frames_malformed: 0,
            frames_unknown: 0,
            merges_failed: 0,
            histories_mended: 0,
            histories_begun: 0,
            docs_received: 0,
            docs_redundant: 0,
            docs_refused: 0,
            stamps_ahead: 0,
            cache_bytes: 0,
            cache_hits: 0,
            cache_misses: 0,
            digest: 0,
        };
        Published {
            peers: Vec::new(),
            stats,
            unsent,
            began: std::time::Instant::now(),
            known_time: Duration::ZERO,
            at: std::time::Instant::now(),
        }
    }

    #[test]
    fn a_node_that_wrote_before_it_was_told_of_any_peer_waits_for_them() {
        assert!(pending(&view(true, true), false).is_some());
        assert_eq!(pending(&view(true, true), true), None, "told, and there is nobody");
        assert_eq!(pending(&view(false, true), false), None, "nothing to tell");
        assert_eq!(pending(&view(true, false), false), None, "sync is off");
    }
}
