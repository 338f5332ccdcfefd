//! The engine's journal as files: what to do with it while the engine is closed.
//!
//! Purpose: two things that fjall does not do itself.
//!
//! [`settle`]: after a failed `fsync` Linux may count pages as written that are not on disk, and reports that only
//! once. Who goes on in such a file, and syncs again with success, may have a hole in it, and a power cut then loses
//! everything behind the hole, acknowledged or not. So a journal in which a write failed is doubted ([`doubt`] leaves a
//! mark beside it, which survives the process), and before it is used again every page of it that holds anything is
//! written once more, in its place, and synced. This is safe because
//! - what is read for it is what fjall will read: if the kernel still has the pages, they become durable now; if it has
//!   dropped them, what comes from the disk is already so, and the engine's checksums find where it ends;
//! - everything that was acknowledged was synced with success before the failure, so writing it again changes nothing,
//!   whenever the power goes;
//! - a batch that was refused may become durable this way, as [`super::Store::commit`] says;
//! - it needs no room on a full disk, since the pages are there already; reserved ones without content stay untouched.
//!
//! If it fails, the mark stays and the store stays closed until an attempt succeeds. A power cut needs no mark: with it
//! goes what was only in memory. Failed writes of tables need nothing: a table counts when a synced manifest names it,
//! and the journal keeps its content until then. Source: "Can applications recover from fsync failures?", USENIX ATC
//! 2020.
//!
//! [`renew`]: when all rows are in tables, the journal is replaced by an empty one, so that the next start has nothing
//! to replay.
//!
//! Inputs: the folder of a closed store. Outputs: the same, changed. What it does not do: read entries.

use super::fail::{Place, reach};
use super::sync;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use tracing::warn;

/// Of the engine's journal files, which are numbered.
pub(super) const EXTENSION: &str = "jnl";

/// Beside the journal when a write to it failed.
const MARK: &str = "unsettled";

/// As fjall calls it.
const LOCK: &str = "lock";

/// Unit of what is looked at: a page of the kernel.
const PAGE: usize = 4096;

/// Pages that are read at once.
const PAGES: usize = 64;

/// As fjall makes them: reserved, so that a file grows rarely.
const RESERVED: u64 = 64 * 1024 * 1024;

/// Remembers that a write to the journal in `folder` failed.
pub(super) fn doubt(folder: &Path) {
    if let Err(error) = File::create(folder.join(MARK)) {
        warn!(error = &error as &dyn std::error::Error, "a doubtful journal could not be marked");
    }
}

/// Writes and syncs the journal in `folder` once more, if it is in doubt and no process has the store.
pub(super) fn settle(folder: &Path) -> io::Result<()> {
    let mark = folder.join(MARK);
    if !mark.exists() {
        return Ok(());
    }
    let Some(_lock) = exclusive(folder)? else { return Ok(()) };
    warn!("a write to the journal failed: writing it once more");
    for (_, path) in journals(folder)? {
        rewrite(&path)?;
    }
    fs::remove_file(mark)
}

/// Puts an empty journal in the place of those in `folder`, of which every entry is in a table, if no process has the
/// store.
pub(super) fn renew(folder: &Path) -> io::Result<()> {
    let Some(_lock) = exclusive(folder)? else { return Ok(()) };
    let old = journals(folder)?;
    let next = old.last().map_or(0, |(number, _)| number + 1);
    let fresh = File::create_new(folder.join(format!("{next}.{EXTENSION}")))?;
    fresh.set_len(RESERVED)?;
    fresh.sync_all()?;
    // The engine replays all files but skips what tables have, so that a crash from here on costs nothing.
    sync::folder(folder)?;
    reach(Place::InRenewal);
    old.into_iter().try_for_each(|(_, path)| fs::remove_file(path))
}

/// Bytes of content in the journals of `folder`, about.
pub(super) fn content(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    const BLOCK: u64 = 512;
    // Reserved bytes have no blocks.
    journals(folder)?.into_iter().map(|(_, path)| Ok(fs::metadata(path)?.blocks() * BLOCK)).sum()
}

/// The lock that the engine takes as well, while the value lives; none when another process has it.
pub(super) fn exclusive(folder: &Path) -> io::Result<Option<File>> {
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(folder.join(LOCK))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The journals, ascending by number.
pub(super) fn journals(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == EXTENSION);
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|_| is_journal) {
            journals.push((number, path));
        }
    }
    journals.sort_unstable();
    Ok(journals)
}

fn rewrite(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut buffer = vec![0; PAGE * PAGES];
    let mut offset = 0;
    loop {
        let length = file.read_at(&mut buffer, offset)?;
        if length == 0 {
            return file.sync_all();
        }
        for (page, at) in buffer[..length].chunks(PAGE).zip((offset..).step_by(PAGE)) {
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, at)?;
            }
        }
        offset += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_journal_in_doubt_is_written_again_as_it_is_and_its_reserve_takes_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("3.jnl");
        let file = File::create(&path).unwrap();
        file.set_len(RESERVED).unwrap();
        let content: Vec<u8> = (0..3 * PAGE + 100).map(|number| (number % 251) as u8).collect();
        file.write_all_at(&content, 0).unwrap();
        file.write_all_at(b"far", (PAGE * PAGES * 2 + 7) as u64).unwrap();
        file.sync_all().unwrap();
        let before = (fs::read(&path).unwrap(), file.metadata().unwrap().blocks());
        doubt(folder.path());
        let held = exclusive(folder.path()).unwrap();
        settle(folder.path()).unwrap();
        assert!(folder.path().join(MARK).exists(), "whoever has the store is writing its journal");
        drop(held);
        settle(folder.path()).unwrap();
        assert!(before == (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().blocks()));
        assert!(!folder.path().join(MARK).exists());
    }

    #[test]
    fn a_doubt_that_cannot_be_settled_stays() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("0.jnl")).unwrap();
        doubt(folder.path());
        settle(folder.path()).unwrap_err();
        assert!(folder.path().join(MARK).exists());
    }

    #[test]
    fn a_renewed_journal_is_empty_and_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("9.jnl"), [1; PAGE]).unwrap();
        fs::write(folder.path().join("10.jnl"), [1; PAGE]).unwrap();
        fs::write(folder.path().join("version"), "").unwrap();
        assert_eq!(content(folder.path()).unwrap(), 2 * PAGE as u64);
        renew(folder.path()).unwrap();
        assert_eq!(journals(folder.path()).unwrap(), [(11, folder.path().join("11.jnl"))]);
        assert_eq!(content(folder.path()).unwrap(), 0);
    }
}
