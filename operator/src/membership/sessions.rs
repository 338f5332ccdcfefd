//! Which pods have a live stream, and with which key.
//!
//! Guarantees: one key per pod while its stream lives; the same key again replaces the older stream; a stream that
//! ends, however it ends, gives up its place. What it does not do: outlive the process: after a restart the first
//! stream of a pod claims its place anew, and `status.endpointID` still holds the key it had.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use peat_operator_core::names::EndpointId;

use crate::cache::Uid;

/// Whether a stream may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Yes. Left by a newer stream of the same key, or by the end of the pod.
    Live,
    /// A newer stream of the same pod and key took over.
    Replaced,
    /// The pod, its mesh or its PeatPeer is gone.
    Gone,
}

/// Another key's stream of the same pod is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another key of this pod has a live stream")]
pub(crate) struct SecondKey;

#[derive(Debug)]
struct Entry {
    id: u64,
    key: EndpointId,
    standing: watch::Sender<Standing>,
}

/// The live streams of this operator, by pod.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    live: Mutex<BTreeMap<Uid, Entry>>,
    next: AtomicU64,
}

/// A pod's place; given up on drop.
#[derive(Debug)]
pub(crate) struct Place {
    sessions: Arc<Sessions>,
    pod: Uid,
    id: u64,
    standing: watch::Receiver<Standing>,
}

impl Sessions {
    /// Takes the place of `pod` for `key`.
    pub(crate) fn claim(self: &Arc<Self>, pod: &str, key: EndpointId) -> Result<Place, SecondKey> {
        let mut live = self.lock();
        if let Some(entry) = live.get(pod) {
            if entry.key != key {
                return Err(SecondKey);
            }
            entry.standing.send_replace(Standing::Replaced);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, standing) = watch::channel(Standing::Live);
        live.insert(pod.to_owned(), Entry { id, key, standing: sender });
        Ok(Place { sessions: Arc::clone(self), pod: pod.to_owned(), id, standing })
    }

    /// Ends the stream of a pod that is gone.
    pub(crate) fn end(&self, pod: &str) {
        if let Some(entry) = self.lock().get(pod) {
            entry.standing.send_replace(Standing::Gone);
        }
    }

    /// Ends the stream of a pod if it is that key's; another key's stream has another PeatPeer.
    pub(crate) fn end_key(&self, pod: &str, key: &EndpointId) {
        if let Some(entry) = self.lock().get(pod).filter(|entry| entry.key == *key) {
            entry.standing.send_replace(Standing::Gone);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Entry>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Waits until the stream must end, and says why.
    pub(crate) async fn lost(&mut self) -> Standing {
        match self.standing.wait_for(|standing| *standing != Standing::Live).await {
            Ok(standing) => *standing,
            // The entry went without a word: a newer claim of the same pod dropped it.
            Err(_) => Standing::Replaced,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut live = self.sessions.lock();
        if live.get(&self.pod).is_some_and(|entry| entry.id == self.id) {
            live.remove(&self.pod);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_key_again_replaces_the_older_stream() {
        let sessions = Arc::new(Sessions::default());
        let mut first = sessions.claim("pod", EndpointId([1; 32])).unwrap();
        let second = sessions.claim("pod", EndpointId([1; 32])).unwrap();
        assert_eq!(first.lost().await, Standing::Replaced);
        drop(first);
        assert_eq!(sessions.claim("pod", EndpointId([2; 32])).unwrap_err(), SecondKey);
        drop(second);
        assert!(sessions.claim("pod", EndpointId([2; 32])).is_ok());
    }

    #[tokio::test]
    async fn a_deleted_pod_loses_its_stream() {
        let sessions = Arc::new(Sessions::default());
        let mut place = sessions.claim("pod", EndpointId([1; 32])).unwrap();
        sessions.end_key("pod", &EndpointId([2; 32]));
        sessions.end("other");
        assert_eq!(*place.standing.borrow(), Standing::Live);
        sessions.end("pod");
        assert_eq!(place.lost().await, Standing::Gone);
    }
}
