//! The order of things: persist, then send, then answer; and what a failed disk changes.

use super::*;
use crate::changes::{Filter, Told};
use crate::handle::{Engine, NodeHandle};
use crate::quota::Limits;
use crate::store::MemoryStore;
use futures::StreamExt as _;
use peat_node_core::Output;
use peat_node_core::docs::Document;
use peat_node_core::docs::life::Ttl;
use peat_node_core::event::{Condition, Edit, Terms};
use peat_node_core::ids::{Collection, ConnId, PeerId};
use std::sync::Mutex;

const ME: PeerId = PeerId([1; 32]);
const PEER: PeerId = PeerId([2; 32]);
const LIMIT: Duration = Duration::from_secs(10);

/// Records what the driver lets out, and whether it was durable by then.
#[derive(Clone)]
struct Recorder {
    store: Arc<MemoryStore>,
    acts: Arc<Mutex<Vec<(String, Seq)>>>,
}

impl Network for Recorder {
    fn act(&self, output: Output) {
        let name = match output {
            Output::Send { .. } => "send".to_owned(),
            Output::Dial { peer, addresses, .. } => format!("dial {} {}", peer.0[0], addresses.join(",")),
            Output::Close { reason, .. } => format!("close {reason:?}"),
        };
        self.acts.lock().unwrap().push((name, self.store.last()));
    }
}

struct Bench {
    store: Arc<MemoryStore>,
    messages: mpsc::Sender<Message>,
    acts: Arc<Mutex<Vec<(String, Seq)>>>,
    published: Arc<ArcSwapOption<Published>>,
    metrics: Arc<Metrics>,
    running: Running,
}

impl Bench {
    async fn start() -> Self {
        let store = Arc::new(MemoryStore::default());
        let (messages, inputs) = mpsc::channel(INPUTS);
        let acts = Arc::default();
        let network = Recorder { store: Arc::clone(&store), acts: Arc::clone(&acts) };
        let (published, metrics): (_, Arc<Metrics>) = (Arc::default(), Arc::default());
        let (actor, seed, tombstone_ttl) = ([3; 16], [4; 32], Duration::from_secs(3600));
        let rights = peat_node_core::rights::Rights::default();
        let history = peat_node_core::docs::epoch::Limits::default();
        let (kinds, cache_bytes) = (peat_node_core::docs::Kinds::default(), 1 << 20);
        let config = Config {
            me: ME,
            actor,
            seed,
            sync_active: true,
            cache_bytes,
            tombstone_ttl,
            known_time: None,
            history,
            rights,
            kinds,
        };
        let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let setup = Setup {
            config,
            quotas: Limits::default(),
            store: shared,
            network,
            inputs,
            published: Arc::clone(&published),
            metrics: Arc::clone(&metrics),
        };
        let running = start(setup).await.unwrap();
        Self { store, messages, acts, published, metrics, running }
    }

    async fn call(&self, request: Request) -> Result<Reply, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.messages.send(Message::Request { request, answer }).await.unwrap();
        tokio::time::timeout(LIMIT, answered).await.unwrap().unwrap()
    }

    async fn put(&self, id: &str, json: &str) -> Result<Reply, RequestError> {
        let edit = Edit::Put(Document::parse(json).unwrap());
        self.call(Request::Write { key: key(id), edit, terms: Condition::Always.into() }).await
    }

    async fn event(&self, input: Input) {
        self.messages.send(Message::Event(input)).await.unwrap();
    }

    async fn view(&self) -> Arc<Published> {
        let (answer, view) = oneshot::channel();
        self.messages.send(Message::View(answer)).await.unwrap();
        tokio::time::timeout(LIMIT, view).await.unwrap().unwrap()
    }

    /// Waits until this holds.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let reached = async {
            while !holds(self) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, reached).await.unwrap();
    }

    /// What the API has of it.
    fn handle(&self) -> NodeHandle {
        let handle = NodeHandle::starting(ME);
        handle.attach(Engine {
            messages: self.messages.clone(),
            store: Arc::clone(&self.store) as Arc<dyn Store>,
            committed: self.running.committed.clone(),
            recent: Arc::clone(&self.running.recent),
            told: watch::channel(false).1,
            vault: crate::vault::Vault::default(),
            kinds: peat_node_core::docs::Kinds::default(),
            relay: None,
        });
        handle
    }

    fn acts(&self) -> Vec<(String, Seq)> {
        std::mem::take(&mut *self.acts.lock().unwrap())
    }
}

fn key(id: &str) -> Key {
    Key::new(&Collection::parse("ferries").unwrap(), id).unwrap()
}

