//! When each leaf was last written.
//!
//! Purpose: between histories that know nothing of each other, the later write of a leaf counts. A list, with all that is
//! in it, is one leaf, and every edit in it a write. Inputs: a document; outputs: its leaves with stamps. What it does not
//! do: decide.

use super::super::full::leaves;
use super::base::Base;
use super::{Stamp, stamp};
use automerge::legacy::{Key, ObjectId, OpId, OpType};
use automerge::{Automerge, Change};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// Leaves by path, none for one that was removed, with the stamps of their last writes.
pub(super) type Stamped = BTreeMap<String, (Stamp, Option<Value>)>;

/// The leaves of `doc`, which begins with `base` if there is one.
pub(super) fn read(doc: &Automerge, base: Option<&Base>) -> Stamped {
    let mut touches = Touches::default();
    for change in doc.get_changes(&[]) {
        touches.take(&change);
    }
    // The base says of each leaf when it was written; of others, what was written since.
    let written = base.and_then(|base| base.written().ok()).unwrap_or_default();
    let leaves = leaves::read(doc, None).into_iter();
    let newest = |key: &String| touches.newest.get(key).max(written.get(key)).copied().unwrap_or_default();
    leaves.map(|(key, leaf)| (key.clone(), (newest(&key), leaf.value))).collect()
}

/// The newest change that wrote each leaf.
#[derive(Default)]
struct Touches {
    newest: HashMap<String, Stamp>,
    /// In which leaf an object is.
    objects: HashMap<OpId, String>,
}

impl Touches {
    fn take(&mut self, change: &Change) {
        let at = stamp(change.timestamp());
        let expanded = change.decode();
        let first = expanded.start_op.get();
        for (operation, number) in expanded.operations.into_iter().zip(first..) {
            let leaf = match (&operation.obj, &operation.key) {
                (ObjectId::Root, Key::Map(key)) => key.to_string(),
                (ObjectId::Root, Key::Seq(_)) => continue,
                (ObjectId::Id(object), _) => match self.objects.get(object) {
                    Some(leaf) => leaf.clone(),
                    None => continue,
                },
            };
            if matches!(operation.action, OpType::Make(_)) {
                self.objects.insert(OpId::new(number, &expanded.actor_id), leaf.clone());
            }
            let newest = self.newest.entry(leaf).or_default();
            *newest = at.max(*newest);
        }
    }
}
