//! What a node that may leave at once has handed over.

use crate::place::{Place, join, talk};
use peat_node_core::sync::frame::{Frame, Push};

#[test]
fn what_is_written_where_everybody_hears_by_announcement_is_sent_to_one_at_once() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    join(&mut a, &mut b);
    a.hear(&b, Frame::Push(Push::Lazy));
    a.put("last", r#"{"words":true}"#);
    let sent = a.frames();
    let told = |frame: &Frame| matches!(frame, Frame::Docs(docs) if docs.len() == 1);
    assert!(sent.iter().any(told), "{sent:?}");
    assert_eq!(a.backlog(), 0);
}

#[test]
fn a_node_that_leaves_takes_nothing_in_and_gives_what_it_has() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    join(&mut a, &mut b);
    a.put("mine", r#"{"n":1}"#);
    a.leave();
    b.put("theirs", r#"{"n":2}"#);
    assert!(!talk(&mut a, &mut b, 10_000), "they are not equal any more");
    assert_eq!((a.backlog(), a.read("theirs")), (0, None));
    assert_eq!(b.read("mine").unwrap(), r#"{"n":1}"#);
}

#[test]
fn what_was_sent_counts_when_the_peer_has_stored_it_while_somebody_waits_for_that() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    join(&mut a, &mut b);
    a.put("last", r#"{"n":1}"#);
    let sent = a.frames();
    assert_eq!(a.unconfirmed(), 0, "handed over, and nobody waits");
    a.drain(true);
    assert_eq!(a.unconfirmed(), 1, "it may still be on its way");
    let asked = a.frames();
    assert!(matches!(asked.as_slice(), [Frame::Confirm(_)]), "{asked:?}");
    sent.into_iter().chain(asked).for_each(|frame| b.hear(&a, frame));
    b.frames().into_iter().for_each(|frame| a.hear(&b, frame));
    assert_eq!((a.unconfirmed(), b.read("last").as_deref()), (0, Some(r#"{"n":1}"#)));
    a.put("more", r#"{"n":2}"#);
    assert_eq!(a.unconfirmed(), 1, "and again");
    assert!(talk(&mut a, &mut b, 100));
    assert_eq!(a.unconfirmed(), 0);
    a.drain(false);
    a.put("later", r#"{"n":3}"#);
    assert!(!a.frames().iter().any(|frame| matches!(frame, Frame::Confirm(_))), "nobody waits any more");
}

#[test]
fn who_leaves_asks_for_nothing_more_so_that_two_who_leave_at_once_come_to_an_end() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    join(&mut a, &mut b);
    a.put("late", r#"{"n":1}"#);
    b.leave();
    a.leave();
    a.drain(true);
    for _ in 0..10 {
        a.frames().into_iter().for_each(|frame| b.hear(&a, frame));
        b.frames().into_iter().for_each(|frame| a.hear(&b, frame));
    }
    assert!(a.frames().is_empty() && b.frames().is_empty(), "they are silent");
    assert_eq!((a.unconfirmed(), b.read("late")), (1, None), "and the one knows that the other has not stored it");
}
