//! Flags for what this version does not have.
//!
//! Purpose: nobody finds out later that a node does not do what its flags say. What the mesh would not work without is
//! refused; what is beside it is ignored, with one warning for each. Inputs: the flags. Outputs: warnings, or an error.
//! What it does not do: check values that nobody reads.

use super::ConfigError;
use super::text::{boolean, given};
use crate::cli::Unbuilt;

/// # Errors
/// [`ConfigError::Unavailable`] with what to do instead.
pub(super) fn unbuilt(flags: &Unbuilt) -> Result<Vec<String>, ConfigError> {
    let is_set = |text: &str| !text.trim().is_empty();
    if flags.bridge.texts().any(is_set) {
        return unavailable("nats-url", "bridge in the application, with Subscribe and PutDocument");
    }
    let peers = "name the peers with --peer, or let the operator manage the mesh";
    if given(flags.discovery_mode.as_ref()).is_some_and(|mode| mode != "none") {
        return unavailable("discovery-mode", peers);
    }
    if boolean("enable-kubernetes-discovery", flags.enable_kubernetes_discovery.as_ref(), false)? {
        return unavailable("enable-kubernetes-discovery", peers);
    }
    let ignored = [
        (
            flags.discovery.texts().any(is_set),
            "discovery is not available in this version: --discovery-* is ignored, name the peers with --peer",
        ),
        (
            flags.attachments.texts().any(is_set),
            "attachments are not available in this version: their flags are ignored",
        ),
        (
            flags.watcher.texts().any(is_set),
            "the watcher of agents is not available in this version: --agent-* is ignored",
        ),
    ];
    Ok(ignored.into_iter().filter(|(set, _)| *set).map(|(_, warning)| warning.to_owned()).collect())
}

fn unavailable(flag: &'static str, instead: &'static str) -> Result<Vec<String>, ConfigError> {
    Err(ConfigError::Unavailable { flag, instead })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, parse};

    /// As the command line says it.
    fn with(args: &[&str]) -> Result<Vec<String>, String> {
        let args = std::iter::once("peat-node").chain(args.iter().copied()).map(Into::into).collect();
        let Cli { run, .. } = parse(args, |_| None).map_err(|error| error.to_string())?.cli;
        unbuilt(&run.unbuilt).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_of_what_is_not_there_are_refused_where_the_mesh_depends_on_it_and_ignored_with_one_warning_elsewhere() {
        for (args, flag) in [
            (&["--nats-url", "nats://x"][..], "--nats-url"),
            (&["--nats-mapping", "a=b"], "--nats-url"),
            (&["--nats-shutdown-timeout-secs", "5"], "--nats-url"),
            (&["--discovery-mode", "mdns"], "--discovery-mode"),
            (&["--enable-kubernetes-discovery"], "--enable-kubernetes-discovery"),
        ] {
            assert!(with(args).unwrap_err().contains(flag), "{args:?}");
        }
        for (args, warnings) in [
            (&["--attachment-root", "a=/b", "--attachment-max-file-bytes", "1", "--attachment-outbox-watch"][..], 1),
            (&["--agent-addr", "http://[::1]:1", "--agent-poll-interval", "10", "--blob-stall-timeout-secs", "30"], 2),
            (&["--discovery-mode", "none", "--discovery-interval", "30", "--discovery-service", "x"], 1),
            (&["--discovery-mode", "none", "--disable-mdns"], 0),
            (&["--enable-kubernetes-discovery=false", "--nats-url", "", "--attachment-inbox", ""], 0),
            (&["--allocator-stats-interval-secs", "60"], 0),
        ] {
            assert_eq!(with(args).unwrap().len(), warnings, "{args:?}");
        }
    }

    #[test]
    fn no_flag_of_the_contract_is_unknown() {
        let rest = "attachment-max-bundle-bytes attachment-max-files-per-bundle attachment-max-node-list-len \
                    attachment-max-concurrent-distributions attachment-default-priority attachment-discovery-grace-secs \
                    attachment-handle-retention-secs attachment-max-known-bundles attachment-inbox-poll-secs \
                    attachment-outbox-poll-secs agent-tls-cert agent-tls-key agent-tls-ca discovery-interval-secs \
                    discovery-service discovery-namespace discovery-label-selector discovery-annotation-prefix";
        for flag in rest.split_whitespace() {
            assert!(with(&[&format!("--{flag}"), "1"]).is_ok(), "--{flag}");
        }
        assert!(with(&["--attachment-queue-when-full"]).is_ok());
        assert!(with(&["--no-such-flag", "1"]).is_err());
    }
}
