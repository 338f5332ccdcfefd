//! Quotas: how much an application may store, and how fast.
//!
//! Purpose: a node that runs full refuses puts with a reason long before its disk does it for everybody. Inputs: what
//! is stored, once in each turn of the driver, and every local edit. Outputs: a [`Refusal`] for a put beyond a limit; a
//! line in the log and metrics from [`NEAR_PERCENT`] on. Deletes, reads, policies of collections and whatever comes
//! from peers are never refused: a mesh whose nodes took different documents would not converge.
//!
//! Limits on documents are exact. One on bytes may be passed by what a single commit holds, since a document is weighed
//! when it is stored. What it does not do: scan anything. A row is read for it only within a batch of the limit.

use crate::store::Usage;
use peat_node_core::event::Edit;
use peat_node_core::ids::Key;
use peat_node_core::policy::RESERVED;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tracing::warn;

/// From this share of a limit on it is warned of.
pub const NEAR_PERCENT: u64 = 80;

/// A warning is given again after less than this share was used.
const CALM_PERCENT: u64 = 60;

/// What the configuration allows. None: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes of documents and their histories.
    pub bytes: Option<u64>,
    /// Live documents.
    pub documents: Option<u64>,
    /// Puts in a second; as many may come at once after a quiet second.
    pub put_rate: Option<u64>,
}

/// A put that is beyond a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// See [`Limits::bytes`].
    #[error("--quota-bytes: {used} of {limit} bytes are used: delete documents, or raise the quota")]
    Bytes {
        /// Now.
        used: u64,
        /// At most.
        limit: u64,
    },
    /// See [`Limits::documents`].
    #[error("--quota-documents: {used} of {limit} documents are stored: delete some, or raise the quota")]
    Documents {
        /// Now.
        used: u64,
        /// At most.
        limit: u64,
    },
    /// See [`Limits::put_rate`].
    #[error("--quota-put-rate: more than {limit} puts a second: try again in a second, or raise the quota")]
    PutRate {
        /// At most.
        limit: u64,
    },
}

impl Refusal {
    const fn quota(self) -> Quota {
        match self {
            Self::Bytes { .. } => Quota::Bytes,
            Self::Documents { .. } => Quota::Documents,
            Self::PutRate { .. } => Quota::PutRate,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Quota {
    Bytes,
    Documents,
    PutRate,
}

impl Quota {
    const ALL: [Self; 3] = [Self::Bytes, Self::Documents, Self::PutRate];

    /// As flags and labels name it.
    const fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Documents => "documents",
            Self::PutRate => "put-rate",
        }
    }
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Label {
    quota: &'static str,
}

/// Gauges and counters of quotas.
#[derive(Debug, Default)]
pub struct QuotaMetrics {
    used: Family<Label, Gauge>,
    limit: Family<Label, Gauge>,
    near: Family<Label, Gauge>,
    refused: Family<Label, Counter>,
    /// Here, since a scrape may come in a second in which nothing happens.
    bucket: Mutex<Option<Bucket>>,
}

impl QuotaMetrics {
    /// Puts that the last second used up, where they are limited; sets the gauges of that.
    pub fn read(&self, now: Instant) -> Option<(u64, u64)> {
        let (used, limit) = self.bucket().as_mut().map(|bucket| {
            bucket.refill(now);
            ((bucket.size - bucket.left) as u64, bucket.size as u64)
        })?;
        self.tell(Quota::PutRate, used, limit);
        Some((used, limit))
    }

    fn tell(&self, quota: Quota, used: u64, limit: u64) {
        set(&self.used, quota, used);
        set(&self.near, quota, is_over(NEAR_PERCENT, used, limit).into());
    }

    fn bucket(&self) -> MutexGuard<'_, Option<Bucket>> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the metrics to the node's registry.
    pub fn register(&self, registry: &mut Registry) {
        let help = "What is used: bytes and documents that are stored, puts of the last second where they are limited";
        registry.register("quota_used", help, self.used.clone());
        registry.register("quota_limit", "What may be used, where there is a limit", self.limit.clone());
        registry.register("quota_near", "1 while at least 80 % of a limit is used", self.near.clone());
        registry.register("quota_refused", "Puts that were refused because of a quota", self.refused.clone());
    }
}

/// Puts that may still come, refilled by time.
#[derive(Debug)]
struct Bucket {
    size: f64,
    left: f64,
    filled: Instant,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * self.size;
        self.left = self.size.min(self.left + gained);
        self.filled = now;
    }

    fn take(&mut self) -> bool {
        let has = self.left >= 1.0;
        self.left -= f64::from(u8::from(has));
        has
    }
}

/// Looks at every local edit before the engine does.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    usage: Usage,
    /// Documents that this turn makes, as far as they could be too many.
    made: BTreeSet<Key>,
    /// Edits that one turn may have.
    batch: u64,
    warned: [bool; 3],
    metrics: Arc<QuotaMetrics>,
}

