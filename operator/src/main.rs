//! The binary: reads flags, starts telemetry, runs the operator until SIGTERM or SIGINT, cleans up
//! after one, or checks one.
//!
//! Exit codes: 0 after a shutdown that was asked for, 64 (EX_USAGE) for configuration that cannot work, 1 otherwise.

use std::process::ExitCode;

use anyhow::Context;
use peat_operator::cli::{self, Command, LogFormat};
use peat_operator::{Listeners, check, cleanup, run, shutdown, telemetry};

fn main() -> ExitCode {
    match cli::from_command_line().map(start) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            tracing::error!(error = format!("{error:#}"), "peat-operator ends");
            ExitCode::FAILURE
        }
        Err(code) => ExitCode::from(code),
    }
}

#[tokio::main]
async fn start(command: Command) -> anyhow::Result<()> {
    match &command {
        Command::Run(config) => telemetry::init(&config.log_level, config.log_format),
        Command::Cleanup(_) | Command::Check(_) => telemetry::init("info", LogFormat::Json),
    }
    let client = kube::Client::try_default().await.context("find the API server")?;
    match command {
        Command::Cleanup(args) => Ok(cleanup::run(args, client).await?),
        Command::Check(args) => Ok(check::run(args, client).await?),
        Command::Run(config) => {
            let listeners = Listeners::bind(&config).await?;
            Ok(run(config, listeners, client, shutdown::on_signal()?).await?)
        }
    }
}
