//! Typed messages as stored documents, and back, from one description of each type.
//!
//! Purpose: a type lists its fields once ([`Record::fields`]); [`document`] walks the list to write, [`record`] to
//! read. Stored shape: snake_case keys, enums as integers, 64-bit integers as numbers, absent optionals as null.
//! Reading is lenient: a missing or wrong-typed key gives the default, an enum may be stored by name, and the key of
//! the other naming era is read where the own one is missing. What it does not do: name collections or talk to the
//! store.

use buffa::{EnumValue, Enumeration};
use peat_node_core::docs::Document;
use peat_proto::sidecar::peat::sidecar::v1 as proto;
use serde_json::{Map, Number, Value};

/// Keys of a field: the one that is written, then others that are read when it is missing.
type Keys = &'static [&'static str];

/// A message that is kept as a document.
pub(super) trait Record: Default {
    /// The document id.
    fn id(&mut self) -> &mut String;
    /// Shows every field but the id to `visitor`, in the order of the message.
    fn fields(&mut self, visitor: &mut dyn Visitor);
}

/// What is done with each field.
pub(super) trait Visitor {
    fn text(&mut self, keys: Keys, field: &mut String);
    fn texts(&mut self, keys: Keys, field: &mut Vec<String>);
    fn maybe_text(&mut self, keys: Keys, field: &mut Option<String>);
    fn double(&mut self, keys: Keys, field: &mut f64);
    fn maybe_double(&mut self, keys: Keys, field: &mut Option<f64>);
    fn count(&mut self, keys: Keys, field: &mut u32);
    fn integer(&mut self, keys: Keys, field: &mut i64);
    fn choice(&mut self, keys: Keys, field: &mut dyn Choice);
}

/// An enum field, whatever its type.
pub(super) trait Choice {
    fn number(&self) -> i32;
    fn set_number(&mut self, number: i32);
    fn set_name(&mut self, name: &str);
}

impl<E: Enumeration> Choice for EnumValue<E> {
    fn number(&self) -> i32 {
        self.to_i32()
    }

    fn set_number(&mut self, number: i32) {
        *self = number.into();
    }

    fn set_name(&mut self, name: &str) {
        if let Some(known) = E::from_proto_name(name) {
            *self = known.into();
        }
    }
}

/// A number that JSON does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is not a finite number")]
pub(super) struct NotFinite {
    field: &'static str,
}

/// The document that keeps `record`.
///
/// # Errors
/// [`NotFinite`] for the first infinite or undefined number.
pub(super) fn document(mut record: impl Record) -> Result<Document, NotFinite> {
    let mut writer = Writer { map: Map::new(), wrong: None };
    let id = std::mem::take(record.id());
    writer.map.insert("id".to_owned(), Value::String(id));
    record.fields(&mut writer);
    match writer.wrong {
        Some(field) => Err(NotFinite { field }),
        None => Ok(Document::from_map(writer.map)),
    }
}

/// The record that is kept as `document` under `id`.
pub(super) fn record<R: Record>(id: String, document: &Document) -> R {
    let mut record = R::default();
    record.fields(&mut Reader { map: document.as_map() });
    *record.id() = id;
    record
}

struct Writer {
    map: Map<String, Value>,
    wrong: Option<&'static str>,
}

impl Writer {
    fn put(&mut self, keys: Keys, value: impl Into<Value>) {
        if let Some(key) = keys.first() {
            self.map.insert((*key).to_owned(), value.into());
        }
    }
}

impl Visitor for Writer {
    fn text(&mut self, keys: Keys, field: &mut String) {
        self.put(keys, std::mem::take(field));
    }

    fn texts(&mut self, keys: Keys, field: &mut Vec<String>) {
        self.put(keys, std::mem::take(field));
    }

    fn maybe_text(&mut self, keys: Keys, field: &mut Option<String>) {
        self.put(keys, field.take());
    }

    fn double(&mut self, keys: Keys, field: &mut f64) {
        match Number::from_f64(*field) {
            Some(number) => self.put(keys, number),
            None => self.wrong = self.wrong.or_else(|| keys.first().copied()),
        }
    }

    fn maybe_double(&mut self, keys: Keys, field: &mut Option<f64>) {
        match field {
            Some(number) => self.double(keys, number),
            None => self.put(keys, Value::Null),
        }
    }

    fn count(&mut self, keys: Keys, field: &mut u32) {
        self.put(keys, *field);
    }

    fn integer(&mut self, keys: Keys, field: &mut i64) {
        self.put(keys, *field);
    }

    fn choice(&mut self, keys: Keys, field: &mut dyn Choice) {
        self.put(keys, field.number());
    }
}

