//! A field-merged document: leaves under path keys in the root map of one Automerge document.
//!
//! Purpose: a put becomes the smallest set of changes, so that edits of different fields on two nodes both survive.
//! Inputs: [`Document`]s and encoded changes; outputs: the same. What it does not do: know stamps or deletes; the row
//! does.

use super::Document;
use super::chunk;
use super::path::{self, ShapeError};
use automerge::hydrate;
use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash, ObjType, ROOT, ReadDoc, ScalarValue};
use serde_json::{Map, Number, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// One document in Automerge.
pub struct FullDoc {
    /// On the heap: it is moved in and out of the cache for every use.
    doc: Box<Automerge>,
    /// The last local change, which neighbours nearly always want: Automerge would have to encode it again.
    last: Option<LastChange>,
}

/// A local change and what it was made on.
struct LastChange {
    from: Vec<ChangeHash>,
    hash: ChangeHash,
    bytes: Vec<u8>,
}

/// What merging changes did.
#[derive(Debug, Default)]
pub struct Applied {
    /// The changes that were not there, one behind the other, as [`FullDoc::load`] reads them behind what was saved.
    pub added: Vec<u8>,
    /// The object that readers see now; none when nothing was new.
    pub document: Option<Document>,
}

/// A document that cannot be read, changed or merged.
#[derive(Debug, thiserror::Error)]
pub enum FullError {
    /// Not an Automerge document, or damaged.
    #[error("load the document: {0}")]
    Load(Box<AutomergeError>),
    /// A change of a peer that cannot be decoded.
    #[error("decode a change: {0}")]
    Decode(String),
    /// Changes of a peer that contradict what is there.
    #[error("apply changes: {0}")]
    Apply(Box<AutomergeError>),
    /// An edit that Automerge refused.
    #[error("edit the document: {0}")]
    Edit(Box<AutomergeError>),
    /// A shape that cannot be stored.
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

impl FullDoc {
    /// An empty document whose edits carry `actor`, which must be fresh for each start of the process.
    pub fn new(actor: [u8; 16]) -> Self {
        Self { doc: Box::new(Automerge::new().with_actor(ActorId::from(actor))), last: None }
    }

    /// Reads what [`FullDoc::save`] gave, and changes behind it.
    ///
    /// # Errors
    /// [`FullError::Load`] for anything else.
    pub fn load(saved: &[u8], actor: [u8; 16]) -> Result<Self, FullError> {
        let doc = if chunk::is_change(saved) {
            // Automerge takes changes that wait for others only behind a document.
            Automerge::load(&[&Automerge::new().save(), saved].concat())
        } else {
            Automerge::load(saved)
        };
        let doc = doc.map_err(|error| FullError::Load(Box::new(error)))?;
        Ok(Self { doc: Box::new(doc.with_actor(ActorId::from(actor))), last: None })
    }

    /// The whole document, with changes whose dependencies are still missing.
    pub fn save(&self) -> Vec<u8> {
        self.doc.save()
    }

    /// The heads, ascending.
    pub fn heads(&self) -> Vec<ChangeHash> {
        let mut heads = self.doc.get_heads();
        heads.sort_unstable();
        heads
    }

    /// Whether changes wait for others that have not come.
    pub fn has_gaps(&self) -> bool {
        !self.doc.get_missing_deps(&[]).is_empty()
    }

    /// Whether every one of `heads` is known here.
    pub fn knows(&self, heads: &[ChangeHash]) -> bool {
        heads.iter().all(|head| self.doc.get_change_meta_by_hash(head).is_some())
    }

    /// Encoded changes that are not in the history of `heads`, dependencies first.
    pub fn changes_since(&self, heads: &[ChangeHash]) -> Vec<Vec<u8>> {
        self.doc.get_changes(heads).into_iter().map(|mut change| change.bytes().into_owned()).collect()
    }

    /// As many of [`FullDoc::changes_since`] as fit `room` bytes, at least one; and, where that is not all, the heads
    /// to go on from.
    pub fn some_changes_since(&self, heads: &[ChangeHash], room: usize) -> (Vec<Vec<u8>>, Option<Vec<ChangeHash>>) {
        if let Some(last) = &self.last
            && last.from == heads
            && self.doc.get_heads() == [last.hash]
        {
            return (vec![last.bytes.clone()], None);
        }
        let mut size = 0;
        let mut sent = Vec::new();
        let mut frontier: BTreeSet<ChangeHash> = heads.iter().copied().collect();
        for mut change in self.doc.get_changes(heads) {
            if size >= room {
                return (sent, Some(frontier.into_iter().collect()));
            }
            change.deps().iter().for_each(|dep| {
                frontier.remove(dep);
            });
            frontier.insert(change.hash());
            let bytes = change.bytes().into_owned();
            size += bytes.len();
            sent.push(bytes);
        }
        (sent, None)
    }

    /// Merges encoded changes; those with missing dependencies wait inside the document.
    ///
    /// # Errors
    /// [`FullError::Decode`] or [`FullError::Apply`]; the document is not to be used any more.
    pub fn apply(&mut self, changes: &[impl AsRef<[u8]>]) -> Result<Applied, FullError> {
        let mut fresh = Vec::new();
        let mut added = Vec::new();
        for bytes in changes {
            let bytes = bytes.as_ref();
            let change = Change::try_from(bytes).map_err(|error| FullError::Decode(error.to_string()))?;
            if self.doc.get_change_meta_by_hash(&change.hash()).is_none() {
                added.extend_from_slice(bytes);
                fresh.push(change);
            }
        }
        if fresh.is_empty() {
            return Ok(Applied { added, document: None });
        }
        let document = contained(|| {
            self.doc.apply_changes(fresh).map_err(|error| FullError::Apply(Box::new(error)))?;
            Ok(self.document())
        })?;
        Ok(Applied { added, document: Some(document) })
    }

    /// The object that readers see.
    pub fn document(&self) -> Document {
        let mut root = Map::new();
        for (key, value) in self.leaves() {
            path::insert(&mut root, &key, value);
        }
        Document::from_map(root)
    }

    /// Makes the document equal to `wanted` by writing only what differs. Returns the encoded change, if anything did.
    ///
    /// # Errors
    /// [`FullError::Shape`] before anything is written; [`FullError::Edit`] with nothing written.
    pub fn put(&mut self, wanted: &Document) -> Result<Option<Vec<u8>>, FullError> {
        let wanted = path::leaves(wanted.as_map())?;
        let (from, there) = (self.heads(), self.leaves());
        let mut edit = self.doc.transaction();
        // A transaction that is dropped on an error rolls back.
        write_difference(&mut edit, &there, &wanted).map_err(|error| FullError::Edit(Box::new(error)))?;
        let (commit, _) = edit.commit();
        let Some(hash) = commit else { return Ok(None) };
        let bytes = self.doc.get_change_by_hash(&hash).map(|mut change| change.bytes().into_owned());
        self.last = bytes.clone().map(|bytes| LastChange { from, hash, bytes });
        Ok(bytes)
    }

    fn leaves(&self) -> BTreeMap<String, Value> {
        match self.doc.hydrate(None) {
            hydrate::Value::Map(map) => map.iter().map(|(key, leaf)| (key.clone(), to_json(&leaf.value))).collect(),
            hydrate::Value::Scalar(_) | hydrate::Value::List(_) | hydrate::Value::Text(_) => BTreeMap::new(),
        }
    }
}

impl fmt::Debug for FullDoc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FullDoc").field("heads", &self.doc.get_heads().len()).finish_non_exhaustive()
    }
}

