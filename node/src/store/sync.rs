//! Making names durable.
//!
//! Purpose: a file that was made, renamed or removed is so for good only when its folder is on disk.
//! Inputs: paths. Outputs: nothing, or why not. What it does not do: make the content of files durable.

use std::fs::File;
use std::io;
use std::path::Path;

/// Makes the entries of `folder` durable.
pub(crate) fn folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the entry of `path` in its folder durable.
pub(crate) fn parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), folder)
}
