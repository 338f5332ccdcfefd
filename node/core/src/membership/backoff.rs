//! When to try a peer again.
//!
//! Input: failures, and randomness as an argument; output: a delay. Full jitter over a window that doubles, as in
//! "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015). What it does not do: sleep.

use rand::Rng;
use std::time::Duration;

/// Window of the first retry.
const FIRST: Duration = Duration::from_secs(1);
/// Largest window: a peer that comes back after hours is tried within this time.
const CAP: Duration = Duration::from_secs(10);
/// No retry comes sooner than this.
const FLOOR: Duration = Duration::from_millis(100);

/// Failures of one peer since the last connection that lived.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Counts one more failure and returns how long to wait before the next try.
    pub fn fail(&mut self, rng: &mut impl Rng) -> Duration {
        let window = FIRST.saturating_mul(1 << self.failures.min(16)).min(CAP);
        self.failures = self.failures.saturating_add(1);
        rng.random_range(FLOOR..=window)
    }

    /// Failures in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn delays_start_within_a_second_and_never_pass_the_cap() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut backoff = Backoff::default();
        assert!(backoff.fail(&mut rng) <= FIRST);
        let later: Vec<_> = (0..200).map(|_| backoff.fail(&mut rng)).collect();
        assert!(later.iter().all(|delay| (FLOOR..=CAP).contains(delay)));
        assert!(later.iter().any(|delay| *delay > CAP / 2), "and use the window");
        backoff.reset();
        assert!(backoff.fail(&mut rng) <= FIRST);
    }
}
