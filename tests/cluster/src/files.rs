//! File operations whose errors name the action and the path.
//!
//! Input: paths and bytes. Output: the bytes, or a [`FileError`] that says which file could not be handled. Does not
//! decide where anything is kept (`state.rs` and `binaries.rs` do).

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A file or folder could not be handled.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}", path.display())]
pub struct FileError {
    /// What was attempted, as a verb: `read`, `write`, `create folder`, …
    pub action: &'static str,
    /// The file or folder it was attempted on.
    pub path: PathBuf,
    /// The operating system's answer.
    pub source: std::io::Error,
}

/// Names the action and the path of an I/O error.
pub(crate) fn at<T>(action: &'static str, path: &Path, result: std::io::Result<T>) -> Result<T, FileError> {
    result.map_err(|source| FileError { action, path: path.to_owned(), source })
}

/// Creates `path` and its parents; an existing folder is fine.
pub(crate) fn create_dir(path: &Path) -> Result<(), FileError> {
    at("create folder", path, fs::create_dir_all(path))
}

/// Reads a text file.
pub(crate) fn read(path: &Path) -> Result<String, FileError> {
    at("read", path, fs::read_to_string(path))
}

/// Writes a file of mode 0644, replacing what was there in one step so that no reader sees half of it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), FileError> {
    write_with_mode(path, content.as_ref(), 0o644)
}

/// Writes a file of mode 0600, for keys and kubeconfigs.
pub(crate) fn write_private(path: &Path, content: impl AsRef<[u8]>) -> Result<(), FileError> {
    write_with_mode(path, content.as_ref(), 0o600)
}

/// Removes a folder with all it holds; a missing one is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => at("remove folder", path, other),
    }
}

/// Removes a file; a missing one is fine.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => at("remove", path, other),
    }
}

/// Opens (and creates) the file that serves as a lock. The lock is the open file: it ends when the file is dropped.
pub(crate) fn open_lock(path: &Path) -> Result<fs::File, FileError> {
    let opened = fs::OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    at("open lock", path, opened)
}

/// Takes the lock `path`, waiting for it off the runtime: its holder may be a task of this very thread.
///
/// Whoever holds it may remove the file: one who waited for the removed file starts over with the new one.
pub(crate) async fn lock(path: &Path) -> Result<fs::File, FileError> {
    loop {
        if let Some(parent) = path.parent() {
            create_dir(parent)?;
        }
        let file = open_lock(path)?;
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        let file = at("lock", path, locked.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped))))?;
        let held = at("look at", path, file.metadata())?;
        if fs::metadata(path).is_ok_and(|current| current.ino() == held.ino()) {
            return Ok(file);
        }
    }
}

/// The names in a folder, sorted; a missing folder has none.
pub(crate) fn entries(path: &Path) -> Result<Vec<String>, FileError> {
    let listing = match fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => at("list folder", path, other)?,
    };
    let mut names: Vec<String> = listing.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

fn write_with_mode(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let temporary = temporary_beside(path);
    let written = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| {
            // An interrupted run may have left the temporary file with another mode, which `mode` above does not
            // change.
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            file.write_all(content)
        })
        .and_then(|()| fs::rename(&temporary, path));
    at("write", path, written)
}

/// A name in the same folder (so that a rename cannot cross file systems) that no other process uses.
pub(crate) fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    path.with_file_name(name)
}
