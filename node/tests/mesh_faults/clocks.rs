//! Wall clocks that are set while nodes run: libfaketime gives a process a clock of its own, and the test moves it.
//!
//! Time that passes (timers, timeouts of connections) goes on as it does; only what the node takes for the date jumps.

use super::leave_out;
use super::pair::{agree, node};
use super::process::{Node, wait_for};
use peat_cluster::debian;
use peat_proto::sidecar::peat::node::v1::__buffa::oneof::edit;
use peat_proto::sidecar::peat::node::v1::{Edit, SetLogLevelRequest, WriteRequest};
use peat_proto::sidecar::peat::sidecar::v1::{CollectionConfig, DeletionPolicy, SetCollectionConfigRequest};
use std::path::PathBuf;

/// Longer than any year, so that the number of the year changes with it.
const YEAR: &str = "+366d";

/// Seconds that the documents live which time takes away.
const LIFE: u64 = 3600;

/// A collection of each kind: field by field, and the last writer's.
const KINDS: [&str; 2] = ["notes", "tracks"];

/// The library, installed where that is possible; else nothing, which is said then.
async fn library() -> Option<PathBuf> {
    let find = || {
        let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
        folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.is_file())
    };
    match debian::provide("libfaketime", find).await {
        Ok(library) => Some(library),
        Err(error) => {
            leave_out("clocks that are set", &format!("{:#}", anyhow::Error::from(error)));
            None
        }
    }
}

/// Nodes with clocks of their own, each connected to the one before it.
async fn chain<const N: usize>(library: &std::path::Path, offsets: [&str; N]) -> [Node; N] {
    let mut nodes = offsets.map(|_| node("127.0.0.1"));
    let mut before: Option<String> = None;
    for (node, offset) in nodes.iter_mut().zip(offsets) {
        node.with_clock(library);
        node.set_clock(offset);
        if let Some(peer) = before.replace(node.address()) {
            node.args(&["--peer", &peer]);
        }
        node.start(&[]).await;
    }
    for node in &nodes {
        wait_for("a connection", || async { (node.peers().await > 0).then_some(()) }).await;
    }
    nodes
}

/// Puts a document that goes by itself after [`LIFE`].
async fn put_mortal(node: &Node, collection: &str, id: &str) {
    let put = Some(edit::Edit::PutJson("{}".to_owned()));
    let edit =
        Edit { collection: collection.into(), doc_id: id.into(), edit: put, ttl_secs: LIFE, ..Default::default() };
    let written = node.batches().write(WriteRequest { edits: vec![edit], ..Default::default() }).await.unwrap();
    assert!(written.into_owned().results.iter().all(|result| result.error.is_unset()));
}

/// Lets the documents of `collection` go by themselves after [`LIFE`], in the whole mesh.
async fn make_mortal(node: &Node, collection: &str) {
    let config = CollectionConfig {
        collection: collection.into(),
        deletion_policy: DeletionPolicy::ImplicitTtl.into(),
        soft_delete_ttl_secs: Some(LIFE),
        ..Default::default()
    };
    let request = SetCollectionConfigRequest { config: config.into(), ..Default::default() };
    node.client().set_collection_config(request).await.unwrap();
}

/// Waits until the document is this on every node, or on none.
async fn everywhere(nodes: &[Node], collection: &str, id: &str, expected: Option<&str>) {
    for node in nodes {
        let what = format!("{collection}/{id} to be {expected:?}");
        wait_for(&what, || async { (node.get(collection, id).await.as_deref() == expected).then_some(()) }).await;
    }
}

