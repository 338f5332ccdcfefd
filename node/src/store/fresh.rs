//! A new store in one go.
//!
//! Purpose: fjall makes a store in some hundred steps and waits for the disk at each, though nothing in an empty store
//! is worth that. So it is made in memory, copied, made durable at once, and renamed: there whole or not at all.
//! Inputs: the folder, which is not there yet, and how a store is made. Outputs: the folder.
//! What it does not do: look at a store that is there; matter. Where there is no memory folder, or anything fails, the
//! engine makes the store step by step and says what is wrong.

use super::sync;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::debug;

/// A file system in memory that is there in nearly every container.
const MEMORY: &str = "/dev/shm";

/// Names of folders there begin like this.
const PREFIX: &str = "peat-store-";

/// No store takes that long to be made.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// Of the journal of an empty store no more than this is used; the rest was only reserved.
const JOURNAL_BYTES: u64 = 64 * 1024;

/// Files and folders that are made durable at the same time: the file system joins what waits for it.
const SYNCS: usize = 16;

/// Makes the store `folder`; `build` makes one in the folder it is given, and closes it.
pub(super) fn make(folder: &Path, build: impl FnOnce(&Path) -> bool) {
    let Ok(nursery) = Nursery::new() else { return };
    let unfinished = folder.with_extension("new");
    let made = build(&nursery.0).then(|| transfer(&nursery.0, &unfinished, folder));
    match made {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            debug!(error = &error as &dyn std::error::Error, "the store is made step by step");
            // Left over, it would only take room: the next attempt removes it as well.
            let _ = fs::remove_dir_all(&unfinished);
        }
        None => debug!("the store is made step by step"),
    }
}

/// A folder in memory that goes with the value.
struct Nursery(PathBuf);

impl Nursery {
    fn new() -> io::Result<Self> {
        sweep();
        let path = Path::new(MEMORY).join(format!("{PREFIX}{}", uuid::Uuid::new_v4()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

/// Removes what processes left that were killed while they made a store.
fn sweep() {
    let Ok(entries) = fs::read_dir(MEMORY) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        let is_left = age.is_some_and(|age| age > LEFT_BEHIND);
        if is_left && entry.file_name().to_string_lossy().starts_with(PREFIX) {
            // Another node that starts now may be faster.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Drop for Nursery {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn transfer(from: &Path, unfinished: &Path, folder: &Path) -> io::Result<()> {
    if unfinished.exists() {
        fs::remove_dir_all(unfinished)?;
    }
    let mut made = Vec::new();
    copy(from, unfinished, &mut made)?;
    sync_all(&made)?;
    fs::rename(unfinished, folder)?;
    sync::parent(folder)
}

/// Copies a folder and notes what was made.
fn copy(from: &Path, to: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    made.push(to.to_owned());
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target, made)?;
        } else {
            copy_file(&entry.path(), &target)?;
            made.push(target);
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let length = source.metadata()?.len();
    let is_journal = from.extension().is_some_and(|extension| extension == super::journal::EXTENSION);
    let mut bytes = Vec::new();
    source.take(if is_journal { JOURNAL_BYTES } else { length }).read_to_end(&mut bytes)?;
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut target = File::create_new(to)?;
    target.write_all(&bytes[..used])?;
    // What is only reserved, or zero, takes no room.
    target.set_len(length)
}

fn sync_all(paths: &[PathBuf]) -> io::Result<()> {
    let share =
        |first: usize| paths.iter().skip(first).step_by(SYNCS).try_for_each(|path| File::open(path)?.sync_all());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SYNCS).map(|first| scope.spawn(move || share(first))).collect();
        // A thread that panicked has synced nothing that one could rely on.
        let ended =
            |result: std::thread::Result<_>| result.unwrap_or_else(|_| Err(io::Error::other("a thread ended early")));
        threads.into_iter().try_for_each(|thread| ended(thread.join()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_there_whole_and_nothing_is_left_in_memory() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("store");
        let leftover = data.path().join("store.new/inner");
        fs::create_dir_all(&leftover).unwrap();
        let mut nursery_of_this_test = PathBuf::new();
        make(&folder, |nursery| {
            nursery_of_this_test = nursery.to_owned();
            fs::create_dir_all(nursery.join("a/b")).unwrap();
            fs::write(nursery.join("a/file"), "text").unwrap();
            let journal = File::create(nursery.join("0.jnl")).unwrap();
            (&journal).write_all(b"entry").unwrap();
            journal.set_len(64 << 20).unwrap();
            true
        });
        assert!(folder.join("a/b").is_dir());
        assert_eq!(fs::read_to_string(folder.join("a/file")).unwrap(), "text");
        let journal = fs::read(folder.join("0.jnl")).unwrap();
        assert_eq!((journal.len(), &journal[..6]), (64 << 20, &b"entry\0"[..]));
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(nursery_of_this_test.starts_with(MEMORY) && !nursery_of_this_test.exists());
    }

    #[test]
    fn a_store_that_could_not_be_built_leaves_nothing() {
        let data = tempfile::tempdir().unwrap();
        let mut nursery_of_this_test = PathBuf::new();
        make(&data.path().join("store"), |nursery| {
            nursery_of_this_test = nursery.to_owned();
            fs::write(nursery.join("file"), "text").unwrap();
            false
        });
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
        assert!(nursery_of_this_test.starts_with(MEMORY) && !nursery_of_this_test.exists());
    }
}
