//! Whether what changes of a peer name is there.
//!
//! Purpose: of an operation that names a write, an object or an element that is not there, Automerge keeps a part, or
//! two of one number, and panics when that is saved, sent or loaded. Every name is looked up before: among what came
//! earlier in the same batch, then in the document. That costs a look or two for each operation; to save, load and send
//! the document again after each change, to see whether that works, would cost as much as the whole document. Inputs: a
//! document, and changes in the order in which they are to be applied; outputs: yes, no, or a [`Refusal`]. What it does
//! not do: see whether a change was made on all that it names. Who lacks some of that refuses it.

use super::super::json::DEEPEST;
use super::super::path;
use super::super::received::{Refusal, is_value};
use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Automerge, Change, ChangeHash, ExpandedChange, ObjId, ObjType, Prop, ROOT, ReadDoc as _};
use std::collections::{HashMap, HashSet};

/// Highest number of an operation: Automerge counts in 32 bits, and there must be room for local changes.
const LAST_NUMBER: u64 = u32::MAX as u64 / 2;

/// What changes may name.
pub(super) struct Ledger<'a> {
    doc: &'a Automerge,
    /// Of changes in this batch the number of the last operation.
    changes: HashMap<ChangeHash, u64>,
    /// The same of the newest change of an actor, behind its place in the row of all of that actor.
    actors: HashMap<ActorId, (u64, u64)>,
    made: HashMap<OpId, Made>,
    /// Elements of lists of the document, as far as they were looked at.
    items: HashMap<OpId, HashSet<OpId>>,
}

/// What an operation wrote.
struct Made {
    place: Place,
    object: Option<Object>,
}

#[derive(PartialEq)]
enum Place {
    /// In the root.
    Leaf(Key),
    /// In the list that this operation made.
    Item(OpId),
    Member,
}

#[derive(Clone, Copy)]
struct Object {
    kind: ObjType,
    /// Objects and lists around what is in it, itself and the root included.
    depth: usize,
    /// Whether it is a leaf of the root, which later changes may edit.
    is_leaf: bool,
}

/// Who makes the operations at hand, and on what.
struct Author<'c> {
    actor: &'c ActorId,
    /// Number of the first operation.
    start: u64,
    deps: &'c [ChangeHash],
}

impl Author<'_> {
    /// Whether `id` is of the same change.
    fn made(&self, id: &OpId) -> bool {
        id.0 >= self.start && id.1 == *self.actor
    }
}

impl<'a> Ledger<'a> {
    pub(super) fn of(doc: &'a Automerge) -> Self {
        let (changes, actors) = (HashMap::new(), HashMap::new());
        Self { doc, changes, actors, made: HashMap::new(), items: HashMap::new() }
    }

    /// Whether a change is among those that are about to be applied.
    pub(super) fn knows(&self, hash: &ChangeHash) -> bool {
        self.changes.contains_key(hash)
    }

    /// Notes a change that is about to be applied; false where it was made on others that are not there.
    ///
    /// # Errors
    /// [`Refusal`]; nothing of the batch is to be applied then.
    pub(super) fn admit(&mut self, change: &Change, content: &ExpandedChange) -> Result<bool, Refusal> {
        let mut start = 1;
        for dep in change.deps() {
            let Some(last) = self.last_number(dep) else { return Ok(false) };
            start = start.max(last + 1);
        }
        let author = Author { actor: change.actor_id(), start, deps: change.deps() };
        let in_order = change.deps().is_sorted_by(|one, next| one < next) && change.start_op().get() == start;
        if !in_order || change.max_op() > LAST_NUMBER || !self.goes_on(&author, change.seq()) {
            return Err(Refusal::Order);
        }
        let mut written = HashMap::new();
        for (operation, number) in content.operations.iter().zip(start..) {
            if !operation.insert && !is_alone(operation, &mut written) {
                return Err(Refusal::Operation);
            }
            if let Some(made) = self.take(&author, operation)? {
                self.made.insert(OpId::new(number, author.actor), made);
            }
        }
        self.changes.insert(change.hash(), change.max_op());
        self.actors.insert(author.actor.clone(), (change.seq(), change.max_op()));
        Ok(true)
    }

