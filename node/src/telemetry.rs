//! What the node says about itself on standard error.
//!
//! Inputs: a checked [`LogConfig`]; later, other filters. Outputs: the subscriber of the process.
//! What it does not do: metrics. Traces, which are no part of the log, are in [`traces`].

pub(crate) mod traces;

pub use traces::{SpanMetrics, TraceError};

use crate::config::LogConfig;
use std::io::IsTerminal as _;
use std::sync::{Mutex, OnceLock, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::reload;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Longest filter in bytes: it is repeated in a line of the log.
const LONGEST_FILTER: usize = 1_000;

/// A filter that is not used.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// No level and no filter.
    #[error("`{filter}` is not a level or filter")]
    Parse {
        /// What was given.
        filter: String,
        /// What is wrong.
        source: ParseError,
    },
    /// Nothing, or too much.
    #[error("a level or filter has 1 to {LONGEST_FILTER} bytes")]
    Length,
    /// The process has another subscriber than that of [`install`].
    #[error("the log is not this node's own")]
    NotInstalled,
    /// The subscriber is gone.
    #[error("change the filter of the log")]
    Reload(#[from] reload::Error),
}

/// The log of the process, of which there is one, as of its standard error.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    /// As it was given.
    filter: Mutex<String>,
    reload: Reload,
}

type Reload = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

/// Installs the subscriber of the process, once.
///
/// # Errors
/// When there is one already.
pub fn install(config: &LogConfig) -> Result<(), TryInitError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directives(&config.filter)))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let reload: Reload = if config.json {
        let builder = builder.json().flatten_event(true).with_filter_reloading();
        let handle = builder.reload_handle();
        builder.finish().try_init()?;
        Box::new(move |filter| handle.reload(filter))
    } else {
        let builder = builder.with_filter_reloading();
        let handle = builder.reload_handle();
        builder.finish().try_init()?;
        Box::new(move |filter| handle.reload(filter))
    };
    // Empty: a second subscriber was refused above.
    let _ = LOG.set(Log { filter: Mutex::new(config.filter.clone()), reload });
    Ok(())
}

/// Logs by another level or filter from now on, until the process ends; gives the one before.
///
/// # Errors
/// [`FilterError`]; then nothing changed.
pub fn set_filter(filter: &str) -> Result<String, FilterError> {
    if filter.trim().is_empty() || filter.len() > LONGEST_FILTER {
        return Err(FilterError::Length);
    }
    let parsed = EnvFilter::try_new(directives(filter));
    let parsed = parsed.map_err(|source| FilterError::Parse { filter: filter.to_owned(), source })?;
    let log = LOG.get().ok_or(FilterError::NotInstalled)?;
    let mut current = log.filter.lock().unwrap_or_else(PoisonError::into_inner);
    // Before, because the new one may not let it pass.
    tracing::info!(from = %current, to = filter, "the log level changes");
    (log.reload)(parsed)?;
    Ok(std::mem::replace(&mut *current, filter.to_owned()))
}

/// A bare level is Peat's own; the libraries below stay at `warn`, since theirs would bury it.
fn directives(filter: &str) -> String {
    if filter.contains(['=', ',']) {
        return filter.to_owned();
    }
    format!("warn,peat_node={filter},peat_node_core={filter}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_is_our_own_and_a_filter_stays_as_it_is() {
        assert_eq!(directives("debug"), "warn,peat_node=debug,peat_node_core=debug");
        assert_eq!(directives("info,iroh=trace"), "info,iroh=trace");
    }
}
