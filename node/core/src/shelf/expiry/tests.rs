//! Time takes documents away: at each node by its own clock, to the same row.

use super::*;
use crate::docs::epoch::Limits;
use crate::docs::{Document, Kind, Kinds};
use crate::event::{Condition, Edit, Now};
use crate::ids::PeerId;
use crate::rows::MemoryRows;
use crate::sync::neighbour::Since;

const NOON: Duration = Duration::from_secs(1_700_000_000);
const LIFE: Duration = Duration::from_secs(3600);
const KEPT: Duration = Duration::from_secs(7 * 86_400);

struct Place {
    shelf: Shelf,
    disk: MemoryRows,
}

fn key(collection: &str) -> Key {
    Key::new(&Collection::parse(collection).unwrap(), "one").unwrap()
}

impl Place {
    /// A node at noon.
    fn new(number: u8) -> Self {
        let shelf =
            Shelf::new(PeerId([number; 32]), [number; 16], 0, (KEPT, None), (Limits::default(), Kinds::default()));
        let mut place = Self { shelf, disk: MemoryRows::default() };
        place.it_is(Duration::ZERO, Duration::ZERO);
        place
    }

    /// `passed` after noon; its clock is `ahead`.
    fn it_is(&mut self, passed: Duration, ahead: Duration) {
        self.shelf.it_is(Now { wall: NOON + passed + ahead, uptime: passed });
    }

    fn write(&mut self, key: &Key, edit: &Edit) -> Result<bool, ShelfError> {
        let mut outputs = Outputs::default();
        let changed = self.shelf.write(key, edit, Condition::Always.into(), &self.disk, &mut outputs)?;
        let visible = outputs.writes.values().any(|write| write.visible);
        self.disk.commit(outputs.writes);
        Ok(changed.is_some() && visible)
    }

    fn put(&mut self, key: &Key, json: &str) -> bool {
        self.write(key, &Edit::Put(Document::parse(json).unwrap())).unwrap()
    }

    /// Under a policy by which documents of `collection` live an hour.
    fn with_life(mut self, collection: &str) -> Self {
        let policy = Policy { deletion: Deletion::ImplicitTtl, soft_delete_ttl: None, tombstone_ttl: None };
        let row = Key::new(&Collection::parse(RESERVED).unwrap(), collection).unwrap();
        self.write(&row, &Edit::Put(policy.to_document())).unwrap();
        self
    }

    /// Whether anything was taken away.
    fn sweep(&mut self, key: &Key) -> bool {
        let mut outputs = Outputs::default();
        self.shelf.expire(key, &self.disk, &mut outputs).unwrap();
        let took = !outputs.writes.is_empty();
        self.disk.commit(outputs.writes);
        took
    }

    fn tell(&mut self, key: &Key, other: &mut Self) {
        let payload = self.shelf.payload(key, &Since::Start, usize::MAX, &self.disk, &Outputs::default()).unwrap();
        let mut outputs = Outputs::default();
        other.shelf.merge(key, payload.unwrap().0, &other.disk, &mut outputs).unwrap();
        other.disk.commit(outputs.writes);
    }

    fn read(&self, key: &Key) -> Option<String> {
        let row = self.disk.rows.get(key)?;
        View::parse(row).unwrap().text().map(str::to_owned)
    }
}

