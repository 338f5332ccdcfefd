//! The disk by itself: what a durable write costs without any software of ours.
//!
//! Inputs: a folder, how, and how many; outputs: a rate. What it does not do: group writes.

use super::drive::Closed;
use super::latency::Latencies;
use anyhow::{Context as _, Result};
use std::io::{Seek as _, Write as _};
use std::path::Path;
use std::time::Instant;

/// Bytes of a record: a document of [`super::document`] with what a store keeps beside it.
const RECORD: [u8; 300] = [7; 300];

/// How a record gets into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// At the end of a file that grows, so that the file system writes its own journal too.
    Append,
    /// Into space that was written before, as write-ahead logs that are recycled: the disk alone.
    InPlace,
}

/// Writes `count` records one after the other, each with its own `fdatasync`, to a file in `folder`.
pub(super) fn synced_writes(folder: &Path, write: Write, count: usize) -> Result<Closed> {
    let mut file = tempfile::tempfile_in(folder)?;
    if write == Write::InPlace {
        file.write_all(&vec![0; count * RECORD.len()])?;
        file.sync_all()?;
        file.rewind()?;
    }
    let mut latencies = Vec::with_capacity(count);
    let began = Instant::now();
    for _ in 0..count {
        let began = Instant::now();
        file.write_all(&RECORD)?;
        file.sync_data()?;
        latencies.push(began.elapsed());
    }
    let took = began.elapsed();
    Ok(Closed { rate: count as f64 / took.as_secs_f64(), took, latencies: Latencies::of(latencies) })
}

/// Whether files in `folder` are in memory, where a durable write costs nothing and says nothing.
pub(super) fn is_memory(folder: &Path) -> Result<bool> {
    let found =
        nix::sys::statfs::statfs(folder).with_context(|| format!("look at the disk of {}", folder.display()))?;
    let kind = found.filesystem_type();
    // ramfs has no constant in the library; `magic.h` of Linux has the number.
    Ok(kind == nix::sys::statfs::TMPFS_MAGIC || kind.0 == 0x8584_58f6)
}
