//! Places at which a test ends the process, as abruptly as a kill does.
//!
//! Purpose: kills at random moments rarely meet the few microseconds that matter. `PEAT_FAIL_AT=NAME` ends the process
//! when it first comes to the place of that name, `NAME:N` at the N-th time. `PEAT_SLOW_AT=NAME:N` holds the thread there
//! for N milliseconds each time, as a slow disk does. Inputs: these variables, read once. Outputs: an aborted process, a
//! late one. What it does not do: exist without the feature `fail-points`, which only tests have: a place is nothing at
//! all then; imitate a power cut, which also takes what the kernel has not written.

/// The places, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A batch is complete and nowhere but in memory.
    BeforeJournal,
    /// The batch is in the journal, which is not synced.
    BeforeSync,
    /// The batch is durable, and nobody was told.
    AfterSync,
    /// The engine is writing tables on its own threads.
    WritingTables,
    /// All rows are in tables, the journal is still there.
    BeforeRenewal,
    /// An empty journal is there beside the old one.
    InRenewal,
    /// Some pieces of a backup were given out.
    InBackup,
    /// A copy of a damaged store is whole, the damaged one still has its place.
    BeforeMove,
    /// The damaged store was renamed, the copy has not its name yet.
    BetweenNames,
}

#[cfg(feature = "fail-points")]
mod armed {
    use super::Place;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// The name of a place, and how often it may still be passed.
    struct Armed(String, AtomicU32);

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    static SLOW: OnceLock<Option<(String, Duration)>> = OnceLock::new();

    /// `NAME:N` in a variable; without `:N` it is 1.
    fn named(variable: &str) -> Option<(String, u32)> {
        let text = std::env::var(variable).ok()?;
        let (name, number) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), number.parse().ok()?))
    }

    fn armed() -> Option<&'static Armed> {
        let read = || named("PEAT_FAIL_AT").map(|(name, times)| Armed(name, AtomicU32::new(times)));
        ARMED.get_or_init(read).as_ref()
    }

    /// How long each thread stays at this place.
    fn slowness(place: Place) -> Option<Duration> {
        let read = || named("PEAT_SLOW_AT").map(|(name, millis)| (name, Duration::from_millis(millis.into())));
        let (name, time) = SLOW.get_or_init(read).as_ref()?;
        (*name == format!("{place:?}")).then_some(*time)
    }

    /// Whether the process will end at this place.
    pub(in crate::store) fn is_armed(place: Place) -> bool {
        armed().is_some_and(|Armed(name, _)| *name == format!("{place:?}"))
    }

    /// The process comes to this place.
    pub(in crate::store) fn reach(place: Place) {
        if let Some(time) = slowness(place) {
            std::thread::sleep(time);
        }
        if is_armed(place) && armed().is_some_and(|Armed(_, left)| left.fetch_sub(1, Ordering::SeqCst) == 1) {
            std::process::abort();
        }
    }
}

#[cfg(not(feature = "fail-points"))]
mod armed {
    use super::Place;

    pub(in crate::store) const fn is_armed(_: Place) -> bool {
        false
    }

    pub(in crate::store) const fn reach(_: Place) {}
}

pub(super) use armed::{is_armed, reach};
