//! What the operator knows of the cluster: one [`Cache`] per kind, filled by a watch, read by everybody.
//!
//! Inputs: watch events. Outputs: records by UID, and every change as a call, so that queues and streams follow.
//! Guarantees: after a watch restarted, records that vanished meanwhile are reported as removed; a change is visible
//! in the cache before it is reported. What it does not do: keep whole objects; each kind keeps what it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::{Stream, StreamExt};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher::DefaultBackoff};
use tokio_util::sync::CancellationToken;

use crate::error::Chain;

/// UID of an object of the API server.
pub type Uid = String;

/// A record that belongs to something else, by which it can be looked up.
pub trait Grouped {
    /// What it belongs to; none for a record that nobody looks up that way.
    fn group(&self) -> Option<&str>;
}

/// What happened to a record.
#[derive(Debug)]
pub enum Change<R> {
    /// It is new, or different from before.
    Upserted(Arc<R>),
    /// It is gone; this is how it last looked.
    Removed(Arc<R>),
}

impl<R> Change<R> {
    /// The record, as it is or was.
    pub fn record(&self) -> &Arc<R> {
        match self {
            Self::Upserted(record) | Self::Removed(record) => record,
        }
    }
}

/// Records of one kind, by UID and by group.
#[derive(Debug)]
pub struct Cache<R> {
    records: RwLock<Records<R>>,
}

#[derive(Debug)]
struct Records<R> {
    by_uid: BTreeMap<Uid, Arc<R>>,
    groups: BTreeMap<String, BTreeSet<Uid>>,
}

impl<R: Grouped> Records<R> {
    fn insert(&mut self, uid: Uid, record: Arc<R>) {
        self.remove(&uid);
        if let Some(group) = record.group() {
            self.groups.entry(group.to_owned()).or_default().insert(uid.clone());
        }
        self.by_uid.insert(uid, record);
    }

    fn remove(&mut self, uid: &str) -> Option<Arc<R>> {
        let record = self.by_uid.remove(uid)?;
        if let Some(group) = record.group()
            && let Some(members) = self.groups.get_mut(group)
        {
            members.remove(uid);
            if members.is_empty() {
                self.groups.remove(group);
            }
        }
        Some(record)
    }
}

impl<R> Default for Cache<R> {
    fn default() -> Self {
        Self { records: RwLock::new(Records { by_uid: BTreeMap::new(), groups: BTreeMap::new() }) }
    }
}

impl<R: Grouped + PartialEq> Cache<R> {
    /// The record of an object.
    pub fn get(&self, uid: &str) -> Option<Arc<R>> {
        self.read().by_uid.get(uid).cloned()
    }

    /// The records of a group, in the order of UIDs.
    pub fn group(&self, group: &str) -> Vec<Arc<R>> {
        let records = self.read();
        let members = records.groups.get(group).into_iter().flatten();
        members.filter_map(|uid| records.by_uid.get(uid)).cloned().collect()
    }

    /// Every record, in the order of UIDs.
    pub fn all(&self) -> Vec<Arc<R>> {
        self.read().by_uid.values().cloned().collect()
    }

    fn upsert(&self, uid: Uid, record: R) -> Option<Change<R>> {
        let mut records = self.write();
        if records.by_uid.get(&uid).is_some_and(|known| **known == record) {
            return None;
        }
        let record = Arc::new(record);
        records.insert(uid, Arc::clone(&record));
        Some(Change::Upserted(record))
    }

    fn remove(&self, uid: &str) -> Option<Change<R>> {
        self.write().remove(uid).map(Change::Removed)
    }

    /// Removes every record whose UID is not in `listed`.
    fn retain(&self, listed: &BTreeSet<Uid>) -> Vec<Change<R>> {
        let mut records = self.write();
        let gone: Vec<Uid> = records.by_uid.keys().filter(|uid| !listed.contains(*uid)).cloned().collect();
        gone.iter().filter_map(|uid| records.remove(uid)).map(Change::Removed).collect()
    }

