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
