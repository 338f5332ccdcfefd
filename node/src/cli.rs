//! The command line: flags, subcommands, the environment and the configuration file, without meaning.
//!
//! Purpose: collect text. The flags are the one table: every flag of the node has an environment variable, `PEAT_NODE_`
//! and its name in capitals, and is a key of the file; a flag wins over its variable and that over the file. An empty
//! variable counts as unset; the older `PEAT_SIDECAR_` name is read when the new one is not set, and for the log level
//! then `RUST_LOG`, as by most programs in Rust. Inputs: arguments and a look-up of variables. Outputs: a [`Cli`] whose
//! texts [`crate::config::Config`] checks, and where each of them came from. What it does not do: judge values.

mod commands;
mod file;
mod settings;
mod unbuilt;
mod usage;

pub use commands::{ApiArgs, Command, DocCommand, Format, KeyArgs, RestoreArgs, SalvageArgs};
pub use file::FileError;
pub use settings::{Origin, Settings};
pub use unbuilt::Unbuilt;
pub use usage::one_line;

use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser};
use settings::Origins;
use std::collections::btree_map::Entry;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::Path;

/// A text that never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

const EXAMPLES: &str = "\
Examples:
  A node for yourself, its data under ./data, its API at http://127.0.0.1:50051:
    peat-node --data-dir ./data
  Two nodes that find each other by flags (make the key once: head -c 32 /dev/urandom | base64):
    peat-node id --data-dir ./a                      # prints the endpoint id of a
    peat-node --data-dir ./a --shared-key \"$KEY\" --iroh-udp-port 11204
    peat-node --data-dir ./b --shared-key \"$KEY\" --listen tcp://127.0.0.1:50052 --peer <id of a>@127.0.0.1:11204
  Documents:
    peat-node doc put ferries one '{\"name\":\"Aurora\"}'
    peat-node doc watch --collection ferries
  The same over plain HTTP:
    curl -d '{\"collection\":\"ferries\",\"docId\":\"one\"}' -H 'content-type: application/json' \\
      http://127.0.0.1:50051/peat.sidecar.v1.PeatSidecar/GetDocument

Every flag may come from the environment (--data-dir is PEAT_NODE_DATA_DIR) or from the file of --config (a line
`data-dir: ./data`). A flag wins over its variable, and that over the file; --print-config shows what came of them.
Exit codes: 0 fine, 1 failed, 64 bad flags or configuration, 69 the node could not be reached.";

/// Runs a Peat node: documents that converge with every peer, behind an API for the application beside it.
///
/// Without a subcommand the node runs until SIGTERM or SIGINT. The subcommands talk to a running node or prepare its
/// key.
#[derive(Debug, Parser)]
#[command(name = "peat-node", version, after_long_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of running the node.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of the node.
    #[command(flatten)]
    pub run: RawArgs,
}

