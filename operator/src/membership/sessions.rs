//! Which pods have a live stream, and with which key.
//!
//! Guarantees: one key per pod and one pod per key while its stream lives; the same key again replaces the older
//! stream; a stream that ends, however it ends, gives up its place. What it does not do: outlive the process: after a
//! restart the first stream of a pod claims its place anew, and `status.endpointID` still holds the key it had.

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

/// Why a pod cannot have a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimError {
    /// Another key's stream of the same pod is alive.
    #[error("another key of this pod has a live stream")]
    SecondKey,
    /// Another pod of the mesh holds the key. Known here before any watch tells of it, so that of two pods that join
    /// with one key in the same moment one is refused.
    #[error("endpoint {0:?} belongs to another pod: every pod makes its own key")]
    KeyTaken(EndpointId),
}

#[derive(Debug)]
struct Entry {
    id: u64,
    mesh: Uid,
    key: EndpointId,
    standing: watch::Sender<Standing>,
}

#[derive(Debug, Default)]
struct Live {
    by_pod: BTreeMap<Uid, Entry>,
    /// Which pod holds a key of a mesh; one entry for each of `by_pod`.
    holders: BTreeMap<(Uid, EndpointId), Uid>,
}

/// The live streams of this operator, by pod.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    live: Mutex<Live>,
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
    /// Takes the place of `pod`, in `mesh`, for `key`. From now on until the place is given up, nobody else has the
    /// key.
    pub(crate) fn claim(self: &Arc<Self>, mesh: &str, pod: &str, key: EndpointId) -> Result<Place, ClaimError> {
        let mut live = self.lock();
        if live.holders.get(&(mesh.to_owned(), key)).is_some_and(|holder| holder != pod) {
            return Err(ClaimError::KeyTaken(key));
        }
        if let Some(entry) = live.by_pod.get(pod) {
            if entry.key != key {
                return Err(ClaimError::SecondKey);
            }
            entry.standing.send_replace(Standing::Replaced);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, standing) = watch::channel(Standing::Live);
        live.remove(pod);
        live.holders.insert((mesh.to_owned(), key), pod.to_owned());
        live.by_pod.insert(pod.to_owned(), Entry { id, mesh: mesh.to_owned(), key, standing: sender });
        Ok(Place { sessions: Arc::clone(self), pod: pod.to_owned(), id, standing })
    }

    /// Ends the stream of a pod that is gone.
    pub(crate) fn end(&self, pod: &str) {
        if let Some(entry) = self.lock().by_pod.get(pod) {
            entry.standing.send_replace(Standing::Gone);
        }
    }

    /// Ends the stream of a pod if it is that key's; another key's stream has another PeatPeer.
    pub(crate) fn end_key(&self, pod: &str, key: &EndpointId) {
        if let Some(entry) = self.lock().by_pod.get(pod).filter(|entry| entry.key == *key) {
            entry.standing.send_replace(Standing::Gone);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn remove(&mut self, pod: &str) {
        if let Some(entry) = self.by_pod.remove(pod) {
            self.holders.remove(&(entry.mesh, entry.key));
        }
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
        if live.by_pod.get(&self.pod).is_some_and(|entry| entry.id == self.id) {
            live.remove(&self.pod);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(sessions: &Arc<Sessions>, pod: &str, key: EndpointId) -> Result<Place, ClaimError> {
        sessions.claim("mesh", pod, key)
    }

    #[tokio::test]
    async fn the_same_key_again_replaces_the_older_stream() {
        let sessions = Arc::new(Sessions::default());
        let mut first = claim(&sessions, "pod", EndpointId([1; 32])).unwrap();
        let second = claim(&sessions, "pod", EndpointId([1; 32])).unwrap();
        assert_eq!(first.lost().await, Standing::Replaced);
        drop(first);
        assert_eq!(claim(&sessions, "pod", EndpointId([2; 32])).unwrap_err(), ClaimError::SecondKey);
        drop(second);
        assert!(claim(&sessions, "pod", EndpointId([2; 32])).is_ok());
    }

    #[tokio::test]
    async fn a_key_that_a_live_pod_holds_is_taken_in_its_mesh_until_the_place_is_given_up() {
        let sessions = Arc::new(Sessions::default());
        let first = claim(&sessions, "pod", EndpointId([1; 32])).unwrap();
        let again = claim(&sessions, "pod", EndpointId([1; 32])).unwrap();
        drop(first);
        let refused = claim(&sessions, "twin", EndpointId([1; 32])).unwrap_err();
        assert_eq!(refused, ClaimError::KeyTaken(EndpointId([1; 32])));
        assert!(sessions.claim("another mesh", "twin", EndpointId([1; 32])).is_ok());
        drop(again);
        assert!(claim(&sessions, "twin", EndpointId([1; 32])).is_ok());
    }

    #[tokio::test]
    async fn a_deleted_pod_loses_its_stream() {
        let sessions = Arc::new(Sessions::default());
        let mut place = claim(&sessions, "pod", EndpointId([1; 32])).unwrap();
        sessions.end_key("pod", &EndpointId([2; 32]));
        sessions.end("other");
        assert_eq!(*place.standing.borrow(), Standing::Live);
        sessions.end("pod");
        assert_eq!(place.lost().await, Standing::Gone);
    }
}