#[test]
fn a_document_that_nobody_writes_again_goes_everywhere_to_the_same_row_without_a_message() {
    for collection in ["beacons", "ships"] {
        let (mut a, mut b) = (Place::new(1).with_life(collection), Place::new(2).with_life(collection));
        let key = key(collection);
        assert_eq!(Kinds::default().of(collection) == Kind::Latest, collection == "beacons");
        a.put(&key, r#"{"x":1}"#);
        a.tell(&key, &mut b);
        for place in [&mut a, &mut b] {
            place.it_is(LIFE - Duration::from_secs(1), Duration::ZERO);
            assert!(!place.sweep(&key) && place.read(&key).is_some());
            place.it_is(LIFE + Duration::from_secs(1), Duration::ZERO);
            assert!(place.sweep(&key) && place.read(&key).is_none());
            assert!(!place.sweep(&key), "once");
        }
        assert_eq!(a.shelf.index.version(&key), b.shelf.index.version(&key));
        assert!(a.put(&key, r#"{"x":2}"#) && a.read(&key).is_some(), "it can be written again");
        a.tell(&key, &mut b);
        assert_eq!(b.read(&key), a.read(&key));
    }
}

#[test]
fn an_unchanged_put_renews_a_document_and_no_reader_is_told() {
    for collection in ["beacons", "ships"] {
        let mut a = Place::new(1).with_life(collection);
        let key = key(collection);
        a.put(&key, r#"{"x":1}"#);
        let before = a.shelf.index.version(&key);
        a.it_is(LIFE / 20, Duration::ZERO);
        assert!(!a.put(&key, r#"{"x":1}"#) && a.shelf.index.version(&key) == before, "too early to write");
        a.it_is(LIFE / 2, Duration::ZERO);
        assert!(!a.put(&key, r#"{"x":1}"#) && a.shelf.index.version(&key) != before, "renewed in silence");
        a.it_is(LIFE + Duration::from_secs(1), Duration::ZERO);
        assert!(!a.sweep(&key) && a.read(&key).is_some());
    }
}

#[test]
fn what_comes_after_its_time_is_gone_already() {
    for collection in ["beacons", "ships"] {
        let (mut away, mut here) = (Place::new(1).with_life(collection), Place::new(2).with_life(collection));
        let key = key(collection);
        away.put(&key, r#"{"x":1}"#);
        here.it_is(LIFE + Duration::from_secs(1), Duration::ZERO);
        away.tell(&key, &mut here);
        assert_eq!(here.read(&key), None);
        away.it_is(LIFE + Duration::from_secs(1), Duration::ZERO);
        away.sweep(&key);
        assert_eq!(away.shelf.index.version(&key), here.shelf.index.version(&key));
    }
}

#[test]
fn a_clock_that_jumps_a_year_ahead_takes_nothing_here_or_elsewhere() {
    for collection in ["beacons", "ships"] {
        let (mut mad, mut sane) = (Place::new(1).with_life(collection), Place::new(2).with_life(collection));
        let key = key(collection);
        sane.put(&key, r#"{"x":1}"#);
        sane.tell(&key, &mut mad);
        mad.it_is(Duration::from_secs(60), Duration::from_secs(365 * 86_400));
        assert!(!mad.sweep(&key) && mad.read(&key).is_some(), "not by a jump while it runs");
        // Started with the wrong clock, it knows no better, but nobody believes it.
        mad.shelf.clock = crate::stamp::Clock::default();
        mad.it_is(Duration::from_secs(61), Duration::from_secs(365 * 86_400));
        assert!(mad.sweep(&key));
        mad.tell(&key, &mut sane);
        assert_eq!(sane.read(&key).unwrap(), r#"{"x":1}"#);
    }
}

#[test]
fn a_collection_without_deletes_refuses_them_and_takes_edits() {
    let mut a = Place::new(1);
    let key = key("ships");
    a.put(&key, r#"{"x":1}"#);
    let row = Key::new(&Collection::parse(RESERVED).unwrap(), "ships").unwrap();
    let policy = |deletion| Policy { deletion, ..Policy::default() }.to_document();
    a.write(&row, &Edit::Put(policy(Deletion::Immutable))).unwrap();
    assert!(matches!(a.write(&key, &Edit::Delete), Err(ShelfError::Immutable)));
    assert!(a.put(&key, r#"{"x":2}"#));
    a.write(&row, &Edit::Put(policy(Deletion::Soft))).unwrap();
    assert!(a.write(&key, &Edit::Delete).unwrap() && a.read(&key).is_none());
}

#[test]
fn of_collections_that_peers_only_name_nothing_is_remembered() {
    let (mut a, mut b) = (Place::new(1).with_life("ships"), Place::new(2));
    for n in 0..1000 {
        let key = key(&format!("c{n}"));
        a.shelf.collect_too(&key, [0; 16], &a.disk, &mut Outputs::default()).unwrap();
        b.put(&key, r#"{"x":1}"#);
        b.tell(&key, &mut a);
    }
    assert_eq!(a.shelf.policies.0.len(), 0);
    a.put(&key("ships"), r#"{"x":1}"#);
    a.sweep(&key("ships"));
    assert_eq!(a.shelf.policies.0.len(), 1, "of one that was set it is");
}
