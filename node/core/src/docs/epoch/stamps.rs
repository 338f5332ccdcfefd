//! When each leaf was last written.
//!
//! Purpose: between histories that know nothing of each other, the later write of a leaf counts. A list, with all that
//! is in it, is one leaf, and every edit in it a write. Inputs: a document; outputs: its leaves with stamps. What it
//! does not do: decide.

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
    let (mut touches, mut newest) = (Touches::default(), HashMap::new());
    for change in doc.get_changes(&[]) {
        let at = stamp(change.timestamp());
        for leaf in touches.of(&change).into_keys() {
            let known = newest.entry(leaf).or_insert(at);
            *known = at.max(*known);
        }
    }
    // The base says of each leaf when it was written; of others, what was written since.
    let written = base.and_then(|base| base.written().ok()).unwrap_or_default();
    let leaves = leaves::read(doc, None).into_iter();
    let newest = |key: &String| newest.get(key).max(written.get(key)).copied().unwrap_or_default();
    leaves.map(|(key, leaf)| (key.clone(), (newest(&key), leaf.value))).collect()
}

/// How a change wrote a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Touch {
    /// It edited the list that the leaf is.
    Within,
    /// It wrote the leaf.
    Whole,
}

/// Which changes write which leaves.
#[derive(Default)]
pub(super) struct Touches {
    /// In which leaf an object is.
    objects: HashMap<OpId, String>,
}

impl Touches {
    /// The leaves that `change` writes, of which all that it was made on were asked about before.
    pub(super) fn of(&mut self, change: &Change) -> BTreeMap<String, Touch> {
        let expanded = change.decode();
        let first = expanded.start_op.get();
        let mut touched = BTreeMap::new();
        for (operation, number) in expanded.operations.into_iter().zip(first..) {
            let (leaf, touch) = match (&operation.obj, &operation.key) {
                (ObjectId::Root, Key::Map(key)) => (key.to_string(), Touch::Whole),
                (ObjectId::Root, Key::Seq(_)) => continue,
                (ObjectId::Id(object), _) => match self.objects.get(object) {
                    Some(leaf) => (leaf.clone(), Touch::Within),
                    None => continue,
                },
            };
            if matches!(operation.action, OpType::Make(_)) {
                self.objects.insert(OpId::new(number, &expanded.actor_id), leaf.clone());
            }
            let known = touched.entry(leaf).or_insert(touch);
            *known = touch.max(*known);
        }
        touched
    }
}
