//! What is known after which news, and what transport and driver are told.

use super::revoked::Revoked;
use super::source::tests::managed;
use super::*;
use std::path::Path;

const NOW: Duration = Duration::from_secs(1_800_000_000);
const ONE: PeerId = PeerId([1; 32]);

fn told() -> Told {
    Told {
        mesh_uid: "mesh".to_owned(),
        certificate: vec![1],
        trust_bundle: vec![vec![2]],
        grace: Duration::from_secs(3),
        peers: PeerSet::from([(ONE, vec!["a:1".to_owned()]), (PeerId([2; 32]), vec!["b:1".to_owned()])]),
        revoked: Revoked::default(),
    }
}

/// What is known once `peers` are revoked.
fn after_revoking(peers: &[PeerId], now: Duration) -> Told {
    merge("mesh", Some(&told()), News::Revoked(peers.iter().copied().collect()), now).unwrap()
}

fn joined(peers: PeerSet) -> News {
    News::Joined { certificate: vec![9], trust_bundle: vec![], peers, grace: Duration::ZERO }
}

fn upserted(peer: PeerId) -> News {
    News::Peers { upserted: PeerSet::from([(peer, vec!["a:1".to_owned()])]), removed: BTreeSet::new() }
}

fn text(input: &Input) -> String {
    let firsts = |peers: &BTreeSet<PeerId>| peers.iter().map(|peer| peer.0[0].to_string()).collect::<String>();
    match input {
        Input::Unwant { peer, .. } => format!("-{}", peer.0[0]),
        Input::Want { peer, addresses, .. } => format!("+{}@{}", peer.0[0], addresses.join(",")),
        Input::Revoke { peers } => format!("revoke {}", firsts(peers)),
        Input::Reinstate { peers } => format!("reinstate {}", firsts(peers)),
        other => format!("{other:?}"),
    }
}

/// A supervisor that nobody runs, and what it tells the driver.
fn supervisor(folder: &Path) -> (Membership, mpsc::Receiver<Message>) {
    let identity = Identity::generate(folder).unwrap();
    let (messages, inputs) = mpsc::channel(16);
    let managed = managed(None);
    let membership = Membership {
        managed,
        key_dir: folder.to_owned(),
        port: 11204,
        relay: None,
        certificates: Arc::new(Certificates::new("mesh".to_owned(), |_| false)),
        messages,
        node: NodeHandle::starting(identity.id()),
        identity,
        told: watch::Sender::new(false),
        metrics: Arc::default(),
    };
    (membership, inputs)
}

#[test]
fn only_differences_become_wishes() {
    let before = told().peers;
    let mut after = before.clone();
    after.remove(&ONE);
    after.insert(PeerId([2; 32]), vec!["b:2".to_owned()]);
    after.insert(PeerId([3; 32]), vec!["c:1".to_owned()]);
    let texts: Vec<String> = wishes(&before, &after).iter().map(text).collect();
    assert_eq!(texts, ["-1", "+2@b:2", "+3@c:1"]);
    assert!(wishes(&before, &before).is_empty());
}

#[test]
fn news_before_joined_change_nothing() {
    assert_eq!(merge("mesh", None, News::Revoked(BTreeSet::new()), NOW), None);
    assert_eq!(merge("mesh", None, News::Renewed { certificate: vec![], trust_bundle: vec![] }, NOW), None);
}

#[test]
fn a_revoked_peer_is_remembered_and_no_longer_wanted_also_after_joining_again() {
    let after = after_revoking(&[ONE], NOW);
    assert_eq!(after.peers.len(), 1);
    let again = merge("mesh", Some(&after), joined(PeerSet::new()), NOW).unwrap();
    assert_eq!((again.certificate, again.revoked.peers()), (vec![9], BTreeSet::from([ONE])));
}

#[test]
fn a_revoked_peer_that_is_named_as_a_peer_again_is_revoked_no_longer() {
    let before = after_revoking(&[ONE, PeerId([7; 32])], NOW);
    let named = PeerSet::from([(ONE, vec!["a:1".to_owned()])]);
    for news in [upserted(ONE), joined(named)] {
        let after = merge("mesh", Some(&before), news, NOW).unwrap();
        assert_eq!(after.revoked.peers(), BTreeSet::from([PeerId([7; 32])]));
        assert!(after.peers.contains_key(&ONE));
    }
}

#[test]
fn no_time_that_a_clock_tells_lets_a_revocation_be_forgotten() {
    let before = after_revoking(&[ONE], NOW);
    for now in [Duration::ZERO, NOW + Duration::from_secs(10 * 365 * 24 * 3600)] {
        let renewed = News::Renewed { certificate: vec![], trust_bundle: vec![] };
        assert_eq!(merge("mesh", Some(&before), renewed, now).unwrap().revoked, before.revoked);
    }
}

#[tokio::test]
async fn a_peer_that_comes_back_is_reinstated_before_it_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let (membership, mut inputs) = supervisor(folder.path());
    let mut known = Some(told());
    membership.take(&mut known, News::Revoked(BTreeSet::from([ONE]))).await;
    membership.take(&mut known, upserted(ONE)).await;
    membership.take(&mut known, upserted(ONE)).await;
    drop(membership);
    let mut texts = Vec::new();
    while let Some(message) = inputs.recv().await {
        match message {
            Message::Event(input) => texts.push(text(&input)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(texts, ["revoke 1", "-1", "reinstate 1", "+1@a:1"]);
    assert_eq!(cache::load(folder.path(), NOW).map(|told| told.revoked), Some(Revoked::default()));
}

#[test]
fn a_delta_upserts_and_removes() {
    let delta = News::Peers {
        upserted: PeerSet::from([(PeerId([4; 32]), vec![])]),
        removed: BTreeSet::from([PeerId([2; 32])]),
    };
    let after = merge("mesh", Some(&told()), delta, NOW).unwrap();
    assert_eq!(after.peers.keys().map(|peer| peer.0[0]).collect::<Vec<_>>(), [1, 4]);
}
