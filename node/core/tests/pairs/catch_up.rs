//! What it costs to become equal again.

use crate::place::{Place, join};
use peat_node_core::event::{Condition, Edit};
use peat_node_core::sync::frame::Frame;
use std::time::Duration;

/// Writes on one side: new documents, edits and deletes of shared ones.
fn work(place: &mut Place, name: &str, shared: &[String], [puts, edits, deletes]: [usize; 3]) {
    for number in 0..puts {
        let (id, json) = (format!("{name}-{number}"), format!(r#"{{"by":"{name}","n":{number},"ok":true}}"#));
        place.put(&id, &json);
    }
    for id in &shared[..edits] {
        let patch = format!(r#"{{"seen-by-{name}":1}}"#);
        place.merge(id, &patch);
    }
    for id in &shared[shared.len() - deletes..] {
        place.write(id, Edit::Delete, Condition::Always).unwrap();
    }
}

/// Two places with the same documents.
fn pair(documents: usize) -> (Place, Place, Vec<String>) {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    let shared: Vec<String> = (0..documents).map(|n| format!("shared-{n}")).collect();
    shared.iter().for_each(|id| a.put(id, r#"{"name":"before"}"#));
    join(&mut a, &mut b);
    (a.sent, b.sent) = (0, 0);
    (a, b, shared)
}

/// Does the same work on both sides of a connection that holds, and on both sides of one that was cut and comes back.
/// Gives the bytes that each took.
fn live_and_late(documents: usize, at_a: [usize; 3], at_b: [usize; 3]) -> (usize, usize) {
    let [live, late] = [true, false].map(|live| {
        let (mut a, mut b, shared) = pair(documents);
        let mut reversed = shared.clone();
        reversed.reverse();
        if !live {
            a.cut();
            b.cut();
        }
        work(&mut a, "a", &shared, at_a);
        work(&mut b, "b", &reversed, at_b);
        join(&mut a, &mut b);
        assert_eq!(a.digest(), b.digest());
        a.sent + b.sent
    });
    (live, late)
}

#[test]
fn what_changed_on_both_sides_of_a_partition_crosses_for_its_own_bytes() {
    let (live, late) = live_and_late(2000, [5000, 500, 500], [5000, 500, 500]);
    println!("{live} bytes when connected, {late} after a partition");
    assert!(late <= live * 3 / 2 + (64 << 10), "{late} bytes were sent for {live}");
}

#[test]
fn a_difference_of_one_in_a_hundred_costs_in_proportion_to_itself() {
    let (live, late) = live_and_late(20_000, [0, 200, 0], [0; 3]);
    println!("{live} bytes when connected, {late} after a partition");
    assert!(late <= live * 3 / 2 + (64 << 10), "{late} bytes were sent for {live}");
}

#[test]
fn of_ten_thousand_documents_with_equal_names_only_the_one_that_differs_is_sent() {
    let (mut a, mut b, shared) = pair(10_000);
    a.cut();
    b.cut();
    a.put(&shared[4_321], r#"{"name":"after"}"#);
    // What nobody heard would be sent without a comparison; a process that begins does not know of it.
    a.restart();
    let before = b.received();
    join(&mut a, &mut b);
    assert_eq!(b.read(&shared[4_321]).as_deref(), Some(r#"{"name":"after"}"#));
    assert_eq!((a.received(), b.received() - before), (0, 1));
}

/// As many documents of JSON that hardly packs as make the frames to a peer that reads nothing stop.
fn fill_the_window(place: &mut Place) {
    let mut state = 1_u64;
    for n in 0..120 {
        let words = (0..4_000).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{state:x}")
        });
        place.put(&format!("large-{n}"), &format!(r#"{{"text":"{}"}}"#, words.collect::<String>()));
    }
}

#[test]
fn who_has_much_to_tell_compares_first_and_then_now_and_then_however_long_it_takes() {
    let (mut a, b) = (Place::new(1), Place::new(2));
    fill_the_window(&mut a);
    a.meets(&b);
    let is_root = |frame: &Frame| matches!(frame, Frame::Root(_));
    let first = a.frames();
    assert!(first.first().is_some_and(is_root), "before all that it owes");
    assert!(a.backlog() > 0, "which is not through");
    let mut opened = 0;
    for _ in 0..20 {
        a.pass(Duration::from_secs(6));
        // There is room for a frame now and then, never for all.
        a.sent_to(&b, 64 << 10);
        opened += a.frames().iter().filter(|frame| is_root(frame)).count();
    }
    assert!(a.backlog() > 0, "still not through");
    assert!((1..=4).contains(&opened), "{opened} comparisons in two minutes");
}
