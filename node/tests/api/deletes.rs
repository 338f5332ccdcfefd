//! Deletes between nodes, by callers and by time: every node has them, tells them once, and nothing brings the document
//! back.

use super::Api;
use super::peers::{SHARED, connect, has, pair};
use super::process::Node;
use super::raw::Raw;
use super::watch::{Events, Way};
use serde_json::{Value, json};

/// Events of these collections, once these documents have come, each as `collection/id`.
async fn subscribed(api: &Api, collections: &[&str], stored: &[&str]) -> Events {
    // The socket stays where it is when the node is started again.
    let mut events = Events::subscribe(api, Way::PlainUnix, json!({"collections": collections})).await;
    for name in stored {
        assert_eq!(events.next().await, *name);
    }
    events
}

/// The next events, as many as asked for, by name.
async fn told(events: &mut Events, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    while told.len() < count {
        told.push(events.next().await);
    }
    told.sort();
    told
}

/// The deletes that are told before all of `ends` are, by name.
async fn deletes_before(events: &mut Events, ends: &[&str]) -> Vec<String> {
    let (mut deletes, mut left) = (Vec::new(), ends.to_vec());
    while !left.is_empty() {
        let event = events.next().await;
        left.retain(|end| *end != event);
        if event.starts_with('-') {
            deletes.push(event);
        }
    }
    deletes.sort();
    deletes
}

/// A call that must succeed.
async fn call(api: &Api, method: &str, request: Value) {
    let (status, answer) = Raw::unix(api).await.call(method, &request).await;
    assert_eq!(status, 200, "{method}: {answer}");
}

/// Everything by which `from` may come to hear again of what it has: `StartSync`, and a new connection to `to`.
async fn meet_again(from: &Api, to: &Api) {
    call(from, "StartSync", json!({})).await;
    call(from, "DisconnectPeer", json!({"endpointId": to.node.id})).await;
    connect(from, to).await;
}

async fn restart(node: &mut Node) {
    node.kill();
    node.start(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_replicates_is_told_once_and_stays_also_after_a_restart_of_both() {
    let (mut a, mut b) = pair().await;
    connect(&a, &b).await;
    for id in ["1", "2", "3", "kept"] {
        a.node.put("d", id, r#"{"x":1}"#).await;
    }
    has(&b.node, "d", &["1", "2", "3", "kept"]).await;
    let mut events = subscribed(&b, &["d"], &["d/1", "d/2", "d/3", "d/kept"]).await;
    for id in ["1", "2", "3"] {
        a.node.delete("d", id).await;
    }
    has(&b.node, "d", &["kept"]).await;
    meet_again(&b, &a).await;
    restart(&mut a.node).await;
    b.node.connect(&a.node).await.unwrap();
    a.node.put("d", "last", "{}").await;
    assert_eq!(told(&mut events, 3).await, ["-d/1", "-d/2", "-d/3"], "each delete once");
    assert_eq!(events.next().await, "d/last", "and none of them again");
    drop(events);
    restart(&mut b.node).await;
    let mut events = subscribed(&b, &["d"], &["d/kept", "d/last"]).await;
    b.node.connect(&a.node).await.unwrap();
    a.node.put("d", "again", "{}").await;
    assert_eq!(events.next().await, "d/again", "nothing came back and nothing went");
    for node in [&a.node, &b.node] {
        has(node, "d", &["again", "kept", "last"]).await;
    }
}

/// Collections whose deletes once did not go all the way, in either direction, and others.
const NAMES: [&str; 5] = ["anything", "cells", "commands", "contact_reports", "nodes"];

/// Writes a document in each of [`NAMES`] at `near` and deletes it; `far` is told of each once. Its further events.
async fn cross(near: &Api, far: &Api, id: &str) -> Events {
    let mut events = subscribed(far, &NAMES, &[]).await;
    for name in NAMES {
        near.node.put(name, id, r#"{"x":1}"#).await;
    }
    assert_eq!(told(&mut events, NAMES.len()).await, NAMES.map(|name| format!("{name}/{id}")));
    for name in NAMES {
        near.node.delete(name, id).await;
    }
    assert_eq!(told(&mut events, NAMES.len()).await, NAMES.map(|name| format!("-{name}/{id}")), "each delete once");
    for name in NAMES {
        has(&far.node, name, &[]).await;
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_travels_over_a_chain_is_told_once_and_stays_whatever_its_collection() {
    let (a, (b, mut c)) = tokio::join!(Api::start(&SHARED), pair());
    connect(&a, &b).await;
    connect(&b, &c).await;
    cross(&c, &a, "up").await;
    let mut events = cross(&a, &c, "down").await;
    meet_again(&c, &b).await;
    a.node.put("anything", "first", "{}").await;
    assert_eq!(events.next().await, "anything/first", "no delete comes again");
    drop(events);
    restart(&mut c.node).await;
    let mut events = subscribed(&c, &NAMES, &["anything/first"]).await;
    c.node.connect(&b.node).await.unwrap();
    call(&c, "StartSync", json!({})).await;
    a.node.put("anything", "last", "{}").await;
    assert_eq!(events.next().await, "anything/last", "nothing came back and nothing went");
    for node in [&a.node, &b.node, &c.node] {
        has(node, "anything", &["first", "last"]).await;
        for name in &NAMES[1..] {
            has(node, name, &[]).await;
        }
    }
    assert_eq!([a.node.peers().await, c.node.peers().await], [1, 1], "there is no way but over the one between");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_whose_time_is_over_is_told_as_one_delete_at_its_writer_and_at_a_peer() {
    // Two kinds of documents: two go by the policy of their collection, two because their writer said when.
    const TIMED: [&str; 4] = ["beacons", "flares", "ships", "tracks"];
    let (a, b) = pair().await;
    connect(&a, &b).await;
    for name in TIMED {
        a.node.put(name, "doc", r#"{"n":1}"#).await;
        has(&b.node, name, &["doc"]).await;
    }
    let stored = ["beacons/doc", "flares/doc", "ships/doc", "tracks/doc"];
    let (mut on_a, mut on_b) = (subscribed(&a, &TIMED, &stored).await, subscribed(&b, &TIMED, &stored).await);
    for name in ["beacons", "flares"] {
        let policy = "DELETION_POLICY_IMPLICIT_TTL";
        let config = json!({"collection": name, "deletionPolicy": policy, "softDeleteTtlSecs": "1"});
        call(&a, "SetCollectionConfig", json!({"config": config})).await;
    }
    for name in ["ships", "tracks"] {
        let edit = json!({"collection": name, "docId": "doc", "putJson": r#"{"n":2}"#, "ttlSecs": "1"});
        call(&a, "Write", json!({"edits": [edit]})).await;
    }
    for name in TIMED {
        has(&a.node, name, &[]).await;
        has(&b.node, name, &[]).await;
    }
    meet_again(&b, &a).await;
    // From both sides: what either told the other before has been heard by then.
    a.node.put("ships", "from-a", "{}").await;
    b.node.put("ships", "from-b", "{}").await;
    for (place, events) in [("its writer", &mut on_a), ("a peer", &mut on_b)] {
        let deletes = deletes_before(events, &["ships/from-a", "ships/from-b"]).await;
        assert_eq!(deletes, ["-beacons/doc", "-flares/doc", "-ships/doc", "-tracks/doc"], "at {place}");
    }
}
