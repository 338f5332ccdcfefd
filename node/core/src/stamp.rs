//! Hybrid logical clock: stamps that respect causality and stay near wall time.
//!
//! Purpose: order deletes against edits, and writers of `latest` documents against each other. Inputs: the wall clock
//! of [`crate::Now`] and the stamps seen; output: a [`Stamp`] above all of them. What it does not do: read a clock.
//!
//! Source: Kulkarni et al., "Logical Physical Clocks", OPODIS 2014.

use crate::event::Now;
use std::time::Duration;

/// 48 bits of milliseconds since the Unix epoch, 16 bits of counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub u64);

impl Stamp {
    const COUNTER_BITS: u32 = 16;

    /// The last stamp that a document may have, in the year 6429: above it there would be no room for later writes.
    pub(crate) const LAST: Self = Self(u64::MAX >> 1);

    /// The first stamp of a moment.
    pub(crate) fn at(wall: Duration) -> Self {
        let millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        Self(millis.min(u64::MAX >> Self::COUNTER_BITS) << Self::COUNTER_BITS)
    }

    /// The counter of a document that time took away; no write has it.
    const EXPIRY: u64 = (1 << Self::COUNTER_BITS) - 1;

    /// The next stamp. A counter that comes to its end carries into the milliseconds, which keeps the order.
    const fn next(self) -> Self {
        let next = Self(self.0.saturating_add(1));
        if next.is_expiry() { Self(next.0.saturating_add(1)) } else { next }
    }

    /// The stamp of a document that time took away after its last write had this one: above that, below every later
    /// write.
    #[must_use]
    pub const fn expired(self) -> Self {
        Self(self.0 | Self::EXPIRY)
    }

    /// Whether time, and no application, set this stamp.
    pub const fn is_expiry(self) -> bool {
        self.0 & Self::EXPIRY == Self::EXPIRY
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
    /// The last stamp that the wall clock of this node was asked for.
    own: Stamp,
    /// The newest stamp that others set by their own clocks.
    agreed: Stamp,
    /// Both clocks when they were first read.
    began: Option<Now>,
    /// Wall time that was known before the last restart.
    known: Option<Duration>,
}

impl Clock {
    /// A clock that goes on from the time that was [`known`](Self::known) before a restart, if there was one.
    pub fn resumed(known: Option<Duration>) -> Self {
        Self { known, ..Self::default() }
    }

    /// A stamp above everything that this clock observed or gave without a floor, and above `floor`, which the write has
    /// to beat. What `floor` adds is not remembered, so that one row ahead of time does not move the clock.
    pub fn tick(&mut self, wall: Duration, floor: Option<Stamp>) -> Stamp {
        self.last = self.last.next().max(Stamp::at(wall));
        self.own = self.last;
        floor.map_or(self.last, |floor| self.last.max(floor.next()))
    }

    /// Wall time as far as it can be believed, for what time takes away: a clock that is set forward counts only when
    /// time has passed here, or when others have written in that time. Time in which this node did not run has not
    /// passed here.
    pub fn believed(&mut self, now: Now) -> Duration {
        self.within(now, DRIFT)
    }

    /// As [`Self::believed`], without the drift that a clock may have: what the next start goes on from, or each would
    /// believe a wrong clock a little more.
    pub fn known(&mut self, now: Now) -> Duration {
        self.within(now, Duration::ZERO)
    }

    fn within(&mut self, now: Now, drift: Duration) -> Duration {
        let wall = self.known.map_or(now.wall, |known| known.min(now.wall));
        let began = self.began.get_or_insert(Now { wall, ..now });
        let passed = began.wall + now.uptime.saturating_sub(began.uptime);
        if self.agreed.wall() <= passed {
            return now.wall.min(passed + drift);
        }
        // What passes from now on passes on top of what others agreed on.
        *began = Now { wall: self.agreed.wall(), ..now };
        now.wall.min(self.agreed.wall() + drift)
    }

    /// Takes note of a stamp that was stored before a restart.
    pub fn recall(&mut self, stored: Stamp, wall: Duration) {
        if self.known.is_none() {
            self.observe(stored, wall);
        } else if stored.wall() <= wall.saturating_add(DRIFT) {
            // It may be one of our own, from a time when our clock was wrong already.
            self.own = self.own.max(stored);
            self.last = self.last.max(stored);
        }
    }

