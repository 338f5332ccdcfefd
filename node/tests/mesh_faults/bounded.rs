//! What a node holds on disk and in memory, however often a document was written and however many there are.

use super::pair::{agree, memory, node, put_each, size, write_all};
use super::process::{Node, PATIENCE};
use peat_proto::sidecar::peat::sidecar::v1::SubscribeRequest;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

/// Most bytes that the store may have more after ten thousand puts than after a thousand: a third of the rows alone
/// that the puts between wrote.
const ROOM: u64 = 4 << 20;

/// Documents of 1 KiB: 20 MiB of them.
const MANY: usize = 20_000;

/// So much may the peak of memory grow, in KiB, when all of them are listed and streamed.
const GROWTH: u64 = 16 * 1024;

/// Most memory of a node that starts with them, in KiB.
const STORED: u64 = 120 * 1024;

/// Most memory of one that takes them all in at once from a neighbour, in KiB: beside what it holds then, frames that
/// wait (16 MiB) and tables of two keyspaces that are not on the disk yet (some 40 MiB).
const TAKING: u64 = 192 * 1024;

/// Some text of 1 KiB that hardly compresses, the same for the same number.
fn text(number: u64) -> String {
    let mut rng = StdRng::seed_from_u64(number);
    (0..64).map(|_| format!("{:016x}", rng.next_u64())).collect()
}

/// Puts one document, each time with another number in it.
async fn put_one(node: &Node, numbers: std::ops::Range<usize>) {
    let text = text(0);
    let put = |n| ("one".to_owned(), format!(r#"{{"n":{n},"text":"{text}"}}"#));
    put_each(node, "deployments", numbers.map(put)).await;
}

/// Bytes of the store of a node that left in order. The least of three times: a disk that is busy with other things may
/// not be done with the tables when the node leaves, and then the journal stays until the next time.
async fn size_when_left(node: &mut Node) -> u64 {
    let mut least = u64::MAX;
    for _ in 0..3 {
        node.leave().await;
        least = least.min(size(&node.data().join("store")));
        node.start(&[]).await;
    }
    least
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_puts_of_one_document_leave_a_store_of_the_size_that_a_thousand_leave() {
    let mut node = node("127.0.0.1");
    node.start(&[]).await;
    put_one(&node, 0..1_000).await;
    let early = size_when_left(&mut node).await;
    put_one(&node, 1_000..10_000).await;
    let late = size_when_left(&mut node).await;
    assert!(late <= early + ROOM, "{early} bytes after a thousand puts, {late} after ten thousand");
    assert!(node.get("deployments", "one").await.is_some());
}

async fn put_many(node: &Node) {
    let paper = |n| (format!("{n:05}"), Some(format!(r#"{{"n":{n},"text":"{}"}}"#, text(n))));
    write_all(node, "papers", (0..MANY as u64).map(paper)).await;
}

/// Reads a whole snapshot; gives the bytes of its documents.
async fn stream_all(node: &Node) -> usize {
    let client = node.client();
    let request = SubscribeRequest { collections: vec!["papers".into()], ..Default::default() };
    let mut stream = client.subscribe(request).await.unwrap();
    let mut bytes = 0;
    for _ in 0..MANY {
        let event = stream.message().await.unwrap().unwrap().to_owned_message();
        bytes += event.json_data.map_or(0, |json| json.len());
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_documents_are_listed_and_streamed_without_being_held() {
    let mut node = node("127.0.0.1");
    node.start(&[]).await;
    put_many(&node).await;
    node.leave().await;
    // The peak of a process that wrote them all would hide that of one that reads.
    node.start(&[]).await;
    let (_, before) = memory(&node);
    assert_eq!(node.list("papers").await.len(), MANY);
    let (_, listed) = memory(&node);
    let bytes = tokio::time::timeout(PATIENCE, stream_all(&node)).await.unwrap();
    let (_, streamed) = memory(&node);
    assert!(bytes > MANY * 1024, "{bytes} bytes of documents");
    assert!(
        streamed <= before + GROWTH,
        "at most {before} KiB before, {listed} KiB when listed, {streamed} KiB when streamed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_in_twenty_thousand_documents_and_starts_with_them_within_its_memory() {
    let (mut a, mut b) = (node("127.0.0.1"), node("127.0.0.1"));
    a.start(&[]).await;
    put_many(&a).await;
    b.start(&["--peer", &a.address()]).await;
    assert_eq!(agree(&a, &b, "papers").await.len(), MANY);
    let (_, taken) = memory(&b);
    b.leave().await;
    b.start(&[]).await;
    assert_eq!(b.list("papers").await.len(), MANY);
    let (_, started) = memory(&b);
    assert!(taken <= TAKING && started <= STORED, "{taken} KiB when all had come, {started} KiB after a start");
}
