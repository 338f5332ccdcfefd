//! A document as JSON: parsing with limits, canonical printing.
//!
//! Inputs: text of an application; outputs: a [`Document`], or a [`JsonError`] with the position.
//! Canonical: no blanks, object keys in ascending byte order, 64-bit integers exact, other numbers as the shortest
//! double that reads back equal; of duplicate keys the last one counts. What it does not do: keep the original text.

use serde_json::{Map, Value};

/// Objects and lists in each other, the outermost included: more the parser does not read.
pub(super) const DEEPEST: usize = 127;

/// A JSON object. Nested at most [`DEEPEST`] levels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document(Map<String, Value>);

/// Text that is no document.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON; the source has line and column.
    #[error("json_data is not valid JSON: {0}")]
    Syntax(serde_json::Error),
    /// JSON, but not an object.
    #[error("json_data must be a JSON object, not {0}")]
    NotAnObject(&'static str),
}

impl Document {
    /// Parses one JSON object.
    ///
    /// # Errors
    /// [`JsonError`], with line and column for a syntax error.
    pub fn parse(json: &str) -> Result<Self, JsonError> {
        match serde_json::from_str(json).map_err(JsonError::Syntax)? {
            Value::Object(map) => Ok(Self(map)),
            Value::Null => Err(JsonError::NotAnObject("null")),
            Value::Bool(_) => Err(JsonError::NotAnObject("a boolean")),
            Value::Number(_) => Err(JsonError::NotAnObject("a number")),
            Value::String(_) => Err(JsonError::NotAnObject("a string")),
            Value::Array(_) => Err(JsonError::NotAnObject("an array")),
        }
    }

    /// Wraps an object.
    pub const fn from_map(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// The object.
    pub const fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The object itself.
    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }

    /// Merges a patch: see [`crate::event::Edit::Merge`].
    pub fn merge(&mut self, patch: &Self) {
        merge(&mut self.0, &patch.0);
    }

    /// Canonical text.
    pub fn to_json(&self) -> String {
        let mut text = String::new();
        write_object(&self.0, &mut text);
        text
    }
}

/// Depth is bounded by the parser's, of both.
fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, change) in patch {
        match change {
            Value::Null => {
                target.remove(key);
            }
            Value::Object(members) => {
                let slot = target.entry(key).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(inner) = slot {
                    merge(inner, members);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                target.insert(key.clone(), change.clone());
            }
        }
    }
}

fn write_object(map: &Map<String, Value>, text: &mut String) {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(key, _)| key.as_bytes());
    text.push('{');
    for (position, (key, value)) in entries.into_iter().enumerate() {
        if position > 0 {
            text.push(',');
        }
        write_scalar(&Value::String(key.clone()), text);
        text.push(':');
        write_value(value, text);
    }
    text.push('}');
}

fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Object(map) => write_object(map, text),
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                write_value(item, text);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => write_scalar(value, text),
    }
}

fn write_scalar(value: &Value, text: &mut String) {
    text.push_str(&value.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(json: &str) -> String {
        Document::parse(json).unwrap().to_json()
    }

    #[test]
    fn a_patch_merges_as_rfc_7396_appendix_a_says() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let mut document = Document::parse(target).unwrap();
            document.merge(&Document::parse(patch).unwrap());
            assert_eq!(document.to_json(), result, "{target} with {patch}");
        }
    }

    #[test]
    fn canonical_text_is_compact_sorted_and_exact() {
        for same in [
            r#"{"hello":"world"}"#,
            r#"{"min":-9223372036854775808}"#,
            r#"{"max":18446744073709551615}"#,
            r#"{"one":1.0}"#,
            r#"{"tiny":1e-7}"#,
            r#"{"exact":[31.245270191439438,121.48791951161945,10.716347005479783]}"#,
            r#"{}"#,
            r#"{"a":{"b":[1,{"c":null}]}}"#,
        ] {
            assert_eq!(round_trip(same), same);
        }
        assert_eq!(round_trip(r#"{ "b": 1, "a": [ true ] }"#), r#"{"a":[true],"b":1}"#);
        assert_eq!(round_trip(r#"{"k":1,"k":2}"#), r#"{"k":2}"#);
        assert_eq!(round_trip(r#"{"big":18446744073709551616}"#), r#"{"big":1.8446744073709552e+19}"#);
    }

    #[test]
    fn a_syntax_error_names_its_position_and_another_root_its_type() {
        let error = Document::parse("{\"a\":\n tru}").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert_eq!(Document::parse("[1]").unwrap_err().to_string(), "json_data must be a JSON object, not an array");
        assert!(Document::parse("").is_err());
        let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
        assert!(Document::parse(&deep).is_err(), "nesting is bounded");
    }
}
