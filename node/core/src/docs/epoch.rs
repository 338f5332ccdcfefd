//! A history that has grown long is begun anew.
//!
//! Purpose: a document that is edited for ever stays small. Its changes up to a *frontier*, old enough that every
//! neighbour in reach has them, become one change, the [base](base::Base), which writes every leaf as it stood there;
//! the few changes after it are made again on top of it, each as its [image](images). The history before is forgotten.
//! Everything about base and images is a function of the changes they stand for: two nodes that begin an epoch at one
//! frontier begin the same one, and whoever carries a late change over makes the same image.
//!
//! Whoever meets a higher [generation](super::generation) goes over to it and carries along what it lacks:
//! - Where the frontier is known, each change that is not behind it: as if nothing had been forgotten.
//! - Where it is not (two epochs were begun apart, or more than one was missed), each leaf whose last write is newer
//!   than the leaf of the higher one, a list as a whole.
//!
//! Inputs: documents, their generations, time; outputs: documents and changes. What it does not do: know rows or peers.

mod base;
mod images;
mod stamps;

use super::full::{FullDoc, FullError, contained};
use super::generation::Generation;
use crate::stamp::Stamp;
use automerge::{Automerge, ChangeHash, ChangeMetadata};
use base::Base;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// When a history is long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Changes. With four times as many it is begun anew even where the newest changes may not be everywhere yet.
    pub changes: usize,
    /// Bytes in the store, beside eight times those of the document itself.
    pub bytes: usize,
    /// After this long a change is taken to be everywhere in reach.
    pub settle: Duration,
}

impl Default for Limits {
    /// A thousand changes load in 3 ms and 64 KiB in one read; what takes four seconds across a mesh is a partition.
    fn default() -> Self {
        Self { changes: 1000, bytes: 64 << 10, settle: Duration::from_secs(4) }
    }
}

/// A history is looked at each time when this part of the limit has been added.
const LOOKS: usize = 16;

/// The newest part of a history stays as it is, as images: one of so many.
const YOUNG: usize = 8;

/// A history this many times over the limits is begun anew in any case.
const HARD: usize = 4;

impl Limits {
    /// Whether it is time to look: a history of so many `changes`, which are `bytes` in the store, of a document of
    /// `text` bytes.
    pub(crate) fn are_passed(&self, changes: usize, bytes: usize, text: usize) -> bool {
        let many = changes >= self.changes && changes.is_multiple_of((self.changes / LOOKS).max(1));
        // Not at each edit, in case what has to stay is large by itself.
        let large = bytes > self.allowed(text) && (changes.is_multiple_of(LOOKS) || bytes > HARD * self.allowed(text));
        many || large
    }

    const fn allowed(&self, text: usize) -> usize {
        self.bytes + 8 * text
    }

    /// Up to which stamp a history of changes at `stamps` is to be forgotten; none: not now.
    fn cut(&self, mut stamps: Vec<Stamp>, is_far_over: bool, today: Duration) -> Option<Stamp> {
        stamps.sort_unstable();
        let part = |of: usize| stamps.get(of * stamps.len() / YOUNG).copied();
        let (early, late) = (part(1)?, part(YOUNG - 1)?);
        let settled = today.saturating_sub(self.settle).min(late.wall());
        // A round time, so that nodes that look at nearly the same history at nearly the same time choose the same.
        let span = late.wall().saturating_sub(early.wall()).as_millis() / LOOKS as u128;
        let step = 1 << (span | 1).ilog2();
        let cut =
            Stamp::at(Duration::from_millis(u64::try_from(settled.as_millis() / step * step).unwrap_or_default()));
        let old = stamps.partition_point(|stamp| *stamp <= cut);
        if old * 2 >= stamps.len() { Some(cut) } else { Some(late).filter(|_| is_far_over) }
    }
}

/// What is to be forgotten of a document, and when that is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) limits: Limits,
    /// Bytes of the history in the store.
    pub(crate) bytes: usize,
    /// Bytes of the document.
    pub(crate) text: usize,
    /// Wall time as far as it is believed.
    pub(crate) today: Duration,
    /// How long the marks of removed leaves stay.
    pub(crate) marks: Duration,
    /// Bytes that a base may have.
    pub(crate) most: usize,
}

