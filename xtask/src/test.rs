//! `cargo xtask test`: every check and suite that this machine can run, and one summary.
//!
//! Inputs: the stages asked for (all by default), the machine (root or not, Go or not) and `PEAT_CLUSTER`. Outputs:
//! progress on standard error, a log per stage under `target/test-logs`, a summary on standard output whose last line
//! is `N passed, N failed`, and an error when anything failed. What cannot run here is listed as left out and never
//! counted as passed.

mod count;
mod logged;
mod pods;
mod stage;
mod suite;
mod summary;

use std::{ffi::OsString, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::stage::Stage;
use self::{
    logged::Logs,
    suite::Suites,
    summary::{Outcome, Report, Summary},
};

/// Which part of the tests to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run this stage only; may be given more than once.
    #[arg(long, value_enum)]
    only: Vec<Stage>,
    /// Run only the tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
}

impl Args {
    /// The arguments that run one stage.
    pub(crate) fn one(stage: Stage) -> Self {
        Self { only: vec![stage], filter: None }
    }
}

/// Runs the stages in the order of [`Stage::ALL`], prints the summary, and fails when a stage failed.
pub(crate) async fn run(args: Args) -> Result<()> {
    let root = crate::root()?;
    let logs = Logs::new(root.join("target/test-logs")).context("make the folder of the logs")?;
    let wanted: Vec<Stage> =
        Stage::ALL.iter().copied().filter(|stage| args.only.is_empty() || args.only.contains(stage)).collect();
    let mut runner = Runner { root, logs, filter: args.filter, suites: None };
    let mut summary = Summary::default();
    for (index, &stage) in wanted.iter().enumerate() {
        eprintln!("[{}/{}] {}: {}", index + 1, wanted.len(), stage.name(), stage.purpose());
        let begun = Instant::now();
        let outcome = runner.stage(stage).await.unwrap_or_else(|error| Outcome::broken(stage.name(), &error));
        let report = Report { stage, took: begun.elapsed(), outcome, log: runner.logs.path(stage) };
        eprintln!("      {}", report.line());
        summary.add(report);
    }
    summary.print().context("print the summary")?;
    if summary.failed() > 0 {
        std::process::exit(1);
    }
    Ok(())
}

/// What the stages share.
struct Runner {
    root: PathBuf,
    logs: Logs,
    filter: Option<String>,
    /// The test programs, once built.
    suites: Option<Suites>,
}

impl Runner {
    async fn stage(&mut self, stage: Stage) -> Result<Outcome> {
        match stage {
            Stage::Format => self.cargo(stage, &["fmt", "--all", "--check", "--", "--color=never"]).await,
            Stage::Lints => {
                // Every crate is looked at, so that one run shows all there is to mend.
                let mut lints = vec!["clippy", "--locked", "--keep-going", "--workspace", "--all-targets"];
                lints.extend(["--features", suite::FEATURES, "--", "-D", "warnings"]);
                self.cargo(stage, &lints).await
            }
            Stage::Generated => self.xtask(stage, &["generate", "--check"]).await,
            Stage::Policy => self.xtask(stage, &["policy"]).await,
            Stage::Build => self.build().await,
            Stage::Documentation => self.documentation().await,
            Stage::Unit | Stage::Simulator | Stage::Nodes => self.programs(stage, &[]).await,
            Stage::ControlPlane | Stage::Chart => match control_plane_missing().await? {
                Some(reason) => Ok(Outcome::LeftOut(reason)),
                None => self.programs(stage, &[]).await,
            },
            Stage::LocalClusters => match pods::local_is_impossible() {
                Some(reason) => Ok(Outcome::LeftOut(reason)),
                None => self.programs(stage, &[]).await,
            },
            Stage::Pods => pods::run(self).await,
        }
    }

    /// One cargo command that passes or fails as a whole.
    async fn cargo(&self, stage: Stage, args: &[&str]) -> Result<Outcome> {
        let mut command = tokio::process::Command::from(crate::cargo::command());
        command.current_dir(&self.root).args(args);
        self.whole(stage, command).await
    }

    /// One job of this program.
    async fn xtask(&self, stage: Stage, args: &[&str]) -> Result<Outcome> {
        let mut command = tokio::process::Command::new(std::env::current_exe().context("find this program")?);
        command.current_dir(&self.root).args(args);
        self.whole(stage, command).await
    }

    async fn whole(&self, stage: Stage, command: tokio::process::Command) -> Result<Outcome> {
        let ended = self.logs.run(stage, command, stage.deadline()).await?;
        Ok(Outcome::whole(stage.name(), ended.success()))
    }

    async fn build(&mut self) -> Result<Outcome> {
        let (ended, suites) = Suites::build(&self.root, &self.logs).await?;
        self.suites = Some(suites);
        Ok(Outcome::whole(Stage::Build.name(), ended.success()))
    }

    async fn documentation(&self) -> Result<Outcome> {
        let mut command = tokio::process::Command::from(crate::cargo::command());
        command.current_dir(&self.root).args(["test", "--locked", "--workspace", "--doc", "--no-fail-fast"]);
        // As the suites were built, or all of it would be built again.
        command.args(["--features", suite::FEATURES]);
        let ended = self.logs.run(Stage::Documentation, command, Stage::Documentation.deadline()).await?;
        Ok(Outcome::Ran(count::tests(&ended.output, "doc", ended.success())))
    }

    /// The test programs of a stage, one after the other, with every failure counted. `env` is added to their
    /// environment.
    async fn programs(&mut self, stage: Stage, env: &[(String, OsString)]) -> Result<Outcome> {
        if self.suites.is_none() {
            self.build().await?;
        }
        let Some(suites) = self.suites.as_ref() else { bail!("the test programs were not built") };
        suites.run(stage, self.filter.as_deref(), env, &self.logs).await
    }
}

/// Why suites that need an API server cannot run here; `None` when its binaries are there. Builds them when they are
/// not.
async fn control_plane_missing() -> Result<Option<String>> {
    use peat_cluster::binaries::{Binary, BinaryCache, BinaryError};
    let wanted = [Binary::CONTROL_PLANE, &[Binary::Helm, Binary::Kubectl]].concat();
    match BinaryCache::from_env()?.ensure(&wanted).await {
        Ok(_) => Ok(None),
        Err(error @ (BinaryError::NoGo { .. } | BinaryError::NoCache)) => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
