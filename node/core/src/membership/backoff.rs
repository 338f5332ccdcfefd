//! When to try a peer again, and how long.
//!
//! Inputs: failures, lost connections, and randomness as an argument; outputs: delays. Full jitter over a window that
//! doubles, as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015); but a link that was there a moment ago
//! is mostly back in a moment, so a peer that was just lost is tried without a pause. What it does not do: sleep.

use rand::Rng;
use std::time::Duration;

/// Window of the first retry.
const FIRST: Duration = Duration::from_secs(1);
/// Largest window: a peer that comes back after hours is tried within this time.
const CAP: Duration = Duration::from_secs(10);
/// No retry comes sooner than this.
const FLOOR: Duration = Duration::from_millis(100);

/// How long a lost peer is one that was just lost.
const JUST: Duration = Duration::from_secs(60);
/// Window of retries in that time.
const SOON: Duration = Duration::from_millis(500);

/// How long a try may take. QUIC repeats its first packet 1, 3 and 7 s after the first.
const PATIENCE: Duration = Duration::from_secs(6);
/// The same for a peer that was just lost: the next try begins before the wait for a packet that heals it gets longer
/// than two seconds. What answers later than that, only the long tries find.
const LITTLE_PATIENCE: Duration = Duration::from_millis(3_500);

/// Failures of one peer since the last connection that lived.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    failures: u32,
    /// Until when it was just lost, at uptime.
    urgent_until: Duration,
}

impl Backoff {
    /// Counts one more failure and returns how long to wait before the next try.
    pub fn fail(&mut self, uptime: Duration, rng: &mut impl Rng) -> Duration {
        let window =
            if self.is_urgent(uptime) { SOON } else { FIRST.saturating_mul(1 << self.failures.min(16)).min(CAP) };
        self.failures = self.failures.saturating_add(1);
        rng.random_range(FLOOR..=window)
    }

    /// How long a try that begins now may take.
    pub fn patience(&self, uptime: Duration) -> Duration {
        if self.is_urgent(uptime) { LITTLE_PATIENCE } else { PATIENCE }
    }

    /// Failures in a row.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// A connection that lived is lost: forgets the failures.
    pub fn lost(&mut self, uptime: Duration) {
        *self = Self { failures: 0, urgent_until: uptime + JUST };
    }

    /// It is there and does not want us: there is no hurry.
    pub const fn refused(&mut self) {
        self.urgent_until = Duration::ZERO;
    }

    fn is_urgent(&self, uptime: Duration) -> bool {
        uptime < self.urgent_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const T0: Duration = Duration::from_secs(100);

    #[test]
    fn delays_start_within_a_second_and_never_pass_the_cap() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut backoff = Backoff::default();
        assert!(backoff.fail(T0, &mut rng) <= FIRST);
        let later: Vec<_> = (0..200).map(|_| backoff.fail(T0, &mut rng)).collect();
        assert!(later.iter().all(|delay| (FLOOR..=CAP).contains(delay)));
        assert!(later.iter().any(|delay| *delay > CAP / 2), "and use the window");
        backoff.lost(T0);
        assert!(backoff.fail(T0 + JUST, &mut rng) <= FIRST * 2);
    }

    #[test]
    fn a_peer_that_was_just_lost_is_tried_without_a_pause_for_a_minute_unless_it_refuses() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut backoff = Backoff::default();
        backoff.lost(T0);
        let mut now = T0;
        while now < T0 + JUST {
            let (patience, delay) = (backoff.patience(now), backoff.fail(now, &mut rng));
            let last_packet = Duration::from_secs(3);
            assert!(patience > last_packet && patience + delay - last_packet <= Duration::from_secs(1), "{delay:?}");
            now += patience + delay;
        }
        assert_eq!(backoff.patience(now), PATIENCE);
        assert!((0..50).any(|_| backoff.fail(now, &mut rng) > CAP / 2));
        backoff.lost(now);
        backoff.refused();
        assert_eq!(backoff.patience(now), PATIENCE);
    }
}
