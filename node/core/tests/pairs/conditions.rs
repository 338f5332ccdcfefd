//! Writes under a condition, and patches.

use crate::place::Place;
use peat_node_core::docs::Document;
use peat_node_core::event::{Condition, Edit, RequestError};

fn document(json: &str) -> Document {
    Document::parse(json).unwrap()
}

#[test]
fn a_put_from_a_stale_read_fails_instead_of_undoing_what_was_written_since() {
    let mut place = Place::new(1);
    let read = place.write("a", Edit::Put(document(r#"{"n":1}"#)), Condition::Always).unwrap().unwrap();
    place.put("a", r#"{"n":2}"#);
    let stale = place.write("a", Edit::Put(document(r#"{"n":9}"#)), Condition::Version(read));
    let Err(RequestError::Conflict { version: Some(current) }) = stale else { panic!("{stale:?}") };
    assert_eq!(place.read("a").unwrap(), r#"{"n":2}"#);
    let fresh = place.write("a", Edit::Put(document(r#"{"n":3}"#)), Condition::Version(current)).unwrap();
    assert_eq!(place.read("a").unwrap(), r#"{"n":3}"#);
    let gone = place.write("a", Edit::Delete, Condition::Version(fresh.unwrap())).unwrap();
    assert!(gone.is_some() && place.read("a").is_none());
}

#[test]
fn a_document_is_made_once_when_it_must_be_absent_and_again_after_its_delete() {
    let mut place = Place::new(1);
    let make = |place: &mut Place| place.write("a", Edit::Put(document(r#"{"n":1}"#)), Condition::Absent);
    make(&mut place).unwrap();
    assert!(matches!(make(&mut place), Err(RequestError::Conflict { version: Some(_) })));
    place.write("a", Edit::Delete, Condition::Always).unwrap();
    make(&mut place).unwrap();
}

#[test]
fn a_version_of_a_document_that_is_gone_is_a_conflict_that_says_there_is_none() {
    let mut place = Place::new(1);
    let read = place.write("a", Edit::Put(document(r#"{"n":1}"#)), Condition::Always).unwrap().unwrap();
    place.write("a", Edit::Delete, Condition::Always).unwrap();
    let error = place.write("a", Edit::Put(document("{}")), Condition::Version(read)).unwrap_err();
    assert_eq!(error, RequestError::Conflict { version: None });
    assert!(error.to_string().ends_with("there is none"), "{error}");
}

#[test]
fn a_patch_changes_its_members_and_leaves_the_others() {
    let mut place = Place::new(1);
    place.put("a", r#"{"keep":1,"n":{"x":1,"y":2},"z":3}"#);
    place.merge("a", r#"{"n":{"x":9},"z":null}"#);
    assert_eq!(place.read("a").unwrap(), r#"{"keep":1,"n":{"x":9,"y":2}}"#);
    place.merge("new", r#"{"made":true,"not":null}"#);
    assert_eq!(place.read("new").unwrap(), r#"{"made":true}"#);
}

#[test]
fn a_patch_makes_no_document_above_the_limit_of_its_writer() {
    for id in ["a", "tracks/a"] {
        let mut place = Place::new(1);
        place.put(id, r#"{"a":1}"#);
        let patch = |limit| Edit::Merge { patch: document(r#"{"b":2}"#), limit };
        let refused = place.write(id, patch(12), Condition::Always);
        assert_eq!(refused, Err(RequestError::OverLimit { size: 13, limit: 12 }));
        assert_eq!(place.read(id).unwrap(), r#"{"a":1}"#);
        place.write(id, patch(13), Condition::Always).unwrap();
        assert_eq!(place.read(id).unwrap(), r#"{"a":1,"b":2}"#);
    }
}