struct Reader<'a> {
    map: &'a Map<String, Value>,
}

impl<'a> Reader<'a> {
    fn find(&self, keys: Keys) -> Option<&'a Value> {
        keys.iter().find_map(|key| self.map.get(*key))
    }
}

impl Visitor for Reader<'_> {
    fn text(&mut self, keys: Keys, field: &mut String) {
        *field = self.find(keys).and_then(Value::as_str).unwrap_or_default().to_owned();
    }

    fn texts(&mut self, keys: Keys, field: &mut Vec<String>) {
        let items = self.find(keys).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        *field = items.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    }

    fn maybe_text(&mut self, keys: Keys, field: &mut Option<String>) {
        *field = self.find(keys).and_then(Value::as_str).map(str::to_owned);
    }

    fn double(&mut self, keys: Keys, field: &mut f64) {
        *field = self.find(keys).and_then(Value::as_f64).unwrap_or_default();
    }

    fn maybe_double(&mut self, keys: Keys, field: &mut Option<f64>) {
        *field = self.find(keys).and_then(Value::as_f64);
    }

    fn count(&mut self, keys: Keys, field: &mut u32) {
        *field = self.find(keys).and_then(Value::as_u64).and_then(|count| count.try_into().ok()).unwrap_or_default();
    }

    fn integer(&mut self, keys: Keys, field: &mut i64) {
        *field = self.find(keys).and_then(Value::as_i64).unwrap_or_default();
    }

    fn choice(&mut self, keys: Keys, field: &mut dyn Choice) {
        match self.find(keys) {
            Some(Value::Number(number)) => {
                field.set_number(number.as_i64().and_then(|number| number.try_into().ok()).unwrap_or_default());
            }
            Some(Value::String(name)) => field.set_name(name),
            _ => {}
        }
    }
}

/// `Node` and `Platform` are one type under two names.
macro_rules! unit_record {
    ($message:ty, $kind:ident, $keys:expr) => {
        impl Record for $message {
            fn id(&mut self) -> &mut String {
                &mut self.id
            }

            fn fields(&mut self, visitor: &mut dyn Visitor) {
                visitor.text($keys, &mut self.$kind);
                visitor.text(&["name"], &mut self.name);
                visitor.choice(&["status"], &mut self.status);
                visitor.double(&["latitude"], &mut self.latitude);
                visitor.double(&["longitude"], &mut self.longitude);
                visitor.double(&["altitude_m"], &mut self.altitude_m);
                visitor.double(&["readiness"], &mut self.readiness);
                visitor.texts(&["capabilities"], &mut self.capabilities);
                visitor.maybe_text(&["unit_id"], &mut self.unit_id);
                visitor.maybe_text(&["callsign"], &mut self.callsign);
            }
        }
    };
}

unit_record!(proto::Node, node_type, &["node_type", "platform_type"]);
unit_record!(proto::Platform, platform_type, &["platform_type", "node_type"]);

impl Record for proto::Cell {
    fn id(&mut self) -> &mut String {
        &mut self.id
    }

    fn fields(&mut self, visitor: &mut dyn Visitor) {
        visitor.text(&["name"], &mut self.name);
        visitor.choice(&["status"], &mut self.status);
        visitor.count(&["node_count", "platform_count"], &mut self.node_count);
        visitor.double(&["center_latitude"], &mut self.center_latitude);
        visitor.double(&["center_longitude"], &mut self.center_longitude);
        visitor.texts(&["capabilities"], &mut self.capabilities);
        visitor.maybe_text(&["formation_id"], &mut self.formation_id);
        visitor.maybe_text(&["leader_id"], &mut self.leader_id);
    }
}

impl Record for proto::Track {
    fn id(&mut self) -> &mut String {
        &mut self.id
    }

    fn fields(&mut self, visitor: &mut dyn Visitor) {
        visitor.text(&["source_node", "source_platform"], &mut self.source_node);
        visitor.maybe_text(&["cell_id"], &mut self.cell_id);
        visitor.maybe_text(&["formation_id"], &mut self.formation_id);
        visitor.double(&["latitude"], &mut self.latitude);
        visitor.double(&["longitude"], &mut self.longitude);
        visitor.maybe_double(&["altitude_m"], &mut self.altitude_m);
        visitor.maybe_double(&["cep_m"], &mut self.cep_m);
        visitor.maybe_double(&["heading_deg"], &mut self.heading_deg);
        visitor.maybe_double(&["speed_mps"], &mut self.speed_mps);
        visitor.text(&["classification"], &mut self.classification);
        visitor.double(&["confidence"], &mut self.confidence);
        visitor.choice(&["category"], &mut self.category);
    }
}

