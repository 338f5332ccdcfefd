//! Starts the processes of a cluster in one of two ways, and notices when one of them ends.
//!
//! Input: [`Program`]s. Output: running processes that either end with this process (tests) or are recorded and outlive
//! it (`cargo xtask cluster up`). Does not know what the programs are.

use std::path::PathBuf;

use crate::command::tail;
use crate::files;
use crate::process::{ProcessError, ProcessId, Program, Tied, start_recorded};

/// How much of a log an error shows.
const LOG_SHOWN: usize = 1_500;

/// How processes are started, and those that were.
#[derive(Debug)]
pub(crate) enum Launcher {
    /// They end with this process.
    Tied(Vec<(Program, Tied)>),
    /// They outlive this process; their ids are under `records`.
    Recorded {
        /// Folder of the records.
        records: PathBuf,
        /// Command line put before each program, such as `nsenter`.
        enter: Vec<String>,
        /// Those started by this value.
        started: Vec<(Program, ProcessId)>,
    },
}

impl Launcher {
    /// Processes that end with this process.
    pub(crate) fn tied() -> Self {
        Self::Tied(Vec::new())
    }

    /// Processes that outlive this process, each started by way of `enter`.
    pub(crate) fn recorded(records: PathBuf, enter: Vec<String>) -> Self {
        Self::Recorded { records, enter, started: Vec::new() }
    }

    /// Starts one.
    pub(crate) fn start(&mut self, mut program: Program) -> Result<(), ProcessError> {
        match self {
            Self::Tied(started) => {
                let tied = Tied::start(&program)?;
                started.push((program, tied));
            }
            Self::Recorded { records, enter, started } => {
                program.line.splice(0..0, enter.iter().cloned());
                let id = start_recorded(&program, records)?;
                started.push((program, id));
            }
        }
        Ok(())
    }

    /// Says which process has ended, with the end of its log; `None` while all run.
    pub(crate) fn ended(&mut self) -> Option<String> {
        match self {
            Self::Tied(started) => {
                started.iter_mut().find_map(|(program, tied)| tied.ended().map(|how| describe(program, &how)))
            }
            Self::Recorded { started, .. } => {
                started.iter().find(|(_, id)| !id.runs()).map(|(program, _)| describe(program, "no exit status"))
            }
        }
    }

    /// Kills those started by this value, last first.
    pub(crate) fn stop(&mut self) {
        match self {
            Self::Tied(started) => while started.pop().is_some() {},
            Self::Recorded { started, .. } => started.drain(..).rev().for_each(|(_, id)| id.kill()),
        }
    }
}

fn describe(program: &Program, how: &str) -> String {
    let log = files::read(&program.log).unwrap_or_default();
    format!("{} ended ({how}); the end of {}:\n{}", program.name, program.log.display(), tail(log.trim(), LOG_SHOWN))
}
