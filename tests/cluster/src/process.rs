//! Long-lived processes: those that end with this process, and those that outlive it and are found again.
//!
//! Input: a program with arguments, a folder and a log file. Output: a [`Tied`] process or a recorded [`ProcessId`]. A
//! process is only ever killed when its start time is still the recorded one, so that a reused id is left alone. Does
//! not restart anything.

use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::files::{self, FileError};

/// Runs `"$@"` and kills it when standard input ends, which happens however the owner of the other end ends. The shell
/// stays the parent, so the id it kills cannot have been reused. (A parent-death signal would do less: it fires when
/// the *thread* that started the process ends, and test threads end early.)
const TIED: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null & server=$!
{ cat <&3 >/dev/null; kill -KILL "$server"; } 2>/dev/null & watcher=$!
wait "$server"; code=$?
kill "$watcher" 2>/dev/null
exit "$code"
"#;

/// Removes the folder `$1` when standard input ends. Processes that end at the same moment may still write, hence the
/// second try.
const JANITOR: &str = r#"
cat >/dev/null
rm -rf -- "$1" 2>/dev/null || { sleep 1; rm -rf -- "$1"; }
"#;

/// A process could not be started or found again.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started.
    #[error("start {program}")]
    Start {
        /// The program.
        program: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// Its log or its record could not be handled.
    #[error("keep the record of {program}")]
    Record {
        /// The program.
        program: String,
        /// Which file.
        source: FileError,
    },
}

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    /// Short name: of the log file and of the record.
    pub(crate) name: &'static str,
    /// The program and its arguments, with any prefix such as `nsenter`.
    pub(crate) line: Vec<String>,
    /// Working folder.
    pub(crate) dir: PathBuf,
    /// Where standard output and standard error go.
    pub(crate) log: PathBuf,
}

/// A process that is killed when this value is dropped, and when this process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Tied {
    shell: Child,
    /// The pipe whose closing ends the process.
    leash: Option<ChildStdin>,
}

impl Tied {
    /// Starts `program`.
    pub(crate) fn start(program: &Program) -> Result<Self, ProcessError> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("sh");
        command.args(["-c", TIED, "tied"]).args(&program.line).stdin(Stdio::piped());
        // A group of its own: Ctrl-C at a terminal reaches this process, whose end then takes the others with it in
        // order.
        command.process_group(0);
        let mut shell = spawn(command, program)?;
        let leash = shell.stdin.take();
        Ok(Self { shell, leash })
    }

    /// Starts a process that removes `folder` when this value is dropped or this process ends.
    pub(crate) fn janitor(folder: &Path) -> Result<Self, ProcessError> {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new("sh");
        command.args(["-c", JANITOR, "janitor"]).arg(folder).stdin(Stdio::piped()).process_group(0);
        let started = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut shell = started.map_err(|source| ProcessError::Start { program: "sh".to_owned(), source })?;
        let leash = shell.stdin.take();
        Ok(Self { shell, leash })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<String> {
        self.shell.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        drop(self.leash.take());
        let _ = self.shell.wait();
    }
}

/// A process by id and start time, which together are never reused while the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessId {
    /// The id.
    pub(crate) pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks since boot.
    started: u64,
}

impl ProcessId {
    /// The process that has `pid` now, if there is one and it is no zombie.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = parse_stat(&stat)?;
        (state != 'Z').then_some(Self { pid, started })
    }

    /// Whether it still runs.
    pub(crate) fn runs(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends SIGKILL if it still runs.
    pub(crate) fn kill(self) {
        if self.runs() {
            // Ending in between is what was wanted.
            let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        }
    }

    /// Reads a record written by [`start_recorded`]; `None` when it is missing or unreadable.
    pub(crate) fn recorded(record: &Path) -> Option<Self> {
        let text = files::read(record).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    /// Writes the record that [`ProcessId::recorded`] reads.
    pub(crate) fn record(self, record: &Path) -> Result<(), FileError> {
        files::write(record, format!("{} {}\n", self.pid, self.started))
    }
}

/// Starts `program` in a session of its own, so that it outlives this process, and writes its id to `<records>/<name>`.
pub(crate) fn start_recorded(program: &Program, records: &Path) -> Result<ProcessId, ProcessError> {
    let record_error = |source| ProcessError::Record { program: program.name.to_owned(), source };
    files::create_dir(records).map_err(record_error)?;
    // `setsid` only replaces itself by the program, so the id is the program's.
    let mut command = Command::new("setsid");
    command.args(&program.line).stdin(Stdio::null());
    let mut child = spawn(command, program)?;
    let pid = child.id().cast_signed();
    let id = ProcessId::of(pid);
    // Reaps it if it ends while this process lives, so that it is not taken for a running one.
    std::thread::spawn(move || child.wait());
    let Some(id) = id else {
        let source = std::io::Error::other(format!("it ended at once; see {}", program.log.display()));
        return Err(ProcessError::Start { program: program.name.to_owned(), source });
    };
    id.record(&records.join(program.name)).map_err(record_error)?;
    Ok(id)
}

fn spawn(mut command: Command, program: &Program) -> Result<Child, ProcessError> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(&program.log);
    let log = files::at("open", &program.log, log);
    let log = log.map_err(|source| ProcessError::Record { program: program.name.to_owned(), source })?;
    let start_error = |source| ProcessError::Start { program: program.name.to_owned(), source };
    let errors = log.try_clone().map_err(start_error)?;
    command.current_dir(&program.dir).stdout(log).stderr(errors).spawn().map_err(start_error)
}

/// State and start time from the text of `/proc/<pid>/stat`, see proc_pid_stat(5). The command name (field 2) is in
/// parentheses and may itself hold spaces and parentheses, so fields are counted after the last one.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::wait_for;
    use std::time::Duration;

    fn program(script: &str) -> Program {
        let line = ["sh", "-c", script].map(str::to_owned).to_vec();
        Program { name: "test", line, dir: std::env::temp_dir(), log: PathBuf::from("/dev/null") }
    }

    #[test]
    fn a_command_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let rest: Vec<String> = (4..=30).map(|field| field.to_string()).collect();
        let stat = format!("7 (a b) c) S {}", rest.join(" "));
        assert_eq!(parse_stat(&stat), Some(('S', 22)));
    }

    #[test]
    fn a_reused_id_is_not_the_recorded_process() {
        let this = ProcessId::of(std::process::id().cast_signed()).unwrap();
        let earlier = ProcessId { started: this.started - 1, ..this };
        assert!(this.runs() && !earlier.runs());
    }

    #[tokio::test]
    async fn a_tied_process_ends_with_its_owner() {
        let out = std::env::temp_dir().join(format!("peat-tied-{}", std::process::id()));
        let tied = Tied::start(&program(&format!("echo $$ > {}; exec sleep 600", out.display()))).unwrap();
        let id = wait_for(Duration::from_secs(10), "the id", async || {
            let text = std::fs::read_to_string(&out).map_err(|error| error.to_string())?;
            text.trim().parse().ok().and_then(ProcessId::of).ok_or(text)
        });
        let id = id.await.unwrap();
        drop(tied);
        wait_for(Duration::from_secs(10), "its end", async || if id.runs() { Err("runs") } else { Ok(()) })
            .await
            .unwrap();
        std::fs::remove_file(out).unwrap();
    }

    #[tokio::test]
    async fn a_tied_process_that_fails_says_how() {
        let mut tied = Tied::start(&program("exit 3")).unwrap();
        let status = wait_for(Duration::from_secs(10), "its end", async || tied.ended().ok_or("runs")).await.unwrap();
        assert_eq!(status, "exit status: 3");
    }
}
