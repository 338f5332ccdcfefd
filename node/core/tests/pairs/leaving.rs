//! What a node that may leave at once has handed over.

use crate::place::{Place, join};
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
