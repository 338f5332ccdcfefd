//! What the documents of the simulated world look like.
//!
//! Purpose: digests and merges that cover lists, objects in objects, leaves that change their kind, and patches. Inputs:
//! chance; outputs: an edit that has the leaf of a [`Written`]. What it does not do: take away a leaf, or an object with
//! leaves, that must survive.

use super::{Node, World};
use crate::docs::Document;
use crate::event::Edit;
use crate::ids::Key;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};
use std::fmt;

/// The object that has leaves that must survive: nobody replaces it.
const OBJECT: &str = "object";

/// A leaf that some application wrote and nobody removes.
#[derive(Debug, Clone)]
pub(in crate::sim) struct Written {
    pub(in crate::sim) key: Key,
    /// The object that has the leaf; none: the document itself.
    pub(in crate::sim) object: Option<&'static str>,
    pub(in crate::sim) leaf: String,
    pub(in crate::sim) value: u64,
}

/// How an application writes a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// It adds it to what it read, and puts that.
    Flat,
    /// It adds it to an object in what it read, and something else besides, and puts that.
    Deep,
    /// As that, but as a patch, without having read.
    Patch,
}

impl World {
    /// How the next write is made.
    pub(super) fn shape(&mut self) -> Shape {
        if !self.chance.random_bool(self.scenario.shaped) {
            return Shape::Flat;
        }
        [Shape::Deep, Shape::Patch][self.chance.random_range(0..2)]
    }

    /// The edit that writes `written` at `node`.
    pub(super) fn edit(&mut self, node: Node, written: &Written, shape: Shape) -> Edit {
        let read = || self.document(node, &written.key).map(Document::into_map).unwrap_or_default();
        let mut members = match shape {
            Shape::Flat | Shape::Deep => read(),
            Shape::Patch => Map::new(),
        };
        written.put_into(&mut members);
        match shape {
            Shape::Flat => {}
            Shape::Deep => besides(&mut self.chance, &mut members),
            Shape::Patch => {
                besides(&mut self.chance, &mut members);
                return Edit::Merge { patch: Document::from_map(members), limit: usize::MAX };
            }
        }
        Edit::Put(Document::from_map(members))
    }
}

impl Written {
    /// Whether `document` has it.
    pub(in crate::sim) fn is_in(&self, document: &Document) -> bool {
        let root = document.as_map();
        let members = self.object.map_or(Some(root), |object| root.get(object)?.as_object());
        members.and_then(|members| members.get(&self.leaf)?.as_u64()) == Some(self.value)
    }

    pub(super) fn object_of(shape: Shape) -> Option<&'static str> {
        match shape {
            Shape::Flat => None,
            Shape::Deep | Shape::Patch => Some(OBJECT),
        }
    }

    fn put_into(&self, members: &mut Map<String, Value>) {
        let Some(object) = self.object else {
            members.insert(self.leaf.clone(), self.value.into());
            return;
        };
        let object = members.entry(object).or_insert_with(|| json!({}));
        if let Some(object) = object.as_object_mut() {
            object.insert(self.leaf.clone(), self.value.into());
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, leaf, value, .. } = self;
        object.map_or(Ok(()), |object| write!(f, "{object}/"))?;
        write!(f, "{leaf}={value}")
    }
}

/// Changes something that need not survive.
fn besides(chance: &mut ChaCha8Rng, members: &mut Map<String, Value>) {
    match chance.random_range(0..3) {
        0 => change_list(chance, members),
        1 => {
            let (outer, inner) = (chance.random_range(0..2), chance.random_range(0..3));
            members.insert("nested".into(), json!({ format!("o{outer}"): { format!("i{inner}"): number(chance) } }));
        }
        _ => {
            let value = match chance.random_range(0..4) {
                0 => number(chance),
                1 => json!({ "a": number(chance), "b": [number(chance)] }),
                2 => json!([{ "a": number(chance) }, [number(chance)]]),
                _ => json!({}),
            };
            members.insert("any".into(), value);
        }
    }
}

/// One element comes, or goes, anywhere; a patch knows no elements, so its list is new.
fn change_list(chance: &mut ChaCha8Rng, members: &mut Map<String, Value>) {
    let mut list = members.get("list").and_then(Value::as_array).cloned().unwrap_or_default();
    let at = chance.random_range(0..=list.len());
    if at < list.len() && (list.len() > 8 || chance.random_bool(0.3)) {
        list.remove(at);
    } else {
        list.insert(at, number(chance));
    }
    members.insert("list".into(), list.into());
}

fn number(chance: &mut ChaCha8Rng) -> Value {
    chance.random_range(0..1_000_u32).into()
}
