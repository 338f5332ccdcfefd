//! The subcommands of `peat-node`: a node for people and scripts.
//!
//! Purpose: call a running node, print plainly, and say by exit code what came of it. Inputs: a [`Command`].
//! Outputs: lines on standard output, or a [`ClientError`]. What it does not do: retry or reconnect; scripts decide.

mod api;
mod backup;
mod doc;
mod output;
mod salvage;
mod secure;
mod status;
mod transfer;

use crate::cli::{Command, DocCommand, KeyArgs, Secret};
use crate::config::{ConfigError, DEFAULT_DATA_DIR, SharedKey, short_name};
use crate::identity::{Identity, IdentityError};
use crate::store::backup::{BackupError, RestoreError};
use connectrpc::{ConnectError, ErrorCode};
use output::Printer;
use serde_json::json;
use std::error::Error as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code for flags and configuration that cannot be used (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// Exit code when the node cannot be reached, or the connection to it broke (`EX_UNAVAILABLE`).
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
    #[error("{}", told(.0))]
    Call(ConnectError),
    /// The node did not make an edit.
    #[error("{code}: {message}")]
    Edit {
        /// The name of a status code.
        code: String,
        /// Why.
        message: String,
    },
    /// A document is written, but the peers did not say in time that they stored it.
    #[error(
        "the document is written, but only {0} of the peers that it waited for said in time that they have stored it"
    )]
    Concern(u32),
    /// A file cannot be written.
    #[error("write {}", path.display())]
    Output {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What was written is not a whole backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A backup has everything but what is damaged in the store.
    #[error("the backup is written, without {0} damaged entries of the store")]
    LeftOut(u64),
    /// A backup was not restored.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// Places whose documents could not be read; each was told.
    #[error("{0} places could not be read whole")]
    Places(usize),
    /// Lines of an import were not taken; each was told.
    #[error("{0} lines were not imported")]
    Lines(u64),
    /// An import that could not go on.
    #[error("stopped at line {line}, those before it are done: {}: {}", .error.code.as_str(), .error.message.as_deref().unwrap_or("no text"))]
    Import {
        /// The first line whose fate is not known.
        line: u64,
        /// What came instead of an answer.
        error: ConnectError,
    },
    /// A signal ended a command before its work was done.
    #[error("interrupted")]
    Interrupted,
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
            Self::Call(error) | Self::Import { error, .. } if error.code == ErrorCode::Unavailable => {
                EXIT_UNAVAILABLE.into()
            }
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

/// Runs a subcommand to its end or to the first SIGTERM or SIGINT: the first process of a container ignores a signal
/// that it does not handle, and a watch has no end of its own.
async fn until_signalled(command: Command) -> Result<(), ClientError> {
    let stop = crate::shutdown::on_signals()?;
    let endless = matches!(command, Command::Doc(DocCommand::Watch { .. }));
    let interrupted = if endless { Ok(()) } else { Err(ClientError::Interrupted) };
    stop.run_until_cancelled(run(command)).await.unwrap_or(interrupted)
}

/// The code of a failed call, its text, and the first cause where the text does not have it, such as an alert of TLS.
fn told(error: &ConnectError) -> String {
    let (code, text) = (error.code.as_str(), error.message.as_deref().unwrap_or("no text"));
    let cause = std::iter::successors(error.source(), |&error| error.source()).last().map(ToString::to_string);
    match cause.filter(|cause| !text.contains(cause.as_str())) {
        Some(cause) => format!("{code}: {text}: {cause}"),
        None => format!("{code}: {text}"),
    }
}

/// An error with its causes, once each.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Runs a subcommand to its end.
///
/// # Errors
/// [`ClientError`], with the exit code to leave with.
pub async fn run(command: Command) -> Result<(), ClientError> {
    match command {
        Command::Doc(command) => doc::run(command).await,
        Command::Export { collection, api } => transfer::export(&api, collection).await,
        Command::Import { file, api } => transfer::import(&api, file).await,
        Command::Drain(args) => status::drain(&args).await,
        Command::LogLevel { level, api } => status::set_log_level(&api, level).await,
        Command::Status(args) => status::status(&args).await,
        Command::Peers(args) => status::peers(&args).await,
        Command::Backup { file, api } => backup::backup(&file, &api).await,
        Command::Restore(args) => backup::restore(&args),
        Command::Salvage(args) => salvage::salvage(&args),
        Command::Keygen(args) => print_id(&Identity::generate(&key_dir(args))?),
        Command::DeriveId { shared_key, node_id } => print_id(&derived(&shared_key, &node_id)?),
        Command::Id(args) => print_id(&Identity::load_or_generate(&key_dir(args))?),
    }
}

fn derived(shared_key: &Secret, node_id: &str) -> Result<Identity, ClientError> {
    let wrong = |error: ConfigError| ClientError::Usage(error.to_string());
    let key = SharedKey::parse("shared-key", shared_key.expose().trim()).map_err(wrong)?;
    if node_id.is_empty() {
        return Err(ClientError::Usage("--node-id: is empty".to_owned()));
    }
    Ok(Identity::derived(&key, &short_name("node-id", node_id).map_err(wrong)?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_tells_its_first_cause_once() {
        let failed = |cause: &str| {
            let source = std::io::Error::other(cause.to_owned());
            let error = ConnectError::unavailable("send failed: connection error").with_source(source);
            ClientError::from(error).to_string()
        };
        assert_eq!(failed("alert"), "unavailable: send failed: connection error: alert");
        assert_eq!(failed("connection error"), "unavailable: send failed: connection error");
        assert_eq!(ClientError::from(ConnectError::internal("no")).to_string(), "internal: no");
    }
}
