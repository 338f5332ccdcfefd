//! `--rights-file`.
//!
//! Inputs: its path. Outputs: the path of a file whose rules can be used, or what is wrong with it. What it does not
//! do: follow the file; the node does.

use super::ConfigError;
use super::text::given;
use crate::rights;
use std::path::PathBuf;

/// None and an empty path are no file: everybody may read and write everything.
pub(super) fn rights_file(path: Option<&String>) -> Result<Option<PathBuf>, ConfigError> {
    let path = given(path).map(PathBuf::from);
    if let Some(path) = &path {
        rights::read(path)?;
    }
    Ok(path)
}
