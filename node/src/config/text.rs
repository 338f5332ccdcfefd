//! The text of one flag as a value, or a line that says what is wrong with it.
//!
//! Inputs: a flag's name and its text. Outputs: the value, or [`ConfigError::Value`]. What it does not do: know which
//! flags there are.

use super::ConfigError;
use crate::cli::Secret;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Longest name of a mesh or node, so that it fits a label and a handshake.
pub(super) const LONGEST_NAME: usize = 253;

/// Reads a boolean flag; none is `default`.
pub(super) fn boolean(flag: &'static str, text: Option<&String>, default: bool) -> Result<bool, ConfigError> {
    match given(text) {
        None => Ok(default),
        Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(value(flag, format!("`{other}` is neither `true` nor `false`"))),
    }
}

/// A whole number in `range`; none is `default`.
pub(super) fn number(
    flag: &'static str,
    text: Option<&String>,
    range: RangeInclusive<u64>,
    default: u64,
    unit: &str,
) -> Result<u64, ConfigError> {
    let Some(text) = given(text) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| value(flag, format!("`{text}` is not {unit} from {} to {}", range.start(), range.end())))
}

/// Anything that has a text form; `what` says which.
pub(super) fn parsed<T: FromStr>(
    flag: &'static str,
    text: Option<&String>,
    what: &str,
) -> Result<Option<T>, ConfigError> {
    given(text).map(|text| text.parse().map_err(|_| value(flag, format!("`{text}` is not {what}")))).transpose()
}

/// A name that fits a label and a handshake.
pub(crate) fn short_name(flag: &'static str, text: &str) -> Result<String, ConfigError> {
    if text.len() > LONGEST_NAME || text.chars().any(char::is_control) {
        return Err(value(flag, format!("is longer than {LONGEST_NAME} bytes or has control characters")));
    }
    Ok(text.to_owned())
}

/// Empty is unset: compose files and Helm charts pass empty strings.
pub(super) fn given(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// As [`given`], of a secret.
pub(super) fn secret(text: Option<&Secret>) -> Option<&str> {
    text.map(|text| text.expose().trim()).filter(|text| !text.is_empty())
}

/// A value that cannot be used, and why.
pub(super) fn value(flag: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Value { flag, reason: reason.into() }
}