/// Flags of the node, as text.
#[derive(Debug, Clone, Default, Args)]
pub struct RawArgs {
    /// Where the API listens: `tcp://IP:PORT` or `unix:///PATH`; comma list or repeated [default:
    /// tcp://127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', help_heading = "API")]
    pub listen: Vec<String>,
    /// Permissions of API sockets, octal [default: 0666]
    #[arg(long, value_name = "MODE", help_heading = "API")]
    pub socket_mode: Option<String>,
    /// Who must prove who he is: `open`: callers from beyond loopback, if one of the files below lets them; `required`:
    /// the same, and refuse to start where they could not, or not over TLS; `all`: those on loopback and sockets too
    /// [default: open]
    #[arg(long, value_name = "RULE", help_heading = "API")]
    pub api_auth: Option<String>,
    /// Certificate of the API, PEM, with those between it and its authority: guarded TCP listeners speak TLS
    #[arg(long, value_name = "FILE", help_heading = "API")]
    pub api_tls_cert: Option<String>,
    /// Key of the certificate, PEM
    #[arg(long, value_name = "FILE", help_heading = "API")]
    pub api_tls_key: Option<String>,
    /// Certificates, PEM, of the authorities that vouch for callers: a caller with a certificate of theirs is let in
    #[arg(long, value_name = "FILE", help_heading = "API")]
    pub api_tls_client_ca: Option<String>,
    /// File of tokens, one on each line: a caller with `authorization: Bearer TOKEN` is let in
    #[arg(long, value_name = "FILE", help_heading = "API")]
    pub api_token_file: Option<String>,
    /// Collections whose documents are replaced whole, so that the last write wins, while others merge field by field;
    /// comma list or repeated. Alike on all nodes of a mesh; documents that exist keep their kind [default:
    /// platforms,nodes,tracks,beacons,cells]
    #[arg(long, value_name = "COLLECTION", value_delimiter = ',', help_heading = "API")]
    pub latest_collections: Vec<String>,
    /// Largest document in bytes that a put or a patch makes, from 1024 to 2097152; one that grows beyond it as edits
    /// of several nodes merge is kept [default: 1048576]
    #[arg(long, value_name = "BYTES", help_heading = "API")]
    pub max_document_bytes: Option<String>,
    /// Deadline of a call whose caller sets none, 1-86400 [default: 120]
    #[arg(long, value_name = "SECONDS", help_heading = "API")]
    pub rpc_default_timeout_secs: Option<String>,
    /// Longest deadline a caller may set, 1-86400 [default: 300]
    #[arg(long, value_name = "SECONDS", help_heading = "API")]
    pub rpc_max_timeout_secs: Option<String>,
    /// A connection whose first or begun request header is not complete after so long is closed, 1-3600 [default: 30]
    #[arg(long, value_name = "SECONDS", help_heading = "API")]
    pub http_header_read_timeout_secs: Option<String>,
    /// A connection without a running call for so long is retired, 1-86400 [default: 300]
    #[arg(long, value_name = "SECONDS", help_heading = "API")]
    pub http_max_connection_idle_secs: Option<String>,
    /// Open API connections; more wait to be accepted, 1-65535 [default: 1024]
    #[arg(long, value_name = "COUNT", help_heading = "API")]
    pub http_max_connections: Option<String>,
    /// Time between HTTP/2 pings, 1-3600 [default: 30]
    #[arg(long, value_name = "SECONDS", help_heading = "API")]
    pub http2_keepalive_interval_secs: Option<String>,
    /// Time to answer an HTTP/2 ping, 1-3600 [default: 20]
    #[arg(long, value_name = "SECONDS", help_heading = "API")]
    pub http2_keepalive_timeout_secs: Option<String>,
    /// Calls at once on one HTTP/2 connection, 1-65535 [default: 128]
    #[arg(long, value_name = "COUNT", help_heading = "API")]
    pub http2_max_concurrent_streams: Option<String>,

    /// Folder of the store [default: /data/peat-node]
    #[arg(long, value_name = "DIR", help_heading = "Node")]
    pub data_dir: Option<String>,
    /// File of keys that encrypt the store, one in base64 (32 bytes) on each line: the first writes, all read [default:
    /// the store is clear]
    #[arg(long, value_name = "FILE", help_heading = "Node")]
    pub store_key_file: Option<String>,
    /// Folder of the node's key [default: the data folder]
    #[arg(long, value_name = "DIR", help_heading = "Node")]
    pub key_dir: Option<String>,
    /// Name of this node for people [default: the pod's name, else random and kept in the data folder]
    #[arg(long, value_name = "NAME", help_heading = "Node")]
    pub node_id: Option<String>,
    /// Key of documents: 32 bytes in base64; what is put here is stored and synced as ciphertext, which peers without
    /// the key cannot read; better in a file
    #[arg(long, value_name = "BASE64", help_heading = "Node")]
    pub encryption_key: Option<Secret>,
    /// File with the keys of documents, one on each line: the first encrypts, all decrypt
    #[arg(long, value_name = "FILE", help_heading = "Node")]
    pub encryption_key_file: Option<String>,
    /// Where health and metrics are served: `IP:PORT` [default: off]
    #[arg(long, value_name = "ADDRESS", help_heading = "Node")]
    pub admin_listen: Option<String>,
    /// Bytes of documents and histories beyond which puts are refused; peers' documents are always taken [default: no
    /// limit]
    #[arg(long, value_name = "BYTES", help_heading = "Node")]
    pub quota_bytes: Option<String>,
    /// Live documents beyond which puts of new ones are refused [default: no limit]
    #[arg(long, value_name = "COUNT", help_heading = "Node")]
    pub quota_documents: Option<String>,
    /// Puts in a second beyond which they are refused [default: no limit]
    #[arg(long, value_name = "COUNT", help_heading = "Node")]
    pub quota_put_rate: Option<String>,
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace` or a filter such as `info,peat_node=debug` [default:
    /// info]
    #[arg(long, value_name = "FILTER", help_heading = "Node")]
    pub log_level: Option<String>,
    /// How it is logged: `text` or `json` [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = "Node")]
    pub log_format: Option<String>,
    /// Collector that is told of API calls and of sync as traces, by OTLP over gRPC: `http://HOST:PORT` [default: off]
    #[arg(long, value_name = "URL", help_heading = "Node")]
    pub otlp_endpoint: Option<String>,
    /// File of settings, YAML; its keys are the names of these flags without dashes
    #[arg(long, value_name = "FILE", help_heading = "Node")]
    pub config: Option<String>,
    /// Print the configuration and where each value came from, secrets redacted, and exit
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Node")]
    pub print_config: Option<String>,

