//! Latencies of many calls, and their percentiles.
//!
//! Inputs: durations; outputs: percentiles by nearest rank. What it does not do: measure.

use super::figure::Quantity;
use std::time::Duration;

/// Latencies of many calls, ascending.
#[derive(Debug, Default)]
pub(super) struct Latencies(Vec<Duration>);

impl Latencies {
    /// Sorts what was measured.
    pub(super) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// The latency that `percent` of the calls do not exceed; zero for no calls.
    pub(super) fn percentile(&self, percent: usize) -> Quantity {
        let rank = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        Quantity::millis(millis(self.0.get(rank).copied().unwrap_or_default()))
    }

    /// `p50 …, p99 …, max …`.
    pub(super) fn text(&self) -> String {
        format!("p50 {}, p99 {}, max {}", self.percentile(50), self.percentile(99), self.percentile(100))
    }
}

/// Milliseconds.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let latencies = Latencies::of((1..=200).rev().map(Duration::from_millis).collect());
        let at = |percent| latencies.percentile(percent).value;
        assert_eq!((at(50), at(99), at(100)), (100.0, 198.0, 200.0));
        assert_eq!(Latencies::default().percentile(99).value, 0.0);
    }
}
