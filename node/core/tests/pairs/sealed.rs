//! Documents that are ciphertext: whole, the last write wins, and nothing is merged into them.

use crate::place::{Place, join};
use peat_node_core::docs::{Document, Sealed};
use peat_node_core::event::{Condition, Edit, RequestError};

fn seal(place: &mut Place, body: &str) {
    let sealed = Sealed::new(format!("ENC:v1:{body}")).unwrap();
    place.write("a", Edit::Seal(sealed), Condition::Always).unwrap();
}

fn text(body: &str) -> Option<String> {
    Some(format!(r#" {{"value":"ENC:v1:{body}"}}"#))
}

#[test]
fn what_was_merged_by_fields_is_sealed_whole_and_stays_so_on_both_sides() {
    let (mut a, mut b) = (Place::new(1), Place::new(2));
    a.put("a", r#"{"n":1}"#);
    join(&mut a, &mut b);
    b.put("a", r#"{"n":1,"m":2}"#);
    seal(&mut a, "AAAA");
    join(&mut a, &mut b);
    assert_eq!((a.read("a"), b.read("a")), (text("AAAA"), text("AAAA")));
    seal(&mut b, "BBBB");
    seal(&mut a, "CCCC");
    join(&mut a, &mut b);
    assert_eq!((a.read("a"), b.read("a")), (text("CCCC"), text("CCCC")), "the last write counts whole");
    b.write("a", Edit::Delete, Condition::Always).unwrap();
    join(&mut a, &mut b);
    assert_eq!(a.read("a"), None);
}

#[test]
fn the_same_ciphertext_once_more_is_no_change() {
    let mut place = Place::new(1);
    seal(&mut place, "AAAA");
    let digest = place.digest();
    seal(&mut place, "AAAA");
    assert_eq!(place.digest(), digest);
}

#[test]
fn nothing_is_merged_into_ciphertext_and_a_put_replaces_it() {
    let mut place = Place::new(1);
    seal(&mut place, "AAAA");
    let patch = Edit::Merge { patch: Document::parse(r#"{"n":1}"#).unwrap(), limit: 100 };
    assert_eq!(place.write("a", patch, Condition::Always), Err(RequestError::Sealed));
    assert_eq!(place.read("a"), text("AAAA"));
    place.put("a", r#"{"n":1}"#);
    assert_eq!(place.read("a").as_deref(), Some(r#"{"n":1}"#));
}