impl Record for proto::Command {
    fn id(&mut self) -> &mut String {
        &mut self.id
    }

    fn fields(&mut self, visitor: &mut dyn Visitor) {
        visitor.text(&["target_id"], &mut self.target_id);
        visitor.text(&["command_type"], &mut self.command_type);
        visitor.choice(&["status"], &mut self.status);
        visitor.integer(&["created_at"], &mut self.created_at);
        visitor.integer(&["expires_at"], &mut self.expires_at);
        visitor.text(&["payload_json"], &mut self.payload_json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<R: Record>(json: &str) -> R {
        record("one".to_owned(), &Document::parse(json).unwrap())
    }

    #[test]
    fn a_platform_is_stored_in_the_agreed_shape_and_reads_back_equal() {
        let platform = proto::Platform {
            id: "one".into(),
            platform_type: "ferry".into(),
            name: "Aurora".into(),
            status: proto::PlatformStatus::PLATFORM_STATUS_BUSY.into(),
            latitude: 59.5,
            capabilities: vec!["tow".into()],
            callsign: Some(String::new()),
            ..Default::default()
        };
        let stored = document(platform.clone()).unwrap();
        assert_eq!(
            stored.to_json(),
            r#"{"altitude_m":0.0,"callsign":"","capabilities":["tow"],"id":"one","latitude":59.5,"longitude":0.0,"name":"Aurora","platform_type":"ferry","readiness":0.0,"status":2,"unit_id":null}"#
        );
        assert_eq!(record::<proto::Platform>("one".into(), &stored), platform);
    }

    #[test]
    fn every_field_of_the_other_types_survives() {
        let track = proto::Track {
            id: "one".into(),
            source_node: "n".into(),
            cell_id: Some("c".into()),
            altitude_m: Some(0.0),
            speed_mps: Some(3.25),
            classification: "vehicle".into(),
            confidence: 0.9,
            category: proto::TrackCategory::TRACK_CATEGORY_AIR.into(),
            ..Default::default()
        };
        assert_eq!(record::<proto::Track>("one".into(), &document(track.clone()).unwrap()), track);
        let command = proto::Command {
            id: "one".into(),
            target_id: "n".into(),
            command_type: "stop".into(),
            status: 77.into(),
            created_at: i64::MIN,
            expires_at: 1_700_000_000,
            payload_json: r#"{"a":1}"#.into(),
            ..Default::default()
        };
        assert_eq!(record::<proto::Command>("one".into(), &document(command.clone()).unwrap()), command);
        let cell = proto::Cell {
            id: "one".into(),
            node_count: u32::MAX,
            leader_id: Some("n".into()),
            status: proto::CellStatus::CELL_STATUS_OFFLINE.into(),
            ..Default::default()
        };
        assert_eq!(record::<proto::Cell>("one".into(), &document(cell.clone()).unwrap()), cell);
    }

    #[test]
    fn keys_of_the_other_era_are_read_and_the_own_one_wins() {
        assert_eq!(read::<proto::Node>(r#"{"platform_type":"ferry"}"#).node_type, "ferry");
        assert_eq!(read::<proto::Platform>(r#"{"platform_type":"a","node_type":"b"}"#).platform_type, "a");
        assert_eq!(read::<proto::Cell>(r#"{"platform_count":3}"#).node_count, 3);
        assert_eq!(read::<proto::Track>(r#"{"source_platform":"s"}"#).source_node, "s");
    }

    #[test]
    fn reading_is_lenient_and_the_id_comes_from_the_document() {
        let node: proto::Node = read(
            r#"{"id":7,"node_type":["x"],"status":"NODE_STATUS_DEGRADED","latitude":"north","capabilities":[1,"tow"],"unit_id":5}"#,
        );
        assert_eq!(node.id, "one");
        assert_eq!(node.node_type, "");
        assert_eq!(node.status, proto::NodeStatus::NODE_STATUS_DEGRADED);
        assert_eq!((node.latitude, node.unit_id), (0.0, None));
        assert_eq!(node.capabilities, ["tow"]);
        let node: proto::Node = read(r#"{"status":"NO_SUCH","altitude_m":4}"#);
        assert_eq!((node.status.to_i32(), node.altitude_m), (0, 4.0));
    }

    #[test]
    fn a_number_that_json_does_not_have_is_refused_by_name() {
        let node = proto::Node { longitude: f64::NAN, ..Default::default() };
        assert_eq!(document(node).unwrap_err().to_string(), "longitude is not a finite number");
        let track = proto::Track { cep_m: Some(f64::INFINITY), ..Default::default() };
        assert_eq!(document(track).unwrap_err().to_string(), "cep_m is not a finite number");
    }
}
