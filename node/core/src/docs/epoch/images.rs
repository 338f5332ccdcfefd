//! Changes made again on top of a base.
//!
//! Purpose: what was written apart from a new epoch joins it. An image is made by an actor that is a hash of all that
//! is in it, so whoever makes it makes the same change, and a second one is no news. It has the stamp of what it stands
//! for. Inputs: changes or leaves that a base lacks; outputs: their images, in a document that begins with the base.
//! What it does not do: find the base.

use super::super::full::leaves::{self, Leaf};
use super::super::full::{FullError, at, rewrite_leaf, write_leaf};
use super::stamps::{Stamped, Touch, Touches};
use super::{Stamp, stamp};
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, ReadDoc as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Leaves to write, none to remove, each as a whole or, for a list, where it differs.
type Difference = BTreeMap<String, (Touch, Option<Value>)>;

/// Adds to `begun`, which is the change `base` alone, the image of every change of `doc` that is not behind `frontier`:
/// what it did to the leaves as they stood at the frontier together with all that it was made on.
pub(super) fn of_late_changes(
    doc: &Automerge,
    frontier: &[ChangeHash],
    begun: &mut Automerge,
    base: ChangeHash,
) -> Result<(), FullError> {
    let late: BTreeSet<ChangeHash> = doc.get_changes_meta(frontier).iter().map(|change| change.hash).collect();
    let mut images: BTreeMap<ChangeHash, Vec<ChangeHash>> = BTreeMap::new();
    let (mut touches, mut lists) = (Touches::default(), Lists::default());
    for change in doc.get_changes(&[]) {
        let touched = touches.of(&change);
        if !late.contains(&change.hash()) {
            continue;
        }
        let difference = effect(doc, &change, touched, frontier, &mut lists);
        let mut deps: Vec<ChangeHash> =
            change.deps().iter().filter_map(|dep| images.get(dep)).flatten().copied().collect();
        deps.sort_unstable();
        deps.dedup();
        if deps.is_empty() {
            deps.push(base);
        }
        let image = add(begun, &deps, stamp(change.timestamp()), &difference)?;
        images.insert(change.hash(), image.map_or(deps, |image| vec![image]));
    }
    Ok(())
}

/// What `change`, which wrote the leaves `touched`, did to them as they stood at `frontier` together with all that it
/// was made on. A leaf of which it wrote the value that was there is among them: its write has a later stamp.
fn effect(
    doc: &Automerge,
    change: &Change,
    touched: BTreeMap<String, Touch>,
    frontier: &[ChangeHash],
    lists: &mut Lists,
) -> Difference {
    let (before, after) = (joined(frontier, change.deps()), joined(frontier, &[change.hash()]));
    let did = |(key, touch): (String, Touch)| {
        let (leaf, by) = leaves::written(doc, &key, &after)?;
        let counts = match touch {
            // Where another shows, that was written later.
            Touch::Whole => by == Some(change.hash()),
            Touch::Within => lists.at(doc, &key, &before).is_none_or(|before| before.value != leaf.value),
        };
        if touch == Touch::Within {
            lists.keep(&key, &after, &leaf);
        }
        counts.then_some((key, (touch, leaf.value)))
    };
    touched.into_iter().filter_map(did).collect()
}

/// Each list as it was read last: what is long is mostly edited again and again, each time on top of the time before.
#[derive(Default)]
struct Lists(BTreeMap<String, (Vec<ChangeHash>, Leaf)>);

impl Lists {
    fn at(&self, doc: &Automerge, key: &str, heads: &[ChangeHash]) -> Option<Leaf> {
        match self.0.get(key) {
            Some((known, leaf)) if known == heads => Some(leaf.clone()),
            Some(_) | None => leaves::one(doc, key, Some(heads)),
        }
    }

    fn keep(&mut self, key: &str, heads: &[ChangeHash], leaf: &Leaf) {
        self.0.insert(key.to_owned(), (heads.to_vec(), leaf.clone()));
    }
}

/// Adds to `begun` the leaves of `ours` that were written after those of `theirs`: one image for each stamp.
pub(super) fn of_newer_leaves(ours: Stamped, theirs: &Stamped, begun: &mut Automerge) -> Result<(), FullError> {
    let mut newer: BTreeMap<Stamp, Difference> = BTreeMap::new();
    for (key, (stamp, value)) in ours {
        let is_newer = theirs.get(&key).map_or_else(|| value.is_some(), |(theirs, _)| stamp > *theirs);
        if is_newer {
            newer.entry(stamp).or_default().insert(key, (Touch::Whole, value));
        }
    }
    for (stamp, difference) in newer {
        let heads = begun.get_heads();
        add(begun, &heads, stamp, &difference)?;
    }
    Ok(())
}

/// Both, of which those of `made_on` may be behind some of `frontier`.
fn joined(frontier: &[ChangeHash], made_on: &[ChangeHash]) -> Vec<ChangeHash> {
    let mut both = [frontier, made_on].concat();
    both.sort_unstable();
    both.dedup();
    both
}

/// Adds the image of `difference` on top of `deps`; none when there is nothing to write.
fn add(
    begun: &mut Automerge,
    deps: &[ChangeHash],
    stamp: Stamp,
    difference: &Difference,
) -> Result<Option<ChangeHash>, FullError> {
    if difference.is_empty() {
        return Ok(None);
    }
    let mut heads = begun.get_heads();
    heads.sort_unstable();
    if heads == deps {
        return write(begun, stamp, difference).map_err(FullError::edit);
    }
    let mut there = begun.fork_at(deps).map_err(FullError::edit)?;
    let image = write(&mut there, stamp, difference).map_err(FullError::edit)?;
    let change = image.and_then(|image| there.get_change_by_hash(&image));
    // Another change may have had the same image.
    let fresh = change.filter(|change| begun.get_change_meta_by_hash(&change.hash()).is_none());
    begun.apply_changes(fresh).map_err(FullError::edit)?;
    Ok(image)
}

fn write(doc: &mut Automerge, stamp: Stamp, difference: &Difference) -> Result<Option<ChangeHash>, AutomergeError> {
    let mut heads = doc.get_heads();
    heads.sort_unstable();
    doc.set_actor(actor(&heads, stamp, difference));
    let there = |(key, (touch, _)): (&String, &(Touch, _))| match touch {
        Touch::Within => leaves::one(doc, key, None),
        Touch::Whole => None,
    };
    let there: Vec<Option<Leaf>> = difference.iter().map(there).collect();
    let mut writing = doc.transaction();
    for ((key, (_, value)), there) in difference.iter().zip(&there) {
        match there {
            Some(there) => write_leaf(&mut writing, key, Some(there), value.as_ref())?,
            None => rewrite_leaf(&mut writing, key, value.as_ref())?,
        }
    }
    Ok(writing.commit_with(at(stamp)).0)
}

/// How a difference becomes operations: two ways of it make two images, and an actor may have one only.
const WRITING: u8 = 2;

/// A hash of all that decides what the image is.
fn actor(deps: &[ChangeHash], stamp: Stamp, difference: &Difference) -> ActorId {
    let mut hash = Sha256::new();
    hash.update([WRITING]);
    deps.iter().for_each(|dep| hash.update(dep.0));
    hash.update(stamp.0.to_be_bytes());
    for (key, (touch, value)) in difference {
        hash.update([*touch as u8]);
        let value = value.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update((value.len() as u64).to_be_bytes());
        hash.update(value);
    }
    ActorId::from(&hash.finalize()[..16])
}
