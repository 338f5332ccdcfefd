//! The change with which an epoch begins.
//!
//! Purpose: one change writes every leaf as it stood at a frontier, the marks of lately removed ones included, and says
//! in its message what it stands for: the base before it, the frontier, and when each leaf was last written, in the
//! order of the leaves. So base and facts travel together, and no byte of it can change without its hash. Inputs: a
//! document and a frontier, or a change; outputs: the other. What it does not do: choose the frontier.

use super::super::full::{FullError, leaves, write_leaf};
use super::super::generation::Generation;
use super::Stamp;
use super::stamps::{self, Stamped};
use automerge::transaction::CommitOptions;
use automerge::{ActorId, Automerge, Change, ChangeHash, ReadDoc as _};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// Most marks of removed leaves.
const MOST_MARKS: usize = 256;

/// Most bytes of their paths together: half of what a short history may have beside its document.
const MARKS_BYTES: usize = 32 << 10;

/// Its time: below every stamp, so that a history in the order of stamps begins with it.
const FIRST: i64 = 1;

/// A base, and what it stands for.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) hash: ChangeHash,
    change: Change,
    /// The base before it.
    parent: Option<ChangeHash>,
    born: Option<Stamp>,
    /// Heads, in the generation before, of what it stands for.
    pub(super) frontier: Vec<ChangeHash>,
    /// When each of its leaves was last written, in the order of their paths.
    pub(super) stamps: Vec<Stamp>,
}

impl Base {
    /// The base of `doc`, of generation `from`, at `frontier`; none where nothing is left to write. Marks of removed
    /// leaves go that are older than `marks` beside the newest leaf.
    pub(super) fn of(
        doc: &Automerge,
        from: Generation,
        frontier: Vec<ChangeHash>,
        marks: Duration,
    ) -> Result<Option<Self>, FullError> {
        let there = doc.fork_at(&frontier).map_err(FullError::edit)?;
        let mut stood = stamps::read(&there, Self::find(doc, from).as_ref());
        forget_marks(&mut stood, marks);
        let stamps: Vec<Stamp> = stood.values().map(|(stamp, _)| *stamp).collect();
        let parent = from.base();
        let message = message(parent, &frontier, &stamps);
        let mut hash = Sha256::new();
        hash.update(&message);
        let mut doc = Automerge::new();
        stood.iter().for_each(|(key, (_, value))| hash.update(format!("{key} {value:?}")));
        doc.set_actor(ActorId::from(&hash.finalize()[..16]));
        let mut writing = doc.transaction();
        for (key, (_, value)) in &stood {
            write_leaf(&mut writing, key, None, value.as_ref()).map_err(FullError::edit)?;
        }
        let options = CommitOptions::default().with_time(FIRST).with_message(message);
        let (Some(hash), _) = writing.commit_with(options) else { return Ok(None) };
        let change = doc.get_change_by_hash(&hash);
        Ok(change.map(|change| Self { hash, change, parent, born: from.born, frontier, stamps }))
    }

    /// The base with which `generation` begins, if `doc` has it.
    pub(super) fn find(doc: &Automerge, generation: Generation) -> Option<Self> {
        let hash = generation.base()?;
        let change = doc.get_change_by_hash(&hash)?;
        let (parent, frontier, stamps) = parse(change.message()?)?;
        Some(Self { hash, change, parent, born: generation.born, frontier, stamps })
    }

    /// Whether it stands for changes of `from`.
    pub(super) fn follows(&self, from: Generation) -> bool {
        self.parent == from.base() && self.born == from.born
    }

    /// Bytes of it as it is sent.
    pub(super) fn size(&self) -> usize {
        self.change.clone().bytes().len()
    }

    /// A document of it alone.
    pub(super) fn document(&self) -> Result<Automerge, FullError> {
        let mut doc = Automerge::new();
        doc.apply_changes([self.change.clone()]).map_err(FullError::edit)?;
        Ok(doc)
    }

    /// When each leaf was last written that it writes.
    pub(super) fn written(&self) -> Result<BTreeMap<String, Stamp>, FullError> {
        Ok(leaves::read(&self.document()?, None).into_keys().zip(self.stamps.iter().copied()).collect())
    }
}

/// Keeps the newest marks of removed leaves, as many as a base may have and as are young enough.
fn forget_marks(stood: &mut Stamped, marks: Duration) {
    let newest = stood.values().map(|(stamp, _)| *stamp).max().unwrap_or_default();
    let removed = stood.iter().filter(|(_, (_, value))| value.is_none());
    let mut removed: Vec<(Stamp, usize)> = removed.map(|(key, (stamp, _))| (*stamp, key.len())).collect();
    removed.sort_unstable_by(|a, b| b.cmp(a));
    let mut bytes = 0;
    let is_too_much = |(number, (_, length)): &(usize, (Stamp, usize))| {
        bytes += length;
        *number >= MOST_MARKS || bytes > MARKS_BYTES
    };
    let most = removed.into_iter().enumerate().find(is_too_much).map(|(_, (stamp, _))| stamp).unwrap_or_default();
    let oldest = Stamp::at(newest.wall().saturating_sub(marks));
    stood.retain(|_, (stamp, value)| value.is_some() || (*stamp > most && *stamp >= oldest));
}

/// `-` for no parent; lists are separated by commas.
fn message(parent: Option<ChangeHash>, frontier: &[ChangeHash], stamps: &[Stamp]) -> String {
    let parent = parent.map_or_else(|| "-".to_owned(), |parent| parent.to_string());
    let frontier: Vec<String> = frontier.iter().map(ToString::to_string).collect();
    let stamps: Vec<String> = stamps.iter().map(|stamp| format!("{:x}", stamp.0)).collect();
    format!("base {parent} {} {}", frontier.join(","), stamps.join(","))
}

fn parse(message: &str) -> Option<(Option<ChangeHash>, Vec<ChangeHash>, Vec<Stamp>)> {
    let mut fields = message.strip_prefix("base ")?.split(' ');
    let parent = fields.next()?;
    let parent = if parent == "-" { None } else { Some(parent.parse().ok()?) };
    let frontier = fields.next()?.split(',').map(|head| head.parse().ok()).collect::<Option<_>>()?;
    let stamp = |hex| u64::from_str_radix(hex, 16).ok().map(Stamp);
    let stamps = fields.next()?.split(',').map(stamp).collect::<Option<_>>()?;
    Some((parent, frontier, stamps))
}
