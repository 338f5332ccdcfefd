//! A mesh by flags changes its key while it goes on.

use super::process::{KEY, Node, put, wait_for};
use futures::future::join_all;
use peat_proto::sidecar::peat::node::v1::{Peer, PeersRequest};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const NEW: &str = "KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=";

/// A node with a key file of its own.
struct Member {
    node: Node,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Member {
    async fn start(keys: &[&str], peers: &[&Self]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys");
        std::fs::write(&file, keys.join("\n")).unwrap();
        let peers: Vec<String> = peers.iter().map(|peer| peer.node.address()).collect();
        let mut args = vec!["--shared-key-file", file.to_str().unwrap()];
        peers.iter().for_each(|peer| args.extend(["--peer", peer]));
        let mut node = Node::prepare(&args);
        node.start(&[]).await;
        Self { node, file, _folder: folder }
    }

    /// Writes the key file, and returns when it is in force; `times` is how often that was.
    async fn rekey(&self, keys: &[&str], times: usize) {
        std::fs::write(&self.file, keys.join("\n")).unwrap();
        let told = || async { (self.node.log().matches("the mesh has new keys").count() == times).then_some(()) };
        wait_for("the new keys", told).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_changes_its_key_while_it_writes_and_shuts_out_who_has_the_old_one_only() {
    let a = Member::start(&[KEY], &[]).await;
    let b = Member::start(&[KEY], &[&a]).await;
    let c = Member::start(&[KEY], &[&a, &b]).await;
    let left_behind = Member::start(&[KEY], &[&a]).await;
    let members = [&a, &b, &c];
    wait_for("the mesh", || async { (left_behind.node.peers().await == 1 && a.node.peers().await == 3).then_some(()) })
        .await;
    let done = Arc::new(AtomicBool::new(false));
    let writers = members.iter().enumerate().map(|(n, member)| {
        let (client, done) = (member.node.client(), Arc::clone(&done));
        tokio::spawn(async move {
            let (mut pace, mut count) = (tokio::time::interval(Duration::from_millis(20)), 0);
            while !done.load(Ordering::Relaxed) {
                pace.tick().await;
                put(&client, "log", &format!("{n}-{count}"), "{}").await.unwrap();
                count += 1;
            }
            count
        })
    });
    let writers: Vec<_> = writers.collect();
    for (step, keys) in [&[KEY, NEW][..], &[NEW, KEY], &[NEW]].into_iter().enumerate() {
        join_all(members.iter().map(|member| member.rekey(keys, step + 1))).await;
    }
    wait_for("the new mesh", || async {
        let peers = join_all(members.iter().map(|member| member.node.peers())).await;
        (peers == [2, 2, 2] && left_behind.node.peers().await == 0).then_some(())
    })
    .await;
    done.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    a.node.put("secrets", "after", "{}").await;
    let newcomer = Member::start(&[NEW], &[&a]).await;
    for member in [&a, &b, &c, &newcomer] {
        let all = || async { (member.node.list("log").await.len() == written).then_some(()) };
        wait_for("everything that was written", all).await;
        wait_for("the last document", || member.node.get("secrets", "after")).await;
    }
    assert_eq!(left_behind.node.get("secrets", "after").await, None);
    assert!(!a.node.log().contains(KEY) && !a.node.log().contains(NEW), "keys are not logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_a_wrong_key_joins_when_its_key_is_mended_and_nobody_restarts() {
    let a = Member::start(&[KEY], &[]).await;
    let wrong = Member::start(&[NEW], &[&a]).await;
    a.node.put("papers", "ours", "{}").await;
    wrong.node.put("papers", "theirs", "{}").await;
    // Twice: it is no peer that is dialled once and then kept away for good.
    wait_for("two refusals", || async {
        let peers = wrong.node.batches().peers(PeersRequest::default()).await.unwrap().into_owned().peers;
        let refused = |peer: &Peer| peer.failures > 1 && peer.last_failure.contains("wrong shared key");
        peers.first().is_some_and(refused).then_some(())
    })
    .await;
    assert_eq!(a.node.list("papers").await, ["ours"]);
    assert_eq!(wrong.node.list("papers").await, ["theirs"]);
    wrong.rekey(&[KEY], 1).await;
    for member in [&a, &wrong] {
        let both = || async { (member.node.list("papers").await == ["ours", "theirs"]).then_some(()) };
        wait_for("the documents of both", both).await;
    }
}