    /// Hours for which other nodes are told of a delete, where the collection has no time of its own [default: 168]
    ///
    /// After that only a short row of it is kept, for whoever was away and still has the document.
    #[arg(long, value_name = "HOURS", help_heading = "Node")]
    pub tombstone_ttl_hours: Option<String>,
    /// Least seconds between two readings of the store for deletes that are older; a large store is read less often
    /// [default: 300]
    #[arg(long, value_name = "SECONDS", help_heading = "Node")]
    pub gc_interval_secs: Option<String>,
    /// Old deletes that are collected at once [default: 1000]
    #[arg(long, value_name = "COUNT", help_heading = "Node")]
    pub gc_batch_size: Option<String>,

    /// Name of the mesh: nodes meet only under the same name [default: peat-default]
    #[arg(long, value_name = "NAME", help_heading = "Mesh by flags")]
    pub app_id: Option<String>,
    /// Key of the mesh: 32 bytes in base64; better in a file
    #[arg(long, value_name = "BASE64", help_heading = "Mesh by flags")]
    pub shared_key: Option<Secret>,
    /// File with the key of the mesh, or several, one on each line: the first is shown, all are accepted; it may change
    /// while the node runs
    #[arg(long, value_name = "FILE", help_heading = "Mesh by flags")]
    pub shared_key_file: Option<String>,
    /// Peer with anyone under the same name when no key is set
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Mesh by flags")]
    pub allow_empty_key: Option<String>,
    /// The node's key: `own`, in its key folder; or `derived` from the mesh's key and --node-id, which every holder of
    /// the mesh's key can compute too [default: own]
    #[arg(long, value_name = "KIND", help_heading = "Mesh by flags")]
    pub identity: Option<String>,
    /// A peer to stay connected to: `ID@HOST:PORT`, or `ID@https://RELAY`; comma list or repeated
    #[arg(long, value_name = "PEER", value_delimiter = ',', help_heading = "Mesh by flags")]
    pub peer: Vec<String>,

    /// Exchange documents from the start [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Mesh")]
    pub auto_sync: Option<String>,
    /// File of what each peer may read and write of each collection, a line for each rule: `COLLECTION RIGHT WHO`;
    /// it may change while the node runs [default: everybody everything]
    #[arg(long, value_name = "FILE", help_heading = "Mesh")]
    pub rights_file: Option<String>,
    /// The relay where nodes meet that cannot reach each other, `https://HOST[:PORT]`, as `iroh-relay` serves it, or
    /// `http://` in a network where nobody listens; all of them name the same [default: off]
    #[arg(long, value_name = "URL", help_heading = "Mesh")]
    pub relay: Option<String>,
    /// Certificates of the authorities that vouch for the relay, PEM [default: those that browsers trust]
    #[arg(long, value_name = "FILE", help_heading = "Mesh")]
    pub relay_ca: Option<String>,
    /// UDP port of the mesh; 0 lets the system choose [default: 0]
    #[arg(long, value_name = "PORT", help_heading = "Mesh")]
    pub iroh_udp_port: Option<String>,
    /// Address the mesh binds to [default: all, IPv4 and IPv6]
    #[arg(long, value_name = "IP", help_heading = "Mesh")]
    pub mesh_listen: Option<String>,