/// The document of `doc` with its history begun anew, and its generation; none where it is too early for that, or
/// the base would be too large to be sent.
///
/// # Errors
/// [`FullError`] for a history that contradicts itself; nothing is changed.
pub(crate) fn begin(doc: &FullDoc, from: Generation, look: Look) -> Result<Option<(FullDoc, Generation)>, FullError> {
    let Look { limits, bytes, text, today, marks, most } = look;
    let far_over = doc.changes() >= HARD * limits.changes || bytes > HARD * limits.allowed(text);
    let changes = doc.doc.get_changes_meta(&[]);
    let times = times(&changes);
    let Some(cut) = limits.cut(times.clone(), far_over, today).filter(|_| !from.is_last()) else { return Ok(None) };
    contained(|| {
        let frontier = frontier(&changes, &times, cut);
        let base = Base::of(&doc.doc, from, frontier, marks)?.filter(|base| base.size() <= most);
        let Some(base) = base else { return Ok(None) };
        let Some(generation) = from.next(base.hash) else { return Ok(None) };
        let mut begun = base.document()?;
        images::of_late_changes(&doc.doc, &base.frontier, &mut begun, base.hash)?;
        let begun = FullDoc::of(begun.with_actor(doc.doc.get_actor().clone())).compacted()?;
        Ok((begun.changes() < doc.changes()).then_some((begun, generation)))
    })
}

/// Encoded changes that carry what `lower` has, and `higher` has not, over to the generation of `higher`.
///
/// # Errors
/// [`FullError`] for a history that contradicts itself.
pub(crate) fn carry_over(
    (lower, from): (&FullDoc, Generation),
    (higher, to): (&FullDoc, Generation),
) -> Result<Vec<Vec<u8>>, FullError> {
    contained(|| {
        let base = Base::find(&higher.doc, to);
        let mut begun = base.as_ref().map_or_else(|| Ok(Automerge::new()), Base::document)?;
        match &base {
            Some(base) if base.follows(from) && lower.knows(&base.frontier) => {
                images::of_late_changes(&lower.doc, &base.frontier, &mut begun, base.hash)?;
            }
            Some(_) | None => {
                let ours = stamps::read(&lower.doc, Base::find(&lower.doc, from).as_ref());
                let theirs = stamps::read(&higher.doc, base.as_ref());
                images::of_newer_leaves(ours, &theirs, &mut begun)?;
            }
        }
        let from: Vec<ChangeHash> = base.iter().map(|base| base.hash).collect();
        let images = begun.get_changes(&from).into_iter();
        Ok(images.map(|mut image| image.bytes().into_owned()).collect())
    })
}

/// When each of `changes` was made: it is no younger than any that was made on it. So one that says it is of next year
/// does not keep what was made on it, and itself, from being forgotten.
fn times(changes: &[ChangeMetadata<'_>]) -> Vec<Stamp> {
    let places: HashMap<ChangeHash, usize> = changes.iter().map(|change| change.hash).zip(0..).collect();
    let mut times: Vec<Stamp> = changes.iter().map(|change| stamp(change.timestamp)).collect();
    // Each stands behind those that it was made on.
    for (place, change) in changes.iter().enumerate().rev() {
        for dep in change.deps.iter().filter_map(|dep| places.get(dep)) {
            times[*dep] = times[*dep].min(times[place]);
        }
    }
    times
}

/// The heads of all of `changes` up to `cut`. With a change those are among them that it was made on, see [`times`].
fn frontier(changes: &[ChangeMetadata<'_>], times: &[Stamp], cut: Stamp) -> Vec<ChangeHash> {
    let mut heads = BTreeSet::new();
    for (change, _) in changes.iter().zip(times).filter(|(_, time)| **time <= cut) {
        change.deps.iter().for_each(|dep| {
            heads.remove(dep);
        });
        heads.insert(change.hash);
    }
    heads.into_iter().collect()
}

/// The stamp of a change that says it was made at `time`.
fn stamp(time: i64) -> Stamp {
    Stamp(u64::try_from(time).unwrap_or_default())
}

#[cfg(test)]
mod tests;
