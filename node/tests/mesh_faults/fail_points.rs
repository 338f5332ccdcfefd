//! The process ends at the places in the store where it would hurt most.

use super::process::{Node, PATIENCE, put, wait_for};
use peat_proto::sidecar::peat::sidecar::v1::GetStatusRequest;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// What the node said it has, and what it was asked for last without an answer.
type Owed = (BTreeMap<String, String>, Option<(String, String)>);

/// Waits until the process is gone; whether by a signal and not by its own choice.
async fn ended(node: &mut Node, place: &str) -> bool {
    let exited = Mutex::new(node);
    let code = wait_for(place, || async { exited.lock().unwrap().exited() }).await;
    exited.into_inner().unwrap().kill();
    code == -1
}

async fn died(node: &mut Node, place: &str) {
    assert!(ended(node, place).await, "{place}: it left by itself");
}

/// Puts documents, every third of them again and again, until the node is gone.
async fn put_until_it_dies(node: &Node, filler: &str) -> Owed {
    let (client, mut acknowledged) = (node.client(), BTreeMap::new());
    let began = Instant::now();
    for n in 0.. {
        assert!(began.elapsed() < PATIENCE, "the place is never reached");
        let id = if n % 3 == 0 { format!("again-{}", n % 9) } else { n.to_string() };
        let json = format!(r#"{{"filler":"{filler}","n":{n}}}"#);
        if put(&client, "fail", &id, &json).await.is_err() {
            return (acknowledged, Some((id, json)));
        }
        acknowledged.insert(id, json);
    }
    unreachable!("the loop has no end of its own")
}

/// Starts the node again and compares it with what it owes.
async fn start_whole(node: &mut Node, (acknowledged, asked): &Owed, place: &str) {
    let before = node.log().len();
    node.fail_at = None;
    node.start(&[]).await;
    for (id, json) in acknowledged {
        let found = node.get("fail", id).await;
        let is_later = asked.as_ref().is_some_and(|(asked, later)| asked == id && found.as_ref() == Some(later));
        assert!(found.as_ref() == Some(json) || is_later, "{place}: {id} is {found:?} and not {json}");
    }
    let extra = node.list("fail").await.len() - acknowledged.len();
    assert!(extra <= 1, "{place}: {extra} documents that nobody asked for");
    let log = node.log().split_off(before);
    assert!(!log.contains(" ERROR "), "{place}: the start found damage:\n{log}");
    node.put("fail", "after", "{}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_anywhere_in_a_commit_loses_nothing_it_acknowledged() {
    for (place, filler) in
        [("BeforeJournal:40", 10), ("BeforeSync:40", 10), ("AfterSync:40", 10), ("WritingTables", 20_000)]
    {
        let mut node = Node::prepare(&[]);
        node.fail_at = Some(place);
        node.start(&[]).await;
        let owed = put_until_it_dies(&node, &"x".repeat(filler)).await;
        assert!(owed.0.len() > 10, "{place}");
        died(&mut node, place).await;
        start_whole(&mut node, &owed, place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_while_it_leaves_starts_with_everything() {
    for place in ["BeforeRenewal", "InRenewal"] {
        let mut node = Node::prepare(&[]);
        node.fail_at = Some(place);
        let mut owed: Owed = (BTreeMap::new(), None);
        // A disk that is too slow for the time that leaving may take keeps its journal: then once more.
        loop {
            node.start(&[]).await;
            for n in 0..150 {
                let (id, json) = (n.to_string(), format!(r#"{{"filler":"{}"}}"#, "x".repeat(10_000)));
                node.put("fail", &id, &json).await;
                owed.0.insert(id, json);
            }
            node.signal("TERM");
            if ended(&mut node, place).await {
                break;
            }
        }
        start_whole(&mut node, &owed, place).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_in_a_backup_leaves_no_file_that_looks_like_one() {
    let mut node = Node::prepare(&[]);
    node.fail_at = Some("InBackup:2");
    node.start(&[]).await;
    node.put("fail", "one", "{}").await;
    let (file, socket) = (node.dir().join("backup"), format!("unix://{}", node.dir().join("peat.sock").display()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    command.env_clear().args(["backup", "--api", &socket]).arg(&file).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(!output.status.success() && !file.exists(), "{output:?}");
    died(&mut node, "InBackup").await;
    start_whole(&mut node, &(BTreeMap::from([("one".into(), "{}".into())]), None), "InBackup").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_while_it_replaces_a_damaged_store_goes_on_with_one_of_the_two() {
    for place in ["BeforeMove", "BetweenNames"] {
        let mut node = Node::prepare(&[]);
        node.start(&[]).await;
        node.put("fail", "one", "{}").await;
        node.kill();
        let log_keyspace = node.data().join("store/keyspaces/3");
        let files = fs::read_dir(log_keyspace).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.is_file()).for_each(|path| fs::write(path, "garbage").unwrap());
        node.fail_at = Some(place);
        node.spawn(&[]);
        died(&mut node, place).await;
        node.fail_at = None;
        node.start(&[]).await;
        assert_eq!(node.list("fail").await, ["one"], "{place}");
        node.leave().await;
        let kept = fs::read_dir(node.data()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let stores: Vec<String> = kept.filter(|name| name.starts_with("store")).collect();
        assert_eq!(stores.len(), 2, "{place}: the store and the damaged one: {stores:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_answered_at_once_while_every_commit_takes_half_a_second() {
    const COMMIT: Duration = Duration::from_millis(500);
    let mut node = Node::prepare(&[]);
    node.slow_at = Some("BeforeSync:500");
    node.start(&[]).await;
    let writer = node.client();
    let writing = tokio::spawn(async move {
        let began = Instant::now();
        for n in 0..4 {
            put(&writer, "slow", &n.to_string(), "{}").await.unwrap();
        }
        began.elapsed()
    });
    let (client, mut took) = (node.client(), Vec::new());
    while !writing.is_finished() {
        let asked = Instant::now();
        client.get_status(GetStatusRequest::default()).await.unwrap();
        took.push(asked.elapsed());
    }
    assert!(writing.await.unwrap() >= 4 * COMMIT, "the commits were not slow");
    took.sort();
    let (median, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    // The contract says 10 ms; the rest is for busy machines. One that waited for commits would wait for half of one.
    assert!(median < COMMIT / 10 && p99 < COMMIT, "{median:?}, {p99:?} of {} answers", took.len());
}
