//! Documents that are edited again and again, whose history is begun anew.

use crate::place::{MARKS, Place, join, talk};
use peat_node_core::docs::row::State;
use peat_node_core::event::{Condition, Edit};
use std::time::Duration;

/// The two are connected until they are equal.
fn meet(a: &mut Place, b: &mut Place) {
    join(a, b);
    a.cut();
    b.cut();
}

/// Edits the leaf `n` of the document `a`, ten times a second.
fn edit(place: &mut Place, times: usize) {
    for _ in 0..times {
        place.pass(Duration::from_millis(100));
        place.edits += 1;
        let n = place.edits;
        set(place, &format!(r#"{{"n":{n}}}"#));
    }
}

/// Merges `patch` into the document `a`.
fn set(place: &mut Place, patch: &str) {
    place.merge("a", patch);
}

/// Two that have a document with a list and a history that is about to be begun anew.
fn long_edited() -> (Place, Place) {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    a.put("a", r#"{"list":[1,2,3],"n":0}"#);
    edit(&mut a, 990);
    meet(&mut a, &mut b);
    assert_eq!((a.epoch("a"), b.epoch("a")), (0, 0));
    a.pass(Duration::from_secs(10));
    b.pass(Duration::from_secs(110));
    (a, b)
}

#[test]
fn a_document_that_is_edited_ten_thousand_times_is_as_small_as_after_a_thousand() {
    let mut place = Place::new(1);
    place.put("a", r#"{"n":0}"#);
    let mut sizes = (0..1000).map(|_| {
        edit(&mut place, 10);
        place.stored("a").1
    });
    let largest = |sizes: &mut dyn Iterator<Item = usize>| sizes.max().unwrap();
    let (thousand, ten) = (largest(&mut sizes.by_ref().take(100)), largest(&mut sizes));
    assert!(place.epoch("a") > 5, "{} epochs", place.epoch("a"));
    // Images have an actor each, which the changes of one process share.
    assert!(ten <= thousand * 2, "at most {thousand} bytes in the first thousand edits, {ten} in all");
    place.restart();
    edit(&mut place, 1);
    let mut fresh = Place::new(2);
    join(&mut place, &mut fresh);
    assert_eq!((fresh.read("a"), fresh.epoch("a")), (place.read("a"), place.epoch("a")));
}

#[test]
fn a_burst_of_edits_is_begun_anew_as_well() {
    let mut place = Place::new(1);
    place.put("a", r#"{"n":0}"#);
    let mut most = 0;
    for n in 0..10_000 {
        place.put("a", &format!(r#"{{"n":{n}}}"#));
        most = most.max(place.stored("a").1);
    }
    assert!(place.epoch("a") >= 2 && most < 256 << 10, "{} epochs, {most} bytes", place.epoch("a"));
}

#[test]
fn edits_on_both_sides_of_a_new_epoch_merge_as_if_there_were_none() {
    let (mut a, mut b) = long_edited();
    set(&mut a, r#"{"list":[0,1,2,3]}"#);
    set(&mut b, r#"{"b":1,"list":[1,2,3,4]}"#);
    edit(&mut a, 70);
    assert_eq!((a.epoch("a"), b.epoch("a")), (1, 0));
    join(&mut a, &mut b);
    assert_eq!(a.read("a").unwrap(), r#"{"b":1,"list":[0,1,2,3,4],"n":1060}"#);
    assert_eq!((b.read("a"), b.epoch("a")), (a.read("a"), 1));
}

#[test]
fn who_was_away_for_several_epochs_keeps_its_own_leaves_and_takes_newer_ones() {
    let (mut a, mut b) = long_edited();
    set(&mut b, r#"{"b":1,"n":"long ago","list":[4]}"#);
    edit(&mut a, 5000);
    assert!(a.epoch("a") > 3);
    join(&mut a, &mut b);
    assert_eq!(a.read("a").unwrap(), r#"{"b":1,"list":[4],"n":5990}"#);
    assert_eq!(b.read("a"), a.read("a"));
}

#[test]
fn two_that_began_anew_apart_become_equal_and_lose_no_leaf() {
    let (mut a, mut b) = long_edited();
    set(&mut a, r#"{"a":1}"#);
    set(&mut b, r#"{"b":1}"#);
    edit(&mut a, 3000);
    edit(&mut b, 2000);
    assert!(a.epoch("a") > 0 && b.epoch("a") > 0);
    join(&mut a, &mut b);
    assert_eq!(a.read("a").unwrap(), r#"{"a":1,"b":1,"list":[1,2,3],"n":3990}"#);
    assert_eq!((b.read("a"), b.epoch("a")), (a.read("a"), a.epoch("a")));
}

#[test]
fn readers_hear_of_no_change_where_only_the_history_is_another() {
    let (mut a, mut b) = long_edited();
    let (heard_a, heard_b) = (a.events, b.events);
    edit(&mut a, 70);
    assert_eq!((a.events - heard_a, a.epoch("a")), (70, 1));
    meet(&mut a, &mut b);
    assert_eq!((b.events - heard_b, b.epoch("a")), (1, 1), "all edits came at once");
    // The higher epoch of one of two equal documents.
    let mut c = Place::new(3);
    join(&mut b, &mut c);
    assert_eq!(c.events, 1);
}

#[test]
fn a_delete_that_was_collected_in_a_late_epoch_beats_what_it_saw_and_loses_to_what_came_after() {
    for edited_after in [false, true] {
        let (mut a, mut b) = long_edited();
        set(&mut b, r#"{"b":1}"#);
        edit(&mut a, 70);
        a.write("a", Edit::Delete, Condition::Always).unwrap();
        a.sweep_after(MARKS * 2);
        assert_eq!(a.stored("a"), (State::Collected, 0));
        b.sweep_after(MARKS * 2);
        if edited_after {
            set(&mut b, r#"{"b":2}"#);
        }
        talk(&mut a, &mut b, 100);
        b.sweep_after(Duration::from_secs(1));
        join(&mut a, &mut b);
        let wanted = edited_after.then(|| r#"{"b":2,"list":[1,2,3],"n":990}"#.to_owned());
        assert_eq!((a.read("a"), b.read("a")), (wanted.clone(), wanted));
    }
}

#[test]
fn a_document_that_was_deleted_in_a_late_epoch_stays_deleted_and_can_be_written_again() {
    let (mut a, mut b) = long_edited();
    edit(&mut a, 70);
    a.write("a", Edit::Delete, Condition::Always).unwrap();
    join(&mut a, &mut b);
    assert_eq!((a.read("a"), b.read("a")), (None, None));
    set(&mut b, r#"{"again":1}"#);
    join(&mut a, &mut b);
    assert_eq!(a.read("a").unwrap(), r#"{"again":1}"#);
}

/// One that has a document of the first epoch, of which another has what was before it.
fn begun_here() -> (Place, Place) {
    let (mut a, b) = long_edited();
    edit(&mut a, 70);
    assert_eq!((a.epoch("a"), b.epoch("a")), (1, 0));
    (a, b)
}

#[test]
fn a_document_whose_history_is_damaged_in_a_late_epoch_reaches_a_new_node_with_later_edits() {
    for text in [r#"{"x":1}"#, "{}"] {
        let (mut a, _) = begun_here();
        a.put("a", text);
        a.lose_history("a");
        set(&mut a, r#"{"y":1}"#);
        set(&mut a, r#"{"y":2}"#);
        let mut fresh = Place::new(3);
        join(&mut a, &mut fresh);
        assert_eq!(fresh.read("a"), a.read("a"));
        set(&mut fresh, r#"{"z":3}"#);
        join(&mut a, &mut fresh);
        assert!(a.read("a").unwrap().ends_with(r#""y":2,"z":3}"#));
    }
}

#[test]
fn a_document_whose_history_is_damaged_in_a_late_epoch_keeps_its_text_and_takes_leaves_of_an_earlier_one() {
    let (mut a, mut b) = begun_here();
    a.lose_history("a");
    set(&mut b, r#"{"b":1}"#);
    join(&mut a, &mut b);
    assert_eq!(a.read("a").unwrap(), r#"{"b":1,"list":[1,2,3],"n":1060}"#);
    assert_eq!((b.read("a"), b.epoch("a")), (a.read("a"), a.epoch("a")));
}

#[test]
fn what_a_neighbour_wrote_in_the_same_epoch_goes_before_a_text_whose_history_was_damaged() {
    let (mut a, mut b) = begun_here();
    meet(&mut a, &mut b);
    set(&mut a, r#"{"a":1}"#);
    set(&mut b, r#"{"list":[],"n":"late"}"#);
    a.lose_history("a");
    join(&mut a, &mut b);
    assert_eq!(a.read("a").unwrap(), r#"{"a":1,"list":[],"n":"late"}"#);
    assert_eq!((b.read("a"), b.epoch("a")), (a.read("a"), a.epoch("a")));
}
