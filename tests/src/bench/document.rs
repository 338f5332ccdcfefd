//! The document of every measurement: eight fields, about 190 bytes of JSON.
//!
//! Inputs: a number that one field holds; outputs: JSON, or the same written into Automerge as the node does, with
//! leaves under path keys. What it does not do: measure.

use automerge::transaction::Transactable;
use automerge::{AutomergeError, ROOT};

/// The text field, which brings the document to its size.
const NOTE: &str = "a line of text that brings the document to its size, and a little more beyond it";

/// The document as JSON, `speed` being `n`.
pub(super) fn json(n: usize) -> String {
    format!(
        r#"{{"id":"n","name":"MV Aurora","type":"ferry","lat":54.123456,"lon":10.654321,"ready":true,"speed":{n},"note":"{NOTE}"}}"#
    )
}

/// Writes all eight fields.
pub(super) fn write<T: Transactable>(edit: &mut T, n: usize) -> Result<(), AutomergeError> {
    edit.put(ROOT, "/id", "n")?;
    edit.put(ROOT, "/name", "MV Aurora")?;
    edit.put(ROOT, "/type", "ferry")?;
    edit.put(ROOT, "/lat", 54.123_456)?;
    edit.put(ROOT, "/lon", 10.654_321)?;
    edit.put(ROOT, "/ready", true)?;
    edit.put(ROOT, "/note", NOTE)?;
    edit_one(edit, n)
}

/// Changes the one field that an edit changes.
pub(super) fn edit_one<T: Transactable>(edit: &mut T, n: usize) -> Result<(), AutomergeError> {
    edit.put(ROOT, "/speed", i64::try_from(n).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_eight_fields() {
        let parsed: serde_json::Value = serde_json::from_str(&json(7)).unwrap();
        assert_eq!(parsed.as_object().map(serde_json::Map::len), Some(8));
        assert_eq!(parsed["speed"], 7);
    }
}
