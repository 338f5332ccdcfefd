//! What nodes wrote apart into one document, by the kind of its collection.

use crate::place::{Place, meet};
use std::time::Duration;

/// A document of each kind: the last write wins whole, and field by field.
const DOCUMENTS: [&str; 2] = ["tracks/one", "notes/one"];

/// Three places that met when both documents were made.
fn three() -> [Place; 3] {
    let [mut a, mut b, mut c] = [1, 2, 3].map(Place::new);
    DOCUMENTS.iter().for_each(|id| a.put(id, r#"{"name":"one"}"#));
    meet(&mut a, &mut b);
    meet(&mut b, &mut c);
    [a, b, c]
}

/// Writes one field of both documents, so much later than the others' clocks began.
fn write(place: &mut Place, field: &str, later: Duration) {
    place.pass(later);
    for id in DOCUMENTS {
        place.merge(id, &format!(r#"{{"{field}":1}}"#));
    }
}

#[test]
fn of_what_three_nodes_wrote_apart_latest_keeps_the_last_write_whole_and_full_keeps_every_field() {
    let [mut a, mut b, mut c] = three();
    // Neither the first nor the last by its id is the last by its clock.
    write(&mut a, "x", Duration::from_secs(20));
    write(&mut b, "y", Duration::from_secs(40));
    write(&mut c, "z", Duration::from_secs(30));
    meet(&mut a, &mut b);
    meet(&mut b, &mut c);
    meet(&mut c, &mut a);
    for place in [&a, &b, &c] {
        assert_eq!(place.read("tracks/one").as_deref(), Some(r#"{"name":"one","y":1}"#));
        assert_eq!(place.read("notes/one").as_deref(), Some(r#"{"name":"one","x":1,"y":1,"z":1}"#));
        assert_eq!(place.digest(), b.digest());
    }
}

#[test]
fn what_three_nodes_wrote_apart_is_the_same_on_all_in_whatever_order_they_meet() {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 2, 0]];
    let ends = orders.map(|[first, second, third]| {
        let mut places = three();
        let fields = ["x", "y", "z"];
        places.iter_mut().zip(fields).for_each(|(place, field)| write(place, field, Duration::from_secs(10)));
        for (one, other) in [(first, second), (second, third), (third, first)] {
            let [one, other] = places.get_disjoint_mut([one, other]).unwrap();
            meet(one, other);
        }
        assert!(places.iter().all(|place| place.digest() == places[0].digest()));
        DOCUMENTS.map(|id| places[0].read(id).unwrap())
    });
    assert_eq!(ends[0][1], r#"{"name":"one","x":1,"y":1,"z":1}"#);
    assert!([r#"{"name":"one","x":1}"#, r#"{"name":"one","y":1}"#, r#"{"name":"one","z":1}"#].contains(&&*ends[0][0]));
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
}
