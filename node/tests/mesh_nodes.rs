//! Whole nodes in one process, over real QUIC and real disks.
#![allow(clippy::unwrap_used, reason = "a test suite")]

use futures::StreamExt as _;
use peat_node::changes::{Filter, Told};
use peat_node::config::Config;
use peat_node::handle::{HandleError, NodeHandle, Phase};
use peat_node::run::Node;
use peat_node_core::docs::Document;
use peat_node_core::event::RequestError;
use peat_node_core::ids::{Collection, Key, PeerId};
use std::ffi::OsString;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(60);
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OTHER_KEY: &str = "/////wQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A folder and flags; the same node can be started from it again and again.
struct Place {
    folder: TempDir,
    flags: Vec<String>,
}

impl Place {
    fn new(flags: &[&str]) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), flags: flags.iter().map(ToString::to_string).collect() }
    }

    async fn start(&self, more: &[String]) -> Node {
        let data = self.folder.path().join("data");
        let fixed = ["peat-node", "--listen", "tcp://127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mesh = ["--mesh-listen", "127.0.0.1", "--data-dir"];
        let args = fixed.iter().chain(&mesh).map(OsString::from).chain([data.into_os_string()]);
        let args = args.chain(self.flags.iter().chain(more).map(OsString::from)).collect();
        let parsed = peat_node::cli::parse(args, |_| None).unwrap();
        Node::start(&Config::read(parsed).unwrap()).await.unwrap()
    }
}

fn peer_flag(node: &Node) -> Vec<String> {
    vec!["--peer".to_owned(), format!("{}@{}", node.handle().status().endpoint, node.udp()[0])]
}

fn ferries() -> Collection {
    Collection::parse("ferries").unwrap()
}

async fn put(node: &NodeHandle, id: &str, json: &str) {
    let key = Key::new(&ferries(), id).unwrap();
    node.put(key, Document::parse(json).unwrap()).await.unwrap();
}

