//! Two nodes with a link between them, and what the suites ask of nodes: much written, and both the same.
//!
//! Inputs: flags. Outputs: running processes, their documents. What it does not do: cause faults; see `link` and the
//! suites.

use super::link::Link;
use super::process::{Client, KEY, Node, PATIENCE, put, wait_every, wait_for};
use connectrpc::ConnectError;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use peat_proto::sidecar::peat::node::v1::__buffa::oneof::edit;
use peat_proto::sidecar::peat::node::v1::{Delete, DigestRequest, Edit, ReadRequest, Reference, WriteRequest};
use peat_proto::sidecar::peat::sidecar::v1::{
    CollectionConfig, DeletionPolicy, GetCollectionConfigRequest, GetSyncStatsRequest, SetCollectionConfigRequest,
};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

/// Calls under way at once where many are made.
const CALLS: usize = 64;

/// A document by its id: its JSON, and the version that is equal on two nodes when they agree on it.
pub type Documents = BTreeMap<String, (String, Vec<u8>)>;

/// `a` on IPv4 and `b` on IPv6; `a` stays connected to `b`.
pub struct Pair {
    pub a: Node,
    pub b: Node,
    pub link: Link,
}

impl Pair {
    /// Two nodes under way, not yet connected.
    pub async fn start(seed: u64) -> Self {
        Self::start_with(seed, &[]).await
    }

    /// As [`Pair::start`], with more flags for `a`.
    pub async fn start_with(seed: u64, flags: &[&str]) -> Self {
        let (mut a, mut b) = (node("127.0.0.1"), node("::1"));
        let link = Link::join(a.port, b.port, seed).await;
        let peer = format!("{}@{}", b.id, link.near);
        let flags = [&["--peer", peer.as_str()], flags].concat();
        tokio::join!(a.start(&flags), b.start(&[]));
        Self { a, b, link }
    }

    pub async fn connected(&self) {
        for node in [&self.a, &self.b] {
            wait_for("a connection", || async { (node.peers().await == 1).then_some(()) }).await;
        }
    }

    /// Waits until both have the same documents of `collection`, in the same versions; gives them.
    pub async fn agree(&self, collection: &str) -> Documents {
        agree(&self.a, &self.b, collection).await
    }

    /// Waits until both say that their digests of `collection` are equal, which is asked often and costs little.
    pub async fn equal(&self, collection: &str) {
        let request = || DigestRequest { collection: collection.into(), ..Default::default() };
        let (a, b) = (self.a.batches(), self.b.batches());
        wait_for(&format!("equal digests of {collection}"), || async {
            let (here, there) = tokio::join!(a.digest(request()), b.digest(request()));
            (here.unwrap().into_owned().digest == there.unwrap().into_owned().digest).then_some(())
        })
        .await;
    }
}

/// A node of the mesh of these suites, not yet started.
pub fn node(listen: &str) -> Node {
    Node::prepare(&["--shared-key", KEY, "--mesh-listen", listen])
}

/// Puts each document by a call of its own, many at once; the first refusal is the end.
pub async fn put_each(node: &Node, collection: &str, documents: impl IntoIterator<Item = (String, String)>) {
    let client = node.client();
    let puts = documents.into_iter().map(|(id, json)| {
        let client = client.clone();
        async move { put(&client, collection, &id, &json).await }
    });
    stream::iter(puts).buffer_unordered(CALLS).try_collect::<()>().await.unwrap();
}

/// Documents in one call: so few that a call, or its answer, has room for the largest documents of these suites.
const BATCH: usize = 100;

/// Puts, and deletes where there is no JSON, many in a call; none may fail.
pub async fn write_all(node: &Node, collection: &str, documents: impl IntoIterator<Item = (String, Option<String>)>) {
    let edits = documents.into_iter().map(|(doc_id, json)| {
        let edit = json.map_or_else(|| edit::Edit::from(Delete::default()), edit::Edit::PutJson);
        Edit { collection: collection.into(), doc_id, edit: Some(edit), ..Default::default() }
    });
    let client = node.batches();
    for edits in edits.collect::<Vec<_>>().chunks(BATCH) {
        let request = WriteRequest { edits: edits.to_vec(), ..Default::default() };
        let written = client.write(request).await.unwrap().into_owned();
        assert!(written.results.iter().all(|result| result.error.is_unset()), "{:?}", written.results);
    }
}

/// Every document of `collection`.
pub async fn documents(node: &Node, collection: &str) -> Documents {
    let client = node.batches();
    let ids = node.list(collection).await;
    let mut all = Documents::new();
    for ids in ids.chunks(BATCH) {
        let reference =
            |id: &String| Reference { collection: collection.into(), doc_id: id.clone(), ..Default::default() };
        let request = ReadRequest { documents: ids.iter().map(reference).collect(), ..Default::default() };
        let read = client.read(request).await.unwrap().into_owned();
        for (id, result) in ids.iter().zip(read.results) {
            assert!(result.error.is_unset(), "{id}: {:?}", result.error);
            if result.found {
                all.insert(id.clone(), (result.json_data, result.version));
            }
        }
    }
    all
}

/// See [`Pair::agree`].
pub async fn agree(a: &Node, b: &Node, collection: &str) -> Documents {
    let end = std::time::Instant::now() + PATIENCE;
    wait_every(Duration::from_millis(100), &format!("both to agree on {collection}"), || async {
        // Counting costs little; comparing does not.
        let (here, there) = tokio::join!(a.list(collection), b.list(collection));
        if here.len() != there.len() && std::time::Instant::now() < end - Duration::from_secs(1) {
            return None;
        }
        let (here, there) = tokio::join!(documents(a, collection), documents(b, collection));
        (here == there).then_some(here)
    })
    .await
}

/// Has deletes of `collection` told for so many seconds.
pub async fn set_policy(client: &Client, collection: &str, secs: u64) -> Result<(), ConnectError> {
    let config = CollectionConfig {
        collection: collection.into(),
        deletion_policy: DeletionPolicy::DELETION_POLICY_TOMBSTONE.into(),
        tombstone_ttl_secs: Some(secs),
        ..Default::default()
    };
    let request = SetCollectionConfigRequest { config: config.into(), ..Default::default() };
    client.set_collection_config(request).await.map(drop)
}

/// The policy of `collection`, if the node knows of one.
pub async fn policy(node: &Node, collection: &str) -> Option<CollectionConfig> {
    let request = GetCollectionConfigRequest { collection: collection.into(), ..Default::default() };
    node.client().get_collection_config(request).await.unwrap().into_owned().config.into_option()
}

/// Bytes that the node says it has sent and received.
pub async fn traffic(node: &Node) -> (u64, u64) {
    let stats = node.client().get_sync_stats(GetSyncStatsRequest::default()).await.unwrap().into_owned();
    (stats.bytes_sent, stats.bytes_received)
}

/// Resident memory of the process, in KiB: what it has now, and the most it ever had.
pub fn memory(node: &Node) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Bytes that a folder takes on its disk. Files come and go while one looks.
pub fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(file) if file.is_dir() => size(&entry.path()),
            Ok(file) => file.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// A document of the usual size: some 190 bytes.
pub fn report(n: usize) -> String {
    format!(
        r#"{{"callsign":"aurora-{n}","course":{},"fix":{{"lat":59.{n:05},"lon":10.{n:05}}},"note":"under way, all well on board","speed":{},"status":"under-way","time":{}}}"#,
        n % 360,
        n % 23,
        1_763_740_800 + n
    )
}
