//! Processes that are measured: started, looked at in `/proc`, ended with the value.
//!
//! Inputs: a command; outputs: its memory, and the end of its log when it fails. What it does not do: know what it
//! starts.

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Wide; every start ends as soon as the process answers.
const START: Duration = Duration::from_secs(60);
/// How long a process may take to end after SIGTERM before it is killed.
const STOP: Duration = Duration::from_secs(20);

/// A running process; it is killed with this value.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    name: &'static str,
    log: PathBuf,
    /// Dropped after the process is gone.
    _logs: TempDir,
    began: Instant,
}

impl Process {
    /// Starts `command`; both its outputs go to a log.
    pub(super) fn start(name: &'static str, command: &mut Command) -> Result<Self> {
        let logs = tempfile::tempdir()?;
        let log = logs.path().join("log");
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { child, name, log, _logs: logs, began })
    }

    /// Waits until `probe` says something, and returns the time since the start.
    pub(super) async fn until<T>(&mut self, probe: impl AsyncFn() -> Option<T>) -> Result<(T, Duration)> {
        loop {
            if let Some(found) = probe().await {
                return Ok((found, self.began.elapsed()));
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}): {}", self.name, self.last_words());
            }
            if self.began.elapsed() > START {
                bail!("{} does not answer within {START:?}: {}", self.name, self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Resident memory in MiB.
    pub(super) fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        resident(&status)
    }

    /// Processor time it has used, to a hundredth of a second. Unlike wall-clock time it hardly changes when others use
    /// the machine.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        processor_time(&std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?)
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub(super) async fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).context("send SIGTERM")?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > STOP {
                bail!("{} does not end within {STOP:?}: {}", self.name, self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `VmRSS` of a text like `/proc/<pid>/status`, in MiB.
pub(super) fn resident(status: &str) -> Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

/// `utime` and `stime` of a text like `/proc/<pid>/stat`, together. The kernel counts them in hundredths of a second
/// (`USER_HZ`).
fn processor_time(stat: &str) -> Result<Duration> {
    // The name may hold anything, so counting begins behind it.
    let (_, rest) = stat.rsplit_once(") ").context("no name in /proc/<pid>/stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |index: usize| -> Result<u64> { Ok(fields.get(index).context("a short /proc/<pid>/stat")?.parse()?) };
    Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}

/// [`resident`] of another process of this machine: one whose program is `name` and whose command line has `word` in
/// it.
pub(super) fn resident_of(name: &str, word: &str) -> Result<Option<f64>> {
    for entry in std::fs::read_dir("/proc")? {
        let process = entry?.path();
        // Processes come and go while one looks.
        let Ok(line) = std::fs::read_to_string(process.join("cmdline")) else { continue };
        let program = line.split('\0').next().unwrap_or_default();
        if program.rsplit('/').next() == Some(name) && line.contains(word) {
            return std::fs::read_to_string(process.join("status")).ok().map(|text| resident(&text)).transpose();
        }
    }
    Ok(None)
}

/// TCP ports of loopback that were free a moment ago, all different.
pub(super) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    for _ in 0..N {
        held.push(TcpListener::bind("127.0.0.1:0")?);
    }
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// A UDP port of loopback that was free a moment ago.
pub(super) fn free_udp_port() -> Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_status_of_a_process() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\nThreads: 3").unwrap(), 2.0);
        assert!(resident("Name:\tzombie").is_err());
    }

    #[test]
    fn processor_time_is_that_of_user_and_kernel() {
        let stat = "42 (a (odd) name) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 9 0 100 1 1";
        assert_eq!(processor_time(stat).unwrap(), Duration::from_secs(2));
    }

    #[tokio::test]
    async fn a_process_that_ends_at_once_is_reported_with_its_last_words() -> Result<()> {
        let mut process = Process::start("sh", Command::new("sh").args(["-c", "echo no such disk >&2; exit 3"]))?;
        let error = process.until(async || None::<()>).await.unwrap_err().to_string();
        assert!(error.contains("no such disk") && error.contains('3'), "{error}");
        Ok(())
    }
}
