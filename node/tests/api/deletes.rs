//! Deletes between nodes: they arrive, they are told once, and nothing brings the document back.

use super::Api;
use super::peers::{SHARED, connect, has, pair};
use super::process::{Node, PATIENCE};
use super::raw::{Frames, Raw};
use serde_json::json;

/// The next event of a subscription: its document, and whether it is a delete.
async fn next(events: &mut Frames) -> (String, bool) {
    let (flags, event) = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    assert_eq!(flags, 0, "{event}");
    (event["docId"].as_str().unwrap().to_owned(), event["changeType"] == "CHANGE_TYPE_DELETE")
}

/// Events of collection `d`, once these have come; the connection lives as long as the first part.
async fn subscribed(api: &Api, stored: &[&str]) -> (Raw, Frames) {
    let mut raw = Raw::unix(api).await;
    let mut events = raw.subscribe(&json!({"collections": ["d"]})).await;
    for id in stored {
        assert_eq!(next(&mut events).await, ((*id).to_owned(), false));
    }
    (raw, events)
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
    let (_raw, mut events) = subscribed(&b, &["1", "2", "3", "kept"]).await;
    for id in ["1", "2", "3"] {
        a.node.delete("d", id).await;
    }
    has(&b.node, "d", &["kept"]).await;
    assert_eq!(Raw::tcp(&b).await.call("StartSync", &json!({})).await.0, 200);
    Raw::tcp(&b).await.call("DisconnectPeer", &json!({"endpointId": a.node.id})).await;
    connect(&b, &a).await;
    restart(&mut a.node).await;
    b.node.connect(&a.node).await.unwrap();
    a.node.put("d", "last", "{}").await;
    let mut told = [next(&mut events).await, next(&mut events).await, next(&mut events).await];
    told.sort();
    assert_eq!(told, ["1", "2", "3"].map(|id| (id.to_owned(), true)), "each delete once");
    assert_eq!(next(&mut events).await, ("last".to_owned(), false), "and none of them again");
    restart(&mut b.node).await;
    let (_raw, mut events) = subscribed(&b, &["kept", "last"]).await;
    b.node.connect(&a.node).await.unwrap();
    a.node.put("d", "again", "{}").await;
    assert_eq!(next(&mut events).await, ("again".to_owned(), false), "nothing came back and nothing went");
    for node in [&a.node, &b.node] {
        has(node, "d", &["again", "kept", "last"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_travels_over_a_chain_whatever_its_collection() {
    const NAMES: [&str; 5] = ["cells", "contact_reports", "commands", "nodes", "anything"];
    let (a, (b, c)) = tokio::join!(Api::start(&SHARED), pair());
    connect(&a, &b).await;
    connect(&b, &c).await;
    for (near, far) in [(&a.node, &c.node), (&c.node, &a.node)] {
        for name in NAMES {
            near.put(name, "doc", r#"{"x":1}"#).await;
        }
        for name in NAMES {
            has(far, name, &["doc"]).await;
        }
        for name in NAMES {
            near.delete(name, "doc").await;
        }
        for name in NAMES {
            has(far, name, &[]).await;
        }
    }
}
