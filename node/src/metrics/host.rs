//! What the process takes of its host: memory, open files, room on the disk.
//!
//! Purpose: to see what runs out before it has run out. Inputs: `/proc/self`, and the data folder once it is known.
//! Outputs: gauges of what was measured last, of those figures that could be had: one that is not known is not there,
//! where a zero would be an alarm. What it does not do: measure by itself; [`Host::measure`] is for each scrape.

use crate::store::FOLDER;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, fs, io};

/// The disk is looked at no more often: a large store has thousands of files.
const DISK_EVERY: Duration = Duration::from_secs(10);

/// What [`MetadataExt::blocks`](std::os::unix::fs::MetadataExt::blocks) counts, whatever the file system.
const BLOCK: u64 = 512;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Host {
    data_dir: OnceLock<PathBuf>,
    figures: Mutex<Figures>,
    /// When the disk was looked at last; locked while it is.
    looked: Mutex<Option<Instant>>,
}

/// What was measured last; none of what could not be.
#[derive(Debug, Clone, Copy, Default)]
struct Figures {
    resident: Option<u64>,
    open_files: Option<u64>,
    store: Option<u64>,
    free: Option<u64>,
}

impl Host {
    /// Where the store is, from now on.
    pub(super) fn stored_in(&self, data_dir: PathBuf) {
        // A second store is a programming error; the first one stays.
        let _ = self.data_dir.set(data_dir);
    }

    /// Measures all. Blocks while the disk does not answer; whoever comes meanwhile measures the process alone.
    pub(super) fn measure(&self, now: Instant) {
        let (resident, open_files) = (resident_bytes(), count_open_files());
        {
            let mut figures = self.figures();
            (figures.resident, figures.open_files) = (resident, open_files);
        }
        self.measure_disk(now);
    }

    fn measure_disk(&self, now: Instant) {
        let (Some(data_dir), Ok(mut looked)) = (self.data_dir.get(), self.looked.try_lock()) else { return };
        if looked.is_some_and(|at| now.saturating_duration_since(at) < DISK_EVERY) {
            return;
        }
        let (store, free) = (bytes_in(data_dir.join(FOLDER)).ok(), free_bytes(data_dir).ok());
        *looked = Some(now);
        let mut figures = self.figures();
        (figures.store, figures.free) = (store, free);
    }

    fn figures(&self) -> MutexGuard<'_, Figures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for Host {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Figures { resident, open_files, store, free } = *self.figures();
        for (name, help, figure) in [
            ("process_resident_memory_bytes", "Memory of the process that is in RAM.", resident),
            ("process_open_fds", "Files, sockets and other handles that the process has open.", open_files),
            (
                "peat_node_store_disk_bytes",
                "What the store takes of its disk, without stores that were set aside.",
                store,
            ),
            ("peat_node_disk_free_bytes", "What is left for this node of the file system of its data.", free),
        ] {
            let Some(figure) = figure else { continue };
            let gauge = ConstGauge::new(figure);
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

/// From a line such as `VmRSS:     20480 kB`: `statm` has pages, whose size it does not say.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

fn count_open_files() -> Option<u64> {
    // One of them is that of the folder, while it is read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64)
}

/// As much as is allocated, which for a file with holes is less than its length.
fn bytes_in(folder: PathBuf) -> io::Result<u64> {
    let (mut bytes, mut folders) = (0, vec![folder]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => bytes += found.blocks() * BLOCK,
                // The engine removes files while they are counted.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(bytes)
}

/// What the file system of `folder` has for others than its administrator.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let found = nix::sys::statvfs::statvfs(folder)?;
    let bytes = u128::from(found.blocks_available()) * u128::from(found.fragment_size());
    Ok(u64::try_from(bytes).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(host: &Host, now: Instant) -> Figures {
        host.measure(now);
        *host.figures()
    }

    #[test]
    fn a_process_without_a_store_tells_of_itself_alone() {
        let Figures { resident, open_files, store, free } = figures(&Host::default(), Instant::now());
        assert!(resident.is_some_and(|bytes| bytes > 1 << 20) && open_files.is_some_and(|files| files > 0));
        assert_eq!((store, free), (None, None));
    }

    #[test]
    fn the_store_is_measured_with_all_below_it_and_without_what_was_set_aside() {
        let (data, host) = (tempfile::tempdir().unwrap(), Host::default());
        host.stored_in(data.path().to_owned());
        let began = Instant::now();
        let starting = figures(&host, began);
        assert_eq!(starting.store, None, "there is no store yet");
        assert!(starting.free.is_some_and(|bytes| bytes > 0));
        for (folder, bytes) in [("store/tables", 300_000), ("store.set-aside-1", 900_000)] {
            fs::create_dir_all(data.path().join(folder)).unwrap();
            let file = fs::File::create(data.path().join(folder).join("1")).unwrap();
            io::Write::write_all(&mut &file, &vec![7; bytes]).unwrap();
            // Some file systems allocate nothing before that.
            file.sync_all().unwrap();
        }
        assert_eq!(figures(&host, began + DISK_EVERY / 2).store, None, "the disk is not looked at so often");
        let store = figures(&host, began + DISK_EVERY).store.unwrap();
        assert!((1..900_000).contains(&store), "{store}");
    }

    #[test]
    fn while_one_scrape_waits_for_the_disk_the_next_one_does_not() {
        let (data, host) = (tempfile::tempdir().unwrap(), Host::default());
        host.stored_in(data.path().to_owned());
        let _waits = host.looked.lock().unwrap();
        let figures = figures(&host, Instant::now());
        assert!(figures.resident.is_some() && figures.free.is_none());
    }
}
