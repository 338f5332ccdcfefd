//! Failures of the engine: of the disk, or of the data.
//!
//! Purpose: one place that tells them apart, since damaged data is set aside and gone on without, while a disk that
//! does not answer says nothing about the data. Inputs: [`fjall::Error`]s. Outputs: [`Damage`]. What it does not do:
//! act on it.

use super::engine::SEALED_FORMAT;
use super::{Source, StoreError};
use std::io;
use std::path::Path;

/// Why an opening failed: for a reason outside the data, or because of the data.
pub(super) enum Damage {
    Fatal(StoreError),
    Unreadable(Source),
}

impl Damage {
    pub(super) fn of(path: &Path, error: fjall::Error) -> Self {
        let path = path.to_owned();
        match error {
            fjall::Error::Locked => Self::Fatal(StoreError::Locked { path }),
            fjall::Error::InvalidVersion(found) => Self::Fatal(StoreError::Format {
                path,
                found: format!("of the engine: {found:?}"),
                known: SEALED_FORMAT,
            }),
            // Missing rights, a full disk, a dead disk: moving files about would make it worse.
            fjall::Error::Io(cause) | fjall::Error::Storage(fjall::LsmError::Io(cause)) if !is_of_the_data(&cause) => {
                Self::Fatal(StoreError::Open { path, source: Box::new(cause) })
            }
            error => Self::Unreadable(Box::new(error)),
        }
    }

    pub(super) fn into_error(self, folder: &Path) -> StoreError {
        match self {
            Self::Fatal(error) => error,
            Self::Unreadable(source) => StoreError::Open { path: folder.to_owned(), source },
        }
    }
}

pub(super) fn is_of_the_disk(error: &fjall::Error) -> bool {
    match error {
        fjall::Error::Io(cause) | fjall::Error::Storage(fjall::LsmError::Io(cause)) => !is_of_the_data(cause),
        _ => false,
    }
}

/// Files that are named and missing, or shorter or other than they must be. `InvalidInput` is how a file answers that
/// is asked for a place it cannot have: one before its beginning, because it is so short, or one that garbage names.
fn is_of_the_data(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | UnexpectedEof | InvalidData | InvalidInput)
}

/// fjall asserts what it expects of its own files.
#[derive(Debug, thiserror::Error)]
#[error("the engine gave up on damaged files")]
pub(super) struct EnginePanicked;
