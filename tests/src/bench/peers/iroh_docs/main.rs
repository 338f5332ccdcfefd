//! iroh-docs as a peer of the benchmark: a writer, a reader and a late reader in one process, on QUIC over loopback,
//! with their stores on disk and every default.
//!
//! Input: `pair FOLDER DOCUMENT HOPS BURST EDITS`; DOCUMENT is a document in JSON whose field `speed` is 0 and is
//! another number in each. Output: one line of JSON, times in milliseconds. A document is a key whose value is the
//! text; two writers of one key do not merge, the later one wins. A document has arrived when its content, which
//! follows its entry, can be read. What it does not do: tune anything, or tell the memory of one of the three.

use anyhow::{Context as _, Result, ensure};
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use iroh::endpoint::{PortmapperConfig, presets};
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, RelayMode};
use iroh_blobs::store::fs::FsStore;
use iroh_blobs::{BlobsProtocol, Hash};
use iroh_docs::api::Doc;
use iroh_docs::api::protocol::{AddrInfoOptions, ShareMode};
use iroh_docs::engine::LiveEvent;
use iroh_docs::protocol::Docs;
use iroh_docs::{AuthorId, DocTicket};
use iroh_gossip::net::Gossip;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Callers of a burst, as many as those of a node.
const IN_FLIGHT: usize = 64;
/// Added to what an edit writes, so that it is told from what was put.
const EDITED: usize = 1_000_000_000;

type Events = std::pin::Pin<Box<dyn Stream<Item = Result<LiveEvent>> + Send>>;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, document, counts @ ..] = arguments.as_slice() else { anyhow::bail!("usage: see the source") };
    let counts: Vec<usize> = counts.iter().map(|count| count.parse()).collect::<Result<_, _>>()?;
    let &[hops, burst, edits] = counts.as_slice() else { anyhow::bail!("three numbers are needed") };
    let folder = PathBuf::from(folder);

    let writer = Node::start(&folder.join("writer")).await?;
    let reader = Node::start(&folder.join("reader")).await?;
    let from = Writer::new(&writer, document.clone()).await?;
    let ticket = from.ticket(writer.router.endpoint()).await?;
    let (_doc, mut events) = reader.follow(ticket.clone()).await?;
    while !matches!(events.next().await.context("the subscription ended")??, LiveEvent::NeighborUp(_)) {}

    let hop_ms = from.hops(&mut events, hops).await?;
    let documents = hops + burst;
    let burst = from.puts(&mut events, hops..documents, IN_FLIGHT, |n| n).await?;
    let edits_took = from.puts(&mut events, EDITED + 1..EDITED + edits + 1, 1, |_| 0).await?;

    let late = Node::start(&folder.join("late")).await?;
    // Key 0 has the last edit.
    let mut contents: HashSet<Hash> = (1..documents).map(|n| from.content(n)).collect();
    contents.insert(from.content(EDITED + edits));
    let began = Instant::now();
    let (_late, mut events) = late.follow(ticket).await?;
    let first_sync = arrived(&mut events, contents).await? - began;
    let [burst, edits, first_sync] = [burst, edits_took, first_sync].map(millis);
    let printed = serde_json::json!({
        "hop_ms": hop_ms, "burst_ms": burst, "edits_ms": edits, "first_sync_ms": first_sync, "memory_mib": null,
    });
    println!("{printed}");
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A node with its stores.
struct Node {
    router: Router,
    docs: Docs,
}

impl Node {
    async fn start(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let endpoint = Endpoint::builder(presets::Minimal)
            .relay_mode(RelayMode::Disabled)
            .clear_address_lookup()
            .portmapper_config(PortmapperConfig::Disabled)
            .clear_ip_transports()
            .bind_addr("127.0.0.1:0")?
            .bind()
            .await?;
        let blobs = FsStore::load(folder.join("blobs")).await?;
        let gossip = Gossip::builder().spawn(endpoint.clone());
        let docs = Docs::persistent(folder.to_owned());
        let docs = docs.spawn(endpoint.clone(), (*blobs).clone(), gossip.clone()).await?;
        let router = Router::builder(endpoint)
            .accept(iroh_blobs::ALPN, BlobsProtocol::new(&blobs, None))
            .accept(iroh_gossip::ALPN, gossip)
            .accept(iroh_docs::ALPN, docs.clone())
            .spawn();
        Ok(Self { router, docs })
    }

    /// Joins a document, and tells what happens to it.
    async fn follow(&self, ticket: DocTicket) -> Result<(Doc, Events)> {
        let (doc, events) = self.docs.import_and_subscribe(ticket).await?;
        Ok((doc, Box::pin(events)))
    }
}

/// Waits until all of `contents` can be read.
async fn arrived(events: &mut Events, mut contents: HashSet<Hash>) -> Result<Instant> {
    while !contents.is_empty() {
        if let LiveEvent::ContentReady { hash } = events.next().await.context("the subscription ended")?? {
            contents.remove(&hash);
        }
    }
    Ok(Instant::now())
}

/// The document that is written to.
struct Writer {
    doc: Doc,
    author: AuthorId,
    text: String,
}

impl Writer {
    async fn new(node: &Node, text: String) -> Result<Self> {
        ensure!(text.contains("\"speed\":0"), "the document has no speed");
        Ok(Self { doc: node.docs.create().await?, author: node.docs.author_create().await?, text })
    }

    /// What others need to join.
    async fn ticket(&self, endpoint: &Endpoint) -> Result<DocTicket> {
        let mut ticket = self.doc.share(ShareMode::Write, AddrInfoOptions::Id).await?;
        let address = endpoint.bound_sockets().into_iter().find(SocketAddr::is_ipv4).context("no address")?;
        ticket.nodes = vec![EndpointAddr::new(endpoint.id()).with_ip_addr(address)];
        Ok(ticket)
    }

    fn value(&self, n: usize) -> String {
        self.text.replace("\"speed\":0", &format!("\"speed\":{n}"))
    }

    /// The name of a value, by which a reader tells that it has it.
    fn content(&self, n: usize) -> Hash {
        Hash::new(self.value(n))
    }

    async fn put(&self, key: usize, n: usize) -> Result<()> {
        self.doc.set_bytes(self.author, key.to_string(), self.value(n)).await?;
        Ok(())
    }

    /// One document at a time: from before each put to its content on the other side.
    async fn hops(&self, events: &mut Events, count: usize) -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(count);
        for n in 0..count {
            let wanted = HashSet::from([self.content(n)]);
            let began = Instant::now();
            let ((), seen) = tokio::try_join!(self.put(n, n), arrived(events, wanted))?;
            times.push(millis(seen - began));
        }
        Ok(times)
    }

    /// Puts of `numbers` under the key of each, until the last content of each key is on the other side.
    async fn puts(
        &self,
        events: &mut Events,
        numbers: std::ops::Range<usize>,
        in_flight: usize,
        key: impl Fn(usize) -> usize,
    ) -> Result<Duration> {
        let last = numbers.clone().map(|n| (key(n), n)).collect::<std::collections::BTreeMap<_, _>>();
        let wanted = last.into_values().map(|n| self.content(n)).collect();
        let began = Instant::now();
        let puts = stream::iter(numbers).map(|n| self.put(key(n), n)).buffer_unordered(in_flight);
        let (_, seen) = tokio::try_join!(puts.try_collect::<Vec<()>>(), arrived(events, wanted))?;
        Ok(seen - began)
    }
}