impl Gate {
    /// `batch`: the most edits between two calls of [`Gate::look`].
    pub(crate) fn new(limits: Limits, batch: usize, now: Instant, metrics: Arc<QuotaMetrics>) -> Self {
        let bucket = |rate: u64| Bucket { size: rate as f64, left: rate as f64, filled: now };
        *metrics.bucket() = limits.put_rate.map(bucket);
        let gate = Self {
            limits,
            usage: Usage::default(),
            made: BTreeSet::new(),
            batch: batch as u64,
            warned: [false; 3],
            metrics,
        };
        for (quota, limit) in Quota::ALL.into_iter().zip(gate.limits()) {
            if let Some(limit) = limit {
                set(&gate.metrics.limit, quota, limit);
            }
        }
        gate
    }

    const fn limits(&self) -> [Option<u64>; 3] {
        [self.limits.bytes, self.limits.documents, self.limits.put_rate]
    }

    /// Once in each turn, with what is stored by now.
    pub(crate) fn look(&mut self, usage: Usage, now: Instant) {
        self.made.clear();
        self.usage = usage;
        let stored = [
            (Quota::Bytes, usage.bytes, self.limits.bytes),
            (Quota::Documents, usage.documents, self.limits.documents),
        ];
        for (quota, used, limit) in stored {
            match limit {
                Some(limit) => {
                    self.metrics.tell(quota, used, limit);
                    self.warn(quota, used, limit);
                }
                None => set(&self.metrics.used, quota, used),
            }
        }
        if let Some((used, limit)) = self.metrics.read(now) {
            self.warn(Quota::PutRate, used, limit);
        }
    }

    fn warn(&mut self, quota: Quota, used: u64, limit: u64) {
        let warned = &mut self.warned[quota as usize];
        let is_near = is_over(NEAR_PERCENT, used, limit);
        if is_near && !*warned {
            warn!(quota = quota.name(), used, limit, "a quota is nearly used up: at the limit puts are refused");
        }
        *warned = is_near || *warned && is_over(CALM_PERCENT, used, limit);
    }

    /// Whether an application may make this edit. `is_live` reads whether the document is there.
    pub(crate) fn admit(&mut self, key: &Key, edit: &Edit, is_live: impl FnOnce() -> bool) -> Result<(), Refusal> {
        if matches!(edit, Edit::Delete) || key.collection() == RESERVED {
            return Ok(());
        }
        let admitted = self.check(key, is_live);
        if let Err(refusal) = admitted {
            self.metrics.refused.get_or_create(&Label { quota: refusal.quota().name() }).inc();
        }
        admitted
    }

