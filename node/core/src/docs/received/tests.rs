//! Changes that no node of ours makes, and what Automerge would make of them.

use super::*;
use crate::docs::full::FullDoc;
use crate::docs::full::tests::any_document;
use crate::docs::path::ShapeError;
use crate::docs::{Document, first};
use crate::stamp::Stamp;
use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, ObjType};
use flate2::{Compression, write::DeflateEncoder};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use std::io::Write as _;
use std::num::NonZeroU64;

const HONEST: [u8; 16] = [1; 16];
const PEER: [u8; 16] = [9; 16];

fn change_of(operations: Vec<Op>, seq: u64, start: u64, deps: Vec<automerge::ChangeHash>) -> Vec<u8> {
    let start_op = NonZeroU64::new(start).unwrap();
    let (actor_id, hash, message, extra_bytes, author) = (ActorId::from(PEER), None, None, Vec::new(), None);
    let content =
        ExpandedChange { operations, actor_id, hash, seq, start_op, time: 1, message, deps, extra_bytes, author };
    Change::from(content).bytes().into_owned()
}

fn alone(operations: Vec<Op>) -> Vec<u8> {
    change_of(operations, 1, 1, Vec::new())
}

fn make(kind: ObjType, obj: ObjectId, key: Key, insert: bool) -> Op {
    Op { action: OpType::Make(kind), obj, key, pred: Vec::new().into(), insert }
}

fn put(key: &str, value: ScalarValue) -> Op {
    let (action, obj, pred) = (OpType::Put(value), ObjectId::Root, Vec::new().into());
    Op { action, obj, key: Key::Map(key.into()), pred, insert: false }
}

fn refusal(bytes: &[u8]) -> Option<Refusal> {
    assert_eq!(first::read(bytes), None);
    match FullDoc::new(HONEST).apply(&[bytes]) {
        Err(FullError::Refused(refusal)) => Some(refusal),
        Ok(_) | Err(_) => None,
    }
}

