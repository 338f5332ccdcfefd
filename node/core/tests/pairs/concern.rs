//! Writers that wait until neighbours have stored what they wrote.

use crate::place::{Place, join};
use peat_node_core::event::{Quorum, Reply};
use peat_node_core::ids::PeerId;
use peat_node_core::sync::frame::{Frame, Push};
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);
const STORED: Reply = Reply::Stored { peers: 1, enough: true };

fn one() -> Quorum {
    Quorum { peers: 1, ..Quorum::default() }
}

/// Two places that know each other and have nothing left to say.
fn pair() -> (Place, Place) {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    join(&mut a, &mut b);
    (a, b)
}

fn is_about_storing(frame: &Frame) -> bool {
    matches!(frame, Frame::Confirm(_) | Frame::Confirmed(_))
}

#[test]
fn a_writer_hears_when_a_neighbour_has_stored_its_document_and_not_before() {
    for lazy in [false, true] {
        let (mut a, mut b) = pair();
        if lazy {
            a.hear(&b, Frame::Push(Push::Lazy));
        }
        a.put("full", r#"{"n":1}"#);
        a.wait_for("full", one(), LIMIT);
        assert_eq!(a.heard, []);
        join(&mut a, &mut b);
        assert_eq!(a.heard, [STORED], "lazy: {lazy}");
        a.wait_for("full", Quorum { named: Arc::new([b.me].into()), ..one() }, LIMIT);
        join(&mut a, &mut b);
        assert_eq!(a.heard, [STORED, STORED], "what is stored already is said at once");
    }
}

#[test]
fn a_delete_and_an_edit_on_top_of_a_neighbours_own_are_waited_for_too() {
    let (mut a, mut b) = pair();
    a.put("one", r#"{"n":1}"#);
    join(&mut a, &mut b);
    b.put("one", r#"{"m":2,"n":1}"#);
    a.put("one", r#"{"n":3}"#);
    a.wait_for("one", one(), LIMIT);
    join(&mut a, &mut b);
    assert_eq!(a.heard, [STORED], "the neighbour has that and more");
    b.write("one", peat_node_core::event::Edit::Delete, peat_node_core::event::Condition::Always).unwrap();
    b.wait_for("one", one(), LIMIT);
    join(&mut a, &mut b);
    assert_eq!((&b.heard[..], a.read("one")), (&[STORED][..], None));
}

#[test]
fn a_neighbour_whose_disk_fails_gives_no_word_until_it_has_stored() {
    let (mut a, mut b) = pair();
    a.put("one", r#"{"n":1}"#);
    a.wait_for("one", one(), LIMIT);
    let frames = a.frames();
    assert!(frames.iter().any(is_about_storing), "{frames:?}");
    b.fail_to_store(frames, a.me);
    join_quietly(&mut a, &mut b);
    assert_eq!((&a.heard[..], b.read("one")), (&[][..], None));
    a.pass(Duration::from_secs(2));
    join(&mut a, &mut b);
    assert_eq!((&a.heard[..], b.read("one").is_some()), (&[STORED][..], true));
}

/// Lets both say what they have to say, without waiting for them to be equal.
fn join_quietly(a: &mut Place, b: &mut Place) {
    for frame in a.frames() {
        b.hear(a, frame);
    }
    for frame in b.frames() {
        a.hear(b, frame);
    }
}

#[test]
fn after_the_limit_the_writer_hears_how_many_have_stored_it() {
    let (mut a, mut b) = pair();
    a.put("one", r#"{"n":1}"#);
    a.wait_for("one", Quorum { peers: 2, ..Quorum::default() }, LIMIT);
    a.wait_for("one", Quorum { named: Arc::new([PeerId([9; 32])].into()), ..one() }, LIMIT);
    join(&mut a, &mut b);
    a.pass(LIMIT - Duration::from_secs(1));
    assert_eq!(a.heard, []);
    a.pass(Duration::from_secs(1));
    assert_eq!(a.heard, [Reply::Stored { peers: 1, enough: false }; 2]);
}

#[test]
fn a_word_about_an_earlier_write_does_not_count_for_a_later_one() {
    let (mut a, b) = pair();
    a.put("one", r#"{"n":1}"#);
    a.wait_for("one", one(), LIMIT);
    let asked = a.frames().into_iter().find_map(|frame| match frame {
        Frame::Confirm(questions) => questions.into_iter().next(),
        _ => None,
    });
    let (key, number, _) = asked.unwrap();
    a.put("one", r#"{"n":2}"#);
    a.wait_for("one", one(), LIMIT);
    a.hear(&b, Frame::Confirmed(vec![(key, number)]));
    assert_eq!(a.heard, [STORED], "one of the two");
}

#[test]
fn a_neighbour_that_comes_later_is_asked_too() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    a.put("one", r#"{"n":1}"#);
    a.wait_for("one", one(), LIMIT);
    join(&mut a, &mut b);
    assert_eq!(a.heard, [STORED]);
}

#[test]
fn an_older_neighbour_is_never_asked_and_nobody_is_where_nobody_waits() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    b.version = 1;
    join(&mut a, &mut b);
    a.put("one", r#"{"n":1}"#);
    a.wait_for("one", one(), LIMIT);
    assert!(!a.frames().iter().any(is_about_storing));
    let (mut a, _) = pair();
    a.put("one", r#"{"n":1}"#);
    let frames = a.frames();
    assert!(!frames.is_empty() && !frames.iter().any(is_about_storing), "{frames:?}");
}
