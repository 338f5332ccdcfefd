//! Documents of peers whose stamps are ahead of the clock.

use crate::place::{Place, join, key};
use peat_node_core::docs::Document;
use peat_node_core::docs::full::FullDoc;
use peat_node_core::docs::generation::Generation;
use peat_node_core::docs::life::Life;
use peat_node_core::event::{Condition, Edit};
use peat_node_core::stamp::Stamp;
use peat_node_core::sync::frame::{Frame, Payload};
use std::time::Duration;

/// The document `a` as a peer sends it that has nothing to do with what is here.
fn foreign(life: Life) -> Frame {
    let document = Document::parse(r#"{"other":1}"#).unwrap();
    let change = FullDoc::new([9; 16]).put(&document, Stamp(5)).unwrap().unwrap();
    Frame::Docs(vec![(key("a"), [0; 16], Payload::Full { life, changes: vec![change.into()] })])
}

#[test]
fn stamps_at_the_end_of_time_are_refused_and_counted_so_that_later_puts_and_deletes_count() {
    let last = Some(Stamp(u64::MAX));
    let lives = [
        Life { edited: last, ..Life::default() },
        Life { edited: last, tombstone: last, ..Life::default() },
        Life { edited: Some(Stamp(6)), generation: Generation::behind(last), ..Life::default() },
    ];
    for life in lives {
        let (mut a, mut b) = (Place::new(1), Place::new(2));
        a.put("a", r#"{"n":0}"#);
        join(&mut a, &mut b);
        a.hear(&b, foreign(life));
        assert_eq!(a.stamps_ahead(), 1);
        a.put("a", r#"{"n":1}"#);
        assert_eq!(a.read("a").as_deref(), Some(r#"{"n":1}"#));
        join(&mut a, &mut b);
        b.write("a", Edit::Delete, Condition::Always).unwrap();
        join(&mut a, &mut b);
        assert_eq!((a.read("a"), b.read("a")), (None, None));
    }
}

#[test]
fn a_write_that_neighbours_would_refuse_for_its_stamp_is_refused_here() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    join(&mut a, &mut b);
    a.hear(&b, foreign(Life { edited: Some(Stamp(u64::MAX >> 1)), ..Life::default() }));
    assert_eq!(a.read("a").as_deref(), Some(r#"{"other":1}"#), "the last that there can be");
    let put = Edit::Put(Document::parse(r#"{"n":1}"#).unwrap());
    a.write("a", put.clone(), Condition::Always).unwrap_err();
    a.write("a", Edit::Delete, Condition::Always).unwrap_err();
    assert_eq!(a.read("a").as_deref(), Some(r#"{"other":1}"#));
    a.write("b", put, Condition::Always).unwrap();
}

#[test]
fn documents_of_a_node_whose_clock_is_a_year_ahead_are_taken_and_counted_and_do_not_move_the_clock() {
    let (mut right, mut wrong) = (Place::new(1), Place::new(2));
    wrong.ahead = Duration::from_secs(365 * 86_400);
    for id in ["a", "b"] {
        wrong.put(id, r#"{"n":1}"#);
    }
    join(&mut right, &mut wrong);
    assert_eq!((right.stamps_ahead(), wrong.stamps_ahead()), (2, 0));
    right.put("c", r#"{"n":2}"#);
    join(&mut right, &mut wrong);
    let mut third = Place::new(3);
    right.cut();
    join(&mut right, &mut third);
    assert_eq!((third.stamps_ahead(), third.read("c").is_some()), (2, true), "those two, and not the third");
}
