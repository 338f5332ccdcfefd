//! Invariants of a simulated run.
//!
//! Inputs: the world after it healed, or as it breaks a bound on the way; outputs: the first [`Problem`]. What it does
//! not do: change the world.

use super::world::World;
use crate::docs::row::{Have, State, View};
use crate::ids::{Key, PeerId};
use crate::policy::RESERVED;
use std::fmt;

/// A scenario of [`super::Scenario`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`super::Scenario::rough`].
    Rough,
    /// [`super::Scenario::ruled`].
    Ruled,
    /// [`super::Scenario::calm`].
    Calm,
}

/// A run that broke an invariant; its text says how to replay it.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// Seed of the run.
    pub seed: u64,
    /// Nodes of the run.
    pub nodes: usize,
    /// Writes of the run.
    pub writes: usize,
    /// Chance that a commit fails.
    pub failing: f64,
    /// Which of the scenarios it was.
    pub kind: Kind,
    /// What was wrong.
    pub problem: Box<Problem>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, nodes, writes, failing, kind, problem } = self;
        let kind = match kind {
            Kind::Rough => format!(" --failing {failing}"),
            Kind::Ruled => format!(" --failing {failing} --files"),
            Kind::Calm => " --calm".to_owned(),
        };
        let replay = format!("cargo xtask sim --nodes {nodes} --writes {writes} --seeds 1 --first-seed {seed}{kind}");
        write!(f, "{problem}; replay with `{replay}`")
    }
}

impl std::error::Error for Failure {}

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not all nodes became equal in time.
    #[error("node {node:?} still differs from node {other:?} in {keys} rows, such as {example}")]
    Divergence {
        /// One node.
        node: PeerId,
        /// Another.
        other: PeerId,
        /// Rows that differ.
        keys: usize,
        /// One of them.
        example: String,
    },
    /// An acknowledged write is missing.
    #[error("acknowledged write {what} of {key} is missing on node {node:?}")]
    Lost {
        /// Where.
        node: PeerId,
        /// Which document.
        key: String,
        /// Which leaf.
        what: String,
    },
    /// A queue grew beyond what bounds it.
    #[error("node {node:?} has {holds} {queue}, and {most} is the most that there may be")]
    Overflow {
        /// Where.
        node: PeerId,
        /// Of what.
        queue: &'static str,
        /// How much.
        holds: usize,
        /// How much there may be.
        most: usize,
    },
    /// A neighbour gave its word too early.
    #[error("a neighbour said that it had stored {what} of {key}, and no disk but the writer's had it")]
    Unstored {
        /// Which document.
        key: String,
        /// Which leaf.
        what: String,
    },
    /// A sound history was taken for a damaged one.
    #[error("node {node:?} went on from the text of {documents} documents whose history nothing had damaged")]
    Mended {
        /// Where.
        node: PeerId,
        /// How many.
        documents: u64,
    },
    /// Neighbours are told of a delete for longer than they are to be.
    #[error("node {node:?} still tells of {marks} deletes")]
    Marks {
        /// Where.
        node: PeerId,
        /// How many.
        marks: usize,
    },
    /// Something was told to a peer that may not read it, or asked of one that may not write it.
    #[error("node {node:?} named {key} to {peer:?}, whose right that is not")]
    Leak {
        /// Who told.
        node: PeerId,
        /// Whom.
        peer: PeerId,
        /// What.
        key: String,
    },
    /// A node has something that no neighbour was ever to tell it.
    #[error("node {node:?} has {key}, which it can have from nobody")]
    Held {
        /// Where.
        node: PeerId,
        /// What.
        key: String,
    },
    /// A node lacks something that its neighbour is to tell it.
    #[error("node {node:?} still lacks {key} of its neighbour {other:?}, or has another version of what they share")]
    Unsettled {
        /// Where.
        node: PeerId,
        /// Who has it.
        other: PeerId,
        /// What.
        key: String,
    },
    /// A neighbour has not given its word of what flows to it only.
    #[error("node {node:?} still waits for the word of {other:?} about {what}, which flows one way")]
    Unconfirmed {
        /// Who waits.
        node: PeerId,
        /// For whom.
        other: PeerId,
        /// Something of it.
        what: String,
    },
    /// A deleted document is back.
    #[error("deleted document {key} is back on node {node:?}")]
    Resurrection {
        /// Where.
        node: PeerId,
        /// Which document.
        key: String,
    },
}