/// Each node writes, and each write comes everywhere; then nodes take turns with one document, whatever their clocks
/// say.
async fn write_in_turns(nodes: &[Node], round: &str) {
    for collection in KINDS {
        for (n, node) in nodes.iter().enumerate() {
            node.put(collection, &format!("{round}-{n}"), "{}").await;
            everywhere(nodes, collection, &format!("{round}-{n}"), Some("{}")).await;
        }
        for turn in 0..2 {
            for (n, node) in nodes.iter().enumerate() {
                let text = format!(r#"{{"by":"{n} in {turn}"}}"#);
                node.put(collection, "turns", &text).await;
                everywhere(nodes, collection, "turns", Some(&text)).await;
                nodes[(n + 1) % nodes.len()].delete(collection, "turns").await;
                everywhere(nodes, collection, "turns", None).await;
            }
        }
    }
}

/// Waits until all nodes have the same versions of the same documents.
async fn all_agree(nodes: &[Node], collections: &[&str]) {
    for pair in nodes.windows(2) {
        for collection in collections {
            agree(&pair[0], &pair[1], collection).await;
        }
    }
}

/// The year of the newest line in the log, which is told by the node's own clock.
async fn year(node: &Node) -> u32 {
    let request = SetLogLevelRequest { level: "info".into(), ..Default::default() };
    node.batches().set_log_level(request).await.unwrap();
    let line = || async { node.log().lines().last().map(|line| line[..4].parse().unwrap()) };
    wait_for("a line in the log", line).await
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_come_everywhere_and_keep_their_order_while_one_clock_is_a_year_ahead_and_after() {
    let Some(library) = library().await else { return };
    let mut nodes = chain(&library, ["+0", "+0", "+0"]).await;
    let before = year(&nodes[0]).await;
    nodes[0].set_clock(YEAR);
    assert!(year(&nodes[0]).await > before);
    write_in_turns(&nodes, "ahead").await;
    nodes[0].set_clock("+0");
    assert_eq!(year(&nodes[0]).await, before);
    write_in_turns(&nodes, "back").await;
    // What it stored is a year ahead still.
    nodes[0].leave().await;
    nodes[0].start(&[]).await;
    write_in_turns(&nodes, "restarted").await;
    all_agree(&nodes, &KINDS).await;
    assert_eq!(nodes[0].list("notes").await.len(), 3 * 3, "all but what was deleted");
}

/// Documents that no clock takes away.
const STAY: [&str; 7] = ["jumps", "jumps-mortal", "late", "late-mortal", "meanwhile", "steady", "steady-mortal"];

async fn all_stay(nodes: &[Node]) {
    for collection in KINDS {
        for id in STAY {
            everywhere(nodes, collection, id, Some("{}")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_a_year_ahead_and_back_takes_no_document_away() {
    let Some(library) = library().await else { return };
    // The last one begins in the past, so that what it writes then is over when its clock is right.
    let mut nodes = chain(&library, ["+0", "+0", "-2h"]).await;
    let [jumps, steady, late] = &nodes;
    for collection in KINDS {
        late.put(collection, "z-over", "{}").await;
        everywhere(&nodes, collection, "z-over", Some("{}")).await;
    }
    late.set_clock("+0");
    for (node, id) in nodes.iter().zip(["jumps", "steady", "late"]) {
        for collection in KINDS {
            node.put(collection, id, "{}").await;
            put_mortal(node, collection, &format!("{id}-mortal")).await;
        }
    }
    all_agree(&nodes, &KINDS).await;
    jumps.set_clock(YEAR);
    write_in_turns(&nodes, "ahead").await;
    for collection in KINDS {
        make_mortal(steady, collection).await;
        late.put(collection, "meanwhile", "{}").await;
    }
    for collection in KINDS {
        // By then every node has looked for what is over, the one ahead too.
        everywhere(&nodes, collection, "z-over", None).await;
    }
    all_stay(&nodes).await;
    // A start looks for what is over at once.
    nodes[0].leave().await;
    nodes[0].start(&[]).await;
    write_in_turns(&nodes, "restarted").await;
    all_stay(&nodes).await;
    nodes[0].set_clock("+0");
    write_in_turns(&nodes, "back").await;
    all_agree(&nodes, &KINDS).await;
    assert_eq!(nodes[0].list("notes").await.len(), STAY.len() + 3 * 3, "all but what was over and what was deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_an_hour_loses_no_write_and_no_turn() {
    let Some(library) = library().await else { return };
    let mut nodes = chain(&library, ["+0", "+0"]).await;
    write_in_turns(&nodes, "before").await;
    nodes[1].set_clock("-1h");
    for (node, id) in nodes.iter().zip(["steady", "back"]) {
        for collection in KINDS {
            put_mortal(node, collection, id).await;
        }
    }
    write_in_turns(&nodes, "back").await;
    // It knows no more than its store what time it has been.
    nodes[1].leave().await;
    nodes[1].start(&[]).await;
    write_in_turns(&nodes, "restarted").await;
    nodes[1].set_clock("+0");
    write_in_turns(&nodes, "again").await;
    all_agree(&nodes, &KINDS).await;
    assert_eq!(nodes[0].list("tracks").await.len(), 2 + 4 * 2, "all but what was deleted");
}