    /// Name of the pod
    #[arg(long, value_name = "NAME", help_heading = "Set by the operator's injector")]
    pub pod_name: Option<String>,
    /// Namespace of the pod
    #[arg(long, value_name = "NAME", help_heading = "Set by the operator's injector")]
    pub pod_namespace: Option<String>,
    /// UID of the pod
    #[arg(long, value_name = "UID", help_heading = "Set by the operator's injector")]
    pub pod_uid: Option<String>,
    /// IP of the pod
    #[arg(long, value_name = "IP", help_heading = "Set by the operator's injector")]
    pub pod_ip: Option<String>,
    /// Name of the Kubernetes node
    #[arg(long, value_name = "NAME", help_heading = "Set by the operator's injector")]
    pub node_name: Option<String>,
    /// Identity of the mesh
    #[arg(long, value_name = "UID", help_heading = "Set by the operator's injector")]
    pub mesh_uid: Option<String>,
    /// `NAMESPACE/NAME` of the mesh
    #[arg(long, value_name = "NAME", help_heading = "Set by the operator's injector")]
    pub mesh_name: Option<String>,
    /// Membership server: `https://HOST:PORT`
    #[arg(long, value_name = "URL", help_heading = "Set by the operator's injector")]
    pub membership_url: Option<String>,
    /// Certificates that vouch for the membership server, PEM
    #[arg(long, value_name = "PEM", help_heading = "Set by the operator's injector")]
    pub membership_ca: Option<String>,
    /// File with the service account token
    #[arg(long, value_name = "FILE", help_heading = "Set by the operator's injector")]
    pub token_file: Option<String>,
    /// Folder of the mounted ConfigMap of the mesh
    #[arg(long, value_name = "DIR", help_heading = "Set by the operator's injector")]
    pub mesh_dir: Option<String>,

    /// For what this version does not have.
    #[command(flatten)]
    pub unbuilt: Unbuilt,
}

/// What [`parse`] found.
#[derive(Debug)]
pub struct Parsed {
    /// The arguments, completed from the environment and the file.
    pub cli: Cli,
    /// Older variables that were read in place of the new ones.
    pub aliases: Vec<String>,
    /// Every flag of the node, with its text and where that came from; nothing with a subcommand.
    pub settings: Settings,
}

/// A command line that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// What clap found, help and version included; [`one_line`] says it in one.
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    /// The file of `--config`.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Reads `args` (the first is the program's name) and, for the node's own flags, the variables that `env` finds and the
/// file that `--config` names.
///
/// # Errors
/// [`UsageError`].
pub fn parse(args: Vec<OsString>, env: impl Fn(&str) -> Option<OsString>) -> Result<Parsed, UsageError> {
    let command = Cli::command().mut_args(|arg| match variable(&arg) {
        Some(name) => {
            let help = format!("{} [env: {name}]", arg.get_help().cloned().unwrap_or_default());
            arg.help(help)
        }
        None => arg,
    });
    let matches = command.clone().try_get_matches_from(&args)?;
    if matches.subcommand_name().is_some() {
        return Ok(Parsed {
            cli: Cli::from_arg_matches(&matches)?,
            aliases: Vec::new(),
            settings: Settings::default(),
        });
    }
    let (mut args, mut origins) = (args, Origins::new());
    let aliases = complete_from_environment(&command, &matches, env, (&mut args, &mut origins));
    let matches = command.clone().try_get_matches_from(&args)?;
    if let Some(path) = matches.get_one::<String>("config").map(|path| path.trim()).filter(|path| !path.is_empty()) {
        for (key, values) in file::read(Path::new(path), &command)? {
            if let Entry::Vacant(unset) = origins.entry(key) {
                values.iter().for_each(|value| args.push(argument(unset.key(), value.as_ref())));
                unset.insert(Origin::File(path.into()));
            }
        }
    }
    let matches = command.clone().try_get_matches_from(args)?;
    let settings = Settings::collect(&command, &matches, &origins);
    Ok(Parsed { cli: Cli::from_arg_matches(&matches)?, aliases, settings })
}

