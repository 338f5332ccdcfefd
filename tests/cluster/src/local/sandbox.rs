//! A set of namespaces whose processes end together.
//!
//! Input: a network namespace and, for a node, the folders it sees at fixed paths. Output: a [`Sandbox`] that programs
//! are started in. It has a PID namespace of its own: killing its first process makes the kernel kill every other one,
//! containers included, however they were started; and a mount namespace of its own: with the last process go all
//! mounts of volumes and containers. So tear-down is one signal, and also works after a crash of whatever started them.
//! Does not know what runs inside.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::files::{self, FileError};
use crate::launcher::Launcher;
use crate::process::{ProcessError, ProcessId, Program, start_recorded};
use crate::state::StateDir;
use crate::wait::{WaitError, wait_for};

/// The first process of a sandbox: sets up its mounts, tells its process id, then collects processes that lost their
/// parent.
///
/// Arguments: the file for the id, then pairs of what is mounted where. `/proc/self/stat` is read before `/proc` is
/// mounted anew, so the id is the host's. `-n` keeps `mount` from taking notes in the host's `/run`. Mounts do not
/// spread to the host, but do spread inside, as kubelet and containers expect.
const INIT: &str = r#"
set -eu
read -r id rest < /proc/self/stat
ready=$1; shift
mount -n -t proc proc /proc
mount -n --make-rshared /
while [ $# -gt 0 ]; do
  case $1 in
    tmpfs) mount -n -t tmpfs -o mode=755,nosuid,nodev tmpfs "$2" ;;
    *) mount -n --bind "$1" "$2" ;;
  esac
  shift 2
done
echo "$id" > "$ready.new"; mv "$ready.new" "$ready"
while :; do sleep 3600 & wait; done
"#;
/// Where the programs of a node are; a root shell often lacks the second half.
const PATH: &str = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
const STARTED: Duration = Duration::from_secs(30);
/// Killing a node with many pods takes the kernel a moment.
const ENDED: Duration = Duration::from_secs(30);

/// A sandbox could not be started or ended.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Its first process.
    #[error("start a sandbox")]
    Start(#[from] ProcessError),
    /// Its folders or records.
    #[error("prepare a sandbox")]
    Files(#[from] FileError),
    /// It did not report that it is ready.
    #[error("wait for a sandbox (see {log})")]
    NotReady {
        /// The log of its first process.
        log: String,
        /// What was seen last.
        source: WaitError,
    },
    /// Its processes did not end.
    #[error("end a sandbox")]
    StillRuns(#[from] WaitError),
}

/// What is mounted in a sandbox before anything runs in it.
#[derive(Debug, Clone)]
pub(crate) enum Mount {
    /// An empty file system in memory.
    Memory(&'static str),
    /// A folder of the host, seen at another path.
    Bind(PathBuf, &'static str),
}

/// Running namespaces that programs can be started in.
#[derive(Debug, Clone)]
pub(crate) struct Sandbox {
    /// The first process, by its id on the host.
    init: ProcessId,
}

impl Sandbox {
    /// Starts the sandbox `name` in the network namespace kept by `netns`.
    pub(crate) async fn start(
        state: &StateDir,
        name: &'static str,
        netns: &Path,
        mounts: &[Mount],
    ) -> Result<Self, SandboxError> {
        let ready = state.path().join(format!("{name}.init"));
        files::remove(&ready)?;
        let mut line = vec!["nsenter".to_owned(), format!("--net={}", netns.display())];
        line.extend(
            ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child=KILL"].map(str::to_owned),
        );
        line.extend(["sh", "-c", INIT, "init"].map(str::to_owned));
        line.push(ready.display().to_string());
        for mount in mounts {
            let (source, target) = match mount {
                Mount::Memory(target) => ("tmpfs".to_owned(), target),
                Mount::Bind(source, target) => (source.display().to_string(), target),
            };
            files::create_dir(Path::new(target))?;
            line.extend([source, (*target).to_owned()]);
        }
        let program = Program { name, line, dir: state.path().to_owned(), log: state.log(name) };
        let outer = start_recorded(&program, &state.processes())?;
        let started = wait_for(STARTED, "its first process", async || {
            if !outer.runs() {
                return Ok(None);
            }
            let id = files::read(&ready).map_err(|error| error.to_string())?;
            id.trim().parse().ok().and_then(ProcessId::of).map(Some).ok_or(id)
        });
        let log = state.log(name).display().to_string();
        match started.await {
            Ok(Some(init)) => Ok(Self { init }),
            Ok(None) => {
                let how = std::io::Error::other(files::read(&state.log(name)).unwrap_or_default());
                Err(ProcessError::Start { program: name.to_owned(), source: how }.into())
            }
            Err(source) => Err(SandboxError::NotReady { log, source }),
        }
    }

    /// Finds the sandbox `name` again; `None` when it does not run.
    pub(crate) fn find(state: &StateDir, name: &str) -> Option<Self> {
        // The outer process ends with the inner one, so its record vouches for the id in the other file.
        ProcessId::recorded(&state.processes().join(name)).filter(|outer| outer.runs())?;
        let id = files::read(&state.path().join(format!("{name}.init"))).ok()?;
        Some(Self { init: id.trim().parse().ok().and_then(ProcessId::of)? })
    }

    /// The command line that runs what follows it inside, in the folder `dir`.
    pub(crate) fn enter(&self, dir: &Path) -> Vec<String> {
        vec![
            "nsenter".to_owned(),
            format!("--target={}", self.init.pid),
            "--net".to_owned(),
            "--mount".to_owned(),
            "--pid".to_owned(),
            "env".to_owned(),
            // Not nsenter's own option: it opens the folder before it enters, and the path is then unknown inside.
            format!("--chdir={}", dir.display()),
            PATH.to_owned(),
        ]
    }

    /// A launcher for long-lived programs inside.
    pub(crate) fn launcher(&self, state: &StateDir) -> Launcher {
        Launcher::recorded(state.processes(), self.enter(state.path()))
    }

    /// Kills everything inside and waits until the kernel has cleared it away.
    pub(crate) async fn stop(self) -> Result<(), SandboxError> {
        self.init.kill();
        let ended = wait_for(
            ENDED,
            "the end of its processes",
            async || if self.init.runs() { Err("running") } else { Ok(()) },
        );
        Ok(ended.await?)
    }
}

/// Kills every process in the network namespace kept by `netns`, which is how sandboxes are found whose records are
/// lost.
pub(crate) async fn kill_all_in(netns: &Path) -> Result<(), SandboxError> {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(kept) = std::fs::metadata(netns) else { return Ok(()) };
    let inside = || {
        let pids =
            files::entries(Path::new("/proc")).unwrap_or_default().into_iter().filter_map(|name| name.parse().ok());
        let of_this =
            |pid: &i32| std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|found| found.ino() == kept.ino());
        pids.filter(of_this).filter_map(ProcessId::of).collect::<Vec<_>>()
    };
    let gone = wait_for(ENDED, "the end of all processes in the namespace", async || {
        let left = inside();
        left.iter().for_each(|process| process.kill());
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    Ok(gone.await?)
}