/// Does `work` with bytes of others. Where a change contradicts itself behind a right checksum, Automerge panics; one
/// bad peer must not end the node. What `work` had in hand is not to be used after an error.
pub(super) fn contained<T>(work: impl FnOnce() -> Result<T, FullError>) -> Result<T, FullError> {
    let result = catch_unwind(AssertUnwindSafe(work));
    result.unwrap_or_else(|_| Err(FullError::Decode("it contradicts itself".to_owned())))
}

/// Equality of stored and wanted values: an integer and a float of equal value are different texts, so different.
fn same(old: &Value, new: &Value) -> bool {
    old == new
}

fn write_difference<T: Transactable>(
    edit: &mut T,
    there: &BTreeMap<String, Value>,
    wanted: &BTreeMap<String, &Value>,
) -> Result<(), AutomergeError> {
    for key in there.keys().filter(|key| !wanted.contains_key(*key)) {
        edit.delete(ROOT, key.as_str())?;
    }
    for (key, value) in wanted {
        match (there.get(key), value) {
            (Some(old), _) if same(old, value) => {}
            (Some(Value::Array(old)), Value::Array(new)) => {
                if let Some((_, list)) = edit.get(ROOT, key.as_str())? {
                    edit_list(edit, &list, old, new)?;
                }
            }
            _ => put_leaf(edit, key, value)?,
        }
    }
    Ok(())
}

