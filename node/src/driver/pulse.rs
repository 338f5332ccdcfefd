//! How the driver is, for those who must not wait for it.
//!
//! Purpose: health is asked for exactly when the driver may not answer. Inputs: the driver's turns, and what became of
//! its last commit. Outputs: the same, at any moment. What it does not do: judge; see [`crate::admin`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What became of the last commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Commits {
    /// It is durable, or there was none yet.
    #[default]
    Durable,
    /// It failed: the disk has no room.
    Full,
    /// It failed, and the store could not be opened again since: reads fail as well.
    Closed,
    /// It failed for another reason.
    Failed,
}

/// Written by the driver, read by whoever asks for health and metrics.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// When the turn began that is under way. None between turns: the driver waits for inputs.
    turn: Option<Instant>,
    commits: Commits,
    /// Those of the turn that is under way, when it comes to the disk, and those that wait for peers.
    calls: usize,
}

impl Pulse {
    /// How long the turn lasts that is under way.
    pub fn turn(&self) -> Option<Duration> {
        self.state().turn.map(|began| began.elapsed())
    }

    /// What became of the last commit.
    pub fn commits(&self) -> Commits {
        self.state().commits
    }

    /// Calls that were taken and not answered.
    pub fn calls(&self) -> usize {
        self.state().calls
    }

    pub(super) fn turn_begins(&self) {
        self.state().turn = Some(Instant::now());
    }

    pub(super) fn turn_ends(&self, calls: usize) {
        let mut state = self.state();
        state.turn = None;
        state.calls = calls;
    }

    pub(super) fn committed(&self, commits: Commits) {
        self.state().commits = commits;
    }

    pub(super) fn calls_wait(&self, calls: usize) {
        self.state().calls = calls;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
