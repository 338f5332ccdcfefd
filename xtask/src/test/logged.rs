//! Runs one program with its output in a log, a sign of life on the terminal, and a deadline.
//!
//! Inputs: a command, the log it writes to, a deadline. Output: how it ended and what it printed. The program gets a
//! process group of its own, which is stopped as a whole at the deadline and when this process is asked to end: nothing
//! is left behind.

use std::{
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

use super::stage::Stage;

/// How often a running program is mentioned.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);
/// How long a program gets to end after it was asked to.
const GRACE: Duration = Duration::from_secs(20);

/// The folder of the logs.
#[derive(Debug)]
pub(crate) struct Logs {
    folder: PathBuf,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` when it was stopped at its deadline.
    status: Option<ExitStatus>,
    /// Everything it printed, standard error included.
    pub(crate) output: String,
}

impl Ended {
    /// Whether it ended by itself, with code 0.
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

impl Logs {
    /// Empties the folder of earlier logs.
    pub(crate) fn new(folder: PathBuf) -> io::Result<Self> {
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(&folder)?,
        }
        Ok(Self { folder })
    }

    /// Where the log of `stage` is.
    pub(crate) fn path(&self, stage: Stage) -> PathBuf {
        self.folder.join(format!("{}.log", stage.name()))
    }

    /// Keeps `text` as the log `name`. A failure is ignored: it is there to explain another one.
    pub(crate) fn keep(&self, name: &str, text: &str) {
        let _ = std::fs::write(self.folder.join(format!("{name}.log")), text);
    }

    /// Runs `command` to its end, or to the deadline, appending its output to the log of `stage`.
    pub(crate) async fn run(&self, stage: Stage, mut command: Command, deadline: Duration) -> Result<Ended> {
        let path = self.path(stage);
        let log = std::fs::File::options().create(true).append(true).open(&path).context("open the log")?;
        let start = log.metadata().context("read the length of the log")?.len();
        command.stdin(Stdio::null()).stderr(log.try_clone().context("share the log")?).stdout(log).process_group(0);
        let program = command.as_std().get_program().to_owned();
        let mut child = command.spawn().with_context(|| format!("start {}", program.display()))?;
        let status = wait(&mut child, &path, deadline).await?;
        let output = std::fs::read(&path).context("read the log")?;
        let own = output.get(usize::try_from(start).unwrap_or(0)..).unwrap_or_default();
        Ok(Ended { status, output: String::from_utf8_lossy(own).into_owned() })
    }
}

async fn wait(child: &mut Child, log: &Path, deadline: Duration) -> Result<Option<ExitStatus>> {
    let begun = Instant::now();
    let mut sign = tokio::time::interval_at(tokio::time::Instant::now() + SIGN_OF_LIFE, SIGN_OF_LIFE);
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for interrupts")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for requests to end")?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(Some(status.context("wait for the program")?)),
            _ = sign.tick() => eprintln!("      {} s: {}", begun.elapsed().as_secs(), last_line(log)),
            () = tokio::time::sleep(deadline.saturating_sub(begun.elapsed())) => {
                eprintln!("      stopped after {} s without an end", begun.elapsed().as_secs());
                stop(child).await?;
                return Ok(None);
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    stop(child).await?;
    bail!("interrupted")
}

/// Asks the whole group to end, and makes it end when it does not.
async fn stop(child: &mut Child) -> Result<()> {
    let Some(id) = child.id().and_then(|id| i32::try_from(id).ok()) else { return Ok(()) };
    // An error means that the group is gone already.
    let _ = killpg(Pid::from_raw(id), Signal::SIGTERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        child.wait().await.context("wait for the killed program")?;
    }
    Ok(())
}

/// The newest line of a log, cut to a terminal's width.
fn last_line(log: &Path) -> String {
    const WIDTH: usize = 100;
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    // Between cargo's lines for people are its messages for programs.
    let for_people = |line: &&str| !line.trim().is_empty() && !line.starts_with("{\"reason\"");
    let line = text.lines().rev().find(for_people).unwrap_or("no output yet");
    line.trim().chars().take(WIDTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(name: &str) -> Logs {
        Logs::new(std::env::temp_dir().join(format!("peat-logs-{name}-{}", std::process::id()))).unwrap()
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn output_of_both_streams_is_kept_in_the_log() {
        let logs = logs("both");
        let ended =
            logs.run(Stage::Unit, shell("echo one; echo two >&2; exit 3"), Duration::from_secs(60)).await.unwrap();
        assert!(!ended.success());
        assert_eq!(ended.output, "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(logs.path(Stage::Unit)).unwrap(), "one\ntwo\n");
        std::fs::remove_dir_all(&logs.folder).unwrap();
    }

    #[tokio::test]
    async fn a_program_past_its_deadline_is_stopped_with_its_children() {
        let logs = logs("deadline");
        let ended =
            logs.run(Stage::Unit, shell("sleep 600 & echo $!; wait"), Duration::from_millis(300)).await.unwrap();
        assert!(!ended.success());
        let child: i32 = ended.output.trim().parse().unwrap();
        // A dead child may linger as a zombie of whoever adopted it, so its state is read, not only its existence.
        let gone = |stat: io::Result<String>| stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z"));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !gone(std::fs::read_to_string(format!("/proc/{child}/stat"))) {
            assert!(Instant::now() < deadline, "the child {child} still runs");
            tokio::task::yield_now().await;
        }
        std::fs::remove_dir_all(&logs.folder).unwrap();
    }
}
