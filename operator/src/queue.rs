//! A work queue of keys: level-triggered, deduplicating, with back-off per key.
//!
//! Guarantees: a key added while it is being worked on is handed out again afterwards, never twice at once; nothing is
//! dropped, and the queue holds at most one entry per key, so the number of objects bounds it.
//! What it does not do: know what a key means, or survive a restart (the watches fill it again).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use peat_operator_core::backoff::BackoffTable;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Wait after the first failure; doubles with each further one.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Longest wait between two attempts at one key.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// What to do with a key after it was worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing until it is added again.
    Wait,
    /// Again after a while, as a normal course of things.
    After(Duration),
    /// It failed in a way that may pass: again, later each time.
    Retry,
}

#[derive(Debug)]
struct State<K> {
    due: BTreeMap<K, Instant>,
    /// The entries of `due` by time.
    order: BTreeSet<(Instant, K)>,
    working: BTreeSet<K>,
    failures: BackoffTable<K>,
}

impl<K: Ord + Clone> State<K> {
    /// Makes the key due at `at`, or leaves it due earlier.
    fn schedule(&mut self, key: K, at: Instant) {
        if let Some(due) = self.due.get(&key).copied() {
            if due <= at {
                return;
            }
            self.order.remove(&(due, key.clone()));
        }
        self.order.insert((at, key.clone()));
        self.due.insert(key, at);
    }
}

/// A queue of keys, shared by those who add and those who work.
#[derive(Debug)]
pub struct Queue<K> {
    state: Mutex<State<K>>,
    changed: Notify,
}

impl<K: Ord> Default for Queue<K> {
    fn default() -> Self {
        let failures = BackoffTable::new(FIRST_RETRY, LAST_RETRY);
        let state = State { due: BTreeMap::new(), order: BTreeSet::new(), working: BTreeSet::new(), failures };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }
}

impl<K: Ord + Clone> Queue<K> {
    /// Hands the key out as soon as possible.
    pub fn add(&self, key: K) {
        self.add_after(key, Duration::ZERO);
    }

    /// Hands the key out after `delay`, or earlier if it was already due earlier.
    pub fn add_after(&self, key: K, delay: Duration) {
        self.lock().schedule(key, Instant::now() + delay);
        self.changed.notify_one();
    }

    /// Waits for a key that is due and not being worked on. Must be followed by [`Self::done`].
    pub async fn next(&self) -> K {
        loop {
            let changed = self.changed.notified();
            match self.take(Instant::now()) {
                Ok(key) => return key,
                Err(Some(earliest)) => tokio::select! { () = changed => {}, () = sleep_until(earliest) => {} },
                Err(None) => changed.await,
            }
        }
    }

    /// Says how the work on a key ended.
    pub fn done(&self, key: &K, next: Next) {
        let mut state = self.lock();
        state.working.remove(key);
        let delay = match next {
            Next::Wait => None,
            Next::After(delay) => Some(delay),
            Next::Retry => Some(state.failures.failed(key.clone(), rand::random())),
        };
        if next != Next::Retry {
            state.failures.forget(key);
        }
        if let Some(delay) = delay {
            state.schedule(key.clone(), Instant::now() + delay);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// The first due key, else the moment at which one will be.
    fn take(&self, now: Instant) -> Result<K, Option<Instant>> {
        let mut state = self.lock();
        let first = state.order.iter().find(|(_, key)| !state.working.contains(key)).cloned();
        let Some((due, key)) = first else { return Err(None) };
        if due > now {
            return Err(Some(due));
        }
        state.order.remove(&(due, key.clone()));
        state.due.remove(&key);
        state.working.insert(key.clone());
        let more = !state.due.is_empty();
        drop(state);
        if more {
            // One notification may have stood for several keys: pass it on to the next worker.
            self.changed.notify_one();
        }
        Ok(key)
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // No code panics while holding the lock; a poisoned state would still be consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_added_twice_is_handed_out_once() {
        let queue = Queue::default();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.done(&"a", Next::Wait);
        assert!(tokio::time::timeout(Duration::from_secs(3600), queue.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_added_during_work_is_handed_out_afterwards_only() {
        let queue = Queue::default();
        queue.add("a");
        assert_eq!(queue.next().await, "a");
        queue.add("a");
        assert!(tokio::time::timeout(Duration::from_secs(1), queue.next()).await.is_err());
        queue.done(&"a", Next::Wait);
        assert_eq!(queue.next().await, "a");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time_until_one_success() {
        let queue = Queue::default();
        queue.add("a");
        let mut waits = Vec::new();
        for _ in 0..12 {
            let from = Instant::now();
            queue.next().await;
            waits.push(from.elapsed());
            queue.done(&"a", Next::Retry);
        }
        // Jitter shortens a wait by at most half, so each is at least the one before the last.
        assert!(waits[1] <= FIRST_RETRY && waits[1] >= FIRST_RETRY / 2, "{waits:?}");
        assert!(waits.windows(3).skip(1).all(|w| w[2] >= w[0]), "{waits:?}");
        assert!(waits[11] >= LAST_RETRY / 2 && waits[11] <= LAST_RETRY, "{waits:?}");
        queue.next().await;
        queue.done(&"a", Next::Wait);
        queue.add("a");
        queue.next().await;
        let from = Instant::now();
        queue.done(&"a", Next::Retry);
        queue.next().await;
        assert!(from.elapsed() <= FIRST_RETRY);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_wish_wins_over_a_later_one() {
        let queue = Queue::default();
        queue.add_after("a", Duration::from_secs(60));
        queue.add_after("a", Duration::from_secs(1));
        let from = Instant::now();
        queue.next().await;
        assert_eq!(from.elapsed(), Duration::from_secs(1));
    }
}