/// A document with a list, a list in it, and an object in it.
fn honest() -> FullDoc {
    let mut doc = FullDoc::new(HONEST);
    doc.put(&Document::parse(r#"{"a":1,"list":[1,[2],{"x":3}],"b":"text"}"#).unwrap(), Stamp(5)).unwrap();
    doc
}

#[test]
fn a_text_inside_itself_is_refused() {
    let one = OpId::new(1, &ActorId::from(PEER));
    let key = Key::Seq(ElementId::Id(one.clone()));
    assert_eq!(refusal(&alone(vec![make(ObjType::Text, ObjectId::Id(one), key, false)])), Some(Refusal::Operation));
}

#[test]
fn a_list_that_nobody_made_is_refused() {
    let nowhere = ObjectId::Id(OpId::new(7, &ActorId::from(HONEST)));
    let change = alone(vec![make(ObjType::List, nowhere, Key::Seq(ElementId::Head), true)]);
    assert_eq!(refusal(&change), Some(Refusal::Unknown));
}

#[test]
fn values_and_places_that_no_document_has_are_refused() {
    let values = [ScalarValue::Counter(1.into()), ScalarValue::F64(f64::NAN), ScalarValue::Bytes(vec![1])];
    for value in values {
        assert_eq!(refusal(&alone(vec![put("/a", value)])), Some(Refusal::Operation));
    }
    for key in ["", "a", "/~", "/~2", &"/a".repeat(1000)] {
        assert_eq!(refusal(&alone(vec![put(key, ScalarValue::Null)])), Some(Refusal::Operation), "{key}");
    }
    let twice = vec![put("/a", ScalarValue::Null), put("/a", ScalarValue::Null)];
    assert_eq!(refusal(&alone(twice)), Some(Refusal::Operation));
}

#[test]
fn numbers_that_do_not_follow_those_of_the_changes_before_are_refused() {
    let doc = honest();
    for (seq, start) in [(1, 1), (1, 100), (2, 9), (0, 9), (1, 1 << 40)] {
        let change = change_of(vec![put("/c", ScalarValue::Null)], seq, start, doc.heads());
        let taken = honest().apply(&[change]);
        assert!(matches!(taken, Err(FullError::Refused(Refusal::Order) | FullError::Decode(_))), "{seq} {start}");
    }
    assert!(honest().apply(&[change_of(vec![put("/c", ScalarValue::Null)], 1, 9, doc.heads())]).is_ok());
}

/// A list in the leaf `path`, in it a list, and so on.
fn nested(path: &str, levels: u64) -> Vec<u8> {
    let inner = |level| {
        let around = ObjectId::Id(OpId::new(level, &ActorId::from(PEER)));
        make(ObjType::List, around, Key::Seq(ElementId::Head), true)
    };
    let outer = make(ObjType::List, ObjectId::Root, Key::Map(path.into()), false);
    alone(std::iter::once(outer).chain((1..levels).map(inner)).collect())
}

fn reads_back(bytes: &[u8]) {
    let (_, document) = first::read(bytes).unwrap();
    let applied = FullDoc::new(HONEST).apply(&[bytes]).unwrap().document.unwrap();
    assert_eq!(Document::parse(&applied.to_json()).unwrap(), document);
}

#[test]
fn what_is_as_deep_as_the_parser_reads_is_taken_and_one_level_more_is_refused() {
    let deepest = DEEPEST as u64;
    for (path, levels) in [("/a".to_owned(), deepest - 1), ("/a".repeat(100), deepest - 100)] {
        reads_back(&nested(&path, levels));
        assert_eq!(refusal(&nested(&path, levels + 1)), Some(Refusal::Depth));
    }
    reads_back(&alone(vec![put(&"/a".repeat(DEEPEST), ScalarValue::Null)]));
    let deeper = alone(vec![put(&"/a".repeat(DEEPEST + 1), ScalarValue::Null)]);
    assert_eq!(refusal(&deeper), Some(Refusal::Operation));
    let more = format!("{}1{}", "[".repeat(DEEPEST), "]".repeat(DEEPEST));
    assert!(Document::parse(&format!(r#"{{"a":{more}}}"#)).is_err(), "the parser reads no more");
}

#[test]
fn a_hundred_thousand_levels_are_refused_before_anything_recurses() {
    assert_eq!(refusal(&nested("/a", 100_000)), Some(Refusal::Depth));
    assert_eq!(refusal(&alone(vec![put(&"/".repeat(100_000), ScalarValue::Null)])), Some(Refusal::Operation));
}

#[test]
fn a_list_that_is_there_does_not_grow_deeper_than_the_parser_reads() {
    let mut doc = FullDoc::new(HONEST);
    let path = "/a".repeat(DEEPEST - 2);
    doc.apply(&[nested(&path, 1)]).unwrap();
    let (list, head) = (ObjectId::Id(OpId::new(1, &ActorId::from(PEER))), Key::Seq(ElementId::Head));
    let grown = |levels: u64| {
        let inner = |level| ObjectId::Id(OpId::new(level, &ActorId::from(PEER)));
        let around = std::iter::once(list.clone()).chain((2..).map(inner)).take(levels as usize);
        let operations = around.map(|around| make(ObjType::List, around, head.clone(), true)).collect();
        change_of(operations, 2, 2, doc.heads())
    };
    let same = || FullDoc::load(&doc.save(), HONEST).unwrap();
    let taken = same().apply(&[grown(1)]).unwrap().document.unwrap();
    assert!(Document::parse(&taken.to_json()).is_ok());
    assert!(matches!(same().apply(&[grown(2)]), Err(FullError::Refused(Refusal::Depth))));
}

fn number(out: &mut Vec<u8>, mut number: u64, sign_bit: u8) {
    while number > u64::from(sign_bit - 1) {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A chunk of a peer, with a right checksum where it is a change.
fn chunk_of(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut hashed = vec![kind];
    number(&mut hashed, content.len() as u64, 0x80);
    hashed.extend(content);
    [&[0x85, 0x6f, 0x4a, 0x83], &Sha256::digest(&hashed)[..4], &hashed].concat()
}

/// A change of some seventy bytes with `many` equal operations.
fn many_in_few_bytes(many: u64) -> Vec<u8> {
    let run = |value: &[u8]| {
        let mut column = Vec::new();
        number(&mut column, many, 0x40);
        column.extend(value);
        column
    };
    let mut inserts = Vec::new();
    number(&mut inserts, many, 0x80);
    let columns = [(0x15, run(b"\x02/a")), (0x34, inserts), (0x42, run(&[1])), (0x56, run(&[0])), (0x70, run(&[0]))];
    let mut content = [&[0, 16], &PEER[..], &[1, 1, 0, 0, 0, columns.len() as u8]].concat();
    for (specification, column) in &columns {
        content.extend([*specification, column.len() as u8]);
    }
    // Of specifications over 127 there are none here.
    columns.iter().for_each(|(_, column)| content.extend(column));
    chunk_of(1, &content)
}

#[test]
fn a_change_of_a_hundred_bytes_with_millions_of_operations_is_refused_before_they_are_made() {
    assert_eq!(refusal(&many_in_few_bytes(2)), Some(Refusal::Operation), "it is a change");
    for many in [MOST + 1, 1 << 40, i64::MAX as u64] {
        let change = many_in_few_bytes(many);
        assert!(change.len() < 128);
        assert_eq!(refusal(&change), Some(Refusal::Size));
    }
}

#[test]
fn a_compressed_change_is_inflated_no_further_than_a_change_may_be_long() {
    let deflated = |bytes: usize| {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&vec![0; bytes]).unwrap();
        chunk_of(2, &encoder.finish().unwrap())
    };
    let plain = |bytes| chunk::inflate(&deflated(bytes), 1 << 16).map(|plain| plain.len());
    assert!(plain(1 << 16).unwrap() > 1 << 16, "a header and what was compressed");
    assert_eq!(plain((1 << 16) + 1), None);
    assert_eq!(refusal(&deflated(LARGEST + 1)), Some(Refusal::Size));
    let cut = &deflated(1 << 16)[..40];
    assert_eq!(refusal(cut), Some(Refusal::Size));
}

#[test]
fn what_a_node_writes_is_never_larger_than_its_peers_take() {
    // A path is repeated in every leaf below it.
    let members: Vec<String> = (0..LARGEST / 1000).map(|member| format!(r#""{member}":0"#)).collect();
    let wide = Document::parse(&format!(r#"{{"{}":{{{}}}}}"#, "k".repeat(1000), members.join(","))).unwrap();
    assert_eq!(first::make(&wide, PEER, Stamp(5)), Err(ShapeError::Size));
    let mut doc = honest();
    assert!(matches!(doc.put(&wide, Stamp(6)), Err(FullError::Shape(ShapeError::Size))));
}

#[test]
fn a_change_that_would_leave_too_many_heads_is_refused() {
    let apart = |writer: usize| {
        let mut actor = PEER;
        actor[..8].copy_from_slice(&writer.to_be_bytes());
        first::make(&Document::parse(r#"{"n":1}"#).unwrap(), actor, Stamp(5)).unwrap().unwrap().bytes
    };
    let mut doc = FullDoc::new(HONEST);
    doc.apply(&(0..MOST_HEADS).map(apart).collect::<Vec<_>>()).unwrap();
    assert_eq!(doc.heads().len(), MOST_HEADS);
    assert!(matches!(doc.apply(&[apart(MOST_HEADS)]), Err(FullError::Refused(Refusal::Heads))));
}

/// Numbers to choose by.
type Dice = Vec<u8>;

fn dice() -> impl Strategy<Value = Dice> {
    prop::collection::vec(any::<u8>(), 64)
}

struct Chance(std::vec::IntoIter<u8>);

impl Chance {
    fn of(&mut self, many: u64) -> u64 {
        u64::from(self.0.next().unwrap_or_default()) % many
    }

    fn id(&mut self) -> OpId {
        let actor = if self.of(2) == 0 { HONEST } else { PEER };
        OpId::new(self.of(14), &ActorId::from(actor))
    }

    fn key(&mut self) -> Key {
        match self.of(4) {
            0 | 1 => Key::Map(["/a", "/b", "/a/b", "", "x", "/list"][self.of(6) as usize].into()),
            2 => Key::Seq(ElementId::Head),
            _ => Key::Seq(ElementId::Id(self.id())),
        }
    }

    fn obj(&mut self) -> ObjectId {
        if self.of(2) == 0 { ObjectId::Root } else { ObjectId::Id(self.id()) }
    }

    fn pred(&mut self) -> Vec<OpId> {
        if self.of(3) == 0 { vec![self.id()] } else { Vec::new() }
    }

    fn action(&mut self) -> OpType {
        match self.of(10) {
            0 | 1 => OpType::Put(ScalarValue::Int(3)),
            2 => OpType::Make(ObjType::List),
            3 => OpType::Make(ObjType::Map),
            4 => OpType::Make(ObjType::Text),
            5 => OpType::Delete,
            6 => OpType::Increment(9),
            7 => OpType::Put(ScalarValue::Counter(3.into())),
            8 => OpType::Put(ScalarValue::Bytes(Vec::new())),
            _ => OpType::Make(ObjType::Table),
        }
    }

    fn operation(&mut self) -> Op {
        let (action, obj, key) = (self.action(), self.obj(), self.key());
        Op { action, obj, pred: self.pred().into(), insert: matches!(key, Key::Seq(_)) && self.of(5) != 0, key }
    }

    /// Makes one thing in `content` otherwise.
    fn spoil(&mut self, content: &mut ExpandedChange) {
        let position = self.of(content.operations.len() as u64) as usize;
        let which = self.of(9);
        let operation = &mut content.operations[position];
        match which {
            0 => operation.action = self.action(),
            1 => operation.obj = self.obj(),
            2 => operation.key = self.key(),
            3 => operation.pred = self.pred().into(),
            4 => operation.insert = !operation.insert,
            5 => content.seq = self.of(4),
            6 => content.start_op = NonZeroU64::new(1 + self.of(12)).unwrap(),
            7 => content.deps.clear(),
            _ => content.operations.truncate(position),
        }
    }
}

/// Gives `bytes` to a copy of `doc`: what is taken can be stored, read, sent on, and written over.
fn what_is_taken_stays_usable(mut doc: FullDoc, bytes: &[u8]) {
    if let Some((_, document)) = first::read(bytes) {
        assert_eq!(FullDoc::load(bytes, HONEST).unwrap().document(), document);
    }
    if doc.apply(&[bytes]).is_err() {
        return;
    }
    for wanted in ["{}", r#"{"a":7,"list":[1,[2],9]}"#] {
        let sent = doc.changes_since(&[]);
        let (loaded, mut heard) = (FullDoc::load(&doc.save(), [3; 16]).unwrap(), FullDoc::new([4; 16]));
        heard.apply(&sent).unwrap();
        for other in [loaded, heard] {
            assert_eq!((other.heads(), other.document()), (doc.heads(), doc.document()));
            assert_eq!(other.changes_since(&[]), sent);
        }
        doc.put(&Document::parse(wanted).unwrap(), Stamp(50)).unwrap();
        assert_eq!(doc.document().to_json(), wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_change_of_any_operations_is_refused_or_leaves_the_document_usable(
        rolls in dice(), many in 1..5_usize, is_first: bool, knows: bool,
    ) {
        let mut chance = Chance(rolls.into_iter());
        let operations: Vec<Op> = (0..many).map(|_| chance.operation()).collect();
        let doc = if is_first { FullDoc::new(HONEST) } else { honest() };
        let (deps, start) = if knows && !is_first { (doc.heads(), 9) } else { (Vec::new(), 1) };
        let made = contained(|| Ok(change_of(operations, 1, start, deps)));
        if let Ok(bytes) = made {
            what_is_taken_stays_usable(doc, &bytes);
        }
    }

    #[test]
    fn a_change_of_a_node_that_was_made_otherwise_is_refused_or_leaves_the_document_usable(
        rolls in dice(), before in any_document(), after in any_document(),
    ) {
        let mut doc = FullDoc::new(HONEST);
        doc.put(&before, Stamp(5)).unwrap();
        let mut peer = FullDoc::load(&doc.save(), PEER).unwrap();
        let Some(bytes) = peer.put(&after, Stamp(6)).unwrap() else { return Ok(()) };
        let mut content = content(&change(&bytes).unwrap()).unwrap();
        Chance(rolls.into_iter()).spoil(&mut content);
        let made = contained(|| Ok(Change::from(content).bytes().into_owned()));
        if let Ok(bytes) = made {
            what_is_taken_stays_usable(doc, &bytes);
        }
    }

    #[test]
    fn whatever_nodes_write_beside_each_other_is_taken_in_any_order(
        base in any_document(), edits in prop::collection::vec((0..3_usize, any_document(), any::<bool>()), 1..8),
    ) {
        let mut nodes = [1, 2, 3].map(|actor| FullDoc::new([actor; 16]));
        nodes[0].put(&base, Stamp(1)).unwrap();
        let first = nodes[0].changes_since(&[]);
        nodes[1..].iter_mut().for_each(|node| drop(node.apply(&first).unwrap()));
        for (stamp, (writer, document, tells)) in (2..).zip(edits) {
            nodes[writer].put(&document, Stamp(stamp)).unwrap();
            let next = (writer + 1) % 3;
            let news = nodes[writer].changes_since(&nodes[next].heads());
            if tells {
                prop_assert!(!nodes[next].apply(&news).unwrap().gaps);
            }
        }
        let all: Vec<Vec<Vec<u8>>> = nodes.iter().map(|node| node.changes_since(&[])).collect();
        nodes.iter_mut().for_each(|node| all.iter().for_each(|changes| drop(node.apply(changes).unwrap())));
        prop_assert_eq!(nodes[0].document(), nodes[1].document());
        prop_assert_eq!(nodes[1].heads(), nodes[2].heads());
    }
}