    fn last_number(&self, hash: &ChangeHash) -> Option<u64> {
        let here = self.changes.get(hash).copied();
        here.or_else(|| self.doc.get_change_meta_by_hash(hash).map(|change| change.max_op))
    }

    /// Whether the change of this place in the row of its actor's comes next, with numbers above all before.
    fn goes_on(&self, author: &Author<'_>, place: u64) -> bool {
        if place <= 1 {
            // That there is none before it, Automerge sees.
            return place == 1;
        }
        let before = self.actors.get(author.actor).copied().or_else(|| {
            let id = |number| ObjId::Id(number, author.actor.clone(), 0);
            // An actor mostly writes on its own newest change, or on one of another not long after it.
            let hash = (1..author.start).rev().find_map(|number| self.doc.hash_for_opid(&id(number)))?;
            self.doc.get_change_meta_by_hash(&hash).map(|change| (change.seq, change.max_op))
        });
        before.is_some_and(|(before, last)| before + 1 == place && last < author.start)
    }

    /// What `operation` writes; none where it deletes.
    fn take(&mut self, author: &Author<'_>, operation: &Op) -> Result<Option<Made>, Refusal> {
        let Op { action, obj, key, pred, insert } = operation;
        match (obj, key) {
            (ObjectId::Root, Key::Map(path)) if !insert => {
                let depth = path::depth(path).ok_or(Refusal::Operation)?;
                if !pred.iter().all(|write| self.has_write(author, write, key)) {
                    return Err(Refusal::Unknown);
                }
                // A put of what shows already, beside others: Automerge deletes those and writes nothing.
                let deletes = *action == OpType::Delete && !pred.is_empty();
                if deletes { Ok(None) } else { made(action, Place::Leaf(key.clone()), depth).map(Some) }
            }
            (ObjectId::Id(map), Key::Map(_)) if !insert && pred.is_empty() && author.made(map) => {
                let Object { depth, .. } = self.object(map, ObjType::Map).ok_or(Refusal::Unknown)?;
                made(action, Place::Member, depth).map(Some)
            }
            (ObjectId::Id(list), Key::Seq(behind)) if *insert && pred.is_empty() => {
                let Object { depth, .. } = self.list(author, list)?;
                let is_there = match behind {
                    ElementId::Head => true,
                    ElementId::Id(item) => self.has_item(author, list, item),
                };
                if is_there { made(action, Place::Item(list.clone()), depth).map(Some) } else { Err(Refusal::Unknown) }
            }
            (ObjectId::Id(list), Key::Seq(ElementId::Id(item))) if !insert && *action == OpType::Delete => {
                self.list(author, list)?;
                let whole = pred.iter().eq([item]) && !author.made(item) && self.has_item(author, list, item);
                if whole { Ok(None) } else { Err(Refusal::Unknown) }
            }
            (ObjectId::Root | ObjectId::Id(_), Key::Map(_) | Key::Seq(_)) => Err(Refusal::Operation),
        }
    }

