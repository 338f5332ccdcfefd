//! Feeds at their own pace: nothing missed, nothing twice, and where a snapshot ends.

use super::*;
use crate::store::{MemoryStore, PAGE_ROWS};
use futures::stream::BoxStream;
use peat_node_core::docs::Document;
use peat_node_core::event::{Condition, Edit};
use peat_node_core::ids::{PeerId, RequestId};
use peat_node_core::{Config, Input, MeshNode, Now, Outputs, ReadError, Rows};
use std::time::Duration;

const COMPLETE: &str = "complete";

/// A store that real writes of the engine fill, without a driver.
struct Bench {
    store: Arc<MemoryStore>,
    node: MeshNode,
    committed: watch::Sender<Seq>,
    recent: Arc<Recent>,
    readers: Arc<Readers>,
}

struct Stored<'a>(&'a MemoryStore);

impl Rows for Stored<'_> {
    fn read(&self, key: &Key) -> Result<Option<Vec<u8>>, ReadError> {
        self.0.read(key).map(|row| row.map(|row| row.bytes)).map_err(|error| ReadError(Box::new(error)))
    }

    fn history(&self, key: &Key, count: u16) -> Result<Option<Vec<u8>>, ReadError> {
        self.0.history(key, count).map_err(|error| ReadError(Box::new(error)))
    }
}

impl Bench {
    fn new() -> Self {
        let config = Config {
            me: PeerId([1; 32]),
            actor: [2; 16],
            seed: [3; 32],
            sync_active: true,
            cache_bytes: 1 << 20,
            tombstone_ttl: Duration::from_secs(3600),
            known_time: None,
            history: peat_node_core::docs::epoch::Limits::default(),
            rights: peat_node_core::rights::Rights::default(),
            kinds: peat_node_core::docs::Kinds::default(),
        };
        let (store, node, recent) = (Arc::default(), MeshNode::new(config), Arc::default());
        Self { store, node, committed: watch::channel(0).0, recent, readers: Arc::default() }
    }

    fn handle(&mut self, input: Input) {
        let now = Now { wall: Duration::from_secs(1_800_000_000), uptime: Duration::from_secs(1) };
        let mut outputs = Outputs::default();
        self.node.handle(now, input, &Stored(&self.store), &mut outputs);
        let seq = self.store.commit(&outputs.writes).unwrap();
        self.recent.keep(seq, outputs.writes);
        self.committed.send_replace(seq);
    }

    fn write(&mut self, key: Key, edit: Edit) {
        self.handle(Input::Write { request: RequestId(1), key, edit, terms: Condition::Always.into() });
    }

    fn put(&mut self, collection: &str, id: &str, value: u32) {
        let document = Document::parse(&format!("{{\"v\":{value}}}")).unwrap();
        self.write(key(collection, id), Edit::Put(document));
    }

    fn delete(&mut self, collection: &str, id: &str) {
        self.write(key(collection, id), Edit::Delete);
    }

    fn follow(&self, after: Option<Seq>, filter: Filter) -> BoxStream<'static, Result<Told, HandleError>> {
        let store: Arc<dyn Store> = Arc::clone(&self.store) as Arc<dyn Store>;
        let (recent, readers) = (Arc::clone(&self.recent), Arc::clone(&self.readers));
        let source = Source { store, committed: self.committed.subscribe(), recent, readers };
        follow(source, after, filter, Vault::default()).boxed()
    }
}

fn key(collection: &str, id: &str) -> Key {
    Key::new(&Collection::parse(collection).unwrap(), id).unwrap()
}

/// The next `count` changes as text: `collection/id=value`, or `-collection/id`; `complete` behind the snapshot.
async fn next(changes: &mut BoxStream<'static, Result<Told, HandleError>>, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(10), changes.next()).await;
        texts.push(match next.expect("a change in time").unwrap().unwrap() {
            Told::Change(Change { key, document: Some(content), .. }) => {
                format!("{key:?}={}", content.into_document().unwrap().as_map()["v"])
            }
            Told::Change(Change { key, document: None, .. }) => format!("-{key:?}"),
            Told::Complete { .. } => COMPLETE.to_owned(),
        });
    }
    texts
}

