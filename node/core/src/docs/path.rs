//! Leaves of an object under path keys, and back.
//!
//! Purpose: nested objects made on two nodes at once would hide one whole subtree in Automerge; leaves in one flat map
//! merge one by one. A path key is a JSON Pointer (RFC 6901), `/a/b` for `{"a":{"b":…}}`, with `~0` and `~1` for `~`
//! and `/`. Inputs: an object, or (path, value) pairs; outputs: the other. What it does not do: look inside lists,
//! which are leaves.
//!
//! Rule for a path that is a leaf on one node and an object on another: the object shows, the leaf is hidden.

use super::json::DEEPEST;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest path key in bytes: it is repeated in every leaf below it.
const LONGEST_PATH: usize = 1024;

/// A document whose shape cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The keys from the root to a leaf are too long together.
    #[error("json_data has a leaf whose path is longer than {LONGEST_PATH} bytes")]
    Path,
    /// The change that writes it would be larger than other nodes take.
    #[error("json_data has too many values, or too long paths, to be written at once")]
    Size,
}

/// Every leaf by its path: scalars, lists, and empty objects (an object with members is not a leaf).
pub(super) fn leaves(object: &Map<String, Value>) -> Result<BTreeMap<String, &Value>, ShapeError> {
    let mut found = BTreeMap::new();
    collect(object, &mut String::new(), &mut found)?;
    Ok(found)
}

fn collect<'a>(
    object: &'a Map<String, Value>,
    path: &mut String,
    found: &mut BTreeMap<String, &'a Value>,
) -> Result<(), ShapeError> {
    for (key, value) in object {
        let length = path.len();
        path.push('/');
        path.push_str(&key.replace('~', "~0").replace('/', "~1"));
        if path.len() > LONGEST_PATH {
            return Err(ShapeError::Path);
        }
        match value {
            Value::Object(members) if !members.is_empty() => collect(members, path, found)?,
            Value::Object(_) | Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                found.insert(path.clone(), value);
            }
        }
        path.truncate(length);
    }
    Ok(())
}

/// How many objects are around the leaf `key`, the root included; none for what is no path key as [`leaves`] makes
/// them.
pub(super) fn depth(key: &str) -> Option<usize> {
    let is_escape = |rest: &str| rest.starts_with(['0', '1']);
    let is_path = key.starts_with('/') && key.len() <= LONGEST_PATH && key.split('~').skip(1).all(is_escape);
    is_path.then(|| key.matches('/').count()).filter(|depth| *depth <= DEEPEST)
}

/// Adds one leaf to `root`. Call in ascending order of paths; a leaf in the way of an object gives way.
pub(super) fn insert(root: &mut Map<String, Value>, path: &str, leaf: Value) {
    let mut segments = path.split('/').skip(1).map(|s| s.replace("~1", "/").replace("~0", "~")).peekable();
    let mut object = root;
    while let Some(segment) = segments.next() {
        if segments.peek().is_none() {
            let slot = object.entry(segment).or_insert(Value::Null);
            if slot.as_object().is_none_or(Map::is_empty) {
                *slot = leaf;
            }
            return;
        }
        let slot = object.entry(segment).or_insert(Value::Null);
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        let Value::Object(members) = slot else { return };
        object = members;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(json: &str) -> String {
        let Value::Object(map) = serde_json::from_str(json).unwrap() else { unreachable!() };
        let mut root = Map::new();
        for (path, leaf) in leaves(&map).unwrap() {
            insert(&mut root, &path, leaf.clone());
        }
        Value::Object(root).to_string()
    }

    #[test]
    fn every_shape_of_object_survives() {
        for json in [r#"{}"#, r#"{"":{"":1}}"#, r#"{"a/b":{"~1":2,"~c":1}}"#, r#"{"a":{},"b":{"c":{"d":[{}]}}}"#] {
            assert_eq!(there_and_back(json), json);
        }
    }

    #[test]
    fn an_object_shows_over_a_leaf_at_the_same_path_whichever_comes_first() {
        let mut root = Map::new();
        insert(&mut root, "/a", Value::from(1));
        insert(&mut root, "/a/b", Value::from(2));
        insert(&mut root, "/a", Value::from(3));
        assert_eq!(Value::Object(root).to_string(), r#"{"a":{"b":2}}"#);
    }

    #[test]
    fn a_path_over_the_limit_is_refused_before_it_is_repeated() {
        let json = format!("{{\"{}\":{{\"a\":1,\"b\":2}}}}", "k".repeat(LONGEST_PATH));
        let Value::Object(map) = serde_json::from_str(&json).unwrap() else { unreachable!() };
        assert_eq!(leaves(&map), Err(ShapeError::Path));
    }
}
