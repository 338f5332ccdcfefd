//! Disks of the simulated world: how long a commit takes, and how it fails.
//!
//! Purpose: what follows from a batch that is durable, late, or not durable at all, in the same way as the node's
//! driver. Inputs: what the engine gave; outputs: rows, and what leaves for the network and the applications. What it
//! does not do: damage what it once kept.

use super::{Event, Node, SimNode, World};
use crate::event::{Output, Outputs, RequestError, StorageFault, Write};
use crate::ids::Key;
use rand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Chance that a commit of a disk that stalls does.
const STALL: f64 = 0.1;

/// While commits fail, the driver tries one so often.
const TRIAL_EVERY: Duration = Duration::from_secs(10);

/// How even the time is that a disk takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Always a few milliseconds.
    Even,
    /// Sometimes half a second.
    Stalling,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is durable.
    Durable,
    /// Reported as failed, and not there.
    Lost,
    /// Reported as failed, and there nevertheless, as whoever looks sees.
    Kept,
    /// Reported as failed; it is there once the store was opened again.
    Late,
}

/// How a node's disk takes batches.
#[derive(Debug)]
pub(super) struct Commits {
    pace: Pace,
    /// What is seen when the store is opened again, which the next commit, or the next process, does.
    late: BTreeMap<Key, Write>,
    /// Keys of batches that failed and of which it cannot be seen yet what became of them; see the driver's field of this
    /// name.
    doubtful: BTreeSet<Key>,
}

impl Commits {
    pub(super) const fn new(stalls: bool) -> Self {
        let pace = if stalls { Pace::Stalling } else { Pace::Even };
        Self { pace, late: BTreeMap::new(), doubtful: BTreeSet::new() }
    }
}

impl World {
    /// How long the disk of `node` needs for its next batch.
    pub(super) fn commit_takes(&mut self, node: Node) -> Duration {
        let usual = Duration::from_micros(self.rng.random_range(100..8_000));
        match self.nodes[node].commits.pace {
            Pace::Stalling if self.chance.random_bool(STALL) => Duration::from_millis(self.chance.random_range(8..500)),
            Pace::Stalling | Pace::Even => usual,
        }
    }

    /// Persist, then send, then answer; or what the driver does where the first of them fails.
    pub(super) fn finish(&mut self, node: Node, outputs: Outputs) {
        match self.fate(node, &outputs) {
            Fate::Durable => self.perform(node, outputs),
            Fate::Lost => self.fail(node, outputs),
            Fate::Kept => {
                self.nodes[node].disk.commit(outputs.writes.clone());
                self.fail(node, outputs);
            }
            Fate::Late => {
                self.nodes[node].commits.late.clone_from(&outputs.writes);
                self.fail(node, outputs);
            }
        }
    }

    fn fate(&mut self, node: Node, outputs: &Outputs) -> Fate {
        if outputs.writes.is_empty() {
            return Fate::Durable;
        }
        if self.show_late(node) {
            // This batch was made without it.
            return Fate::Lost;
        }
        if !self.chance.random_bool(self.scenario.failing) {
            return Fate::Durable;
        }
        [Fate::Lost, Fate::Kept, Fate::Late][self.chance.random_range(0..3)]
    }

    /// The store of `node` is opened again; whether that brought back what was taken for lost.
    pub(super) fn show_late(&mut self, node: Node) -> bool {
        let SimNode { disk, commits, .. } = &mut self.nodes[node];
        let late = std::mem::take(&mut commits.late);
        let comes = !late.is_empty();
        disk.commit(late);
        comes
    }

    /// Disks fail no more, and what they kept without saying so is seen.
    pub(super) fn mend_disks(&mut self) {
        self.scenario.failing = 0.0;
        for node in 0..self.nodes.len() {
            // A batch on its way was made without that, and fails.
            if !self.nodes[node].writing {
                self.show_late(node);
                self.look_again(node);
            }
        }
    }

    /// A commit that nobody asked for, some time after one failed: the driver would else hear that the disk works only
    /// when somebody writes.
    pub(super) fn try_again(&mut self, node: Node, boot: u32) {
        if !self.runs(node, boot) || self.nodes[node].commits.doubtful.is_empty() {
            return;
        }
        if self.nodes[node].writing {
            return self.after(TRIAL_EVERY, Event::Trial { node, boot });
        }
        self.show_late(node);
        self.look_again(node);
        self.wake(node);
    }

    /// The engine learns what really became of the batches that failed, as far as the disk shows it.
    fn look_again(&mut self, node: Node) {
        let SimNode { core, disk, commits, .. } = &mut self.nodes[node];
        if let Some(core) = core.as_mut().filter(|_| !commits.doubtful.is_empty()) {
            core.persist_failed(commits.doubtful.iter(), disk);
        }
        if commits.late.is_empty() {
            commits.doubtful.clear();
        }
    }

    fn perform(&mut self, node: Node, outputs: Outputs) {
        let Outputs { writes, sends, answers } = outputs;
        if !writes.is_empty() {
            self.nodes[node].disk.commit(writes);
            self.look_again(node);
            // What it took back may end at a time of its own.
            self.wake(node);
        }
        sends.into_iter().for_each(|output| self.send(node, output));
        answers.into_iter().for_each(|(request, answer)| self.answer(node, request, answer));
    }

    /// The engine takes back what is not durable, no frame leaves, and whoever asked hears of it.
    fn fail(&mut self, node: Node, outputs: Outputs) {
        self.failed += 1;
        self.nodes[node].commits.doubtful.extend(outputs.writes.into_keys());
        self.look_again(node);
        let Some(core) = &mut self.nodes[node].core else { return };
        let mut acts = Vec::new();
        for output in outputs.sends {
            match output {
                Output::Send { conn, peer, frame } => {
                    self.in_flight.give_back(node, conn, frame.len());
                    core.give_back(conn, peer, frame.len());
                }
                act @ (Output::Dial { .. } | Output::Close { .. }) => acts.push(act),
            }
        }
        acts.into_iter().for_each(|act| self.send(node, act));
        let failed = RequestError::Storage { fault: StorageFault::Failed, reason: "the disk failed".into() };
        outputs.answers.into_iter().for_each(|(request, _)| self.answer(node, request, Err(failed.clone())));
        self.wake(node);
        let boot = self.nodes[node].boot;
        self.after(TRIAL_EVERY, Event::Trial { node, boot });
    }
}
