//! `--store-key-file`.
//!
//! Inputs: its path. Outputs: the keys in it, or what is wrong with it. What it does not do: say whether one of them
//! opens a store; the store does.

use super::ConfigError;
use super::parse::key_file;
use super::text::{given, value};
use crate::store::seal::StoreKeys;

const FLAG: &str = "store-key-file";

/// None and an empty path are no keys.
pub(crate) fn store_keys(path: Option<&String>) -> Result<StoreKeys, ConfigError> {
    let Some(path) = given(path) else { return Ok(StoreKeys::default()) };
    StoreKeys::parse(&key_file(FLAG, path)?).map_err(|error| value(FLAG, format!("{path}: {error}")))
}