/// Replaces only the stretch between the common beginning and the common end.
fn edit_list<T: Transactable>(
    edit: &mut T,
    list: &automerge::ObjId,
    old: &[Value],
    new: &[Value],
) -> Result<(), AutomergeError> {
    let start = old.iter().zip(new).take_while(|(a, b)| same(a, b)).count();
    let end = old[start..].iter().rev().zip(new[start..].iter().rev()).take_while(|(a, b)| same(a, b)).count();
    for _ in start..old.len() - end {
        edit.delete(list, start)?;
    }
    for (offset, value) in new[start..new.len() - end].iter().enumerate() {
        let index = start + offset;
        match object_type(value) {
            None => edit.insert(list, index, scalar(value))?,
            Some(kind) => {
                let object = edit.insert_object(list, index, kind)?;
                fill(edit, &object, value)?;
            }
        }
    }
    Ok(())
}

fn put_leaf<T: Transactable>(edit: &mut T, key: &str, value: &Value) -> Result<(), AutomergeError> {
    match object_type(value) {
        None => edit.put(ROOT, key, scalar(value)),
        Some(kind) => {
            let object = edit.put_object(ROOT, key, kind)?;
            fill(edit, &object, value)
        }
    }
}

/// Writes the members of a fresh object. Depth is bounded by the JSON parser's.
fn fill<T: Transactable>(edit: &mut T, object: &automerge::ObjId, value: &Value) -> Result<(), AutomergeError> {
    match value {
        Value::Array(items) => edit_list(edit, object, &[], items),
        Value::Object(members) => {
            for (key, member) in members {
                match object_type(member) {
                    None => edit.put(object, key.as_str(), scalar(member))?,
                    Some(kind) => {
                        let inner = edit.put_object(object, key.as_str(), kind)?;
                        fill(edit, &inner, member)?;
                    }
                }
            }
            Ok(())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

pub(super) const fn object_type(value: &Value) -> Option<ObjType> {
    match value {
        Value::Array(_) => Some(ObjType::List),
        Value::Object(_) => Some(ObjType::Map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

pub(super) fn scalar(value: &Value) -> ScalarValue {
    match value {
        Value::Bool(truth) => ScalarValue::Boolean(*truth),
        Value::String(text) => ScalarValue::Str(text.as_str().into()),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(integer), _) => ScalarValue::Int(integer),
            (None, Some(integer)) => ScalarValue::Uint(integer),
            (None, None) => number.as_f64().map_or(ScalarValue::Null, ScalarValue::F64),
        },
        Value::Null | Value::Array(_) | Value::Object(_) => ScalarValue::Null,
    }
}

fn to_json(value: &hydrate::Value) -> Value {
    match value {
        hydrate::Value::Map(map) => {
            Value::Object(map.iter().map(|(key, member)| (key.clone(), to_json(&member.value))).collect())
        }
        hydrate::Value::List(list) => Value::Array(list.iter().map(|item| to_json(&item.value)).collect()),
        hydrate::Value::Text(text) => Value::String(text.to_string()),
        hydrate::Value::Scalar(scalar) => to_json_scalar(scalar),
    }
}

pub(super) fn to_json_scalar(value: &ScalarValue) -> Value {
    match value {
        ScalarValue::Str(text) => Value::String(text.to_string()),
        ScalarValue::Int(integer) | ScalarValue::Timestamp(integer) => Value::from(*integer),
        ScalarValue::Uint(integer) => Value::from(*integer),
        ScalarValue::F64(float) => Number::from_f64(*float).map_or(Value::Null, Value::Number),
        ScalarValue::Counter(counter) => Value::from(i64::from(counter)),
        ScalarValue::Boolean(truth) => Value::Bool(*truth),
        ScalarValue::Bytes(_) | ScalarValue::Unknown { .. } | ScalarValue::Null => Value::Null,
    }
}

#[cfg(test)]
pub(super) mod tests;
