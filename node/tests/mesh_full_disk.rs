//! A node whose disk takes no writes: writers are told why, readers go on while the store is open, health says which,
//! and a disk that works again is found without a writer.
#![allow(clippy::unwrap_used, reason = "a test suite")]

mod process;

use connectrpc::{ConnectError, ErrorCode};
use process::{KEY, Node, put, wait_every};
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Between two questions for what a node comes to within ten seconds.
const PAUSE: Duration = Duration::from_millis(200);

/// A node on a small disk of its own, and where its health is served.
async fn node() -> (Node, SocketAddr) {
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut node = Node::prepare_on_disk(&["--shared-key", KEY, "--admin-listen", &admin.to_string()], "48m");
    node.start(&[]).await;
    node.put("before", "one", r#"{"n":1}"#).await;
    (node, admin)
}

/// Head and text of an answer.
async fn get(admin: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn metric(admin: SocketAddr, name: &str) -> Option<u64> {
    let text = get(admin, "/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

/// Not ready, for a reason that has these words, and counted; alive all the same.
async fn is_told(admin: SocketAddr, words: &str) {
    let ready = get(admin, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains(words), "{ready}");
    assert!(get(admin, "/livez").await.starts_with("HTTP/1.1 200"));
    assert_eq!(metric(admin, "peat_node_commits_failing").await, Some(1));
}

async fn ready_without_a_writer(admin: SocketAddr) {
    wait_every(PAUSE, "the node to find the disk in order", || async {
        get(admin, "/readyz").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    assert_eq!(metric(admin, "peat_node_commits_failing").await, Some(0));
}

/// Puts large documents until one is refused; how many were taken, and the refusal.
async fn put_until_refused(node: &Node) -> (usize, ConnectError) {
    // Smaller than what is refused for its size alone.
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(1 << 19));
    for number in 0..200 {
        if let Err(error) = put(&node.client(), "large", &format!("doc-{number}"), &large).await {
            return (number, error);
        }
    }
    unreachable!("a disk of 48 MiB takes 200 documents of half a MiB");
}

/// Writes to `file` until the disk takes no more.
fn fill(file: &Path) {
    let mut filler = std::fs::File::create(file).unwrap();
    let error = std::iter::repeat_with(|| filler.write_all(&[7; 4096])).find_map(Result::err).unwrap();
    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
}

/// Runs a script where the node has its disk; `$0` is the data folder.
fn within_its_mounts(node: &Node, script: &str) {
    let mut command = Command::new("nsenter");
    command.args(["--target", &node.pid().to_string(), "--user", "--mount", "--preserve-credentials", "--"]);
    let done = command.args(["sh", "-c", script]).arg(node.data()).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_to_writers_and_health_keeps_readers_and_is_forgotten_when_there_is_room() {
    let (node, admin) = node().await;
    assert!(get(admin, "/readyz").await.starts_with("HTTP/1.1 200"));
    let filler = node.disk().join("filler");
    fill(&filler);
    let (taken, error) = put_until_refused(&node).await;
    is_told(admin, "writes fail").await;
    assert_eq!(error.code, ErrorCode::ResourceExhausted, "{error:?}");
    assert!(metric(admin, r#"peat_node_commit_failures_total{reason="full"}"#).await >= Some(1));
    assert_eq!(node.get("before", "one").await.as_deref(), Some(r#"{"n":1}"#));
    assert_eq!(node.list("large").await.len(), taken, "what was acknowledged, and nothing else");
    std::fs::remove_file(&filler).unwrap();
    ready_without_a_writer(admin).await;
    node.put("after", "two", r#"{"n":2}"#).await;
    assert_eq!(node.get("after", "two").await.as_deref(), Some(r#"{"n":2}"#));
}

/// No disk is made read-only while files are open for writing: the kernel says that it is busy. So the folder becomes
/// so for whatever is opened from now on, and a full disk makes the node open its store again.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_a_read_only_folder_keeps_closed_is_told_and_opens_without_a_writer_when_it_can() {
    let (node, admin) = node().await;
    let filler = node.disk().join("filler");
    fill(&filler);
    within_its_mounts(&node, r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0""#);
    put_until_refused(&node).await;
    is_told(admin, "does not open").await;
    let rows = metric(admin, "peat_node_rows").await;
    for number in 0..100 {
        let again = put(&node.client(), "while", &format!("doc-{number}"), r#"{"n":1}"#).await.unwrap_err();
        assert_eq!(again.code, ErrorCode::Unavailable, "{again:?}");
    }
    assert_eq!(metric(admin, "peat_node_rows").await, rows, "what is refused costs no memory");
    within_its_mounts(&node, r#"umount -l "$0" && rm "$0/filler""#);
    ready_without_a_writer(admin).await;
    assert_eq!(node.get("before", "one").await.as_deref(), Some(r#"{"n":1}"#));
    assert!(node.list("while").await.is_empty(), "what was refused is not made up for");
    node.put("after", "two", r#"{"n":2}"#).await;
    assert_eq!(node.get("after", "two").await.as_deref(), Some(r#"{"n":2}"#));
}
