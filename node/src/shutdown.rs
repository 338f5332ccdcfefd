//! The end of the process: who asks for it, and what is waited for.
//!
//! Purpose: a token that SIGTERM and SIGINT cancel, and the wait until some peer has everything. Inputs: signals, the
//! driver's view. Outputs: a token; a verdict. What it does not do: close anything; see `run`.

use crate::driver::Message;
use crate::handle::Published;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long an unheard write keeps the process: a pod's default grace period is 30 s, and others need some of it.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(20);

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

/// Waits until nothing here is unknown to every peer, at most `limit`.
pub(crate) async fn drain(messages: &mpsc::Sender<Message>, limit: Duration) {
    let end = Instant::now() + limit;
    loop {
        let (answer, view) = oneshot::channel();
        if messages.send(Message::View(answer)).await.is_err() {
            return;
        }
        let Ok(Ok(view)) = timeout_at(end, view).await else {
            warn!("the driver does not answer: leaving without a last look");
            return;
        };
        match pending(&view) {
            None => return,
            Some(what) if Instant::now() >= end => {
                warn!(what, "leaving although no peer has everything; the store keeps it");
                return;
            }
            Some(_) => sleep_until(Instant::now() + ASK_EVERY).await,
        }
    }
}

/// What no peer has yet; none when some connected peer has everything, or nobody is to have anything.
fn pending(view: &Published) -> Option<&'static str> {
    let connected: Vec<_> = view.peers.iter().filter(|peer| peer.connected.is_some()).collect();
    // A peer that is wished for may still come back in time.
    let wished = view.peers.iter().any(|peer| !peer.sources.is_empty());
    match connected.as_slice() {
        _ if !view.stats.sync_active => None,
        [] if view.unsent && wished => Some("documents were written while no peer was connected"),
        [] => None,
        peers if peers.iter().all(|peer| peer.backlog > 0) => Some("documents wait to be sent"),
        _ => None,
    }
}