    // No code panics while holding the lock; after one, the records would still be consistent.
    fn read(&self) -> RwLockReadGuard<'_, Records<R>> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Records<R>> {
        self.records.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills `cache` from a watch until `stop`.
///
/// `parse`: the record of an object, or none when the object is of no interest (any more). `changed` is called in the
/// order of events and must not block. `filled` is called once, after the first complete list.
pub async fn follow<K, R>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send,
    cache: Arc<Cache<R>>,
    parse: impl Fn(K) -> (Uid, Option<R>) + Send,
    mut changed: impl FnMut(Change<R>) + Send,
    filled: impl FnOnce() + Send,
    stop: CancellationToken,
) where
    K: Debug + Send,
    R: Grouped + PartialEq + Send + Sync,
{
    let mut events = std::pin::pin!(events.backoff(DefaultBackoff::default()));
    let mut listed = BTreeSet::new();
    let mut filled = Some(filled);
    while let Some(Some(event)) = stop.run_until_cancelled(events.next()).await {
        let mut store = |object: K| {
            let (uid, record) = parse(object);
            let change = match record {
                Some(record) => cache.upsert(uid.clone(), record),
                None => cache.remove(&uid),
            };
            change.into_iter().for_each(&mut changed);
            uid
        };
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(object)) => {
                listed.insert(store(object));
            }
            Ok(Event::InitDone) => {
                cache.retain(&listed).into_iter().for_each(&mut changed);
                listed.clear();
                if let Some(filled) = filled.take() {
                    filled();
                }
            }
            Ok(Event::Apply(object)) => {
                store(object);
            }
            Ok(Event::Delete(object)) => {
                let (uid, _) = parse(object);
                cache.remove(&uid).into_iter().for_each(&mut changed);
            }
            Err(error) => tracing::warn!(error = %Chain(&error), "a watch failed and starts again"),
        }
    }
}

/// Which parts of the operator are not ready yet; shared by all of them.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    missing: Arc<Mutex<Vec<&'static str>>>,
    complete: CancellationToken,
}

impl Readiness {
    /// Everything in `parts` is missing.
    pub fn waiting_for(parts: &[&'static str]) -> Self {
        Self { missing: Arc::new(Mutex::new(parts.to_vec())), complete: CancellationToken::new() }
    }

    /// A part is there from now on.
    pub fn reached(&self, part: &'static str) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.retain(|other| *other != part);
        if missing.is_empty() {
            self.complete.cancel();
        }
    }

    /// The first part that is missing.
    pub fn missing(&self) -> Option<&'static str> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).first().copied()
    }

    /// Waits until nothing is missing.
    pub async fn complete(&self) {
        self.complete.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Grouped for u32 {
        fn group(&self) -> Option<&str> {
            Some(if self.is_multiple_of(2) { "even" } else { "odd" })
        }
    }

    #[derive(Debug)]
    struct Object(&'static str, Option<u32>);

    async fn replay(cache: &Arc<Cache<u32>>, events: Vec<Event<Object>>) -> Vec<String> {
        let mut seen = Vec::new();
        follow(
            futures::stream::iter(events.into_iter().map(Ok)),
            Arc::clone(cache),
            |Object(uid, value)| (uid.to_owned(), value),
            |change| seen.push(format!("{change:?}")),
            || {},
            CancellationToken::new(),
        )
        .await;
        seen
    }

    #[tokio::test]
    async fn what_vanished_while_the_watch_was_down_is_reported_as_removed() {
        let cache = Arc::new(Cache::default());
        let first = vec![
            Event::Init,
            Event::InitApply(Object("a", Some(1))),
            Event::InitApply(Object("b", Some(2))),
            Event::InitDone,
        ];
        assert_eq!(replay(&cache, first).await, ["Upserted(1)", "Upserted(2)"]);
        let second = vec![Event::Init, Event::InitApply(Object("b", Some(2))), Event::InitDone];
        assert_eq!(replay(&cache, second).await, ["Removed(1)"]);
        assert_eq!(cache.all(), [Arc::new(2)]);
    }

    #[tokio::test]
    async fn an_object_that_lost_our_interest_is_removed_and_an_unchanged_one_is_not_reported() {
        let cache = Arc::new(Cache::default());
        let events = vec![
            Event::Apply(Object("a", Some(1))),
            Event::Apply(Object("a", Some(1))),
            Event::Apply(Object("a", None)),
            Event::Delete(Object("a", None)),
        ];
        assert_eq!(replay(&cache, events).await, ["Upserted(1)", "Removed(1)"]);
    }

    #[tokio::test]
    async fn a_record_that_changes_its_group_is_found_in_the_new_one_only() {
        let cache = Arc::new(Cache::default());
        let events = vec![
            Event::Apply(Object("a", Some(1))),
            Event::Apply(Object("b", Some(4))),
            Event::Apply(Object("a", Some(2))),
        ];
        replay(&cache, events).await;
        assert_eq!(cache.group("odd"), []);
        assert_eq!(cache.group("even"), [Arc::new(2), Arc::new(4)]);
    }

    #[tokio::test]
    async fn readiness_names_what_it_waits_for() {
        let readiness = Readiness::waiting_for(&["pods", "meshes"]);
        assert_eq!(readiness.missing(), Some("pods"));
        readiness.reached("pods");
        assert_eq!(readiness.missing(), Some("meshes"));
        readiness.reached("meshes");
        readiness.complete().await;
    }
}
