//! A query is one or an error; a negation says the opposite, and a query says the same each time.
//!
//! Input: the query as JSON and, behind a line feed, a document; or a query as protobuf.

use buffa::Message as _;
use peat_node::api::query::Query;
use peat_proto::sidecar::peat::sidecar::v1::SubscriptionQuery;
use serde_json::{Map, Value};

/// Panics when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    if let Ok(query) = SubscriptionQuery::decode_from_slice(bytes) {
        asked(&query, &Map::new());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (query, document) = text.split_once('\n').unwrap_or((text, "{}"));
    if let (Ok(query), Ok(Value::Object(document))) = (serde_json::from_str(query), serde_json::from_str(document)) {
        asked(&query, &document);
    }
}

fn asked(query: &SubscriptionQuery, document: &Map<String, Value>) {
    if let Ok(query) = Query::parse(query) {
        let holds = query.holds(document);
        assert_eq!(query.clone().holds(document), holds);
        assert_ne!(Query::Not(Box::new(query)).holds(document), holds);
    }
}