/// Names two nodes that differ and where.
pub(super) fn divergence(world: &World) -> Problem {
    let mut disks = world.disks();
    let Some((other, first)) = disks.next() else {
        return Problem::Divergence { node: world.me(0), other: world.me(0), keys: 0, example: String::new() };
    };
    let version = |row: &Vec<u8>| View::parse(row).ok().map(|view| view.version);
    for (node, disk) in disks {
        let keys: std::collections::BTreeSet<&Key> = first.rows.keys().chain(disk.rows.keys()).collect();
        let differing: Vec<_> = keys
            .into_iter()
            .filter(|key| first.rows.get(*key).map(version) != disk.rows.get(*key).map(version))
            .collect();
        if let Some(example) = differing.first() {
            return Problem::Divergence { node, other, keys: differing.len(), example: format!("{example:?}") };
        }
    }
    Problem::Divergence { node: other, other, keys: 0, example: "none on disk: something is still owed".into() }
}

/// Every acknowledged write is on every node. Returns the rows of one.
pub(super) fn acknowledged(world: &World) -> Result<usize, Problem> {
    for written in world.kept_writes() {
        for (node, disk) in world.disks() {
            let document = disk.rows.get(&written.key).and_then(|row| View::parse(row).ok()?.document().ok()?);
            if !document.is_some_and(|document| written.is_in(&document)) {
                return Err(Problem::Lost { node, key: format!("{:?}", written.key), what: written.to_string() });
            }
        }
    }
    Ok(world.disks().next().map_or(0, |(_, disk)| disk.rows.len()))
}

/// How often the histories of the first node's documents were begun anew.
pub(super) fn epochs(world: &World) -> u64 {
    let number = |row: &Vec<u8>| match View::parse(row).ok()?.have {
        Have::Full { life, .. } => life.generation.epoch.map(|epoch| u64::from(epoch.number.get())),
        Have::Latest { .. } => None,
    };
    world.disks().next().map_or(0, |(_, disk)| disk.rows.values().filter_map(number).sum())
}

/// Whoever heard that a neighbour had stored a write, heard so when it was on that disk.
pub(super) fn what_was_said_to_be_stored_was(world: &World) -> Result<(), Problem> {
    match world.unstored() {
        Some(written) => Err(Problem::Unstored { key: format!("{:?}", written.key), what: written.to_string() }),
        None => Ok(()),
    }
}

/// The simulated disk damages nothing, so no history is ever found damaged.
pub(super) fn nothing_was_mended(world: &World) -> Result<(), Problem> {
    match world.mended().find(|(_, documents)| *documents > 0) {
        Some((node, documents)) => Err(Problem::Mended { node, documents }),
        None => Ok(()),
    }
}

/// Nobody is told of any delete any more, where everything is deleted.
pub(super) fn all_marks_are_collected(world: &World) -> Result<(), Problem> {
    let mark = |row: &&Vec<u8>| View::parse(row).is_ok_and(|view| view.state == State::Deleted);
    let marks = world.disks().map(|(node, disk)| (node, disk.rows.values().filter(mark).count()));
    match marks.into_iter().find(|(_, marks)| *marks > 0) {
        Some((node, marks)) => Err(Problem::Marks { node, marks }),
        None => Ok(()),
    }
}

/// No document is live after all were deleted.
pub(super) fn nothing_is_back(world: &World) -> Result<(), Problem> {
    for (node, disk) in world.disks() {
        let live = |row: &Vec<u8>| View::parse(row).is_ok_and(|view| view.is_live());
        let is_back = |(key, row): &(&Key, &Vec<u8>)| key.collection() != RESERVED && live(row);
        if let Some((key, _)) = disk.rows.iter().find(is_back) {
            return Err(Problem::Resurrection { node, key: format!("{key:?}") });
        }
    }
    Ok(())
}