    /// Takes note of a stamp from elsewhere, up to [`DRIFT`] ahead of the wall clock; whether it is not further ahead.
    pub fn observe(&mut self, seen: Stamp, wall: Duration) -> bool {
        let is_near = seen.wall() <= wall.saturating_add(DRIFT);
        if is_near {
            // One that is not later than our own may be ours, or that of a write on top of ours: no clock but ours says
            // it.
            if seen.wall() > self.own.wall() {
                self.agreed = self.agreed.max(seen);
            }
            self.last = self.last.max(seen);
        }
        is_near
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
    fn time_goes_on_behind_what_others_agreed_on() {
        let (mut clock, later) = (Clock::default(), NOON + Duration::from_secs(365 * 86_400));
        let now = |wall, seconds| Now { wall, uptime: Duration::from_secs(seconds) };
        clock.believed(now(NOON, 0));
        assert!(clock.believed(now(later, 1)) < later, "nobody else says so");
        clock.observe(Stamp::at(later), later);
        assert_eq!(clock.believed(now(later, 1)), later);
        let hour = Duration::from_secs(3600);
        assert_eq!(clock.believed(now(later + hour, 3601)), later + hour);
        assert_eq!(clock.known(now(later + hour, 3601)), later + hour);
    }

    #[test]
    fn a_stamp_a_year_ahead_does_not_pull_the_clock() {
        let mut clock = Clock::default();
        let ahead = Stamp::at(NOON + Duration::from_secs(365 * 86_400));
        assert!(!clock.observe(ahead, NOON));
        assert!(clock.tick(NOON, None).wall() <= NOON);
    }

    #[test]
    fn an_expired_stamp_is_above_its_write_and_below_the_next_and_no_write_has_one() {
        let written = Stamp::at(NOON);
        assert!(written < written.expired() && written.expired().is_expiry());
        assert!(Clock::default().tick(Duration::ZERO, Some(written.expired())) > written.expired());
        let mut last = Stamp(written.0 | 0xfff0);
        for _ in 0..40 {
            let next = last.next();
            assert!(next > last && !next.is_expiry());
            last = next;
        }
    }

    #[test]
    fn a_clock_that_is_set_forward_is_not_believed_until_time_passes_or_others_agree() {
        let now = |wall, uptime| Now { wall, uptime: Duration::from_secs(uptime) };
        let year = Duration::from_secs(365 * 86_400);
        let mut clock = Clock::default();
        assert_eq!(clock.believed(now(NOON, 5)), NOON);
        assert!(clock.believed(now(NOON + year, 6)) <= NOON + Duration::from_secs(1) + DRIFT);
        assert_eq!(clock.believed(now(NOON + Duration::from_secs(900), 905)), NOON + Duration::from_secs(900));
        clock.observe(Stamp::at(NOON + year), NOON + year);
        assert_eq!(clock.believed(now(NOON + year, 906)), NOON + year);
    }

    #[test]
    fn a_clock_that_is_still_ahead_after_a_restart_is_not_believed_either_however_often_that_happens() {
        let year = Duration::from_secs(365 * 86_400);
        let now = |uptime| Now { wall: NOON + year, uptime: Duration::from_secs(uptime) };
        let mut known = NOON;
        for _ in 0..100 {
            let mut clock = Clock::resumed(Some(known));
            // Written here before the restart, by the same clock.
            clock.recall(Stamp::at(NOON + year), NOON + year);
            assert!(clock.believed(now(0)) <= known + DRIFT);
            assert!(clock.believed(now(9)) <= known + Duration::from_secs(9) + DRIFT);
            known = clock.known(now(9));
        }
        assert_eq!(known, NOON + Duration::from_secs(900), "the time that it ran");
        let mut clock = Clock::resumed(Some(known));
        clock.recall(Stamp::at(NOON), NOON + year);
        clock.observe(Stamp::at(NOON + year), NOON + year);
        assert_eq!(clock.believed(now(1)), NOON + year, "others agree");
        let early = Now { wall: NOON - year, uptime: Duration::ZERO };
        assert_eq!(Clock::resumed(Some(known)).believed(early), early.wall, "set back");
    }

    #[test]
    fn a_clock_that_is_set_forward_is_not_believed_for_what_was_written_by_it_here_or_on_top_of_that() {
        let year = NOON + Duration::from_secs(365 * 86_400);
        let mut clock = Clock::default();
        clock.believed(Now { wall: NOON, uptime: Duration::ZERO });
        let own = clock.tick(year, None);
        clock.observe(own, year);
        // Another node, whose clock is right, edits that document.
        clock.observe(Clock::default().tick(NOON, Some(own)), year);
        let now = Now { wall: year, uptime: Duration::from_secs(1) };
        assert!(clock.believed(now) <= NOON + Duration::from_secs(1) + DRIFT);
        clock.observe(Stamp::at(year + Duration::from_secs(1)), year);
        assert_eq!(clock.believed(now), year);
    }

    #[test]
    fn a_local_write_beats_the_row_it_has_seen_however_far_ahead_that_is() {
        let mut clock = Clock::default();
        let ahead = Stamp::at(NOON + Duration::from_secs(86_400));
        assert!(clock.tick(NOON, Some(ahead)) > ahead);
        assert!(clock.tick(NOON, None).wall() <= NOON, "and only that row moves ahead");
    }
}