    /// Whether `write` wrote the leaf `key` before the change at hand.
    fn has_write(&self, author: &Author<'_>, write: &OpId, key: &Key) -> bool {
        if write.0 >= author.start {
            return false;
        }
        if let Some(made) = self.made.get(write) {
            return matches!(&made.place, Place::Leaf(leaf) if leaf == key);
        }
        let Key::Map(path) = key else { return false };
        let is_among = |found: Vec<(automerge::Value<'_>, ObjId)>| found.iter().any(|(_, id)| is_same(id, write));
        if self.doc.get_all(ROOT, path.as_str()).is_ok_and(is_among) {
            return true;
        }
        // Written over meanwhile: it stood when it was new.
        let Some(hash) = self.doc.hash_for_opid(&object_id(write)) else { return false };
        self.doc.get_all_at(ROOT, path.as_str(), &[hash]).is_ok_and(is_among)
    }

    /// The list that `id` made, if it can be edited now.
    fn list(&self, author: &Author<'_>, id: &OpId) -> Result<Object, Refusal> {
        let here = author.made(id) || id.0 < author.start;
        let object = self.object(id, ObjType::List).filter(|list| here && (list.is_leaf || author.made(id)));
        object.ok_or(Refusal::Unknown)
    }

    fn object(&self, id: &OpId, kind: ObjType) -> Option<Object> {
        let object = match self.made.get(id) {
            Some(made) => made.object,
            None => self.leaf(id),
        };
        object.filter(|object| object.kind == kind)
    }

    /// The object that `id` made as a leaf of the document.
    fn leaf(&self, id: &OpId) -> Option<Object> {
        let id = object_id(id);
        let kind = self.doc.object_type(&id).ok()?;
        let parent = self.doc.parents(&id).ok()?.next()?;
        match parent.prop {
            Prop::Map(path) if parent.obj == ROOT => {
                Some(Object { kind, depth: path::depth(&path)? + 1, is_leaf: true })
            }
            Prop::Map(_) | Prop::Seq(_) => None,
        }
    }

    /// Whether `item` is an element of `list`, deleted or not, before the operation at hand.
    fn has_item(&mut self, author: &Author<'_>, list: &OpId, item: &OpId) -> bool {
        if let Some(made) = self.made.get(item) {
            return made.place == Place::Item(list.clone());
        }
        if item.0 >= author.start {
            return false;
        }
        let (doc, id) = (self.doc, object_id(list));
        let items =
            self.items.entry(list.clone()).or_insert_with(|| doc.list_range(&id, ..).filter_map(number).collect());
        if items.contains(item) {
            return true;
        }
        // Deleted meanwhile: it was there where the author looked, or when it was new.
        let born = doc.hash_for_opid(&object_id(item)).into_iter().collect::<Vec<_>>();
        [author.deps, &born].into_iter().filter(|heads| !heads.is_empty()).any(|heads| {
            items.extend(doc.list_range_at(&id, .., heads).filter_map(number));
            items.contains(item)
        })
    }
}

/// Whether `operation` is the only one of its change at its place. A leaf may be deleted and then written, so that it
/// gets the stamp of that write whatever it was.
fn is_alone<'c>(operation: &'c Op, written: &mut HashMap<(&'c ObjectId, &'c Key), bool>) -> bool {
    let deletes = operation.action == OpType::Delete;
    match written.insert((&operation.obj, &operation.key), deletes) {
        None => true,
        Some(deleted) => deleted && !deletes && operation.pred.is_empty() && operation.obj == ObjectId::Root,
    }
}

/// What `action` writes inside of `depth` objects and lists.
fn made(action: &OpType, place: Place, depth: usize) -> Result<Made, Refusal> {
    let is_leaf = matches!(place, Place::Leaf(_));
    let object = match action {
        OpType::Put(value) if is_value(value, is_leaf) => None,
        OpType::Make(ObjType::Map | ObjType::List) if depth == DEEPEST => return Err(Refusal::Depth),
        OpType::Make(kind @ (ObjType::Map | ObjType::List)) => Some(Object { kind: *kind, depth: depth + 1, is_leaf }),
        OpType::Put(_)
        | OpType::Make(ObjType::Table | ObjType::Text)
        | OpType::Delete
        | OpType::Increment(_)
        | OpType::MarkBegin(_)
        | OpType::MarkEnd(_) => return Err(Refusal::Operation),
    };
    Ok(Made { place, object })
}

fn object_id(id: &OpId) -> ObjId {
    ObjId::Id(id.0, id.1.clone(), 0)
}

fn is_same(id: &ObjId, operation: &OpId) -> bool {
    matches!(id, ObjId::Id(number, actor, _) if *number == operation.0 && *actor == operation.1)
}

/// The operation that inserted an element.
fn number(item: automerge::iter::ListRangeItem<'_>) -> Option<OpId> {
    match item.id() {
        ObjId::Id(number, actor, _) => Some(OpId(number, actor)),
        ObjId::Root => None,
    }
}
