//! Frames of a release that is not made yet.

use crate::place::{Place, join};
use bytes::Bytes;

#[test]
fn a_frame_of_a_kind_that_this_release_does_not_know_is_left_out_and_counted_and_the_connection_stays() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    join(&mut a, &mut b);
    b.hear_bytes(&a, Bytes::from_static(&[200, 1, 2, 3]));
    assert_eq!(b.not_read(), (1, 0));
    a.put("one", r#"{"n":1}"#);
    join(&mut a, &mut b);
    assert_eq!(b.read("one").as_deref(), Some(r#"{"n":1}"#));
}

#[test]
fn a_frame_that_is_no_frame_ends_the_connection() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    join(&mut a, &mut b);
    b.hear_bytes(&a, Bytes::new());
    assert_eq!(b.not_read(), (0, 1));
    assert_eq!(b.frames().len(), 0, "nothing is told to whom it was closed");
}
