//! The time that the next start goes on from.
//!
//! Purpose: a clock that is a year ahead takes no document away while the node runs; a start with such a clock must not
//! either. So the wall time that is sure to have come is kept in the data folder. Inputs: what the driver publishes.
//! Outputs: the file `clock`, in milliseconds since the Unix epoch, at most two minutes old while the node runs. What it
//! does not do: judge clocks, which the engine does; sync the file, since an older one is as good.

use crate::handle::NodeHandle;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Name of the file in the data folder.
const FILE: &str = "clock";

/// How often it is written: less than what the engine allows a clock to be ahead.
const EVERY: Duration = Duration::from_secs(120);

/// The kept time; none before the first start.
pub(crate) fn read(data_dir: &Path) -> Option<Duration> {
    let path = data_dir.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(%error, path = %path.display(), "the kept time cannot be read, the clock is believed");
            return None;
        }
    };
    let millis = text.trim().parse().ok();
    if millis.is_none() {
        warn!(path = %path.display(), "the kept time is no number, the clock is believed");
    }
    millis.map(Duration::from_millis)
}

/// Keeps the time until `stop`, and then once more.
pub(crate) async fn keep(data_dir: PathBuf, node: NodeHandle, stop: CancellationToken) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopped = stop.run_until_cancelled(ticks.tick()).await.is_none();
        if let Some(view) = node.view().load_full() {
            let (folder, time) = (data_dir.clone(), view.known_time);
            if let Ok(Err(error)) = spawn_blocking(move || write(&folder, time)).await {
                debug!(%error, "the time is not kept");
            }
        }
        if stopped {
            return;
        }
    }
}

fn write(data_dir: &Path, time: Duration) -> io::Result<()> {
    let unfinished = data_dir.join(FILE).with_extension("new");
    fs::write(&unfinished, time.as_millis().to_string())?;
    fs::rename(unfinished, data_dir.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_read_as_it_was_kept_and_nonsense_is_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), None);
        write(folder.path(), Duration::from_millis(1_700_000_000_123)).unwrap();
        assert_eq!(read(folder.path()), Some(Duration::from_millis(1_700_000_000_123)));
        fs::write(folder.path().join(FILE), "yesterday").unwrap();
        assert_eq!(read(folder.path()), None);
    }
}
