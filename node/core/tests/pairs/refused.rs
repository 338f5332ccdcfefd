//! Changes of a peer that none of our nodes makes.

use crate::place::{Place, join, key};
use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Change, ExpandedChange, ObjType};
use peat_node_core::docs::life::Life;
use peat_node_core::stamp::Stamp;
use peat_node_core::sync::frame::{Frame, Payload};

fn change(operations: Vec<Op>) -> Vec<u8> {
    let (actor_id, start_op) = (ActorId::from([9; 16]), std::num::NonZeroU64::MIN);
    let (hash, message, deps, extra_bytes, author) = (None, None, Vec::new(), Vec::new(), None);
    let content =
        ExpandedChange { operations, actor_id, hash, seq: 1, start_op, time: 1, message, deps, extra_bytes, author };
    Change::from(content).bytes().into_owned()
}

/// The frame in which `change` of the document `id` comes.
fn frame(id: &str, change: Vec<u8>) -> Frame {
    let life = Life { edited: Some(Stamp(6)), ..Life::default() };
    Frame::Docs(vec![(key(id), [0; 16], Payload::Full { life, changes: vec![change.into()] })])
}

#[test]
fn after_a_change_that_contradicts_itself_an_honest_neighbour_gets_the_document_as_it_was() {
    let one = OpId::new(1, &ActorId::from([9; 16]));
    let (obj, key) = (ObjectId::Id(one.clone()), Key::Seq(ElementId::Id(one)));
    let text = Op { action: OpType::Make(ObjType::Text), obj, key, pred: Vec::new().into(), insert: false };
    let (mut a, mut bad, mut c) = (Place::new(1), Place::new(2), Place::new(3));
    a.put("a", r#"{"n":0}"#);
    join(&mut a, &mut c);
    a.cut();
    c.cut();
    join(&mut a, &mut bad);
    a.hear(&bad, frame("a", change(vec![text])));
    a.cut();
    a.put("a", r#"{"n":1}"#);
    join(&mut a, &mut c);
    assert_eq!(c.read("a").as_deref(), Some(r#"{"n":1}"#));
}
