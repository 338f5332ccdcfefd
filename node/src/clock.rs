//! The time that the next start goes on from.
//!
//! Purpose: a clock that is a year ahead takes no document away while the node runs; a process that starts again with
//! such a clock must not either. So the wall time that is sure to have come is kept in the data folder, with how long
//! the machine was up then: the next process knows from that how much has passed. Once the machine itself was started
//! again there is nothing to measure by. Inputs: what the driver publishes. Outputs: the file `clock`: milliseconds
//! since the Unix epoch, the boot, and milliseconds since that. What it does not do: judge clocks, which the engine
//! does; sync the file, since an older one is as good.

use crate::handle::{NodeHandle, Published};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Name of the file in the data folder.
const FILE: &str = "clock";

/// How often it is written.
const EVERY: Duration = Duration::from_secs(120);

/// A machine from one start to the next, and how long that was ago: by the kernel, for which setting the clock changes
/// nothing and sleep counts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Uptime {
    boot: String,
    lasts: Duration,
}

impl Uptime {
    fn now() -> Option<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        let seconds: f64 = uptime.split(' ').next()?.parse().ok()?;
        Some(Self { boot, lasts: Duration::try_from_secs_f64(seconds).ok()? })
    }
}

/// The time that is sure to have come; none where nobody can know.
pub(crate) fn read(data_dir: &Path) -> Option<Duration> {
    known(&fs::read_to_string(data_dir.join(FILE)).ok()?, &Uptime::now()?)
}

/// What `text` of a file says at `now`.
fn known(text: &str, now: &Uptime) -> Option<Duration> {
    let mut words = text.split_whitespace();
    let time = Duration::from_millis(words.next()?.parse().ok()?);
    let boot = words.next()?;
    let lasted = Duration::from_millis(words.next()?.parse().ok()?);
    // Less than before: the uptime is that of a container.
    let passed = now.lasts.checked_sub(lasted).filter(|_| boot == now.boot)?;
    time.checked_add(passed)
}

/// Keeps the time until `stop`, and then once more.
pub(crate) async fn keep(data_dir: PathBuf, node: NodeHandle, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopped = stop.run_until_cancelled(ticks.tick()).await.is_none();
        if let Some(view) = node.published() {
            let folder = data_dir.clone();
            if let Ok(Err(error)) = spawn_blocking(move || write(&folder, &view)).await {
                debug!(%error, "the time is not kept");
            }
        }
        if stopped {
            return;
        }
    }
}

fn write(data_dir: &Path, view: &Published) -> io::Result<()> {
    let Some(Uptime { boot, lasts }) = Uptime::now() else { return Ok(()) };
    // The view may be an old one, where nothing happens.
    let then = lasts.saturating_sub(view.at.elapsed());
    let unfinished = data_dir.join(FILE).with_extension("new");
    fs::write(&unfinished, format!("{} {boot} {}\n", view.known_time.as_millis(), then.as_millis()))?;
    fs::rename(unfinished, data_dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_while_the_machine_does_and_is_not_known_after_it_was_started() {
        let at = |boot: &str, seconds| Uptime { boot: boot.to_owned(), lasts: Duration::from_secs(seconds) };
        let text = "1700000000123 b1 60000\n";
        assert_eq!(known(text, &at("b1", 60)), Some(Duration::from_millis(1_700_000_000_123)));
        assert_eq!(known(text, &at("b1", 70)), Some(Duration::from_millis(1_700_000_010_123)));
        for unknown in [at("b2", 70), at("b1", 59)] {
            assert_eq!(known(text, &unknown), None, "{unknown:?}");
        }
        for wrong in ["", "yesterday", "1700000000123", "1700000000123 b1", "1700000000123 b1 -1"] {
            assert_eq!(known(wrong, &at("b1", 70)), None, "{wrong}");
        }
        assert!(Uptime::now().is_some_and(|uptime| !uptime.boot.is_empty() && !uptime.lasts.is_zero()));
    }
}
