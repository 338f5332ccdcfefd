//! The first change of a document, written and read without a document in Automerge.
//!
//! Purpose: most documents are new to a node, written or received, and of a new one everything is in one change. Making
//! an Automerge document only to have that change or its text costs ten times as much as the change itself. Inputs: a
//! [`Document`], or the bytes of a change; outputs: the other. What it does not do: read a change that is more than a
//! document written at once; Automerge reads those.

use super::Document;
use super::full::{object_type, scalar, time, to_json_scalar};
use super::json::DEEPEST;
use super::path::{self, ShapeError};
use super::received;
use crate::stamp::Stamp;
use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Change, ChangeHash, ExpandedChange, ObjType, ScalarValue};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU64;

/// A document written at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// Its hash: the only head.
    pub hash: ChangeHash,
    /// The change as peers and [`super::full::FullDoc::load`] read it.
    pub bytes: Vec<u8>,
}

/// The change that writes `document` at `stamp` where nothing was; none for an empty one, which Automerge has no change
/// for. `actor` must not have written to it before.
///
/// # Errors
/// [`ShapeError`] for what cannot be stored.
pub fn make(document: &Document, actor: [u8; 16], stamp: Stamp) -> Result<Option<First>, ShapeError> {
    let leaves = path::leaves(document.as_map())?;
    if leaves.is_empty() {
        return Ok(None);
    }
    let mut writer = Writer { actor: ActorId::from(actor), operations: Vec::with_capacity(leaves.len()) };
    for (path, value) in leaves {
        writer.put(&ObjectId::Root, &path, value);
    }
    let Writer { actor, operations } = writer;
    let mut change = Change::from(ExpandedChange {
        operations,
        actor_id: actor,
        hash: None,
        seq: 1,
        start_op: NonZeroU64::MIN,
        time: time(stamp),
        message: None,
        deps: Vec::new(),
        extra_bytes: Vec::new(),
        author: None,
    });
    received::check_size(change.raw_bytes()).map_err(|_| ShapeError::Size)?;
    Ok(Some(First { hash: change.hash(), bytes: change.bytes().into_owned() }))
}

/// The document that `bytes` write, and their hash; none when they are not one change on nothing, or hold more than a
/// document has when it is written at once.
pub fn read(bytes: &[u8]) -> Option<(ChangeHash, Document)> {
    let change = received::change(bytes).ok()?;
    let alone = change.deps().is_empty() && change.other_actor_ids().is_empty();
    if !alone || change.seq() != 1 || change.start_op() != NonZeroU64::MIN {
        return None;
    }
    let content = received::content(&change).ok()?;
    let mut reader = Reader::default();
    for (position, operation) in content.operations.into_iter().enumerate() {
        reader.take(u64::try_from(position).ok()? + 1, operation)?;
    }
    let mut root = Map::new();
    for (path, slot) in std::mem::take(&mut reader.root) {
        let room = DEEPEST - path::depth(&path)?;
        path::insert(&mut root, &path, reader.value(slot, room)?);
    }
    Some((change.hash(), Document::from_map(root)))
}

/// Operations in the order in which Automerge itself would make them.
struct Writer {
    actor: ActorId,
    operations: Vec<Op>,
}

impl Writer {
    fn push(&mut self, obj: &ObjectId, key: Key, insert: bool, value: &Value) -> OpId {
        let action = match object_type(value) {
            Some(kind) => OpType::Make(kind),
            None => OpType::Put(scalar(value)),
        };
        self.operations.push(Op { action, obj: obj.clone(), key, pred: Vec::new().into(), insert });
        OpId::new(self.operations.len() as u64, &self.actor)
    }

    fn put(&mut self, obj: &ObjectId, key: &str, value: &Value) {
        let made = self.push(obj, Key::Map(key.into()), false, value);
        self.fill(made, value);
    }

    /// Writes what is in the fresh object `made`. Depth is bounded by the JSON parser's.
    fn fill(&mut self, made: OpId, value: &Value) {
        match value {
            Value::Array(items) => {
                let list = ObjectId::Id(made);
                let mut behind = ElementId::Head;
                for item in items {
                    let element = self.push(&list, Key::Seq(behind), true, item);
                    behind = ElementId::Id(element.clone());
                    self.fill(element, item);
                }
            }
            Value::Object(members) => {
                let map = ObjectId::Id(made);
                members.iter().for_each(|(key, member)| self.put(&map, key, member));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// What one operation wrote.
enum Slot {
    Scalar(ScalarValue),
    /// The object that the operation of this number made.
    Object(u64),
}

/// An object that an operation made.
enum Made {
    Map(BTreeMap<String, Slot>),
    /// With the operation that wrote the last element, behind which the next one stands; 0 before there is one.
    List(Vec<Slot>, u64),
}

/// Operations put together again.
#[derive(Default)]
struct Reader {
    root: BTreeMap<String, Slot>,
    objects: HashMap<u64, Made>,
}

impl Reader {
    /// Takes in operation `number`; none when it does something else than to write a new place once.
    fn take(&mut self, number: u64, operation: Op) -> Option<()> {
        let Op { action, obj, key, pred, insert } = operation;
        if !pred.is_empty() {
            return None;
        }
        let slot = match action {
            // The mark of a leaf that was removed, in a base, is no value.
            OpType::Put(value) if received::is_value(&value, false) => Slot::Scalar(value),
            OpType::Make(kind) => {
                let made = match kind {
                    ObjType::Map => Made::Map(BTreeMap::new()),
                    ObjType::List => Made::List(Vec::new(), 0),
                    ObjType::Table | ObjType::Text => return None,
                };
                self.objects.insert(number, made);
                Slot::Object(number)
            }
            OpType::Put(_) | OpType::Delete | OpType::Increment(_) | OpType::MarkBegin(_) | OpType::MarkEnd(_) => {
                return None;
            }
        };
        let object = match obj {
            ObjectId::Root => return if insert { None } else { place(&mut self.root, key, slot) },
            ObjectId::Id(OpId(object, _)) => self.objects.get_mut(&object)?,
        };
        match object {
            Made::Map(members) if !insert => place(members, key, slot),
            Made::List(items, last) if insert && stands_behind(&key, *last) => {
                items.push(slot);
                *last = number;
                Some(())
            }
            Made::Map(_) | Made::List(..) => None,
        }
    }

    /// The value of `slot`, of objects `deep` levels deep at most.
    fn value(&mut self, slot: Slot, deep: usize) -> Option<Value> {
        let number = match slot {
            Slot::Scalar(value) => return Some(to_json_scalar(&value)),
            Slot::Object(number) => number,
        };
        let deep = deep.checked_sub(1)?;
        match self.objects.remove(&number)? {
            Made::Map(members) => {
                let member = |(key, slot)| Some((key, self.value(slot, deep)?));
                members.into_iter().map(member).collect::<Option<Map<_, _>>>().map(Value::Object)
            }
            Made::List(items, _) => {
                items.into_iter().map(|slot| self.value(slot, deep)).collect::<Option<Vec<_>>>().map(Value::Array)
            }
        }
    }
}

/// Writes one member; none when it was written before.
fn place(members: &mut BTreeMap<String, Slot>, key: Key, slot: Slot) -> Option<()> {
    let Key::Map(key) = key else { return None };
    members.insert(key.to_string(), slot).is_none().then_some(())
}

fn stands_behind(place: &Key, last: u64) -> bool {
    match place {
        Key::Seq(ElementId::Head) => last == 0,
        Key::Seq(ElementId::Id(OpId(element, _))) => last == *element,
        Key::Map(_) => false,
    }
}

#[cfg(test)]
mod tests;
