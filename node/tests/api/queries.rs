//! Queries of `Subscribe`: what is told of what is stored and of what changes, and every delete.

use super::Api;
use super::watch::{Events, WAYS, Way};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_query_filters_what_is_stored_and_what_changes_but_no_delete() {
    let api = Api::start(&[]).await;
    api.node.put("t", "car", r#"{"kind":"vehicle","speed":10}"#).await;
    api.node.put("t", "slow", r#"{"kind":"vehicle","speed":1}"#).await;
    api.node.put("t", "man", r#"{"kind":"person","speed":10}"#).await;
    api.node.put("other", "car", r#"{"kind":"vehicle","speed":10}"#).await;
    let query = json!({"and": {"clauses": [
        {"eq": {"field": "kind", "value": "\"vehicle\""}},
        {"or": {"clauses": [{"gt": {"field": "speed", "value": "5"}}, {"not": {"all": {}}}]}},
    ]}});
    for way in WAYS {
        let mut events = Events::subscribe(&api, way, json!({"collections": ["t"], "query": query})).await;
        assert_eq!(events.next().await, "t/car", "{way:?}");
        api.node.put("t", "man", &format!("{{\"kind\":\"person\",\"way\":\"{way:?}\"}}")).await;
        api.node.put("other", "car", &format!("{{\"kind\":\"vehicle\",\"speed\":10,\"way\":\"{way:?}\"}}")).await;
        api.node.put("t", "bus", r#"{"kind":"vehicle","speed":5.5}"#).await;
        assert_eq!(events.next().await, "t/bus", "{way:?}");
        api.node.delete("t", "bus").await;
        assert_eq!(events.next().await, "-t/bus", "{way:?}");
    }
}

/// Documents by id: the last one is in the answer to every one of [`queries`], and so ends it.
const DOCUMENTS: [(&str, &str, u32); 4] =
    [("bus", "vehicle", 10), ("car", "vehicle", 1), ("man", "person", 10), ("train", "vehicle", 100)];

/// Each kind of query, and the documents that it holds for.
fn queries() -> [(Value, &'static [&'static str]); 5] {
    let is = |kind: &str| json!({"eq": {"field": "kind", "value": json!(kind).to_string()}});
    let above = |speed: u32| json!({"gt": {"field": "speed", "value": speed.to_string()}});
    [
        (is("vehicle"), &["bus", "car", "train"]),
        (above(5), &["bus", "man", "train"]),
        (json!({"and": {"clauses": [is("vehicle"), above(5)]}}), &["bus", "train"]),
        (json!({"or": {"clauses": [is("person"), above(50)]}}), &["man", "train"]),
        (json!({"all": {}}), &["bus", "car", "man", "train"]),
    ]
}

/// Writes all documents in both collections, with another content each time.
async fn write_all(api: &Api, turn: usize) {
    for collection in ["other", "t"] {
        for (id, kind, speed) in DOCUMENTS {
            let json = json!({"kind": kind, "speed": speed, "turn": turn});
            api.node.put(collection, id, &json.to_string()).await;
        }
    }
}

/// Each of these subscribers is told of these documents next, in this order.
async fn all_told(all: &mut [(Way, Events)], names: &[String], of: &Value) {
    for (way, events) in all {
        for name in names {
            assert_eq!(events.next().await, *name, "{way:?}: {of}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_query_holds_for_what_is_stored_and_what_is_written_with_and_without_a_collection() {
    let api = Api::start(&[]).await;
    let mut turn = 0;
    write_all(&api, turn).await;
    for (query, holds) in queries() {
        for (named, told) in [(&["t"][..], &["t"][..]), (&[], &["other", "t"])] {
            let request = json!({"collections": named, "query": query});
            let names = told.iter().flat_map(|collection| holds.iter().map(move |id| format!("{collection}/{id}")));
            let names: Vec<String> = names.collect();
            let mut all = Vec::new();
            for way in WAYS {
                all.push((way, Events::subscribe(&api, way, request.clone()).await));
            }
            all_told(&mut all, &names, &request).await;
            turn += 1;
            write_all(&api, turn).await;
            all_told(&mut all, &names, &request).await;
        }
    }
}