fn get(node: &NodeHandle, id: &str) -> Option<String> {
    node.read(&Key::new(&ferries(), id).unwrap()).unwrap().map(|(document, _)| document.to_json())
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds().await {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn count(node: &NodeHandle) -> usize {
    node.list(&ferries()).unwrap().count().await
}

async fn connected(node: &Node, peers: usize) {
    until("connected", async || node.handle().status().connected_peers == peers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_on_either_side_is_read_on_the_other() {
    let (here, there) = (Place::new(&["--shared-key", KEY]), Place::new(&["--shared-key", KEY]));
    let a = here.start(&[]).await;
    put(a.handle(), "before", r#"{"n":1}"#).await;
    let b = there.start(&peer_flag(&a)).await;
    until("the earlier document", async || get(b.handle(), "before").is_some()).await;
    put(b.handle(), "back", r#"{"n":2}"#).await;
    until("the answer", async || get(a.handle(), "back").as_deref() == Some(r#"{"n":2}"#)).await;
    b.handle().delete(Key::new(&ferries(), "before").unwrap()).await.unwrap();
    until("the delete", async || get(a.handle(), "before").is_none()).await;

    for node in [&a, &b] {
        let stats = node.handle().sync_stats();
        assert!(stats.bytes_sent > 0 && stats.bytes_received > 0, "{stats:?}");
        let status = node.handle().status();
        assert_eq!((status.phase, status.connected_peers), (Phase::Syncing, 1));
        let peers = node.handle().peers();
        assert_eq!(peers.len(), 1);
        assert!(peers[0].connected.is_some());
    }
    a.leave().await;
    b.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_change_reaches_a_subscriber_once() {
    let (here, there) = (Place::new(&["--shared-key", KEY]), Place::new(&["--shared-key", KEY]));
    let a = here.start(&[]).await;
    let b = there.start(&peer_flag(&a)).await;
    let mut changes = b.handle().changes(None, Filter::All).unwrap();
    connected(&b, 1).await;
    put(a.handle(), "one", r#"{"n":1}"#).await;
    a.handle().delete(Key::new(&ferries(), "one").unwrap()).await.unwrap();
    put(a.handle(), "two", r#"{"n":2}"#).await;
    let mut seen = Vec::new();
    // One document may come before another that was written earlier.
    let ended = |seen: &[(String, bool)]| {
        let last_of_one = seen.iter().rev().find(|(id, _)| id == "one");
        seen.iter().any(|(id, _)| id == "two") && last_of_one.is_some_and(|(_, live)| !live)
    };
    while !ended(&seen) {
        let told = tokio::time::timeout(LIMIT, changes.next()).await.unwrap().unwrap().unwrap();
        if let Told::Change(change) = told {
            seen.push((change.key.doc_id().to_owned(), change.document.is_some()));
        }
    }
    // The reader may come between put and delete, or after both; a version never comes twice.
    let one: Vec<bool> = seen.iter().filter(|(id, _)| id == "one").map(|(_, live)| *live).collect();
    assert!(one == [true, false] || one == [false], "{seen:?}");
    a.leave().await;
    b.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_sees_nothing_and_is_told_why() {
    let (here, there) = (Place::new(&["--shared-key", KEY]), Place::new(&["--shared-key", OTHER_KEY]));
    let elsewhere = Place::new(&["--shared-key", KEY, "--app-id", "other"]);
    let a = here.start(&[]).await;
    put(a.handle(), "secret", r#"{"n":1}"#).await;
    let address = a.udp()[0].to_string();
    for place in [there, elsewhere] {
        let stranger = place.start(&[]).await;
        let refused = stranger.handle().connect(a.handle().status().endpoint, vec![address.clone()]).await;
        let Err(HandleError::Request(RequestError::Refused { reason, .. })) = refused else {
            panic!("{refused:?}");
        };
        assert!(reason.contains("wrong shared key or app id"), "{reason}");
        assert_eq!(count(stranger.handle()).await, 0);
        assert_eq!(stranger.handle().status().connected_peers, 0);
        assert_eq!(a.handle().status().connected_peers, 0);
        stranger.leave().await;
    }
    a.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_peer_stays_away_until_it_is_asked_back() {
    let (here, there) = (Place::new(&["--shared-key", KEY]), Place::new(&["--shared-key", KEY]));
    let a = here.start(&[]).await;
    let b = there.start(&peer_flag(&a)).await;
    connected(&a, 1).await;
    let other = b.handle().status().endpoint;
    a.handle().disconnect(other).await.unwrap();
    assert!(a.handle().peers().iter().all(|peer| peer.connected.is_none()));
    until("the other side", async || b.handle().status().connected_peers == 0).await;
    let address = b.udp()[0].to_string();
    a.handle().connect(other, vec![address]).await.unwrap();
    put(a.handle(), "after", r#"{"n":1}"#).await;
    until("the document", async || get(b.handle(), "after").is_some()).await;
    a.leave().await;
    b.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_hands_over_what_it_has_and_is_back_with_everything() {
    let (here, there) = (Place::new(&["--shared-key", KEY]), Place::new(&["--shared-key", KEY]));
    let b = there.start(&[]).await;
    let flag = peer_flag(&b);
    let a = here.start(&flag).await;
    connected(&a, 1).await;
    let id = a.handle().status().endpoint;
    let writes = (0..500).map(|n| {
        let node = a.handle().clone();
        async move { put(&node, &format!("{n}"), r#"{"n":1}"#).await }
    });
    futures::future::join_all(writes).await;
    a.leave().await;
    assert_eq!(count(b.handle()).await, 500, "all of it was handed over before leaving");

    let a = here.start(&flag).await;
    assert_eq!(a.handle().status().endpoint, id);
    assert_eq!(count(a.handle()).await, 500);
    put(b.handle(), "later", r#"{"n":2}"#).await;
    until("the later document", async || get(a.handle(), "later").is_some()).await;
    a.leave().await;
    b.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_nothing_to_hand_over_leaves_at_once() {
    let place = Place::new(&["--shared-key", KEY]);
    let node = place.start(&[]).await;
    put(node.handle(), "one", r#"{"n":1}"#).await;
    let handle = node.handle().clone();
    let began = Instant::now();
    node.leave().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(handle.status().phase, Phase::ShuttingDown);
    let key = Key::new(&ferries(), "two").unwrap();
    let refused = handle.put(key, Document::parse("{}").unwrap()).await;
    assert!(matches!(refused, Err(HandleError::Stopped)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_not_there_yet_is_found_when_it_starts() {
    let (here, there) = (Place::new(&["--shared-key", KEY]), Place::new(&["--shared-key", KEY]));
    let b = there.start(&[]).await;
    let (flag, port) = (peer_flag(&b), b.udp()[0].port().to_string());
    b.leave().await;
    let a = here.start(&flag).await;
    put(a.handle(), "waits", r#"{"n":1}"#).await;
    until("a failed dial", async || a.handle().peers().iter().any(|peer| peer.failure.is_some())).await;
    let b = there.start(&["--iroh-udp-port".to_owned(), port]).await;
    until("the document", async || get(b.handle(), "waits").is_some()).await;
    a.leave().await;
    b.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_sync_moves_nothing_and_started_sync_catches_up() {
    let (here, there) = (Place::new(&["--shared-key", KEY]), Place::new(&["--shared-key", KEY, "--auto-sync=false"]));
    let a = here.start(&[]).await;
    let b = there.start(&peer_flag(&a)).await;
    connected(&b, 1).await;
    assert_eq!(b.handle().status().phase, Phase::Ready);
    put(a.handle(), "one", r#"{"n":1}"#).await;
    put(b.handle(), "two", r#"{"n":2}"#).await;
    b.handle().set_sync(true).await.unwrap();
    until("both ways", async || count(a.handle()).await == 2 && count(b.handle()).await == 2).await;
    assert_eq!(b.handle().status().phase, Phase::Syncing);
    a.leave().await;
    b.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_cannot_share_a_store_or_a_udp_port() {
    let place = Place::new(&["--shared-key", KEY]);
    let node = place.start(&[]).await;
    let data = place.folder.path().join("data");
    let start = |data: &std::path::Path, port: u16| {
        let args = ["peat-node", "--listen", "tcp://127.0.0.1:0", "--mesh-listen", "127.0.0.1", "--data-dir"];
        let args = args
            .map(OsString::from)
            .into_iter()
            .chain([data.as_os_str().to_owned(), format!("--iroh-udp-port={port}").into()]);
        Config::read(peat_node::cli::parse(args.collect(), |_| None).unwrap()).unwrap()
    };
    let locked = Node::start(&start(&data, 0)).await.unwrap_err().to_string();
    assert!(locked.contains("another process holds the store"), "{locked}");
    let elsewhere = tempfile::tempdir().unwrap();
    let taken = Node::start(&start(elsewhere.path(), node.udp()[0].port())).await.unwrap_err().to_string();
    assert!(taken.starts_with("bind UDP 127.0.0.1:"), "{taken}");
    node.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_served_and_never_look_at_peers() {
    let place = Place::new(&["--shared-key", KEY]);
    let nobody = PeerId([3; 32]);
    let node = place.start(&["--peer".to_owned(), format!("{nobody}@127.0.0.1:9")]).await;
    let admin = node.admin().unwrap();
    put(node.handle(), "one", r#"{"n":1}"#).await;
    assert!(http(admin, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(http(admin, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(http(admin, "/nothing").await.starts_with("HTTP/1.1 404"));
    until("the count of rows", async || http(admin, "/metrics").await.contains("\npeat_node_rows 1\n")).await;
    let metrics = http(admin, "/metrics").await;
    for line in [
        "peat_node_peers_known 1",
        "peat_node_peers_connected 0",
        "peat_node_rows_written_total 1",
        "peat_node_phase 3",
        "peat_node_commit_seconds_count 1",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
    }
    node.leave().await;
}

async fn http(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
