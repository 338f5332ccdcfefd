//! Files with one secret on each line, as tokens, the keys of a mesh and those of a store are given.
//!
//! Inputs: text. Outputs: its lines that count, and keys. What it does not do: read files, or print what is in them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The lines that hold a secret, without the blanks around it, with their numbers from 1. Empty lines and those that
/// begin with `#` do not.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// A key of 32 bytes in base64; none for any other text.
pub(crate) fn key(text: &str) -> Option<[u8; 32]> {
    STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok())
}

/// A key file that cannot be used. Says which line, never what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Not a key.
    #[error("line {0} is not 32 bytes in base64")]
    Line(usize),
    /// Nothing but comments.
    #[error("it has no key")]
    Empty,
}

/// One key on each line, the one to use first.
///
/// # Errors
/// [`KeyFileError`].
pub(crate) fn keys(text: &str) -> Result<Vec<[u8; 32]>, KeyFileError> {
    let keys = lines(text).map(|(number, line)| key(line).ok_or(KeyFileError::Line(number)));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(KeyFileError::Empty) } else { Ok(keys) }
}
