//! Flags of quotas.
//!
//! Inputs: text. Outputs: [`Limits`], or which flag is wrong. What it does not do: enforce.

use super::ConfigError;
use super::text::{given, value};
use crate::cli::RawArgs;
use crate::quota::Limits;

pub(super) fn limits(raw: &RawArgs) -> Result<Limits, ConfigError> {
    Ok(Limits {
        bytes: limit("quota-bytes", raw.quota_bytes.as_ref())?,
        documents: limit("quota-documents", raw.quota_documents.as_ref())?,
        put_rate: limit("quota-put-rate", raw.quota_put_rate.as_ref())?,
    })
}

/// A number from 1 on; unset is no limit. 0 is refused: it could be meant for either.
fn limit(flag: &'static str, text: Option<&String>) -> Result<Option<u64>, ConfigError> {
    let Some(text) = given(text) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (1..=i64::MAX as u64).contains(number));
    number.map(Some).ok_or_else(|| value(flag, format!("`{text}` is not a number from 1 on (no limit: leave it out)")))
}
