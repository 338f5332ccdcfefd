//! What a node holds on disk and in memory, however often a document was written and however many there are.

use super::pair::{node, put_each, size};
use super::process::Node;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};

/// Most bytes that the store may have more after ten thousand puts than after a thousand: a third of the rows alone that the
/// puts between wrote.
const ROOM: u64 = 4 << 20;

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

/// Bytes of the store of a node that left in order. The least of three times: a disk that is busy with other things may not
/// be done with the tables when the node leaves, and then the journal stays until the next time.
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