    fn check(&mut self, key: &Key, is_live: impl FnOnce() -> bool) -> Result<(), Refusal> {
        let Usage { documents, bytes } = self.usage;
        if let Some(limit) = self.limits.bytes.filter(|limit| bytes >= *limit) {
            return Err(Refusal::Bytes { used: bytes, limit });
        }
        let close = self.limits.documents.filter(|limit| documents.saturating_add(self.batch) >= *limit);
        if let Some(limit) = close
            && !self.made.contains(key)
            && !is_live()
        {
            let used = documents + self.made.len() as u64;
            if used >= limit {
                return Err(Refusal::Documents { used, limit });
            }
            self.made.insert(key.clone());
        }
        let Some(limit) = self.limits.put_rate else { return Ok(()) };
        let is_left = self.metrics.bucket().as_mut().is_none_or(Bucket::take);
        if is_left { Ok(()) } else { Err(Refusal::PutRate { limit }) }
    }
}

const fn is_over(percent: u64, used: u64, limit: u64) -> bool {
    used as u128 * 100 >= limit as u128 * percent as u128
}

fn set(family: &Family<Label, Gauge>, quota: Quota, value: u64) {
    family.get_or_create(&Label { quota: quota.name() }).set(i64::try_from(value).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;
    use peat_node_core::docs::Document;
    use peat_node_core::ids::Collection;
    use std::time::Duration;

    fn key(id: &str) -> Key {
        Key::new(&Collection::parse("agents").unwrap(), id).unwrap()
    }

    fn put() -> Edit {
        Edit::Put(Document::parse("{}").unwrap())
    }

    fn gate(limits: Limits, now: Instant) -> Gate {
        Gate::new(limits, 512, now, Arc::default())
    }

    #[test]
    fn without_limits_nothing_is_refused_or_read() {
        let now = Instant::now();
        let mut gate = gate(Limits::default(), now);
        gate.look(Usage { documents: u64::MAX, bytes: u64::MAX }, now);
        assert_eq!(gate.admit(&key("a"), &put(), || unreachable!()), Ok(()));
    }

    #[test]
    fn only_new_documents_count_and_each_once_in_a_turn() {
        let now = Instant::now();
        let mut gate = gate(Limits { documents: Some(1_000), ..Limits::default() }, now);
        gate.look(Usage { documents: 10, bytes: 0 }, now);
        assert_eq!(gate.admit(&key("a"), &put(), || unreachable!()), Ok(()), "far from the limit nothing is read");
        gate.look(Usage { documents: 999, bytes: 0 }, now);
        assert_eq!(gate.admit(&key("there"), &put(), || true), Ok(()));
        assert_eq!(gate.admit(&key("a"), &put(), || false), Ok(()));
        assert_eq!(gate.admit(&key("a"), &put(), || false), Ok(()));
        let refused = Err(Refusal::Documents { used: 1_000, limit: 1_000 });
        assert_eq!(gate.admit(&key("b"), &put(), || false), refused);
        assert_eq!(gate.admit(&key("there"), &put(), || true), Ok(()));
        assert_eq!(gate.admit(&key("b"), &Edit::Delete, || false), Ok(()));
    }

    #[test]
    fn a_second_has_its_puts_and_a_quiet_one_does_not_save_more_than_that() {
        let now = Instant::now();
        let mut gate = gate(Limits { put_rate: Some(10), ..Limits::default() }, now);
        let mut admitted = |at: Duration| {
            gate.look(Usage::default(), now + at);
            (0..100).filter(|_| gate.admit(&key("a"), &put(), || false).is_ok()).count()
        };
        assert_eq!(admitted(Duration::ZERO), 10);
        assert_eq!(admitted(Duration::from_millis(500)), 5);
        assert_eq!(admitted(Duration::from_secs(60)), 10);
    }

    #[test]
    fn a_limit_that_is_near_is_warned_of_once_until_there_is_room_again() {
        let now = Instant::now();
        let mut gate = gate(Limits { bytes: Some(100), ..Limits::default() }, now);
        let warned = |bytes| {
            gate.look(Usage { documents: 0, bytes }, now);
            gate.warned[Quota::Bytes as usize]
        };
        assert_eq!([79, 80, 79, 60, 59, 79, 80].map(warned), [false, true, true, true, false, false, true]);
    }
}
