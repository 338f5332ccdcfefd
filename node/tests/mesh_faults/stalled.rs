//! Neighbours that stop reading, and bursts.

use super::link::Weather;
use super::number;
use super::pair::{Pair, agree, documents, memory, node, put_each, report};
use super::process::{Node, put, wait_for};
use std::time::{Duration, Instant};

/// Most memory of a node whose neighbour does not read, in KiB: three quarters of the limit of its container.
///
/// Of it some 60 MiB are tables that wait for the disk, when writes come faster than it takes them.
const MEMORY: u64 = 192 * 1024;

/// A process that is stopped, and goes on at the latest when the value goes.
struct Stopped<'a>(&'a Node);

impl<'a> Stopped<'a> {
    fn stop(node: &'a Node) -> Self {
        node.signal("STOP");
        Self(node)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal("CONT");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_ten_thousand_puts_is_refused_nowhere_and_arrives_whole() {
    let pair = Pair::start(4).await;
    pair.connected().await;
    put_each(&pair.a, "burst", (0..10_000).map(|n| (format!("{n:05}"), report(n)))).await;
    let documents = pair.agree("burst").await;
    assert_eq!(documents.len(), 10_000);
    assert_eq!(documents["09999"].0, report(9_999));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_updates_of_one_document_reach_a_peer_that_slept_through_them() {
    let pair = Pair::start(5).await;
    pair.connected().await;
    put(&pair.a.client(), "counters", "one", r#"{"n":0}"#).await.unwrap();
    pair.agree("counters").await;
    let asleep = Stopped::stop(&pair.b);
    for n in 1..=500 {
        put(&pair.a.client(), "counters", "one", &format!(r#"{{"n":{n}}}"#)).await.unwrap();
    }
    drop(asleep);
    assert_eq!(pair.agree("counters").await["one"].0, r#"{"n":500}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_thousand_writes_past_a_stalled_peer_on_a_lossy_link_keep_memory_bounded_and_all_arrive() {
    let pair = Pair::start(12).await;
    pair.link.set(Weather { loss: 10, ..Weather::FAIR });
    pair.connected().await;
    let (before, _) = memory(&pair.a);
    let (asleep, stalled) = (Stopped::stop(&pair.b), Instant::now());
    put_each(&pair.a, "tracks", (0..18_000).map(|n| (format!("{n:05}"), report(n)))).await;
    put_each(&pair.a, "reports", (0..2_000).map(|n| (format!("{n:05}"), report(n)))).await;
    // As long as the writes take, or as long as is asked for.
    let until = stalled + Duration::from_secs(number("PEAT_STALLED_SECS", 0));
    tokio::time::sleep_until(until.into()).await;
    let (after, most) = memory(&pair.a);
    drop(asleep);
    assert!(most <= MEMORY, "{before} KiB before, {after} KiB after, {most} KiB at most");
    assert_eq!(pair.agree("tracks").await.len(), 18_000);
    assert_eq!(pair.agree("reports").await.len(), 2_000);
    let most = memory(&pair.a).1.max(memory(&pair.b).1);
    assert!(most <= MEMORY, "{most} KiB at most while it all went over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_stopped_until_its_links_were_given_up_comes_back_with_everything() {
    let [mut a, mut b, mut c] = [(); 3].map(|()| node("127.0.0.1"));
    a.start(&[]).await;
    b.start(&["--peer", &a.address()]).await;
    c.start(&["--peer", &a.address(), "--peer", &b.address()]).await;
    for node in [&a, &b, &c] {
        wait_for("two peers", || async { (node.peers().await == 2).then_some(()) }).await;
    }
    put(&c.client(), "plans", "kept", r#"{"by":"c"}"#).await.unwrap();
    agree(&a, &c, "plans").await;
    let asleep = Stopped::stop(&c);
    for (n, node) in [&a, &b].into_iter().enumerate() {
        put(&node.client(), "plans", &format!("meanwhile-{n}"), &report(n)).await.unwrap();
        wait_for("the stopped node to be given up", || async { (node.peers().await == 1).then_some(()) }).await;
    }
    agree(&a, &b, "plans").await;
    a.delete("plans", "kept").await;
    drop(asleep);
    agree(&a, &c, "plans").await;
    agree(&b, &c, "plans").await;
    let ids: Vec<String> = documents(&c, "plans").await.into_keys().collect();
    assert_eq!(ids, ["meanwhile-0", "meanwhile-1"]);
    for node in [&a, &b, &c] {
        wait_for("two peers again", || async { (node.peers().await == 2).then_some(()) }).await;
    }
}
