//! A node whose disk is full: writers are told why, readers go on, and room is enough to go on.
#![allow(clippy::unwrap_used, reason = "a test suite")]

mod process;

use connectrpc::ErrorCode;
use process::{KEY, Node, put, wait_for};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

/// Writes to `file` until the disk takes no more.
fn fill(file: &Path) {
    let mut filler = std::fs::File::create(file).unwrap();
    let error = std::iter::repeat_with(|| filler.write_all(&[7; 4096])).find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_to_writers_keeps_readers_and_is_forgotten_when_there_is_room() {
    let mut node = Node::prepare_on_disk(&["--shared-key", KEY], "48m");
    node.start(&[]).await;
    node.put("before", "one", r#"{"n":1}"#).await;
    let filler = node.disk().join("filler");
    fill(&filler);
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 20));
    let mut refused = None;
    for number in 0..100 {
        if let Err(error) = put(&node.client(), "large", &format!("doc-{number}"), &large).await {
            refused = Some((number, error));
            break;
        }
    }
    let (taken, error) = refused.unwrap();
    assert_eq!(error.code, ErrorCode::ResourceExhausted, "{error:?}");
    assert_eq!(node.get("before", "one").await.as_deref(), Some(r#"{"n":1}"#));
    assert_eq!(node.list("large").await.len(), taken, "what was acknowledged, and nothing else");
    std::fs::remove_file(&filler).unwrap();
    wait_for("a put to be taken again", || async {
        put(&node.client(), "after", "two", r#"{"n":2}"#).await.ok().map(drop)
    })
    .await;
    assert_eq!(node.get("after", "two").await.as_deref(), Some(r#"{"n":2}"#));
}