/// Adds what the environment says of flags that were not given; the older variables that were read.
fn complete_from_environment(
    command: &clap::Command,
    matches: &ArgMatches,
    env: impl Fn(&str) -> Option<OsString>,
    (args, origins): (&mut Vec<OsString>, &mut Origins),
) -> Vec<String> {
    let mut aliases = Vec::new();
    for (long, arg) in flags(command) {
        if matches.value_source(arg.get_id().as_str()).is_some() {
            origins.insert(long.to_owned(), Origin::Flag(long.to_owned()));
            continue;
        }
        let name = variable(arg).unwrap_or_default();
        let alias = name.replacen("PEAT_NODE_", "PEAT_SIDECAR_", 1);
        let filled = |name: &str| env(name).filter(|value| !value.is_empty()).map(|value| (name.to_owned(), value));
        let found = filled(&name).or_else(|| filled(&alias).inspect(|(alias, _)| aliases.push(alias.clone())));
        let found = found.or_else(|| filled(shared_variable(arg)?));
        if let Some((name, value)) = found {
            args.push(argument(long, &value));
            origins.insert(long.to_owned(), Origin::Variable(name));
        }
    }
    aliases
}

fn argument(flag: &str, value: &OsStr) -> OsString {
    let mut argument = OsString::from(format!("--{flag}="));
    argument.push(value);
    argument
}

/// The flags of the node by their names, without help and version.
fn flags(command: &clap::Command) -> impl Iterator<Item = (&str, &clap::Arg)> {
    command.get_arguments().filter(|arg| variable(arg).is_some()).filter_map(|arg| Some((arg.get_long()?, arg)))
}

/// The environment variable of a flag; none for help, version and positional arguments.
fn variable(arg: &clap::Arg) -> Option<String> {
    match arg.get_id().as_str() {
        "help" | "version" => None,
        // A list in the environment has a plural name.
        "peer" => Some("PEAT_NODE_PEERS".to_owned()),
        id => arg.get_long().map(|_| format!("PEAT_NODE_{}", id.to_uppercase())),
    }
}

/// A variable that is not this program's alone, read where its own are not set.
fn shared_variable(arg: &clap::Arg) -> Option<&'static str> {
    (arg.get_id() == "log_level").then_some("RUST_LOG")
}

#[cfg(test)]
mod tests {
    use super::*;
    use peat_crds::names::env;
    use std::collections::BTreeSet;

    fn read(args: &[&str], variables: &[(&str, &str)]) -> Parsed {
        let args = std::iter::once("peat-node").chain(args.iter().copied()).map(OsString::from).collect();
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        parse(args, find).unwrap()
    }

    #[test]
    fn every_variable_of_the_injector_is_that_of_a_flag() {
        let flags: BTreeSet<String> = Cli::command().get_arguments().filter_map(variable).collect();
        for name in env::INJECTED {
            assert!(flags.contains(name), "{name} is set by the injector and read by nobody");
        }
    }

    #[test]
    fn a_flag_wins_over_its_variable_and_an_empty_variable_is_unset() {
        let parsed = read(&["--node-id", "flag"], &[("PEAT_NODE_NODE_ID", "env"), ("PEAT_NODE_DATA_DIR", "")]);
        assert_eq!(parsed.cli.run.node_id.as_deref(), Some("flag"));
        assert_eq!(parsed.cli.run.data_dir, None);
    }

