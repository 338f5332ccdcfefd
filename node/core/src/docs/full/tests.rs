//! Documents that merge: edits on both sides, in any order, damaged ones included.

use super::*;
use proptest::prelude::*;
use serde_json::Value;

const A: [u8; 16] = [1; 16];
const B: [u8; 16] = [2; 16];

thread_local! {
    static LAST: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A stamp above all before.
fn next() -> Stamp {
    LAST.set(LAST.get() + 1);
    Stamp(LAST.get())
}

fn json(text: &str) -> Document {
    Document::parse(text).unwrap()
}

/// Brings both to the union of their changes.
fn join(a: &mut FullDoc, b: &mut FullDoc) {
    let (to_b, to_a) = (a.changes_since(&b.heads()), b.changes_since(&a.heads()));
    a.apply(&to_a).unwrap();
    b.apply(&to_b).unwrap();
    assert_eq!(a.heads(), b.heads());
    assert_eq!(a.document(), b.document());
}

fn pair(base: &str) -> (FullDoc, FullDoc) {
    let mut a = FullDoc::new(A);
    a.put(&json(base), next()).unwrap();
    let b = FullDoc::load(&a.save(), B).unwrap();
    (a, b)
}

#[test]
fn edits_of_different_fields_on_two_nodes_both_survive() {
    let (mut a, mut b) = pair(r#"{"x":0,"y":0,"n":{"b":0,"c":0}}"#);
    a.put(&json(r#"{"x":1,"y":0,"n":{"b":1,"c":0}}"#), next()).unwrap();
    b.put(&json(r#"{"x":0,"y":2,"n":{"b":0,"c":2}}"#), next()).unwrap();
    join(&mut a, &mut b);
    assert_eq!(a.document().to_json(), r#"{"n":{"b":1,"c":2},"x":1,"y":2}"#);
}

#[test]
fn a_nested_document_first_put_on_both_sides_loses_no_leaf() {
    let (mut a, mut b) = (FullDoc::new(A), FullDoc::new(B));
    a.put(&json(r#"{"n":{"a":{"x":1}}}"#), next()).unwrap();
    b.put(&json(r#"{"n":{"a":{"y":2},"b":3}}"#), next()).unwrap();
    join(&mut a, &mut b);
    assert_eq!(a.document().to_json(), r#"{"n":{"a":{"x":1,"y":2},"b":3}}"#);
}

#[test]
fn list_edits_at_both_ends_both_survive() {
    let (mut a, mut b) = pair(r#"{"l":[1,2,3]}"#);
    a.put(&json(r#"{"l":[0,1,2,3]}"#), next()).unwrap();
    b.put(&json(r#"{"l":[1,2,3,{"four":[4]}]}"#), next()).unwrap();
    join(&mut a, &mut b);
    assert_eq!(a.document().to_json(), r#"{"l":[0,1,2,3,{"four":[4]}]}"#);
}

#[test]
fn list_edits_around_and_within_what_stays_all_survive() {
    let (mut a, mut b) = pair(r#"{"l":["a","b",{"c":3},"d"]}"#);
    a.put(&json(r#"{"l":["x","b",{"c":3},"y"]}"#), next()).unwrap();
    b.put(&json(r#"{"l":["a","b",1,{"c":4},"d"]}"#), next()).unwrap();
    join(&mut a, &mut b);
    assert_eq!(a.document().to_json(), r#"{"l":["x","b",1,{"c":4},"y"]}"#);
}

#[test]
fn a_put_has_its_own_stamp_also_when_its_value_is_one_that_had_lost() {
    let json = |text: &str| Document::parse(text).unwrap();
    for wanted in [r#"{"k":"x","n":3}"#, r#"{"n":3}"#] {
        let mut a = FullDoc::new([1; 16]);
        a.put(&json(r#"{"k":"0","n":0}"#), Stamp(1)).unwrap();
        let mut b = FullDoc::load(&a.save(), [2; 16]).unwrap();
        let mut c = FullDoc::load(&a.save(), [3; 16]).unwrap();
        // Automerge by itself would show what `a` wrote, because it has seen more operations.
        (1..4).for_each(|n| drop(a.put(&json(&format!(r#"{{"k":"0","n":{n}}}"#)), Stamp(1 + n)).unwrap()));
        a.put(&json(wanted), Stamp(5)).unwrap();
        b.put(&json(r#"{"k":"y","n":0}"#), Stamp(9)).unwrap();
        a.apply(&b.changes_since(&[])).unwrap();
        assert_eq!(a.document().to_json(), r#"{"k":"y","n":3}"#);
        c.put(&json(r#"{"k":"z","n":0}"#), Stamp(12)).unwrap();
        a.put(&json(wanted), Stamp(20)).unwrap();
        a.apply(&c.changes_since(&[])).unwrap();
        assert_eq!(a.document().to_json(), wanted);
    }
}

#[test]
fn a_put_of_equal_content_makes_no_change() {
    let (mut a, _) = pair(r#"{"x":{"y":[1,{"z":null}]},"e":{}}"#);
    let heads = a.heads();
    assert!(a.put(&json(r#"{"e":{},"x":{"y":[1,{"z":null}]}}"#), next()).unwrap().is_none());
    assert_eq!(a.heads(), heads);
    assert!(a.put(&json(r#"{"x":1}"#), next()).unwrap().is_some());
    assert_eq!(a.document().to_json(), r#"{"x":1}"#);
}

#[test]
fn a_change_before_its_dependency_is_left_out_and_taken_with_it() {
    let (mut a, _) = pair(r#"{"x":1}"#);
    let first = a.heads();
    a.put(&json(r#"{"x":2}"#), next()).unwrap();
    let (all, last) = (a.changes_since(&[]), a.changes_since(&first));
    let mut b = FullDoc::new(B);
    let Applied { added, document, gaps } = b.apply(&last).unwrap();
    assert_eq!((added, document, gaps, b.changes()), (Vec::new(), None, true, 0));
    assert!(FullDoc::load(&b.save(), B).unwrap().heads().is_empty());
    let Applied { added, document, gaps } = b.apply(&all).unwrap();
    assert_eq!((added, document, gaps, b.changes()), (all.concat(), Some(a.document()), false, 2));
    let partly = [all[0].clone(), a.put(&json(r#"{"x":3}"#), next()).unwrap().unwrap()];
    let Applied { added, gaps, .. } = FullDoc::new(B).apply(&partly).unwrap();
    assert_eq!((added, gaps), (all[0].clone(), true));
}

#[test]
fn damaged_changes_are_an_error_and_leave_the_document() {
    let (mut a, b) = pair(r#"{"x":1}"#);
    let mut change = b.changes_since(&[]).remove(0);
    let last = change.len() - 1;
    change[last] ^= 1;
    assert!(a.apply(&[change]).is_err());
    assert!(a.apply(&[b"nonsense".to_vec()]).is_err());
    assert_eq!(a.document(), b.document());
}

#[test]
fn a_second_removal_of_what_was_written_meanwhile_is_taken_by_the_writer() {
    let (mut a, mut b) = pair(r#"{"x":1}"#);
    b.put(&json("{}"), next()).unwrap();
    a.put(&json(r#"{"x":2}"#), next()).unwrap();
    join(&mut a, &mut b);
    // Automerge makes a deletion of this put: the mark of the removal is there already.
    b.put(&json("{}"), next()).unwrap();
    join(&mut a, &mut b);
    assert_eq!(a.document().to_json(), "{}");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(Value::from),
        "[a-c/~]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c/~]{0,2}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

pub(in crate::docs) fn any_document() -> impl Strategy<Value = Document> {
    prop::collection::btree_map("[a-c/~]{0,2}", any_json(), 0..5)
        .prop_map(|map| Document::from_map(map.into_iter().collect()))
}

#[test]
fn the_change_at_hand_is_the_one_that_automerge_keeps_and_only_for_who_lacks_just_it() {
    let (mut a, mut b) = pair(r#"{"x":0}"#);
    let before = a.heads();
    let added = a.put(&json(r#"{"x":1}"#), next()).unwrap().unwrap();
    assert_eq!(a.some_changes_since(&before, 1).unwrap(), (vec![added.clone()], None));
    assert_eq!(a.changes_since(&before), vec![added]);
    assert_eq!(a.some_changes_since(&[], usize::MAX).unwrap().0.len(), 2, "who lacks more gets more");
    b.put(&json(r#"{"x":2}"#), next()).unwrap();
    join(&mut a, &mut b);
    assert_eq!(
        a.some_changes_since(&before, usize::MAX).unwrap().0.len(),
        2,
        "and who lacks another's change gets that too"
    );
}

proptest! {
    #[test]
    fn what_is_put_is_what_is_read(first in any_document(), second in any_document()) {
        let mut doc = FullDoc::new(A);
        for wanted in [&first, &second] {
            doc.put(wanted, next()).unwrap();
            prop_assert_eq!(doc.document().to_json(), wanted.to_json());
        }
        prop_assert_eq!(FullDoc::load(&doc.save(), B).unwrap().document().to_json(), second.to_json());
    }

    #[test]
    fn concurrent_puts_converge_whatever_they_are(base in any_document(), left in any_document(), right in any_document()) {
        let mut a = FullDoc::new(A);
        a.put(&base, next()).unwrap();
        let mut b = FullDoc::load(&a.save(), B).unwrap();
        a.put(&left, next()).unwrap();
        b.put(&right, next()).unwrap();
        join(&mut a, &mut b);
    }
}
