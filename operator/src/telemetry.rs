//! Log lines: structured, one format per process, chosen by flags.
//!
//! Inputs: filter and format. What it does not do: run in tests or libraries; only the binary calls it.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Installs the global subscriber. A second call changes nothing.
pub fn init(log_level: &str, format: LogFormat) {
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(log_level)).with_writer(std::io::stderr);
    // Fails when there is one already, which then is the one to use.
    let _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    };
}
