//! Frames there and back, and every way in which bytes are no frame.

use super::*;
use crate::ids::Collection;
use automerge::ChangeHash;
use proptest::prelude::*;

fn samples() -> Vec<Frame> {
    let key = Key::new(&Collection::parse("c").unwrap(), "d").unwrap();
    let have = Have::Full { heads: vec![ChangeHash([5; 32])], edited: Some(Stamp(1)), tombstone: None };
    let latest = Have::Latest { stamp: Stamp(3), writer: PeerId([4; 32]) };
    let changes = vec![Bytes::from_static(b"one"), Bytes::from_static(b"")];
    vec![
        Frame::Root(u128::MAX),
        Frame::Children(vec![(Place::ROOT, [7; FAN_OUT]), (Place::new(3, 4095).unwrap(), [u64::MAX; FAN_OUT])]),
        Frame::Keys { place: Place::ROOT, after: None, upto: Some(key.clone()), rows: vec![(key.clone(), 1)] },
        Frame::Announce(vec![(key.clone(), [9; 16])]),
        Frame::Push(Push::Eager),
        Frame::Push(Push::Lazy),
        Frame::Want(vec![(key.clone(), None), (key.clone(), Some(have)), (key.clone(), Some(latest))]),
        Frame::Docs(vec![
            (key.clone(), [2; 16], Payload::Full { edited: Some(Stamp(1)), tombstone: Some(Stamp(2)), changes }),
            (key, [3; 16], Payload::Latest { stamp: Stamp(3), writer: PeerId([4; 32]), text: Some("{}".into()) }),
        ]),
    ]
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
        let _ = Frame::decode(bytes.into());
    }
}
