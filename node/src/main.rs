//! `peat-node`: reads the command line and hands over to the node or to the client.

use anyhow::Context as _;
use clap::error::ErrorKind;
use peat_node::cli::UsageError;
use peat_node::client::{self, EXIT_USAGE};
use peat_node::config::Config;
use peat_node::{cli, run, shutdown, telemetry};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// Work that nobody waits for any more has this long to end.
const LAST_WORK: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let parsed = match cli::parse(std::env::args_os().collect(), |name| std::env::var_os(name)) {
        Ok(parsed) => parsed,
        Err(UsageError::Arguments(error)) => {
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
                return if error.print().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            }
            let _ = writeln!(std::io::stderr(), "peat-node: {}", cli::one_line(&error));
            return ExitCode::from(EXIT_USAGE);
        }
        Err(UsageError::File(error)) => return refused(error),
    };
    if let Some(command) = parsed.cli.command {
        return client::main(command);
    }
    let result = match Config::read(parsed) {
        Ok(config) if config.print => write!(std::io::stdout(), "{config}").context("print the configuration"),
        Ok(config) => node(config),
        Err(error) => return refused(error),
    };
    let Err(error) = result else { return ExitCode::SUCCESS };
    let _ = writeln!(std::io::stderr(), "peat-node: {error:#}");
    let is_usage = error.downcast_ref::<run::RunError>().is_some_and(run::RunError::is_of_configuration);
    if is_usage { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
}

/// A configuration that cannot be used, as one line.
fn refused(error: impl std::error::Error + Send + Sync + 'static) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "peat-node: {:#}", anyhow::Error::from(error));
    ExitCode::from(EXIT_USAGE)
}

fn node(config: Config) -> anyhow::Result<()> {
    telemetry::install(&config.log).context("install the log")?;
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    // Both the mesh and the membership stream use it; a second installation cannot happen here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("start the runtime")?;
    let ended = runtime.block_on(async {
        let stop = shutdown::on_signals().context("listen for signals")?;
        run::run(config, stop).await.context("run the node")
    });
    // What still runs owes nothing: the system may look up the name of a peer, or of the collector of traces, for long.
    runtime.shutdown_timeout(LAST_WORK);
    ended
}