#[tokio::test]
async fn what_is_answered_is_committed_and_seen_by_readers() {
    let bench = Bench::start().await;
    bench.put("one", r#"{"a":1}"#).await.unwrap();
    assert_eq!(*bench.running.committed.borrow(), 1);
    assert!(bench.store.read(&key("one")).unwrap().is_some());
    let delete = Request::Write { key: key("none"), edit: Edit::Delete, terms: Condition::Always.into() };
    assert_eq!(bench.call(delete).await, Ok(Reply::Written(None)));
    assert_eq!(bench.view().await.stats.rows, 1);
}

#[tokio::test]
async fn an_unchanged_put_writes_nothing() {
    let bench = Bench::start().await;
    bench.put("one", r#"{"a":1,"b":[1,2]}"#).await.unwrap();
    bench.put("one", r#"{"b":[1,2],"a":1}"#).await.unwrap();
    assert_eq!(bench.store.last(), 1);
}

#[tokio::test]
async fn nothing_is_sent_before_it_is_committed() {
    let bench = Bench::start().await;
    bench
        .event(Input::Connected {
            conn: ConnId(1),
            peer: PEER,
            direction: peat_node_core::event::Direction::In,
            version: 2,
        })
        .await;
    bench.view().await;
    bench.acts();
    bench.put("one", r#"{"a":1}"#).await.unwrap();
    let acts = bench.acts();
    assert!(acts.iter().any(|(name, _)| name == "send"), "{acts:?}");
    assert!(acts.iter().all(|(_, committed)| *committed == 1), "{acts:?}");
}

#[tokio::test]
async fn a_failed_commit_is_an_error_to_the_caller_and_lets_no_frame_out() {
    let bench = Bench::start().await;
    bench
        .event(Input::Connected {
            conn: ConnId(1),
            peer: PEER,
            direction: peat_node_core::event::Direction::In,
            version: 2,
        })
        .await;
    bench.view().await;
    bench.acts();
    bench.store.fail_commits(true);
    let failed = bench.put("one", r#"{"a":1}"#).await;
    assert!(
        matches!(&failed, Err(RequestError::Storage { reason, .. }) if reason.contains("switched off")),
        "{failed:?}"
    );
    assert_eq!(bench.acts(), []);
    assert_eq!(bench.view().await.stats.rows, 0);

    bench.store.fail_commits(false);
    bench.put("one", r#"{"a":1}"#).await.unwrap();
    assert_eq!(bench.store.last(), 1);
    assert!(bench.acts().iter().any(|(name, _)| name == "send"));
    assert_eq!(bench.view().await.stats.rows, 1);
}

#[tokio::test]
async fn commits_that_fail_are_seen_until_one_succeeds_that_nobody_asked_for_and_that_changes_nothing() {
    let bench = Bench::start().await;
    let commits = || bench.metrics.pulse().commits();
    bench.put("one", r#"{"a":1}"#).await.unwrap();
    let before = (bench.store.read(&key("one")).unwrap(), bench.store.last());
    assert_eq!(commits(), Commits::Durable);
    bench.store.fail_commits(true);
    bench.put("two", r#"{"a":1}"#).await.unwrap_err();
    assert_eq!(commits(), Commits::Failed);
    bench.store.fail_commits(false);
    bench.until(|bench| bench.metrics.pulse().commits() == Commits::Durable).await;
    assert_eq!((bench.store.read(&key("one")).unwrap(), bench.store.last()), before);
    assert_eq!(bench.store.read(&key("two")).unwrap(), None, "what was refused is not made up for");
}

#[tokio::test]
async fn what_a_disk_kept_of_a_commit_that_failed_is_told_to_readers_of_changes() {
    let bench = Bench::start().await;
    bench.store.keep_what_fails(true);
    bench.store.fail_commits(true);
    bench.put("one", r#"{"a":1}"#).await.unwrap_err();
    bench.store.fail_commits(false);
    bench.put("one", r#"{"a":1}"#).await.unwrap();
    assert_eq!(bench.store.commits(), 0, "it is there: nothing is written");
    assert_eq!(*bench.running.committed.borrow(), 1);
}

#[tokio::test]
async fn a_turn_that_waits_for_the_disk_is_seen_with_the_calls_in_it() {
    let bench = Bench::start().await;
    let pulse = |bench: &Bench| (bench.metrics.pulse().turn().is_some(), bench.metrics.pulse().calls());
    bench.store.hold_commits(true);
    let (answer, answered) = oneshot::channel();
    let edit = Edit::Put(Document::parse("{}").unwrap());
    let request = Request::Write { key: key("one"), edit, terms: Condition::Always.into() };
    bench.messages.send(Message::Request { request, answer }).await.unwrap();
    bench.until(|bench| bench.store.commits_under_way() == 1).await;
    assert_eq!(pulse(&bench), (true, 1));
    bench.store.hold_commits(false);
    answered.await.unwrap().unwrap();
    bench.until(|bench| pulse(bench) == (false, 0)).await;
}

#[tokio::test]
async fn a_document_that_time_takes_away_is_counted_once() {
    let bench = Bench::start().await;
    let handle = bench.handle();
    let terms = Terms { condition: Condition::Always, ttl: Ttl::of(1) };
    let edit = Edit::Put(Document::parse(r#"{"a":1}"#).unwrap());
    bench.call(Request::Write { key: key("one"), edit, terms }).await.unwrap();
    let counted = async || bench.metrics.encode(&handle).unwrap().contains("peat_node_documents_expired_total 1\n");
    let once = async {
        while !counted().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, once).await.unwrap();
    bench.event(Input::Expire { keys: vec![key("one"), key("none")] }).await;
    bench.view().await;
    assert!(counted().await, "not again");
    assert_eq!(handle.get(key("one")).await.unwrap(), None);
}

#[tokio::test]
async fn a_wished_peer_is_dialled_while_commits_fail() {
    let bench = Bench::start().await;
    bench.store.fail_commits(true);
    let source = peat_node_core::event::Source::Flag;
    bench.event(Input::Want { source, peer: PEER, addresses: vec!["h:1".to_owned()] }).await;
    let view = bench.view().await;
    assert_eq!(view.peers.len(), 1);
    assert_eq!(bench.acts(), [("dial 2 h:1".to_owned(), 0)]);
}

#[tokio::test]
async fn writes_that_no_peer_heard_are_remembered_until_one_has_them() {
    let bench = Bench::start().await;
    assert!(!bench.view().await.unsent);
    bench.put("one", r#"{"a":1}"#).await.unwrap();
    assert!(bench.view().await.unsent);
    bench
        .event(Input::Connected {
            conn: ConnId(1),
            peer: PEER,
            direction: peat_node_core::event::Direction::In,
            version: 2,
        })
        .await;
    assert!(!bench.view().await.unsent);
}

#[tokio::test]
async fn the_driver_ends_when_it_is_told_and_then_refuses() {
    let bench = Bench::start().await;
    bench.messages.send(Message::Stop).await.unwrap();
    tokio::time::timeout(LIMIT, bench.running.ended).await.unwrap().unwrap_err();
    bench.messages.closed().await;
    assert!(bench.published.load().is_some());
}

#[tokio::test]
async fn many_callers_share_a_commit() {
    let bench = Arc::new(Bench::start().await);
    bench.store.hold_commits(true);
    let put = |i: usize| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.put(&format!("{i}"), r#"{"a":1}"#).await })
    };
    let mut callers = vec![put(0)];
    bench.until(|bench| bench.store.commits_under_way() == 1).await;
    callers.extend((1..200).map(put));
    // While the disk is busy, all the others wait for the driver.
    bench.until(|bench| bench.messages.max_capacity() - bench.messages.capacity() == 199).await;
    bench.store.hold_commits(false);
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(bench.store.commits(), 2, "the first, and one for all the others");
    assert_eq!(bench.store.last(), 200);
    assert_eq!(bench.view().await.stats.rows, 200);
}

#[tokio::test]
async fn reads_are_answered_while_a_commit_waits_for_the_disk() {
    let bench = Bench::start().await;
    let handle = bench.handle();
    bench.put("one", r#"{"a":1}"#).await.unwrap();
    bench.store.hold_commits(true);
    let writer = handle.clone();
    let put = tokio::spawn(async move { writer.put(key("two"), Document::parse("{}").unwrap()).await });
    bench.until(|bench| bench.store.commits_under_way() > 0).await;
    let reads = async {
        assert_eq!(handle.get(key("one")).await.unwrap().unwrap().to_json(), r#"{"a":1}"#);
        assert_eq!(handle.get(key("two")).await.unwrap(), None, "what is not durable is not told");
        assert_eq!(handle.status().endpoint, ME);
        let ids: Vec<_> = handle.list(&Collection::parse("ferries").unwrap()).unwrap().collect().await;
        assert_eq!(ids.len(), 1);
        let mut changes = handle.changes(None, Filter::All).unwrap();
        assert!(matches!(changes.next().await, Some(Ok(Told::Change(_)))));
    };
    tokio::time::timeout(LIMIT, reads).await.unwrap();
    assert!(!put.is_finished());
    bench.store.hold_commits(false);
    put.await.unwrap().unwrap();
    assert!(handle.get(key("two")).await.unwrap().is_some());
}

#[tokio::test]
async fn without_a_subscriber_a_put_is_not_read_back() {
    let bench = Bench::start().await;
    let handle = bench.handle();
    for n in 0..100 {
        bench.put(&n.to_string(), r#"{"a":1}"#).await.unwrap();
    }
    let first = async |after| {
        let mut changes = handle.changes(Some(after), Filter::All).unwrap();
        tokio::time::timeout(LIMIT, changes.next()).await.unwrap().unwrap().unwrap()
    };
    first(99).await;
    assert_eq!(bench.store.log_reads(), 0, "nor for one that keeps up");
    bench.put("wide", &format!(r#"{{"a":"{}"}}"#, "b".repeat(2 << 20))).await.unwrap();
    first(99).await;
    assert!(bench.store.log_reads() > 0, "whoever is behind reads");
}
