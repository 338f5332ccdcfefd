//! When to try again, per object.
//!
//! Purpose: one object that fails does not slow the others, and a thousand that fail at once do not retry at once.
//! Inputs: which object failed or succeeded, and a random number. Outputs: how long to wait.
//! What it does not do: wait, or know the time.

use std::{collections::BTreeMap, time::Duration};

/// Consecutive failures per object.
///
/// Guarantees: delays grow from `first` by doubling up to `most`, each shortened by up to half by the jitter, so that
/// they stay within `(delay / 2, delay]`. Memory is bounded by the objects that fail now: success and removal forget.
#[derive(Debug, Clone)]
pub struct BackoffTable<K> {
    first: Duration,
    most: Duration,
    failures: BTreeMap<K, u32>,
}

impl<K: Ord> BackoffTable<K> {
    /// A table whose delays grow from `first` to `most`.
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most: most.max(first), failures: BTreeMap::new() }
    }

    /// Counts a failure of `key` and says how long to wait. `jitter`: uniform in `0.0..1.0`.
    pub fn failed(&mut self, key: K, jitter: f64) -> Duration {
        let failures = self.failures.entry(key).or_default();
        // 2^20 times any sensible first delay is above any sensible cap.
        let factor = 1_u32 << (*failures).min(20);
        *failures = failures.saturating_add(1);
        let delay = self.first.saturating_mul(factor).min(self.most);
        delay.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// Forgets the failures of `key`: it succeeded, or it is gone.
    pub fn forget(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// How many objects fail now.
    pub fn len(&self) -> usize {
        self.failures.len()
    }

    /// Whether nothing fails now.
    pub fn is_empty(&self) -> bool {
        self.failures.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> BackoffTable<&'static str> {
        BackoffTable::new(Duration::from_secs(1), Duration::from_secs(60))
    }

    #[test]
    fn delays_double_up_to_the_cap() {
        let mut table = table();
        let delays: Vec<u64> = (0..8).map(|_| table.failed("a", 0.0).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert_eq!(table.failed("a", 0.0), Duration::from_secs(60));
        }
    }

    #[test]
    fn jitter_shortens_by_at_most_half() {
        assert_eq!(table().failed("a", 1.0), Duration::from_millis(500));
        assert_eq!(table().failed("a", 0.5), Duration::from_millis(750));
    }

    #[test]
    fn one_object_does_not_slow_another_and_success_forgets() {
        let mut table = table();
        table.failed("a", 0.0);
        table.failed("a", 0.0);
        assert_eq!(table.failed("b", 0.0), Duration::from_secs(1));
        table.forget(&"a");
        assert_eq!(table.failed("a", 0.0), Duration::from_secs(1));
        table.forget(&"a");
        table.forget(&"b");
        assert!(table.is_empty());
    }
}