async fn silent(changes: &mut BoxStream<'static, Result<Told, HandleError>>) -> bool {
    futures::poll!(changes.next()).is_pending() && {
        tokio::task::yield_now().await;
        tokio::time::timeout(Duration::from_millis(50), changes.next()).await.is_err()
    }
}

#[tokio::test]
async fn a_snapshot_has_live_documents_once_and_then_changes_follow() {
    let mut bench = Bench::new();
    bench.put("ferries", "b", 1);
    bench.put("ferries", "a", 1);
    bench.put("ferries", "gone", 1);
    bench.delete("ferries", "gone");
    let mut changes = bench.follow(None, Filter::All);
    assert_eq!(next(&mut changes, 3).await, ["ferries/a=1", "ferries/b=1", COMPLETE]);
    bench.put("ferries", "c", 2);
    bench.delete("ferries", "a");
    assert_eq!(next(&mut changes, 2).await, ["ferries/c=2", "-ferries/a"]);
    assert!(silent(&mut changes).await);
}

#[tokio::test]
async fn a_write_during_the_snapshot_is_neither_lost_nor_doubled() {
    let mut bench = Bench::new();
    for id in ["a", "b", "c", "gone"] {
        bench.put("ferries", id, 1);
    }
    let mut changes = bench.follow(None, Filter::All);
    bench.put("ferries", "b", 2);
    bench.put("ferries", "d", 2);
    bench.delete("ferries", "gone");
    let told = ["ferries/a=1", "ferries/b=2", "ferries/c=1", "ferries/d=2", COMPLETE, "-ferries/gone"];
    assert_eq!(next(&mut changes, 6).await, told);
    bench.put("ferries", "b", 3);
    assert_eq!(next(&mut changes, 1).await, ["ferries/b=3"]);
    assert!(silent(&mut changes).await);
}

#[tokio::test]
async fn a_document_that_is_written_all_the_time_is_there_when_the_snapshot_is_complete() {
    let mut bench = Bench::new();
    let ids: Vec<String> = (0..2 * PAGE_ROWS).map(|id| format!("{id:06}")).collect();
    ids.iter().for_each(|id| bench.put("ferries", id, 1));
    let mut changes = bench.follow(None, Filter::All);
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != COMPLETE) {
        bench.put("ferries", "001000", told.len() as u32);
        told.extend(next(&mut changes, 1).await);
    }
    assert_eq!(told.len(), ids.len() + 1);
    assert!(told[1000].starts_with("ferries/001000="), "{}", told[1000]);
    let last = format!("ferries/001000={}", ids.len());
    assert_eq!(next(&mut changes, 1).await, [last], "and then as it became");
    assert!(silent(&mut changes).await);
}

#[tokio::test]
async fn a_feed_that_is_taken_up_where_the_snapshot_was_complete_misses_nothing() {
    let mut bench = Bench::new();
    bench.put("ferries", "a", 1);
    let mut changes = bench.follow(None, Filter::All);
    bench.put("ferries", "b", 2);
    assert_eq!(next(&mut changes, 2).await, ["ferries/a=1", "ferries/b=2"]);
    let Some(Ok(Told::Complete { resume })) = changes.next().await else { unreachable!("the end of the snapshot") };
    bench.put("ferries", "c", 3);
    let mut again = bench.follow(Some(resume), Filter::All);
    assert_eq!(next(&mut again, 2).await, ["ferries/b=2", "ferries/c=3"], "without another mark");
    assert!(silent(&mut again).await);
}

#[tokio::test]
async fn a_reader_that_keeps_up_gets_one_event_for_each_write() {
    let mut bench = Bench::new();
    let mut changes = bench.follow(None, Filter::All);
    assert_eq!(next(&mut changes, 1).await, [COMPLETE]);
    bench.put("ferries", "a", 1);
    bench.put("ferries", "a", 2);
    bench.delete("ferries", "a");
    bench.put("ferries", "a", 3);
    bench.put("ferries", "a", 3);
    assert_eq!(next(&mut changes, 4).await, ["ferries/a=1", "ferries/a=2", "-ferries/a", "ferries/a=3"]);
    assert!(silent(&mut changes).await, "a write that changes nothing is no event");
}

