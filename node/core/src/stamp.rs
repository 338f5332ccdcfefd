//! Hybrid logical clock: stamps that respect causality and stay near wall time.
//!
//! Purpose: order deletes against edits, and writers of `latest` documents against each other. Inputs: the wall clock of
//! [`crate::Now`] and the stamps seen; output: a [`Stamp`] above all of them.
//! What it does not do: read a clock.
//!
//! Source: Kulkarni et al., "Logical Physical Clocks", OPODIS 2014.

use std::time::Duration;

/// 48 bits of milliseconds since the Unix epoch, 16 bits of counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub u64);

impl Stamp {
    const COUNTER_BITS: u32 = 16;

    /// The first stamp of a moment.
    fn at(wall: Duration) -> Self {
        let millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Self(millis.min(u64::MAX >> Self::COUNTER_BITS) << Self::COUNTER_BITS)
    }

    /// The next stamp. A counter that overflows carries into the milliseconds, which keeps the order.
    const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Wall time of the stamp since the Unix epoch.
    pub const fn wall(self) -> Duration {
        Duration::from_millis(self.0 >> Self::COUNTER_BITS)
    }
}

/// How far ahead of the wall clock a seen stamp may pull the clock. A node whose clock is a year ahead must not take
/// the rest of the mesh with it.
const DRIFT: Duration = Duration::from_secs(300);

/// The clock of one node.
#[derive(Debug, Default)]
pub struct Clock {
    last: Stamp,
}

impl Clock {
    /// A stamp above everything this clock gave or observed, and above `floor`, the stamp it has to beat.
    pub fn tick(&mut self, wall: Duration, floor: Option<Stamp>) -> Stamp {
        self.last = self.last.next().max(Stamp::at(wall));
        floor.map_or(self.last, |floor| self.last.max(floor.next()))
    }

    /// Takes note of a stamp from elsewhere, up to [`DRIFT`] ahead of the wall clock.
    pub fn observe(&mut self, seen: Stamp, wall: Duration) {
        if seen.wall() <= wall + DRIFT {
            self.last = self.last.max(seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Duration = Duration::from_secs(1_700_000_000);

    #[test]
    fn stamps_rise_while_the_wall_clock_stands_or_goes_back() {
        let mut clock = Clock::default();
        let first = clock.tick(NOON, None);
        let second = clock.tick(NOON, None);
        let third = clock.tick(NOON - Duration::from_secs(3600), None);
        assert!(first < second && second < third);
    }

    #[test]
    fn a_stamp_a_year_ahead_does_not_pull_the_clock() {
        let mut clock = Clock::default();
        let ahead = Stamp::at(NOON + Duration::from_secs(365 * 86_400));
        clock.observe(ahead, NOON);
        assert!(clock.tick(NOON, None).wall() <= NOON);
    }

    #[test]
    fn a_local_write_beats_the_row_it_has_seen_however_far_ahead_that_is() {
        let mut clock = Clock::default();
        let ahead = Stamp::at(NOON + Duration::from_secs(86_400));
        assert!(clock.tick(NOON, Some(ahead)) > ahead);
        assert!(clock.tick(NOON, None).wall() <= NOON, "and only that row moves ahead");
    }
}
