//! Changes of a peer that none of our nodes makes.

use crate::place::{Place, join, key};
use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Change, ExpandedChange, ObjType};
use bytes::Bytes;
use peat_node_core::docs::life::Life;
use peat_node_core::docs::received::MOST_HEADS;
use peat_node_core::docs::{Document, first};
use peat_node_core::stamp::Stamp;
use peat_node_core::sync::frame::{Frame, Payload};
use std::time::Duration;

fn change(operations: Vec<Op>) -> Vec<u8> {
    let (actor_id, start_op) = (ActorId::from([9; 16]), std::num::NonZeroU64::MIN);
    let (hash, message, deps, extra_bytes, author) = (None, None, Vec::new(), Vec::new(), None);
    let content =
        ExpandedChange { operations, actor_id, hash, seq: 1, start_op, time: 1, message, deps, extra_bytes, author };
    Change::from(content).bytes().into_owned()
}

/// The frame in which `changes` of the document `id` come.
fn frame(id: &str, changes: Vec<Bytes>) -> Frame {
    let life = Life { edited: Some(Stamp(6)), ..Life::default() };
    Frame::Docs(vec![(key(id), [0; 16], Payload::Full { life, changes })])
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
    a.hear(&bad, frame("a", vec![change(vec![text]).into()]));
    a.cut();
    a.put("a", r#"{"n":1}"#);
    join(&mut a, &mut c);
    assert_eq!(c.read("a").as_deref(), Some(r#"{"n":1}"#));
}

#[test]
fn what_is_no_document_is_not_stored_as_one_and_a_put_of_its_key_succeeds() {
    let (mut a, mut bad) = (Place::new(1), Place::new(2));
    join(&mut a, &mut bad);
    for text in
        ["", "nonsense", "[1]", r#" {"value":"mine"}"#, "\u{ff}"].map(str::as_bytes).into_iter().chain([&[255][..]])
    {
        let (stamp, writer, text) = (Stamp(6), bad.me, Some(Bytes::copy_from_slice(text)));
        let payload = Payload::Latest { stamp, writer, ttl: None, text: text.clone() };
        a.hear(&bad, Frame::Docs(vec![(key("tracks/x"), [0; 16], payload)]));
        assert_eq!((a.told(), a.read("tracks/x")), (0, None), "{text:?}");
    }
    a.put("tracks/x", r#"{"n":1}"#);
    assert_eq!(a.read("tracks/x").as_deref(), Some(r#"{"n":1}"#));
}

/// A change that `writer` makes on nothing.
fn written_apart(writer: u64) -> Vec<u8> {
    let mut actor = [9; 16];
    actor[..8].copy_from_slice(&writer.to_be_bytes());
    let document = Document::parse(r#"{"n":1}"#).unwrap();
    first::make(&document, actor, Stamp(5 + writer)).unwrap().unwrap().bytes
}

#[test]
fn documents_with_as_many_heads_as_there_may_be_are_asked_for_in_frames_of_the_usual_size() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    join(&mut a, &mut b);
    let ids = ["one", "two", "three", "four"];
    let most = MOST_HEADS as u64;
    for id in ids {
        let changes: Vec<_> = (0..most).map(|writer| written_apart(writer).into()).collect();
        a.hear(&b, frame(id, changes));
        assert!(a.read(id).is_some());
        a.hear(&b, frame(id, vec![written_apart(most).into()]));
    }
    a.frames();
    // Other versions of all of them are announced.
    a.hear(&b, Frame::Announce(ids.map(|id| (key(id), [1; 16])).to_vec()));
    (0..3).for_each(|_| a.pass(Duration::from_millis(300)));
    let wanted: Vec<_> = a.frames().into_iter().filter(|frame| matches!(frame, Frame::Want(_))).collect();
    let lengths: Vec<usize> = wanted.iter().map(|frame| frame.encode().len()).collect();
    let asked: usize = wanted.iter().map(|frame| if let Frame::Want(keys) = frame { keys.len() } else { 0 }).sum();
    assert_eq!((asked, lengths.len()), (ids.len(), ids.len()), "{lengths:?}");
    assert!(lengths.iter().all(|length| *length < 200 << 10), "{lengths:?}");
}
