//! A backup of a running node, restored beside it: it goes on where the first was, and both converge.
#![allow(clippy::unwrap_used, reason = "a test suite")]

mod process;

use process::{KEY, Node, put, wait_for};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Documents that are rewritten all the time.
const BUSY: u32 = 50;

fn peat_node(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_peat-node")).env_clear().env("RUST_BACKTRACE", "0").args(args).output().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Rewrites the documents in turn, each with the same number in two fields, until it is told to stop.
async fn rewrite(client: process::Client, rounds: Arc<AtomicU32>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Acquire) {
        let round = rounds.fetch_add(1, Ordering::AcqRel);
        let json = format!(r#"{{"a":{round},"b":{round},"list":[{round}]}}"#);
        put(&client, "busy", &format!("doc-{}", round % BUSY), &json).await.unwrap();
    }
}

async fn all(node: &Node, collection: &str) -> Vec<(String, Option<String>)> {
    let mut documents = Vec::new();
    for id in node.list(collection).await {
        let document = node.get(collection, &id).await;
        documents.push((id, document));
    }
    documents
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_during_writes_is_restored_beside_the_node_and_both_converge() {
    let mut first = Node::prepare(&["--shared-key", KEY]);
    first.start(&[]).await;
    first.put("quiet", "kept", r#"{"n":1}"#).await;
    first.put("quiet", "deleted", r#"{"n":2}"#).await;
    first.put("tracks", "latest", r#"{"n":3}"#).await;
    first.delete("quiet", "deleted").await;
    let (rounds, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
    let writer = tokio::spawn(rewrite(first.client(), Arc::clone(&rounds), Arc::clone(&stop)));
    wait_for("every document to have a history", || async {
        (rounds.load(Ordering::Acquire) > 4 * BUSY).then_some(())
    })
    .await;
    let file = first.dir().join("backup");
    let api = format!("unix://{}", first.dir().join("peat.sock").display());
    let made = tokio::task::spawn_blocking({
        let file = file.clone();
        move || peat_node(&["backup", text(&file), "--api", &api])
    });
    let made = made.await.unwrap();
    assert!(made.status.success(), "{made:?}");
    stop.store(true, Ordering::Release);
    writer.await.unwrap();

    let mut second = Node::prepare(&["--shared-key", KEY]);
    let restored = first.dir().join("restored");
    let done = peat_node(&["restore", text(&file), "--data-dir", text(&restored)]);
    assert!(done.status.success() && done.stdout == made.stdout, "{done:?} {made:?}");
    let again = peat_node(&["restore", text(&file), "--data-dir", text(&restored)]);
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let names: Vec<_> = fs::read_dir(&restored).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["store"], "and no key");
    fs::rename(restored.join("store"), second.dir().join("data/store")).unwrap();
    second.start(&[]).await;

    assert_eq!(second.get("quiet", "kept").await.as_deref(), Some(r#"{"n":1}"#));
    assert_eq!(second.get("tracks", "latest").await.as_deref(), Some(r#"{"n":3}"#));
    assert_eq!(second.list("quiet").await, ["kept"]);
    let busy = all(&second, "busy").await;
    assert_eq!(busy.len(), BUSY as usize);
    for (id, document) in &busy {
        let document: serde_json::Value = serde_json::from_str(document.as_deref().unwrap()).unwrap();
        assert_eq!(document["a"], document["b"], "{id} is of one moment");
        // Needs the whole history.
        second.put("busy", id, &format!(r#"{{"a":{},"c":"second"}}"#, document["a"])).await;
    }
    first.put("quiet", "after", r#"{"n":4}"#).await;
    second.connect(&first).await.unwrap();
    wait_for("both to have the same", || async {
        let equal = all(&first, "busy").await == all(&second, "busy").await;
        let arrived = second.get("quiet", "after").await.is_some();
        (equal && arrived && first.get("busy", "doc-0").await?.contains("second")).then_some(())
    })
    .await;
    assert!(!second.log().contains("damaged"), "no history had to be mended");
}
