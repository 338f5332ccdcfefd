//! Documents whose writer said how long they stay.

use crate::place::{Place, join, talk};
use peat_node_core::docs::Document;
use peat_node_core::docs::life::Ttl;
use peat_node_core::event::{Condition, Edit, Terms};
use peat_node_core::policy::{Deletion, Policy, RESERVED};
use peat_node_core::sync::frame::Frame;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

fn put(place: &mut Place, id: &str, json: &str, ttl: u64) {
    let terms = Terms { condition: Condition::Always, ttl: Ttl::of(ttl) };
    place.write(id, Edit::Put(Document::parse(json).unwrap()), terms).unwrap();
}

#[test]
fn a_document_goes_at_every_node_by_itself_when_its_writer_said() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    put(&mut a, "a", r#"{"n":1}"#, 7200);
    join(&mut a, &mut b);
    a.cut();
    b.cut();
    for place in [&mut a, &mut b] {
        place.pass(HOUR);
        assert!(place.read("a").is_some());
        let due = place.deadline().unwrap();
        assert!(due > HOUR / 2 && due <= HOUR, "it wakes for it: {due:?}");
        place.pass(HOUR);
        assert!(place.read("a").is_none());
    }
    assert_eq!(a.digest(), b.digest());
}

#[test]
fn the_last_write_says_how_long_a_document_stays() {
    let mut place = Place::new(1);
    put(&mut place, "a", r#"{"n":1}"#, 60);
    put(&mut place, "a", r#"{"n":2}"#, 0);
    put(&mut place, "b", r#"{"n":1}"#, 0);
    put(&mut place, "b", r#"{"n":1}"#, 60);
    place.pass(HOUR);
    assert_eq!((place.read("a").as_deref(), place.read("b")), (Some(r#"{"n":2}"#), None));
}

#[test]
fn writing_the_same_again_keeps_a_document() {
    let mut place = Place::new(1);
    for _ in 0..3 {
        put(&mut place, "a", r#"{"n":1}"#, 3600);
        place.pass(HOUR * 3 / 4);
    }
    assert!(place.read("a").is_some());
    place.pass(HOUR / 2);
    assert!(place.read("a").is_none());
}

#[test]
fn a_document_that_was_due_while_its_node_was_away_is_gone_when_it_comes_back() {
    let (mut away, mut here) = (Place::new(1), Place::new(2));
    put(&mut away, "a", r#"{"n":1}"#, 60);
    away.restart();
    here.pass(HOUR);
    away.pass(HOUR);
    join(&mut away, &mut here);
    assert_eq!((away.read("a"), here.read("a")), (None, None));
}

#[test]
fn a_node_whose_clock_is_a_year_ahead_takes_no_document_from_the_others() {
    let (mut here, mut wrong) = (Place::new(1), Place::new(2));
    wrong.ahead = Duration::from_secs(365 * 86_400);
    put(&mut here, "a", r#"{"n":1}"#, 3600);
    talk(&mut here, &mut wrong, 10_000);
    assert!(wrong.read("a").is_none(), "by its own clock");
    assert!(here.read("a").is_some());
}

#[test]
fn a_policy_of_the_longest_life_that_can_be_said_ends_no_node_and_takes_no_document() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    let never = Policy { deletion: Deletion::ImplicitTtl, soft_delete_ttl: Some(u64::MAX), tombstone_ttl: None };
    a.put(&format!("{RESERVED}/ships"), &never.to_document().to_json());
    for n in 0..2 {
        a.put("a", &format!(r#"{{"n":{n}}}"#));
        join(&mut a, &mut b);
        a.pass(365 * 24 * HOUR);
        b.pass(365 * 24 * HOUR);
        for place in [&mut a, &mut b] {
            place.expire("a");
            assert!(place.read("a").is_some());
        }
    }
}

#[test]
fn the_renewal_of_a_document_that_is_not_here_brings_the_document_and_no_empty_one() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    put(&mut a, "a", r#"{"n":1}"#, 3600);
    join(&mut a, &mut b);
    b.lose("a");
    b.frames();
    a.pass(HOUR / 2);
    a.frames();
    put(&mut a, "a", r#"{"n":1}"#, 3600);
    for frame in a.frames() {
        if matches!(frame, Frame::Docs(_)) {
            b.hear(&a, frame);
        }
    }
    assert_eq!(b.read("a"), None, "there is nothing to show yet");
    assert!(b.frames().iter().any(|frame| matches!(frame, Frame::Want(_))), "it asks for it");
    join(&mut a, &mut b);
    assert_eq!(b.read("a").as_deref(), Some(r#"{"n":1}"#));
}
