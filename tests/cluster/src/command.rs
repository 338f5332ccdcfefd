//! Runs an external program to its end and keeps what it said.
//!
//! Input: a program, its arguments and, if wanted, standard input. Output: standard output as text, or a
//! [`CommandError`] with the exit status and the end of standard error. Does not start long-lived processes
//! (`process.rs` does).

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;

/// How many bytes of standard error an error message keeps; its end names the cause.
const STDERR_KEPT: usize = 2_000;

/// An external program could not be run, or ended with a failure.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started: usually it is not installed.
    #[error("start {line}")]
    Start {
        /// The command line.
        line: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// It ran and reported failure.
    #[error("{line} ended with {status}: {stderr}")]
    Failed {
        /// The command line.
        line: String,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The end of its standard error, or of its standard output when that is empty.
        stderr: String,
    },
}

/// One run of an external program.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    program: PathBuf,
    args: Vec<OsString>,
    dir: Option<PathBuf>,
    env: Vec<(&'static str, OsString)>,
    input: Option<Vec<u8>>,
}

impl Run {
    /// A run of `program`, a path or a name looked up in `PATH`.
    pub(crate) fn new(program: impl AsRef<Path>) -> Self {
        Self { program: program.as_ref().to_owned(), args: Vec::new(), dir: None, env: Vec::new(), input: None }
    }

    /// Adds arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets the working folder.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.to_owned());
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name, value.as_ref().to_owned()));
        self
    }

    /// Gives it `input` on standard input; without this, standard input is empty.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Runs it and returns its standard output.
    pub(crate) async fn output(self) -> Result<String, CommandError> {
        let line = self.line();
        let mut command = tokio::process::Command::new(&self.program);
        command.args(&self.args).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let start_error = |source| CommandError::Start { line: line.clone(), source };
        let mut child = command.spawn().map_err(start_error)?;
        let feed = feed(child.stdin.take(), self.input);
        let (ended, ()) = tokio::join!(child.wait_with_output(), feed);
        let ended = ended.map_err(start_error)?;
        let stdout = String::from_utf8_lossy(&ended.stdout).into_owned();
        if ended.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&ended.stderr);
        let said = if stderr.trim().is_empty() { stdout.trim() } else { stderr.trim() };
        Err(CommandError::Failed { line, status: ended.status, stderr: tail(said, STDERR_KEPT).to_owned() })
    }

    fn line(&self) -> String {
        let mut line = self.program.display().to_string();
        for arg in &self.args {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        line
    }
}

/// Writes `input` and closes the pipe. A program that ends without reading all of it says so by its exit status.
async fn feed(stdin: Option<tokio::process::ChildStdin>, input: Option<Vec<u8>>) {
    if let (Some(mut stdin), Some(input)) = (stdin, input) {
        let _ = stdin.write_all(&input).await;
    }
}

/// The last `bytes` of `text`, cut at a character.
pub(crate) fn tail(text: &str, bytes: usize) -> &str {
    let mut start = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_command_is_reported_with_what_it_said() {
        let error = Run::new("sh").args(["-c", "echo no such thing >&2; exit 3"]).output().await.unwrap_err();
        assert!(error.to_string().ends_with("no such thing"), "{error}");
    }

    #[tokio::test]
    async fn a_command_receives_its_input() {
        assert_eq!(Run::new("cat").input("hello").output().await.unwrap(), "hello");
    }

    #[test]
    fn the_tail_of_a_text_is_cut_at_a_character() {
        assert_eq!(tail("aöb", 2), "b");
    }
}
