//! Latencies and the table.
//!
//! Inputs: durations; outputs: percentiles and lines. What it does not do: measure.

use serde::Serialize;
use std::time::Duration;

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured.
    pub work: String,
    /// The figure, with its unit.
    pub value: String,
    /// The peer or limit of the same run, and the ratio to it.
    pub against: String,
    /// The budget, or empty.
    pub budget: String,
}

impl Figure {
    /// One line.
    pub fn new(work: &str, value: String, against: String, budget: &str) -> Self {
        Self { work: work.to_owned(), value, against, budget: budget.to_owned() }
    }
}

/// Latencies of many calls.
#[derive(Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Sorts what was measured.
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// The latency that `percent` of the calls do not exceed; zero for no calls.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(rank).copied().unwrap_or_default()
    }

    /// `p50 … p99 …` in milliseconds.
    pub fn text(&self) -> String {
        let ms = |percent| self.percentile(percent).as_secs_f64() * 1e3;
        format!("p50 {:.2} ms, p99 {:.2} ms", ms(50), ms(99))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let latencies = Latencies::of((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!(latencies.percentile(50), Duration::from_millis(100));
        assert_eq!(latencies.percentile(99), Duration::from_millis(198));
        assert_eq!(Latencies::default().percentile(99), Duration::ZERO);
    }
}
