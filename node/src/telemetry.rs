//! What the node says about itself on standard error.
//!
//! Inputs: a checked [`LogConfig`]. Outputs: a global subscriber. What it does not do: metrics.

use crate::config::LogConfig;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

/// Installs the subscriber of the process, once.
///
/// # Errors
/// When there is one already.
pub fn install(config: &LogConfig) -> Result<(), TryInitError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(directives(&config.filter)))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    if config.json { builder.json().flatten_event(true).finish().try_init() } else { builder.finish().try_init() }
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
