//! Results as lines.
//!
//! Inputs: texts and values. Outputs: lines on standard output, each flushed, so that a reader of a pipe sees them come.
//! What it does not do: print errors.

use crate::cli::Format;
use serde_json::{Map, Value};
use std::io::{self, Write as _};

/// Prints in one format.
pub(super) struct Printer(Format);

impl Printer {
    pub(super) const fn new(format: Format) -> Self {
        Self(format)
    }

    /// One line: `text` for people, else the value.
    pub(super) fn line(&mut self, text: &str, json: impl FnOnce() -> Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.0 {
            Format::Text => writeln!(out, "{text}")?,
            Format::Json => writeln!(out, "{}", json())?,
        }
        out.flush()
    }

    /// Named values: aligned for people, else one object.
    pub(super) fn fields(&mut self, fields: &[(&str, Value)]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.0 {
            Format::Text => {
                let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
                for (name, value) in fields {
                    match value {
                        Value::String(text) => writeln!(out, "{name:width$}  {text}")?,
                        other => writeln!(out, "{name:width$}  {other}")?,
                    }
                }
            }
            Format::Json => {
                let object: Map<String, Value> =
                    fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
                writeln!(out, "{}", Value::Object(object))?;
            }
        }
        out.flush()
    }
}