#[tokio::test]
async fn a_slow_reader_gets_the_last_of_many_versions_and_every_document() {
    let mut bench = Bench::new();
    let mut changes = bench.follow(None, Filter::All);
    assert_eq!(next(&mut changes, 1).await, [COMPLETE]);
    let text = "wide".repeat(2000);
    for value in 0..50 {
        for id in 0..20 {
            let document = Document::parse(&format!("{{\"v\":{value},\"text\":\"{text}\"}}")).unwrap();
            bench.write(key("ferries", &format!("{id:02}")), Edit::Put(document));
        }
    }
    let expected: Vec<String> = (0..20).map(|id| format!("ferries/{id:02}=49")).collect();
    assert_eq!(next(&mut changes, 20).await, expected);
    assert!(silent(&mut changes).await);
}

#[tokio::test]
async fn more_than_a_page_of_changes_comes_whole_and_in_order() {
    let mut bench = Bench::new();
    let mut changes = bench.follow(None, Filter::All);
    assert_eq!(next(&mut changes, 1).await, [COMPLETE]);
    let ids: Vec<String> = (0..3 * LOG_PAGE + 1).map(|id| format!("{id:06}")).collect();
    ids.iter().for_each(|id| bench.put("ferries", id, 1));
    let expected: Vec<String> = ids.iter().map(|id| format!("ferries/{id}=1")).collect();
    assert_eq!(next(&mut changes, ids.len()).await, expected);
    let mut resumed = bench.follow(Some(LOG_PAGE as Seq), Filter::All);
    assert_eq!(next(&mut resumed, 2 * LOG_PAGE + 1).await, expected[LOG_PAGE..]);
    assert!(silent(&mut resumed).await);
}

#[tokio::test]
async fn only_the_wanted_collections_come() {
    let mut bench = Bench::new();
    for collection in ["ferries", "ferriesx", "cars", "zoo"] {
        bench.put(collection, "one", 1);
    }
    let filter = Filter::of(["ferries", "zoo"].map(|name| Collection::parse(name).unwrap()));
    let mut changes = bench.follow(None, filter);
    assert_eq!(next(&mut changes, 3).await, ["ferries/one=1", "zoo/one=1", COMPLETE]);
    bench.put("cars", "two", 1);
    bench.put("zoo", "two", 1);
    assert_eq!(next(&mut changes, 1).await, ["zoo/two=1"]);
    assert_eq!(Filter::of([]), Filter::All);
}

#[tokio::test]
async fn a_delete_that_changes_nothing_is_not_told() {
    let mut bench = Bench::new();
    let mut changes = bench.follow(None, Filter::All);
    assert_eq!(next(&mut changes, 1).await, [COMPLETE]);
    bench.put("ferries", "one", 1);
    bench.delete("ferries", "one");
    bench.delete("ferries", "one");
    bench.delete("ferries", "never");
    assert_eq!(next(&mut changes, 2).await, ["ferries/one=1", "-ferries/one"]);
    assert!(silent(&mut changes).await);
}

#[tokio::test]
async fn the_slowest_of_those_who_still_read_is_seen() {
    let mut bench = Bench::new();
    assert_eq!(bench.readers.look(), (0, None));
    let (mut quick, mut slow) = (bench.follow(None, Filter::All), bench.follow(None, Filter::All));
    for changes in [&mut quick, &mut slow] {
        assert_eq!(next(changes, 1).await, [COMPLETE]);
    }
    for id in ["a", "b", "c"] {
        bench.put("ferries", id, 1);
        next(&mut quick, 1).await;
    }
    assert_eq!(bench.readers.look(), (2, Some(0)));
    next(&mut slow, 3).await;
    assert_eq!(bench.readers.look(), (2, Some(3)));
    drop(slow);
    assert_eq!(bench.readers.look(), (1, Some(3)));
    let _resumed = bench.follow(Some(1), Filter::All);
    assert_eq!(bench.readers.look(), (2, Some(1)), "also before it is told anything");
}

#[tokio::test]
async fn the_stream_ends_when_the_driver_does() {
    let bench = Bench::new();
    let mut changes = bench.follow(None, Filter::All);
    assert_eq!(next(&mut changes, 1).await, [COMPLETE]);
    drop(bench.committed);
    assert!(matches!(changes.next().await, Some(Err(HandleError::Stopped))));
    assert!(changes.next().await.is_none());
}
