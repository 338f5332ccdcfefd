//! Deletes of which nobody is told any more, and whoever comes back later.

use crate::place::{MARKS, Place, join, key, meet};
use peat_node_core::docs::row::State;
use peat_node_core::event::{Condition, Edit};
use peat_node_core::sync::frame::Frame;
use std::time::Duration;

/// Two nodes with document `a`; the first then deletes it apart, and forgets the delete.
fn deleted_apart() -> (Place, Place) {
    let (mut here, mut away) = (Place::new(1), Place::new(2));
    here.put("a", r#"{"old":1}"#);
    meet(&mut here, &mut away);
    here.write("a", Edit::Delete, Condition::Always).unwrap();
    here.sweep_after(MARKS * 2);
    away.sweep_after(MARKS * 2);
    (here, away)
}

#[test]
fn a_delete_that_was_told_long_enough_leaves_the_index_and_its_history_leaves_the_store() {
    let mut place = Place::new(1);
    place.put("a", r#"{"old":1}"#);
    place.write("a", Edit::Delete, Condition::Always).unwrap();
    place.sweep_after(MARKS / 2);
    assert_eq!((place.told(), place.stored("a").0), (1, State::Deleted));
    place.sweep_after(MARKS);
    assert_eq!((place.told(), place.stored("a")), (0, (State::Collected, 0)));
    place.put("a", r#"{"new":1}"#);
    assert_eq!((place.told(), place.read("a").unwrap()), (1, r#"{"new":1}"#.to_owned()));
}

#[test]
fn who_was_away_with_the_document_hears_of_a_delete_that_was_collected_long_ago() {
    let (mut here, mut away) = deleted_apart();
    join(&mut here, &mut away);
    assert_eq!((here.read("a"), away.read("a")), (None, None));
}

#[test]
fn a_node_that_never_knew_shows_the_document_only_until_it_meets_one_that_does() {
    let (mut here, mut away) = deleted_apart();
    let mut fresh = Place::new(3);
    fresh.sweep_after(MARKS * 2);
    meet(&mut away, &mut fresh);
    assert!(fresh.read("a").is_some());
    join(&mut fresh, &mut here);
    assert_eq!((here.read("a"), fresh.read("a")), (None, None));
}

#[test]
fn an_edit_that_the_delete_has_not_seen_brings_the_document_back_whole() {
    let (mut here, mut away) = deleted_apart();
    away.sweep_after(Duration::from_secs(60));
    away.put("a", r#"{"late":2,"old":1}"#);
    join(&mut here, &mut away);
    assert_eq!(here.read("a").unwrap(), r#"{"late":2,"old":1}"#);
    assert_eq!(here.read("a"), away.read("a"));
}

#[test]
fn a_document_that_was_never_told_to_anybody_is_taken_however_long_its_node_was_away() {
    let (mut here, mut away) = deleted_apart();
    away.put("b", r#"{"mine":1}"#);
    [&mut here, &mut away].into_iter().for_each(|place| place.sweep_after(MARKS * 10));
    join(&mut here, &mut away);
    assert_eq!(here.read("b").unwrap(), r#"{"mine":1}"#);
}

#[test]
fn a_document_that_is_written_again_has_no_leaf_of_the_one_before_although_a_peer_still_has_it() {
    let (mut here, mut away) = deleted_apart();
    here.put("a", r#"{"new":1}"#);
    join(&mut here, &mut away);
    assert_eq!(here.read("a").unwrap(), r#"{"new":1}"#);
    assert_eq!(here.read("a"), away.read("a"));
}

#[test]
fn what_two_nodes_wrote_apart_after_the_delete_joins_what_was_written_again_the_same_everywhere() {
    let (mut here, mut away) = deleted_apart();
    let mut third = Place::new(3);
    third.sweep_after(MARKS * 2);
    meet(&mut away, &mut third);
    away.sweep_after(Duration::from_secs(60));
    third.sweep_after(Duration::from_secs(90));
    away.put("a", r#"{"late":2,"old":1}"#);
    third.put("a", r#"{"later":3,"old":1}"#);
    here.put("a", r#"{"new":1}"#);
    meet(&mut here, &mut away);
    meet(&mut third, &mut away);
    meet(&mut here, &mut third);
    assert_eq!(here.read("a").unwrap(), r#"{"late":2,"later":3,"new":1,"old":1}"#);
    assert_eq!((here.read("a"), here.digest()), (third.read("a"), third.digest()));
    assert_eq!((here.read("a"), here.digest()), (away.read("a"), away.digest()));
}

#[test]
fn a_node_whose_clock_is_late_collects_with_the_others() {
    let (mut here, mut late) = (Place::new(1), Place::new(2));
    here.ahead = MARKS / 4;
    here.put("a", r#"{"old":1}"#);
    here.write("a", Edit::Delete, Condition::Always).unwrap();
    meet(&mut here, &mut late);
    assert_eq!(late.told(), 1);
    [&mut here, &mut late].into_iter().for_each(|place| place.sweep_after(MARKS * 7 / 8));
    here.sweep_after(MARKS / 4);
    assert_eq!((here.told(), late.told()), (0, 1));
    join(&mut here, &mut late);
    assert_eq!((here.told(), late.told()), (0, 0));
}

#[test]
fn what_a_peer_has_collected_goes_here_too_but_not_long_before_its_time() {
    let (mut here, mut hasty) = (Place::new(1), Place::new(2));
    here.put("a", r#"{"old":1}"#);
    let version = here.write("a", Edit::Delete, Condition::Always).unwrap().unwrap();
    join(&mut here, &mut hasty);
    let collected = || Frame::Collected(vec![(key("a"), version)]);
    here.hear(&hasty, collected());
    assert_eq!(here.told(), 1, "its clock is wrong, or ours");
    here.sweep_after(MARKS * 3 / 4);
    here.hear(&hasty, collected());
    assert_eq!(here.told(), 0);
}

#[test]
fn a_document_that_comes_back_to_who_had_forgotten_it_merges_with_what_that_node_wrote_before() {
    let (mut here, mut edits, mut away) = (Place::new(1), Place::new(2), Place::new(3));
    // Two write the document apart, one of which is heard by a third that goes away.
    here.put("a", r#"{"first":1}"#);
    edits.put("a", r#"{"other":1}"#);
    meet(&mut here, &mut away);
    here.write("a", Edit::Delete, Condition::Always).unwrap();
    here.sweep_after(MARKS * 2);
    for place in [&mut edits, &mut away] {
        place.sweep_after(MARKS * 2);
        place.put("a", r#"{"other":2}"#);
    }
    // What comes back has nothing of what was written here; the next change is numbered anew.
    meet(&mut here, &mut edits);
    here.put("a", r#"{"other":2,"second":1}"#);
    meet(&mut here, &mut away);
    assert_eq!(here.read("a"), away.read("a"));
    assert!(here.read("a").unwrap().contains(r#""second":1"#), "{:?}", here.read("a"));
}
