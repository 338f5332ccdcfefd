//! Changes made again on top of a base.
//!
//! Purpose: what was written apart from a new epoch joins it. An image is made by an actor that is a hash of all that is
//! in it, so whoever makes it makes the same change, and a second one is no news. It has the stamp of what it stands for.
//! Inputs: changes or leaves that a base lacks; outputs: their images, in a document that begins with the base. What it
//! does not do: find the base.

use super::super::full::{FullError, at, leaves, write_leaf};
use super::stamps::Stamped;
use super::{Stamp, stamp};
use automerge::ReadDoc as _;
use automerge::{ActorId, Automerge, AutomergeError, ChangeHash};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// Leaves to write, none to remove.
type Difference = BTreeMap<String, Option<Value>>;

/// Adds to `begun`, which is the change `base` alone, the image of every change of `doc` that is not behind `frontier`:
/// what it did to the leaves as they stood at the frontier together with all that it was made on.
pub(super) fn of_late_changes(
    doc: &Automerge,
    frontier: &[ChangeHash],
    begun: &mut Automerge,
    base: ChangeHash,
) -> Result<(), FullError> {
    let mut images: BTreeMap<ChangeHash, Vec<ChangeHash>> = BTreeMap::new();
    let mut stood = (frontier.to_vec(), leaves::read(doc, Some(frontier)));
    for change in doc.get_changes_meta(frontier) {
        let made_on = change.deps.iter().filter_map(|dep| images.get(dep)).flatten().copied();
        let behind = |of: &[ChangeHash]| joined(frontier, of);
        // Mostly the change before.
        let known = behind(&change.deps);
        let before = if stood.0 == known { stood.1 } else { leaves::read(doc, Some(&known)) };
        let after = leaves::read(doc, Some(&behind(&[change.hash])));
        let same = |key: &str| before.get(key).map(|leaf| &leaf.value) == after.get(key).map(|leaf| &leaf.value);
        let difference = after.iter().filter(|(key, _)| !same(key)).map(|(key, leaf)| (key.clone(), leaf.value.clone()));
        let mut deps: Vec<ChangeHash> = made_on.collect();
        deps.sort_unstable();
        deps.dedup();
        if deps.is_empty() {
            deps.push(base);
        }
        let image = add(begun, &deps, stamp(change.timestamp), &difference.collect())?;
        images.insert(change.hash, image.map_or(deps, |image| vec![image]));
        stood = (behind(&[change.hash]), after);
    }
    Ok(())
}

/// Adds to `begun` the leaves of `ours` that were written after those of `theirs`: one image for each stamp.
pub(super) fn of_newer_leaves(ours: Stamped, theirs: &Stamped, begun: &mut Automerge) -> Result<(), FullError> {
    let mut newer: BTreeMap<Stamp, Difference> = BTreeMap::new();
    for (key, (stamp, value)) in ours {
        let is_newer = theirs.get(&key).map_or(value.is_some(), |(theirs, _)| stamp > *theirs);
        if is_newer {
            newer.entry(stamp).or_default().insert(key, value);
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
    let failed = |error: AutomergeError| FullError::Edit(Box::new(error));
    let mut heads = begun.get_heads();
    heads.sort_unstable();
    if heads == deps {
        return write(begun, stamp, difference).map_err(failed);
    }
    let mut there = begun.fork_at(deps).map_err(failed)?;
    let image = write(&mut there, stamp, difference).map_err(failed)?;
    let change = image.and_then(|image| there.get_change_by_hash(&image));
    // Another change may have had the same image.
    begun.apply_changes(change.filter(|change| begun.get_change_meta_by_hash(&change.hash()).is_none())).map_err(failed)?;
    Ok(image)
}

fn write(doc: &mut Automerge, stamp: Stamp, difference: &Difference) -> Result<Option<ChangeHash>, AutomergeError> {
    let mut heads = doc.get_heads();
    heads.sort_unstable();
    doc.set_actor(actor(&heads, stamp, difference));
    let there = leaves::read(doc, None);
    let mut writing = doc.transaction();
    for (key, value) in difference {
        write_leaf(&mut writing, key, there.get(key), value.as_ref())?;
    }
    Ok(writing.commit_with(at(stamp)).0)
}

/// A hash of all that decides what the image is.
fn actor(deps: &[ChangeHash], stamp: Stamp, difference: &Difference) -> ActorId {
    let mut hash = Sha256::new();
    deps.iter().for_each(|dep| hash.update(dep.0));
    hash.update(stamp.0.to_be_bytes());
    for (key, value) in difference {
        let value = value.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update((value.len() as u64).to_be_bytes());
        hash.update(value);
    }
    ActorId::from(&hash.finalize()[..16])
}
