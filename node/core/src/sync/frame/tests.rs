//! Frames there and back, and every way in which bytes are no frame.

use super::*;
use crate::docs::generation::Generation;
use crate::ids::Collection;
use crate::rights::{MOST_COLLECTIONS, Right};
use automerge::ChangeHash;
use proptest::prelude::*;

const LIFE: Life =
    Life { generation: Generation::behind(None), edited: Some(Stamp(1)), tombstone: Some(Stamp(2)), ttl: None };

fn latest_payload(text: Bytes) -> Payload {
    Payload::Latest { stamp: Stamp(3), writer: PeerId([4; 32]), ttl: Ttl::of(7), text: Some(text) }
}

fn samples() -> Vec<Frame> {
    let key = Key::new(&Collection::parse("c").unwrap(), "d").unwrap();
    let have = Have::Full { heads: vec![ChangeHash([5; 32])], life: LIFE };
    let latest = Have::Latest { stamp: Stamp(3), writer: PeerId([4; 32]), ttl: Ttl::of(7) };
    let changes = vec![Bytes::from_static(b"one"), Bytes::from_static(b"")];
    vec![
        fleet(),
        Frame::Root(u128::MAX),
        Frame::Children(vec![(Place::ROOT, [7; FAN_OUT]), (Place::new(3, 4095).unwrap(), [u64::MAX; FAN_OUT])]),
        Frame::Keys { place: Place::ROOT, after: None, upto: Some(key.clone()), rows: vec![(key.clone(), 1)] },
        Frame::Announce(vec![(key.clone(), [9; 16])]),
        Frame::Collected(vec![(key.clone(), [8; 16])]),
        Frame::Push(Push::Eager),
        Frame::Push(Push::Lazy),
        Frame::Grants(Grants::ALL),
        Frame::Grants(Grants::new(Right::NONE, [("ships", Right::ALL), ("c", Right { read: true, write: false })])),
        Frame::Part(u64::MAX, 7),
        Frame::Heard(3),
        Frame::Ask(vec![(Place::ROOT, 8), (Place::new(4, u16::MAX).unwrap(), 9)]),
        Frame::Answer(vec![(Place::ROOT, 8, Verdict::Same), (Place::ROOT, 9, Verdict::Differs)]),
        Frame::Answer(vec![(Place::ROOT, 8, Verdict::Nothing)]),
        Frame::Confirm(vec![(key.clone(), 7, have.clone()), (key.clone(), u64::MAX, latest.clone())]),
        Frame::Confirmed(vec![(key.clone(), 7)]),
        Frame::Want(vec![(key.clone(), None), (key.clone(), Some(have)), (key.clone(), Some(latest))]),
        Frame::Docs(vec![
            (key.clone(), [2; 16], Payload::Full { life: LIFE, changes }),
            (key, [3; 16], latest_payload("{}".into())),
        ]),
    ]
}

/// Documents as an application writes them, many enough to be packed.
fn fleet() -> Frame {
    let collection = Collection::parse("ships").unwrap();
    let docs = (0..40).map(|n: u8| {
        let text = format!(r#"{{"name":"ship {n}","position":{{"lat":{n}.5,"lon":11}}}}"#);
        let key = Key::new(&collection, &n.to_string()).unwrap();
        (key, [n; 16], latest_payload(text.into()))
    });
    Frame::Docs(docs.collect())
}

#[test]
fn many_documents_take_less_than_half_of_their_bytes() {
    let frame = fleet();
    assert!(frame.encode().len() * 2 < frame.plain().len(), "{} of {}", frame.encode().len(), frame.plain().len());
}

#[test]
fn a_packed_frame_that_promises_more_than_it_holds_is_refused_before_memory_is_asked_for() {
    let packed = fleet().encode();
    for length in [0, 1, u32::MAX, u32::try_from(LONGEST).unwrap()] {
        let mut wrong = packed.to_vec();
        wrong[1..5].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Frame::decode(wrong.into()), Err(FrameError::Field("length")));
    }
    let twice = packed::pack(PACKED, &[&packed[..], &[0; 4000]].concat()).unwrap();
    assert!(Frame::decode(twice).is_err(), "nothing is packed twice");
}

#[test]
fn every_frame_reads_back_as_it_was_written() {
    for frame in samples() {
        assert_eq!(Frame::decode(frame.encode()).as_ref(), Ok(&frame));
    }
}

#[test]
fn a_frame_cut_anywhere_or_with_more_behind_it_is_an_error() {
    for frame in samples() {
        let whole = frame.encode();
        for length in 0..whole.len() {
            assert!(Frame::decode(whole.slice(..length)).is_err(), "{frame:?} cut at {length}");
        }
        let mut longer = whole.to_vec();
        longer.push(0);
        assert_eq!(Frame::decode(longer.into()), Err(FrameError::Trailing(1)));
    }
}

#[test]
fn a_count_beyond_the_frame_is_refused_before_memory_is_asked_for() {
    let huge = [&[CHILDREN][..], &u32::MAX.to_be_bytes()].concat();
    assert_eq!(Frame::decode(huge.into()), Err(FrameError::Short));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Frame::decode([&[PACKED, 0, 0, 1, 0], &bytes[..]].concat().into());
        let _ = Frame::decode(bytes.into());
    }
}

#[test]
fn grants_of_more_collections_than_a_file_may_name_are_refused() {
    let frame = |count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("c{n}")).collect();
        Frame::Grants(Grants::new(Right::ALL, names.iter().map(|name| (&**name, Right::NONE))))
    };
    // The policies are one more.
    let most = MOST_COLLECTIONS + 1;
    assert_eq!(Frame::decode(frame(most).encode()), Ok(frame(most)));
    assert_eq!(Frame::decode(frame(most + 1).encode()), Err(FrameError::Field("grants")));
}
