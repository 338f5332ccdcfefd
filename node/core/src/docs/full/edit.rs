//! From the leaves that are there to those that are wanted, by the smallest set of operations.
//!
//! Inputs: a transaction, and leaves; outputs: operations in it. What it does not do: read the document, or commit.

use super::leaves::Leaf;
use super::script;
use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjType, ROOT, ScalarValue};
use serde_json::Value;

/// In the place of a leaf that was removed: so a removal has a stamp, and the later one of it and a write shows. JSON
/// has no bytes, so no leaf is mistaken for it.
pub(super) const REMOVED: ScalarValue = ScalarValue::Bytes(Vec::new());

/// Makes the leaf `key` what is `wanted`, none for removed; `there`: what it is now.
pub(in crate::docs) fn write_leaf<T: Transactable>(
    edit: &mut T,
    key: &str,
    there: Option<&Leaf>,
    wanted: Option<&Value>,
) -> Result<(), AutomergeError> {
    let is_contested = there.is_some_and(|leaf| leaf.contested);
    match (there.map(|leaf| leaf.value.as_ref()), wanted) {
        (Some(old), new) if old == new => Ok(()),
        (Some(Some(Value::Array(old))), Some(Value::Array(new))) if !is_contested => match edit.get(ROOT, key)? {
            Some((_, list)) => edit_list(edit, &list, old, new),
            None => Ok(()),
        },
        (_, new) if is_contested => rewrite_leaf(edit, key, new),
        (_, new) => put_leaf(edit, key, new),
    }
}

/// Writes the leaf `key` in any case: where Automerge has the same value there it would else write nothing, or only
/// take away what stands beside it, and the leaf would keep the stamp of an earlier write.
pub(in crate::docs) fn rewrite_leaf<T: Transactable>(
    edit: &mut T,
    key: &str,
    wanted: Option<&Value>,
) -> Result<(), AutomergeError> {
    if edit.get(ROOT, key)?.is_some() {
        edit.delete(ROOT, key)?;
    }
    put_leaf(edit, key, wanted)
}

/// Takes away and puts in what differs; what is in both is not touched, so that others may edit it at the same time.
fn edit_list<T: Transactable>(
    edit: &mut T,
    list: &automerge::ObjId,
    old: &[Value],
    new: &[Value],
) -> Result<(), AutomergeError> {
    let (mut before, mut after) = (0, 0);
    for (stays, stays_at) in script::kept(old, new).into_iter().chain([(old.len(), new.len())]) {
        for _ in before..stays {
            edit.delete(list, after)?;
        }
        for (index, value) in (after..stays_at).zip(&new[after..stays_at]) {
            insert(edit, list, index, value)?;
        }
        (before, after) = (stays + 1, stays_at + 1);
    }
    Ok(())
}

fn insert<T: Transactable>(
    edit: &mut T,
    list: &automerge::ObjId,
    index: usize,
    value: &Value,
) -> Result<(), AutomergeError> {
    match object_type(value) {
        None => edit.insert(list, index, scalar(value)),
        Some(kind) => {
            let object = edit.insert_object(list, index, kind)?;
            fill(edit, &object, value)
        }
    }
}

fn put_leaf<T: Transactable>(edit: &mut T, key: &str, wanted: Option<&Value>) -> Result<(), AutomergeError> {
    let Some(value) = wanted else { return edit.put(ROOT, key, REMOVED) };
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

pub(in crate::docs) const fn object_type(value: &Value) -> Option<ObjType> {
    match value {
        Value::Array(_) => Some(ObjType::List),
        Value::Object(_) => Some(ObjType::Map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

pub(in crate::docs) fn scalar(value: &Value) -> ScalarValue {
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
