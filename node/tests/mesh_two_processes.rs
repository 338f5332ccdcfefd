//! Two real node processes by flags alone: everything arrives, nothing acknowledged is lost, strangers see nothing.
#![allow(clippy::unwrap_used, reason = "a test suite")]

mod process;

use process::{KEY, Node, never_for, put, wait_for};
use std::collections::BTreeSet;
use std::time::Duration;

const SHARED: [&str; 2] = ["--shared-key", KEY];

async fn has_all(node: &Node, collection: &str, count: usize) {
    wait_for(&format!("{count} documents of {collection} on {}", &node.id[..10]), || async {
        (node.list(collection).await.len() == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_written_before_and_in_a_burst_after_the_connection_all_arrive() {
    let (mut a, mut b) = (Node::prepare(&SHARED), Node::prepare(&SHARED));
    a.start(&[]).await;
    for n in 0..500 {
        a.put("before", &format!("doc-{n}"), &format!("{{\"n\":{n}}}")).await;
    }
    b.start(&["--peer", &a.address()]).await;
    has_all(&b, "before", 500).await;
    let client = a.client();
    let burst = (0..500).map(|n| {
        let client = client.clone();
        async move { put(&client, "burst", &format!("doc-{n}"), &format!("{{\"n\":{n}}}")).await }
    });
    futures::future::try_join_all(burst).await.unwrap();
    b.put("back", "doc", r#"{"from":"b"}"#).await;
    has_all(&b, "burst", 500).await;
    has_all(&a, "back", 1).await;
    assert_eq!(b.get("burst", "doc-499").await.as_deref(), Some(r#"{"n":499}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_document_is_there_after_a_kill_in_the_burst() {
    let mut a = Node::prepare(&SHARED);
    for round in 0..3_u32 {
        a.start(&[]).await;
        let client = a.client();
        let (acknowledged, mut acks) = tokio::sync::mpsc::channel(4096);
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (client, acknowledged) = (client.clone(), acknowledged.clone());
                tokio::spawn(async move {
                    for n in 0..10_000 {
                        let id = format!("{round}-{writer}-{n}");
                        if put(&client, "kill", &id, r#"{"x":1}"#).await.is_err()
                            || acknowledged.send(id).await.is_err()
                        {
                            return;
                        }
                    }
                })
            })
            .collect();
        drop(acknowledged);
        let mut done = BTreeSet::new();
        while done.len() < 200 + 137 * round as usize {
            done.insert(acks.recv().await.unwrap());
        }
        a.kill();
        while let Some(id) = acks.recv().await {
            done.insert(id);
        }
        for writer in writers {
            writer.await.unwrap();
        }
        a.start(&[]).await;
        let there: BTreeSet<String> = a.list("kill").await.into_iter().collect();
        let lost: Vec<_> = done.difference(&there).collect();
        assert!(lost.is_empty(), "{} of {} acknowledged documents are lost: {lost:?}", lost.len(), done.len());
        a.kill();
    }
}

/// How long the contract says that no document crosses to a stranger.
const APART: Duration = Duration::from_secs(5);

/// A node with a document of its own that dials `a`, again and again.
async fn stranger(flags: &[&str], a: &Node) -> Node {
    let mut node = Node::prepare(flags);
    node.start(&["--peer", &a.address()]).await;
    node.put("secret", "theirs", r#"{"x":2}"#).await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_or_another_app_or_both_see_nothing_and_bring_nothing_however_often_they_dial() {
    let mut a = Node::prepare(&SHARED);
    a.start(&[]).await;
    a.put("secret", "ours", r#"{"x":1}"#).await;
    let other_key = "ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A=";
    let strangers = [
        stranger(&["--shared-key", other_key], &a).await,
        stranger(&["--shared-key", KEY, "--app-id", "another"], &a).await,
        stranger(&["--shared-key", other_key, "--app-id", "another"], &a).await,
    ];
    for stranger in &strangers {
        stranger.connect(&a).await.unwrap_err();
        a.connect(stranger).await.unwrap_err();
    }
    never_for(APART, "a document crossed, or a stranger is a peer", async || {
        let mut crossed = a.peers().await > 0 || a.list("secret").await != ["ours"];
        for stranger in &strangers {
            crossed |= stranger.peers().await > 0 || stranger.list("secret").await != ["theirs"];
        }
        crossed
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nested_document_first_put_on_both_sides_offline_loses_no_leaf() {
    let (mut a, mut b) = (Node::prepare(&SHARED), Node::prepare(&SHARED));
    a.start(&[]).await;
    b.start(&[]).await;
    a.put("plans", "one", r#"{"crew":{"bridge":{"left":"Ada"}}}"#).await;
    b.put("plans", "one", r#"{"crew":{"bridge":{"right":"Bo"},"deck":2}}"#).await;
    b.connect(&a).await.unwrap();
    let merged = r#"{"crew":{"bridge":{"left":"Ada","right":"Bo"},"deck":2}}"#;
    for node in [&a, &b] {
        wait_for("both leaves", || async { (node.get("plans", "one").await? == merged).then_some(()) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_reaches_the_peer_and_stays_after_both_restart() {
    let (mut a, mut b) = (Node::prepare(&SHARED), Node::prepare(&SHARED));
    a.start(&[]).await;
    b.start(&["--peer", &a.address()]).await;
    a.put("gone", "doc", r#"{"x":1}"#).await;
    has_all(&b, "gone", 1).await;
    b.kill();
    a.delete("gone", "doc").await;
    a.kill();
    b.start(&["--peer", &a.address()]).await;
    assert_eq!(b.list("gone").await.len(), 1, "not heard of yet");
    a.start(&[]).await;
    has_all(&b, "gone", 0).await;
    assert_eq!(a.get("gone", "doc").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_starts_later_or_comes_back_is_found_again() {
    let (mut a, mut b) = (Node::prepare(&SHARED), Node::prepare(&SHARED));
    b.start(&["--peer", &a.address()]).await;
    b.put("late", "one", r#"{"x":1}"#).await;
    a.start(&[]).await;
    has_all(&a, "late", 1).await;
    a.kill();
    b.put("late", "two", r#"{"x":2}"#).await;
    a.start(&[]).await;
    has_all(&a, "late", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_store_is_refused_with_a_reason() {
    let mut a = Node::prepare(&SHARED);
    a.start(&[]).await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_peat-node"))
        .env_clear()
        .args(["--listen", &format!("unix://{}", a.dir().join("second.sock").display())])
        .args(["--data-dir", &a.dir().join("data").display().to_string(), "--shared-key", KEY])
        .output();
    let output = tokio::time::timeout(Duration::from_secs(30), async { second }).await.unwrap().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("another process") || text.contains("lock"), "{text}");
}
