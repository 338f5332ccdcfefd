//! Test programs: built once, then run one by one.
//!
//! Input: the workspace. Output: [`Suites`], the programs that cargo says it built, and the [`Outcome`] of running
//! those of a stage. A test that fails where time and the machine have a say is run once more, alone, and named as flaky
//! if it passes. Does not know what a test does; the prefix of its file name is its tier.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde::Deserialize;
use tokio::process::Command;

use super::{
    count::{self, Counts},
    logged::{Ended, Logs},
    stage::Stage,
    summary::Outcome,
};

/// Features that switch suites on which a plain `cargo test` leaves alone, because they need more than a compiler.
pub(crate) const FEATURES: &str = "peat-tests/real-pods,peat-cluster/real-pods";

/// More failures of one program than this are no accident, and none of them is run again.
const ACCIDENTS: usize = 2;

/// A built test program.
#[derive(Debug)]
struct Program {
    name: String,
    stage: Stage,
    executable: PathBuf,
    /// Where cargo would run it: the folder of its crate.
    folder: PathBuf,
}

impl Program {
    /// Whether time and the machine have a say in its tests. The cores know neither, and what the simulator finds comes
    /// from a seed: run again, it would only be lucky.
    fn is_timed(&self) -> bool {
        self.stage != Stage::Simulator && !self.folder.ends_with("core")
    }

    fn command(&self, env: &[(String, OsString)]) -> Command {
        let mut command = Command::new(&self.executable);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        // A failure is read from its message; forty frames of the harness below it hide that.
        command.env("RUST_BACKTRACE", "0").envs(env.iter().cloned());
        command
    }

    /// Runs each of the few failed tests once more, alone.
    async fn again(&self, counts: &mut Counts, env: &[(String, OsString)], logs: &Logs) -> Result<()> {
        if !self.is_timed() || counts.failed.len() > ACCIDENTS {
            return Ok(());
        }
        for failure in std::mem::take(&mut counts.failed) {
            let test = failure.strip_prefix(&format!("{}: ", self.name)).unwrap_or(&failure);
            eprintln!("      {failure} failed; once more, alone");
            let mut command = self.command(env);
            command.args(["--exact", test]);
            let ended = logs.run(self.stage, command, self.stage.deadline()).await?;
            // A name that is none runs nothing, and has not passed.
            if count::tests(&ended.output, &self.name, ended.success()).passed == 1 {
                counts.passed += 1;
                counts.flaky.push(failure);
            } else {
                counts.failed.push(failure);
            }
        }
        Ok(())
    }
}

/// Every test program of the workspace.
#[derive(Debug)]
pub(crate) struct Suites {
    programs: Vec<Program>,
}

impl Suites {
    /// Compiles all test programs, and the binaries that tests start.
    pub(crate) async fn build(root: &Path, logs: &Logs) -> Result<(Ended, Self)> {
        let mut command = Command::from(crate::cargo::command());
        command.current_dir(root).args([
            "test",
            "--locked",
            "--workspace",
            "--bins",
            "--lib",
            "--tests",
            "--features",
            FEATURES,
        ]);
        command.args(["--no-run", "--message-format", "json-render-diagnostics"]);
        let ended = logs.run(Stage::Build, command, Stage::Build.deadline()).await?;
        let mut programs: Vec<Program> = ended.output.lines().filter_map(program).collect();
        programs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((ended, Self { programs }))
    }

    /// Runs the programs of `stage`, or only their tests whose name contains `filter`, with `env` added to the
    /// environment.
    pub(crate) async fn run(
        &self,
        stage: Stage,
        filter: Option<&str>,
        env: &[(String, OsString)],
        logs: &Logs,
    ) -> Result<Outcome> {
        let mut counts = Counts::default();
        for program in self.programs.iter().filter(|program| program.stage == stage) {
            let mut command = program.command(env);
            command.args(filter);
            let ended = logs.run(stage, command, stage.deadline()).await?;
            let mut ran = count::tests(&ended.output, &program.name, ended.success());
            program.again(&mut ran, env, logs).await?;
            counts.add(ran);
        }
        Ok(Outcome::Ran(counts))
    }
}

/// The parts of a line of cargo's JSON that are needed here.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

/// The test program that a line of cargo's output announces, if it does.
fn program(line: &str) -> Option<Program> {
    let message: Message = serde_json::from_str(line).ok()?;
    let (target, executable) = (message.target?, message.executable?);
    let folder = message.manifest_path.parent()?.to_owned();
    if message.reason != "compiler-artifact" || !message.profile?.test {
        return None;
    }
    let crate_name = folder.file_name()?.to_string_lossy().into_owned();
    let name = if target.kind.iter().any(|kind| kind == "test") {
        target.name.clone()
    } else {
        format!("{crate_name}/{}", target.name)
    };
    Some(Program { name, stage: Stage::of(&target.name), executable, folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_with_tests_becomes_a_program() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","target":{"name":"sim_loss","kind":["test"]},
            "profile":{"test":true},"executable":"/t/sim_loss-1"}"#;
        let program = program(line).unwrap();
        assert_eq!(
            (program.name.as_str(), program.stage, program.folder.as_path()),
            ("sim_loss", Stage::Simulator, Path::new("/w/tests"))
        );
    }

    #[test]
    fn a_binary_and_a_diagnostic_are_not_programs() {
        let binary = r#"{"reason":"compiler-artifact","manifest_path":"/w/node/Cargo.toml","target":{"name":"peat-node","kind":["bin"]},
            "profile":{"test":false},"executable":"/t/peat-node"}"#;
        assert!(program(binary).is_none());
        assert!(program("   Compiling peat-node v0.1.0").is_none());
    }

    #[tokio::test]
    async fn a_failure_that_passes_alone_is_flaky_and_a_name_that_runs_nothing_is_not() {
        let logs = tempfile::tempdir().unwrap();
        let logs = Logs::new(logs.path().to_owned()).unwrap();
        let this = std::env::current_exe().unwrap();
        let program =
            |stage| Program { name: "p".to_owned(), stage, executable: this.clone(), folder: PathBuf::from(".") };
        let passes = "p: test::count::tests::a_failure_is_named".to_owned();
        let failed = Counts { failed: vec![passes.clone(), "p: failure 2".to_owned()], ..Counts::default() };

        let mut timed = failed.clone();
        program(Stage::Unit).again(&mut timed, &[], &logs).await.unwrap();
        assert_eq!((timed.passed, timed.flaky), (1, vec![passes]));
        assert_eq!(timed.failed, ["p: failure 2"]);

        let mut seeded = failed.clone();
        program(Stage::Simulator).again(&mut seeded, &[], &logs).await.unwrap();
        assert_eq!(seeded, failed);
    }
}
