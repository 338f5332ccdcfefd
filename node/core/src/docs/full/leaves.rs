//! What a document in Automerge holds, leaf by leaf.
//!
//! Purpose: of writes of one leaf that did not know of each other, the one with the later stamp shows, and a removal is
//! one of them. (Automerge by itself shows the one whose writer had seen more operations, and never the removal.) So
//! what readers see of a leaf depends on nothing but the stamps, whatever was forgotten of its history. Inputs: a
//! document, now or at some heads; outputs: leaves. What it does not do: change anything.

use automerge::hydrate;
use automerge::{Automerge, ChangeHash, ObjId, ObjType, ROOT, ReadDoc, ScalarValue};
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// One leaf.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::docs) struct Leaf {
    /// None: it was removed.
    pub(in crate::docs) value: Option<Value>,
    /// Whether writes that did not know of each other stand beside each other.
    pub(super) contested: bool,
}

impl Leaf {
    /// What readers see of it.
    pub(super) const fn shown(&self) -> Option<&Value> {
        self.value.as_ref()
    }
}

/// Leaves by path, with the marks of removed ones.
pub(in crate::docs) type Leaves = BTreeMap<String, Leaf>;

/// The leaves of `doc`, as they were at `heads`; none: as they are.
pub(in crate::docs) fn read(doc: &Automerge, heads: Option<&[ChangeHash]>) -> Leaves {
    let hydrate::Value::Map(map) = doc.hydrate(heads) else { return Leaves::new() };
    let leaf = |(key, leaf): (&String, &hydrate::MapValue)| {
        let contest = if leaf.conflict { one(doc, key, heads) } else { None };
        (key.clone(), contest.unwrap_or_else(|| Leaf { value: of(&leaf.value), contested: false }))
    };
    map.iter().map(leaf).collect()
}

/// The leaf `key` of `doc`, as it was at `heads`; none: as it is.
pub(in crate::docs) fn one(doc: &Automerge, key: &str, heads: Option<&[ChangeHash]>) -> Option<Leaf> {
    latest(doc, key, heads).map(|(leaf, _)| leaf)
}

/// As [`one`], with the change that wrote the leaf, or made the list that has been edited since.
pub(in crate::docs) fn written(doc: &Automerge, key: &str, heads: &[ChangeHash]) -> Option<(Leaf, Option<ChangeHash>)> {
    latest(doc, key, Some(heads)).map(|(leaf, id)| (leaf, doc.hash_for_opid(&id)))
}

fn of(value: &hydrate::Value) -> Option<Value> {
    match value {
        hydrate::Value::Scalar(ScalarValue::Bytes(_)) => None,
        hydrate::Value::Scalar(_) | hydrate::Value::Map(_) | hydrate::Value::List(_) | hydrate::Value::Text(_) => {
            Some(to_json(value))
        }
    }
}

/// Of the writes of `key` that stand beside each other the one with the latest stamp, and its operation.
fn latest(doc: &Automerge, key: &str, heads: Option<&[ChangeHash]>) -> Option<(Leaf, ObjId)> {
    let values = match heads {
        None => doc.get_all(ROOT, key),
        Some(heads) => doc.get_all_at(ROOT, key, heads),
    };
    let stamp = |hash: &ChangeHash| doc.get_change_meta_by_hash(hash).map(|change| change.timestamp);
    let order = |id: &ObjId| doc.hash_for_opid(id).map(|hash| (stamp(&hash), hash));
    let mut values = values.ok()?;
    let contested = values.len() > 1;
    let (value, id) = if contested { values.into_iter().max_by_key(|(_, id)| order(id)) } else { values.pop() }?;
    let value = match value {
        automerge::Value::Scalar(scalar) if scalar.is_bytes() => None,
        value @ (automerge::Value::Scalar(_) | automerge::Value::Object(_)) => Some(nested(doc, &value, &id, heads)),
    };
    Some((Leaf { value, contested }, id))
}

/// A value with all that is in it.
fn nested(doc: &Automerge, value: &automerge::Value<'_>, id: &ObjId, heads: Option<&[ChangeHash]>) -> Value {
    let inner = |value: automerge::Value<'_>, id: ObjId| nested(doc, &value, &id, heads);
    match value {
        automerge::Value::Scalar(scalar) => to_json_scalar(scalar),
        automerge::Value::Object(ObjType::List) => {
            let items = heads.map_or_else(|| doc.list_range(id, ..), |heads| doc.list_range_at(id, .., heads));
            Value::Array(items.map(|item| (item.id(), item.value)).map(|(id, value)| inner(value.into(), id)).collect())
        }
        automerge::Value::Object(ObjType::Map | ObjType::Table | ObjType::Text) => {
            let members = heads.map_or_else(|| doc.map_range(id, ..), |heads| doc.map_range_at(id, .., heads));
            let member = |member: automerge::iter::MapRangeItem<'_>| {
                (member.key.to_string(), inner(member.value.clone().into(), member.id()))
            };
            Value::Object(members.map(member).collect())
        }
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

pub(in crate::docs) fn to_json_scalar(value: &ScalarValue) -> Value {
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
