//! Results as lines.
//!
//! Inputs: texts and values. Outputs: lines on standard output, each flushed, so that a reader of a pipe sees them
//! come. What it does not do: print errors.

use crate::cli::Format;
use serde_json::{Map, Value};
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// How often a count on a terminal is renewed.
const RENEWED: Duration = Duration::from_millis(200);

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

    /// Rows under a head, aligned, behind an empty line. For people only.
    pub(super) fn table<const N: usize>(&mut self, head: &[&str; N], rows: &[[String; N]]) -> io::Result<()> {
        let widths: [usize; N] = std::array::from_fn(|column| {
            rows.iter().map(|row| row[column].chars().count()).chain([head[column].len()]).max().unwrap_or_default()
        });
        let mut out = io::stdout().lock();
        writeln!(out)?;
        for row in std::iter::once(&head.map(str::to_owned)).chain(rows) {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
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

/// A count on the last line of a terminal; silent where standard error is none.
pub(super) struct Progress {
    done: &'static str,
    count: u64,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    pub(super) fn of(done: &'static str) -> Self {
        Self { done, count: 0, shown: None, terminal: io::stderr().is_terminal() }
    }

    pub(super) fn add(&mut self, count: u64) {
        self.count += count;
        if self.terminal && self.shown.is_none_or(|shown| shown.elapsed() >= RENEWED) {
            self.shown = Some(Instant::now());
            self.print("");
        }
    }

    /// Makes room for another line.
    pub(super) fn clear(&self) {
        if self.terminal {
            // A terminal that takes nothing is no reason to stop.
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// Leaves the last count behind.
    pub(super) fn end(&self) {
        if self.terminal {
            self.print("\n");
        }
    }

    fn print(&self, end: &str) {
        let _ = write!(io::stderr(), "\r{} {} documents{end}", self.done, self.count);
    }
}