    #[test]
    fn a_flag_wins_over_its_variable_and_that_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text =
            "node-id: file\ndata-dir: file\napp-id: file\nlisten: [a, 'b,c']\npeer: x\nauto-sync: false\nkey-dir: ~\n";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let variables = [("PEAT_NODE_CONFIG", path), ("PEAT_NODE_NODE_ID", "env"), ("PEAT_SIDECAR_DATA_DIR", "env")];
        let run = read(&["--node-id", "flag", "--peer", "y"], &variables).cli.run;
        assert_eq!(run.node_id.as_deref(), Some("flag"));
        assert_eq!(run.data_dir.as_deref(), Some("env"));
        assert_eq!((run.app_id.as_deref(), run.auto_sync.as_deref()), (Some("file"), Some("false")));
        assert_eq!((run.listen, run.peer), (vec!["a".into(), "b".into(), "c".into()], vec!["y".to_owned()]));
        assert_eq!(run.key_dir, None, "null is unset");
    }

    #[test]
    fn an_older_variable_counts_only_where_the_new_one_is_not_set() {
        let parsed = read(
            &[],
            &[("PEAT_SIDECAR_NODE_ID", "old"), ("PEAT_NODE_APP_ID", "new"), ("PEAT_SIDECAR_APP_ID", "unread")],
        );
        assert_eq!(parsed.cli.run.node_id.as_deref(), Some("old"));
        assert_eq!(parsed.cli.run.app_id.as_deref(), Some("new"));
        assert_eq!(parsed.aliases, ["PEAT_SIDECAR_NODE_ID"]);
    }

    #[test]
    fn rust_log_is_the_log_level_where_nothing_nearer_says_it_and_the_settings_tell() {
        let level = |args: &[&str], variables: &[(&str, &str)]| {
            let parsed = read(args, &[&[("RUST_LOG", "info,iroh=debug")], variables].concat());
            assert!(parsed.aliases.is_empty(), "it is no older name");
            let origin = parsed.settings.origin("log-level").map(ToString::to_string).unwrap_or_default();
            (parsed.cli.run.log_level.unwrap_or_default(), origin)
        };
        let told = |level: &str, origin: &str| (level.to_owned(), origin.to_owned());
        assert_eq!(level(&[], &[]), told("info,iroh=debug", "RUST_LOG"));
        assert_eq!(level(&[], &[("PEAT_NODE_LOG_LEVEL", "")]), told("info,iroh=debug", "RUST_LOG"));
        assert_eq!(level(&[], &[("PEAT_NODE_LOG_LEVEL", "warn")]), told("warn", "PEAT_NODE_LOG_LEVEL"));
        assert_eq!(level(&["--log-level", "error"], &[]), told("error", "--log-level"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "log-level: trace\n").unwrap();
        let config = ["--config", file.path().to_str().unwrap()];
        assert_eq!(level(&config, &[]), told("info,iroh=debug", "RUST_LOG"), "a variable wins over the file");
        assert_eq!(read(&[], &[("RUST_LOG", "")]).cli.run.log_level, None);
        let shown = read(&[], &[("RUST_LOG", "warn")]).settings.to_string();
        assert!(shown.contains("log-level: warn # RUST_LOG\n"), "{shown}");
    }

    #[test]
    fn a_boolean_is_a_bare_flag_or_has_a_value() {
        assert_eq!(read(&["--auto-sync"], &[]).cli.run.auto_sync.as_deref(), Some("true"));
        assert_eq!(read(&["--auto-sync=false"], &[]).cli.run.auto_sync.as_deref(), Some("false"));
        assert_eq!(read(&[], &[("PEAT_NODE_AUTO_SYNC", "0")]).cli.run.auto_sync.as_deref(), Some("0"));
    }

    #[test]
    fn lists_come_by_commas_and_by_repetition() {
        let parsed = read(&["--listen", "a,b", "--listen", "c"], &[("PEAT_NODE_PEERS", "x,y")]);
        assert_eq!(parsed.cli.run.listen, ["a", "b", "c"]);
        assert_eq!(parsed.cli.run.peer, ["x", "y"]);
    }

    #[test]
    fn the_key_does_not_print() {
        let parsed = read(&["--shared-key", "hunter2"], &[]);
        assert!(!format!("{parsed:?}").contains("hunter2"));
    }

    #[test]
    fn subcommands_ignore_the_variables_of_the_node() {
        let parsed = read(&["doc", "get", "ferries", "one"], &[("PEAT_NODE_LISTEN", "nonsense")]);
        assert!(matches!(parsed.cli.command, Some(Command::Doc(DocCommand::Get { .. }))));
        assert!(parsed.cli.run.listen.is_empty());
    }

    #[test]
    fn the_definition_is_consistent_and_its_help_names_the_variables() {
        let args = ["peat-node", "--help"].map(OsString::from).to_vec();
        let help = parse(args, |_| None).unwrap_err().to_string();
        assert!(help.contains("PEAT_NODE_IROH_UDP_PORT") && help.contains("peat-node doc watch"), "{help}");
        Cli::command().debug_assert();
    }
}
