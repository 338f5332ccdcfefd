//! Links that are cut and heal.

use super::link::Weather;
use super::number;
use super::pair::{Pair, node, report, write_all};
use super::process::{put, wait_for};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Most bytes on the link, all of UDP's content, for a byte of key and JSON that changed.
const SHARE: f64 = 1.5;

/// A lost link is noticed, and a healed one is up again, within this.
const NOTICED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn what_both_sides_did_while_parted_crosses_once_they_meet_in_few_bytes() {
    let many = number("PEAT_PARTED_PUTS", 1_000) as usize;
    let few = many / 10;
    let pair = Pair::start(2).await;
    pair.connected().await;
    // Of these, each side deletes a part and edits another, while parted.
    write_all(&pair.a, "reports", (0..4 * few).map(|n| (format!("old-{n:05}"), Some(report(n))))).await;
    pair.agree("reports").await;
    pair.link.set(Weather::CUT);
    let mut changed = 0;
    for (side, node) in [&pair.a, &pair.b].into_iter().enumerate() {
        wait_for("the cut to be noticed", || async { (node.peers().await == 0).then_some(()) }).await;
        let first = side * 2 * few;
        let puts = (0..many).map(|n| (format!("new-{side}-{n:05}"), Some(report(n))));
        let deletes = (first..first + few).map(|n| (format!("old-{n:05}"), None));
        let edits = (first + few..first + 2 * few).map(|n| (format!("old-{n:05}"), Some(report(n + 1))));
        let all: Vec<_> = puts.chain(deletes).chain(edits).collect();
        changed += all.iter().map(|(id, json)| id.len() + json.as_ref().map_or(0, String::len)).sum::<usize>();
        write_all(node, "reports", all).await;
    }
    let before = pair.link.bytes();
    pair.link.set(Weather::FAIR);
    let healed = Instant::now();
    pair.equal("reports").await;
    let took = healed.elapsed();
    println!("{many} puts, {few} deletes and {few} edits on each side: equal {took:?} after the heal");
    let documents = pair.agree("reports").await;
    let bytes = pair.link.bytes() - before;
    assert_eq!(documents.len(), 2 * many + 2 * few);
    assert_eq!(documents[&format!("old-{few:05}")].0, report(few + 1), "an edit on one side");
    assert!(bytes as f64 <= SHARE * changed as f64 + 65_536.0, "{bytes} bytes for {changed} bytes of changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn among_ten_dead_peers_the_one_that_lives_is_missed_and_found_within_ten_seconds() {
    // They take packets and never answer.
    let holes = [(); 10].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let dead = holes.each_ref().map(|hole| format!("{}@{}", node("127.0.0.1").id, hole.local_addr().unwrap()));
    let pair = Pair::start_with(37, &["--peer", &dead.join(",")]).await;
    pair.connected().await;
    for round in 0..2 {
        pair.link.set(Weather::CUT);
        let cut = Instant::now();
        for node in [&pair.a, &pair.b] {
            wait_for("the cut to be noticed", || async { (node.peers().await == 0).then_some(()) }).await;
        }
        let noticed = cut.elapsed();
        assert!(noticed < NOTICED, "round {round}: noticed after {noticed:?}");
        put(&pair.a.client(), "plans", &format!("{round}"), "{}").await.unwrap();
        pair.link.set(Weather::FAIR);
        let healed = Instant::now();
        pair.equal("plans").await;
        let back = healed.elapsed();
        assert_eq!(pair.agree("plans").await.len(), round + 1);
        println!("round {round}: noticed after {noticed:?}, back with what was written {back:?} after the heal");
        assert!(back < NOTICED, "round {round}: back after {back:?}");
    }
}
