//! `peat-node doc`, `status`, `peers`, `keygen` and `id`: a node for people and scripts.
//!
//! Purpose: call a running node, print plainly, and say by exit code what came of it. Inputs: a [`Command`].
//! Outputs: lines on standard output, or a [`ClientError`]. What it does not do: retry or reconnect; scripts decide.

mod api;
mod doc;
mod output;

use crate::cli::{ApiArgs, Command, KeyArgs};
use crate::config::DEFAULT_DATA_DIR;
use crate::identity::{Identity, IdentityError};
use api::Client;
use connectrpc::{ConnectError, ErrorCode};
use output::Printer;
use peat_proto::sidecar::peat::sidecar::v1 as proto;
use serde_json::json;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code for flags and configuration that cannot be used (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// Exit code when the node cannot be reached (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: u8 = 69;

/// A command that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The arguments cannot be used.
    #[error("{0}")]
    Usage(String),
    /// A file, or standard input, with the document cannot be read.
    #[error("read {from}")]
    Input {
        /// What was read.
        from: String,
        /// Why.
        source: std::io::Error,
    },
    /// There is no such document.
    #[error("no document {collection}/{id}")]
    NotFound {
        /// Its collection.
        collection: String,
        /// Its id.
        id: String,
    },
    /// The node was not reached, or refused.
    #[error("{}: {}", .0.code.as_str(), .0.message.as_deref().unwrap_or("no text"))]
    Call(ConnectError),
    /// The node ended a watch, which has no end of its own.
    #[error("the node ended the stream")]
    Ended,
    /// The key.
    #[error(transparent)]
    Key(#[from] IdentityError),
    /// Nothing can be printed.
    #[error("print the result")]
    Print(#[from] std::io::Error),
}

impl ClientError {
    /// What a script sees.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => EXIT_USAGE.into(),
            Self::Call(error) if error.code == ErrorCode::Unavailable => EXIT_UNAVAILABLE.into(),
            // The reader of a pipe had enough: no failure of ours.
            Self::Print(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

impl From<ConnectError> for ClientError {
    fn from(error: ConnectError) -> Self {
        Self::Call(error)
    }
}

/// Runs a subcommand to its end; what went wrong is told on standard error.
pub fn main(command: Command) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(until_signalled(command)),
        Err(error) => Err(error.into()),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    let code = error.exit_code();
    if code != ExitCode::SUCCESS {
        let _ = writeln!(std::io::stderr(), "peat-node: {}", chain(&error));
    }
    code
}

/// Runs a subcommand to its end or to the first SIGTERM or SIGINT: the first process of a container ignores a signal that it does
/// not handle, and a watch has no end of its own.
async fn until_signalled(command: Command) -> Result<(), ClientError> {
    let stop = crate::shutdown::on_signals()?;
    stop.run_until_cancelled(run(command)).await.unwrap_or(Ok(()))
}

/// An error with its causes, once each.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Runs a subcommand to its end.
///
/// # Errors
/// [`ClientError`], with the exit code to leave with.
pub async fn run(command: Command) -> Result<(), ClientError> {
    match command {
        Command::Doc(command) => doc::run(command).await,
        Command::Status(args) => status(&args).await,
        Command::Peers(args) => peers(&args).await,
        Command::Keygen(args) => print_id(&Identity::generate(&key_dir(args))?),
        Command::Id(args) => print_id(&Identity::load_or_generate(&key_dir(args))?),
    }
}

async fn status(args: &ApiArgs) -> Result<(), ClientError> {
    let client = Client::new(args)?;
    let status =
        client.get_status_with_options(proto::GetStatusRequest::default(), client.deadline()).await?.into_owned();
    let traffic = client.get_sync_stats_with_options(proto::GetSyncStatsRequest::default(), client.deadline()).await?;
    let traffic = traffic.into_owned();
    let phase = status.phase.as_known().map_or_else(|| status.phase.to_i32().to_string(), phase_name);
    Printer::new(args.output).fields(&[
        ("node", json!(status.node_id)),
        ("endpoint", json!(status.endpoint_addr)),
        ("phase", json!(phase)),
        ("sync", json!(status.sync_active)),
        ("peers", json!(status.connected_peers)),
        ("bytesSent", json!(traffic.bytes_sent)),
        ("bytesReceived", json!(traffic.bytes_received)),
    ])?;
    Ok(())
}

fn phase_name(phase: proto::NodePhase) -> String {
    let name = buffa::Enumeration::proto_name(&phase);
    name.strip_prefix("NODE_PHASE_").unwrap_or(name).to_lowercase()
}

async fn peers(args: &ApiArgs) -> Result<(), ClientError> {
    let client = Client::new(args)?;
    let response =
        client.list_peers_with_options(proto::ListPeersRequest::default(), client.deadline()).await?.into_owned();
    let mut printer = Printer::new(args.output);
    for peer in response.peers {
        let text = format!("{} {}", peer.endpoint_id, peer.addresses.join(","));
        printer.line(text.trim_end(), || json!({"endpoint": peer.endpoint_id, "addresses": peer.addresses}))?;
    }
    Ok(())
}

fn print_id(identity: &Identity) -> Result<(), ClientError> {
    let id = identity.id().to_string();
    Printer::new(crate::cli::Format::Text).line(&id, || json!(id))?;
    Ok(())
}

fn key_dir(args: KeyArgs) -> PathBuf {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    given(args.key_dir).or_else(|| given(args.data_dir)).unwrap_or_else(|| DEFAULT_DATA_DIR.to_owned()).into()
}
