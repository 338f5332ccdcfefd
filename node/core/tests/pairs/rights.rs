//! Two nodes of which one may not have, or not write, all that the other has.

use crate::place::{MARKS, Place, key, talk};
use peat_node_core::event::{Condition, Edit, Quorum, Reply};
use peat_node_core::ids::PeerId;
use peat_node_core::policy::{Deletion, Policy, RESERVED};
use peat_node_core::rights::Rights;
use peat_node_core::sync::frame::{Frame, Payload, SECOND};
use std::time::Duration;

const HEAD: PeerId = PeerId([1; 32]);

/// Who leads gives commands and reads reports; everybody reports and hears commands; the rest is open.
fn rights() -> Rights {
    let text = "commands read *\ncommands write HEAD\nreports write *\nreports read HEAD\n* both *";
    Rights::parse(&text.replace("HEAD", &HEAD.to_string())).unwrap()
}

/// The head and a sensor, with one file for both.
fn pair() -> (Place, Place) {
    let (mut head, mut sensor) = (Place::new(1), Place::new(2));
    head.rule(rights());
    sensor.rule(rights());
    (head, sensor)
}

/// The two talk for half a minute.
fn meet(a: &mut Place, b: &mut Place) {
    for _ in 0..5 {
        talk(a, b, 40);
        a.pass(Duration::from_secs(6));
        b.pass(Duration::from_secs(6));
    }
    talk(a, b, 40);
}

/// They part after that.
fn meet_and_part(a: &mut Place, b: &mut Place) {
    meet(a, b);
    a.cut();
    b.cut();
    (a.sent, b.sent) = (0, 0);
}

#[test]
fn a_sensor_reports_and_hears_commands_and_nothing_of_other_sensors() {
    let (mut head, mut sensor) = pair();
    let mut other = Place::new(3);
    other.rule(rights());
    head.put("commands/halt", r#"{"n":1}"#);
    head.put("chart", r#"{"n":2}"#);
    for (place, id) in [(&mut sensor, "reports/one"), (&mut other, "reports/two")] {
        place.put(id, r#"{"n":3}"#);
        meet_and_part(place, &mut head);
        place.put("commands/mine", r#"{"n":4}"#);
        meet_and_part(place, &mut head);
        assert!(place.read("commands/halt").is_some() && place.read("chart").is_some());
        assert!(head.read(id).is_some());
    }
    meet(&mut sensor, &mut head);
    assert_eq!((sensor.read("reports/two"), other.read("reports/one"), head.read("commands/mine")), (None, None, None));
    assert_eq!((head.backlog(), sensor.backlog()), (0, 0), "nobody is owed what he may not have");
}

#[test]
fn changes_go_at_once_in_both_directions_and_the_word_of_a_reader_counts_for_a_writer() {
    let (mut head, mut sensor) = pair();
    meet(&mut head, &mut sensor);
    head.put("commands/halt", r#"{"n":1}"#);
    head.wait_for("commands/halt", Quorum { peers: 1, ..Quorum::default() }, Duration::from_secs(10));
    sensor.put("reports/one", r#"{"n":1}"#);
    talk(&mut head, &mut sensor, 20);
    assert!(sensor.read("commands/halt").is_some() && head.read("reports/one").is_some());
    assert_eq!(head.heard, [Reply::Stored { peers: 1, enough: true }]);
}

#[test]
fn neighbours_that_differ_in_what_they_do_not_share_have_nothing_left_to_say() {
    let (mut head, mut sensor) = pair();
    for n in 0..50 {
        head.put(&format!("reports/own-{n}"), r#"{"n":1}"#);
        sensor.put(&format!("commands/own-{n}"), r#"{"n":1}"#);
        sensor.put(&format!("reports/{n}"), r#"{"n":1}"#);
        head.put(&format!("commands/{n}"), r#"{"n":1}"#);
    }
    meet(&mut head, &mut sensor);
    for place in [&mut head, &mut sensor] {
        place.pass(Duration::from_secs(10));
        let frames = place.frames();
        assert!(frames.iter().all(|frame| matches!(frame, Frame::Part(..) | Frame::Heard(_))), "{frames:?}");
    }
}

#[test]
fn a_reader_with_edits_of_its_own_keeps_them_and_still_gets_those_of_the_writer() {
    let (mut head, mut sensor) = pair();
    head.put("commands/halt", r#"{"n":1}"#);
    meet_and_part(&mut head, &mut sensor);
    sensor.put("commands/halt", r#"{"mine":1,"n":1}"#);
    head.put("commands/halt", r#"{"n":2}"#);
    meet_and_part(&mut head, &mut sensor);
    assert_eq!(head.read("commands/halt").unwrap(), r#"{"n":2}"#);
    assert_eq!(sensor.read("commands/halt").unwrap(), r#"{"mine":1,"n":2}"#);
    head.write("commands/halt", Edit::Delete, Condition::Always).unwrap();
    meet(&mut head, &mut sensor);
    assert_eq!(sensor.read("commands/halt"), None);
}

#[test]
fn what_flows_one_way_costs_in_proportion_to_the_difference() {
    let (mut head, mut sensor) = pair();
    let batch = |head: &mut Place, of: std::ops::Range<u32>| {
        of.for_each(|n| head.put(&format!("commands/{n}"), r#"{"n":1}"#));
    };
    batch(&mut head, 0..3000);
    meet_and_part(&mut head, &mut sensor);
    meet_and_part(&mut head, &mut sensor);
    talk(&mut head, &mut sensor, 40);
    let equal = head.sent + sensor.sent;
    assert!(equal < 400, "{equal} bytes to find that there is no difference");
    head.cut();
    sensor.cut();
    batch(&mut head, 3000..3010);
    (head.sent, sensor.sent) = (0, 0);
    talk(&mut head, &mut sensor, 40);
    let ten = head.sent + sensor.sent;
    println!("{equal} bytes for no difference, {ten} for ten documents of three thousand");
    assert!(ten < 20_000 && sensor.read("commands/3009").is_some(), "{ten} bytes for ten documents");
}

#[test]
fn content_that_was_lost_on_its_way_is_sent_again_where_it_flows_one_way() {
    let (mut head, mut sensor) = pair();
    meet(&mut head, &mut sensor);
    head.put("commands/halt", r#"{"n":1}"#);
    assert!(head.frames().iter().any(|frame| matches!(frame, Frame::Docs(_))));
    meet(&mut head, &mut sensor);
    assert!(sensor.read("commands/halt").is_some());
}

#[test]
fn a_delete_that_was_collected_while_a_reader_was_away_reaches_it() {
    let (mut head, mut sensor) = pair();
    for id in ["commands/halt", "commands/go"] {
        head.put(id, r#"{"n":1}"#);
    }
    meet_and_part(&mut head, &mut sensor);
    head.write("commands/halt", Edit::Delete, Condition::Always).unwrap();
    head.sweep_after(MARKS * 2);
    sensor.sweep_after(MARKS * 2);
    meet(&mut head, &mut sensor);
    assert_eq!((sensor.read("commands/halt"), sensor.read("commands/go").is_some()), (None, true));
}

#[test]
fn a_reader_that_deleted_a_document_for_itself_is_not_sent_it_again_and_again() {
    let (mut head, mut sensor) = pair();
    head.put("commands/halt", r#"{"n":1}"#);
    meet_and_part(&mut head, &mut sensor);
    sensor.write("commands/halt", Edit::Delete, Condition::Always).unwrap();
    sensor.sweep_after(MARKS * 2);
    meet(&mut head, &mut sensor);
    (head.sent, sensor.sent) = (0, 0);
    meet(&mut head, &mut sensor);
    assert!(head.sent + sensor.sent < 400, "{} bytes", head.sent + sensor.sent);
    assert_eq!((head.read("commands/halt").is_some(), sensor.read("commands/halt")), (true, None));
}

#[test]
fn whoever_asks_for_what_he_may_not_read_gets_no_answer() {
    let (mut head, mut sensor) = pair();
    head.put("reports/secret", r#"{"n":1}"#);
    meet(&mut head, &mut sensor);
    let place = peat_node_core::sync::digest::Place::ROOT;
    let secret = || key("reports/secret");
    for question in [
        Frame::Want(vec![(secret(), None)]),
        Frame::Keys { place, after: None, upto: None, rows: Vec::new() },
        Frame::Children(vec![(place, [7; 16])]),
        Frame::Announce(vec![(secret(), [1; 16])]),
        Frame::Ask(vec![(place, 7)]),
        Frame::Root(7),
        Frame::Part(7, 7),
    ] {
        head.hear(&sensor, question);
        head.pass(Duration::from_secs(1));
        // It may be asked for what it named itself.
        let asks = |frame: &Frame| matches!(frame, Frame::Want(keys) if keys.iter().all(|(_, have)| have.is_none()));
        let frames = head.frames();
        let leak = frames.iter().find(|frame| !asks(frame) && format!("{frame:?}").contains("secret"));
        assert_eq!(leak, None);
    }
    sensor.rule(Rights::default());
    sensor.put("reports/secret", r#"{"m":1}"#);
    meet(&mut head, &mut sensor);
    assert_eq!(sensor.read("reports/secret").unwrap(), r#"{"m":1}"#);
}

#[test]
fn content_of_a_peer_that_may_not_write_it_is_dropped_and_counted() {
    let (mut head, mut sensor) = pair();
    sensor.put("commands/forged", r#"{"n":1}"#);
    meet(&mut head, &mut sensor);
    let before = head.refused();
    sensor.put("commands/other", r#"{"n":1}"#);
    meet(&mut head, &mut sensor);
    assert_eq!(head.refused(), before, "who knows his rights does not try");
    let life = peat_node_core::docs::life::Life::default();
    let payload = || Payload::Full { life, changes: Vec::new() };
    let docs = ["commands/forged", "chart"].map(|id| (key(id), [1; 16], payload()));
    head.hear(&sensor, Frame::Docs(docs.into()));
    assert_eq!((head.refused(), head.read("commands/forged")), (before + 1, None));
}

#[test]
fn a_file_that_changes_holds_at_once_without_a_new_connection() {
    let (mut head, mut sensor) = pair();
    head.put("reports/old", r#"{"n":1}"#);
    sensor.put("commands/mine", r#"{"n":1}"#);
    meet(&mut head, &mut sensor);
    assert_eq!((sensor.read("reports/old"), head.read("commands/mine")), (None, None));
    head.rule(Rights::default());
    sensor.rule(Rights::default());
    assert!(talk(&mut head, &mut sensor, 100), "all is shared now");
    assert!(sensor.read("reports/old").is_some() && head.read("commands/mine").is_some());
    head.rule(rights());
    head.put("reports/new", r#"{"n":1}"#);
    sensor.put("commands/new", r#"{"n":1}"#);
    meet(&mut head, &mut sensor);
    assert_eq!((sensor.read("reports/new"), head.read("commands/new")), (None, None));
}

#[test]
fn policies_reach_whoever_may_read_nothing_else() {
    let (mut head, mut sensor) = (Place::new(1), Place::new(2));
    head.rule(Rights::parse("* both nobody").unwrap());
    head.put("chart", r#"{"n":1}"#);
    sensor.put("chart", r#"{"n":2}"#);
    let policy = Policy { deletion: Deletion::Immutable, soft_delete_ttl: None, tombstone_ttl: None };
    let policy = policy.to_document().to_json();
    let (ours, theirs) = (format!("{RESERVED}/ships"), format!("{RESERVED}/tugs"));
    head.put(&ours, &policy);
    sensor.put(&theirs, &policy);
    meet(&mut head, &mut sensor);
    assert_eq!((sensor.read(&ours), head.read(&theirs)), (Some(policy), None));
    assert_eq!(
        (sensor.read("chart").unwrap(), head.read("chart").unwrap()),
        (r#"{"n":2}"#.into(), r#"{"n":1}"#.into())
    );
}

#[test]
fn an_older_neighbour_has_everything_or_where_it_may_not_nothing() {
    for (text, reads) in [("* both *", true), ("* both *\nreports read nobody", false)] {
        let (mut head, mut old) = (Place::new(1), Place::new(2));
        head.rule(Rights::parse(text).unwrap());
        old.version = SECOND;
        head.put("chart", r#"{"n":1}"#);
        old.put("map", r#"{"n":1}"#);
        meet(&mut head, &mut old);
        assert_eq!((old.read("chart").is_some(), head.read("map").is_some()), (reads, reads), "{text}");
        head.pass(Duration::from_secs(10));
        let frames = head.frames();
        assert!(frames.iter().all(|frame| reads && matches!(frame, Frame::Root(_))), "{frames:?}");
    }
}

#[test]
fn a_document_that_the_first_neighbour_may_not_have_is_owed_to_the_next() {
    let (mut sensor, mut other) = (Place::new(2), Place::new(3));
    sensor.rule(
        Rights::parse("* both *\nreports read nobody\nreports read HEAD".replace("HEAD", &HEAD.to_string()).as_str())
            .unwrap(),
    );
    sensor.put("reports/one", r#"{"n":1}"#);
    meet_and_part(&mut sensor, &mut other);
    let mut head = Place::new(1);
    talk(&mut sensor, &mut head, 2);
    assert!(head.read("reports/one").is_some());
}

#[test]
fn a_document_that_is_lost_is_asked_for_where_its_name_may_be_known_and_comes_back_from_others_with_the_next_connection()
 {
    let (mut head, mut sensor) = pair();
    head.put("chart", r#"{"n":1}"#);
    sensor.put("reports/one", r#"{"n":2}"#);
    meet(&mut head, &mut sensor);
    head.frames();
    for id in ["chart", "reports/one"] {
        head.lose(id);
    }
    head.pass(Duration::from_millis(10));
    let named = |frame: Frame| match frame {
        Frame::Want(keys) => keys.into_iter().map(|(key, _)| key).collect(),
        _ => Vec::new(),
    };
    assert_eq!(head.frames().into_iter().flat_map(named).collect::<Vec<_>>(), [key("chart")]);
    meet_and_part(&mut head, &mut sensor);
    meet(&mut head, &mut sensor);
    assert!(head.read("chart").is_some() && head.read("reports/one").is_some());
}

/// Text that does not get shorter by compression.
fn noise(seed: u64, bytes: usize) -> String {
    let numbers = std::iter::successors(Some(seed + 1), |x| Some(x.wrapping_mul(6_364_136_223_846_793_005) + 1));
    numbers.take(bytes / 16).map(|x| format!("{:016x}", x ^ x >> 29)).collect()
}

#[test]
fn edits_reach_a_reader_that_began_its_history_anew_by_itself_and_cost_their_own_bytes() {
    let (mut head, mut sensor) = pair();
    let id = "commands/halt";
    head.put(id, &format!(r#"{{"pad":"{}"}}"#, noise(0, 40_000)));
    for n in 0..200 {
        head.pass(Duration::from_millis(100));
        head.merge(id, &format!(r#"{{"v":"{}"}}"#, noise(n, 1000)));
    }
    meet_and_part(&mut head, &mut sensor);
    for n in 0..900 {
        sensor.pass(Duration::from_millis(100));
        sensor.merge(id, &format!(r#"{{"mine":{n}}}"#));
    }
    head.pass(Duration::from_secs(200));
    head.merge(id, r#"{"order":1}"#);
    let history = head.stored(id).1;
    assert!((head.epoch(id), sensor.epoch(id)) == (0, 1) && history > 100_000, "several frames: {history} bytes");
    meet(&mut head, &mut sensor);
    assert!(sensor.read(id).unwrap().contains(r#""mine":899,"order":1,"#));
    assert!(head.sent < 3 * history, "not again and again: {} bytes for {history}", head.sent);
    head.sent = 0;
    for n in 2..5 {
        head.merge(id, &format!(r#"{{"order":{n}}}"#));
        meet(&mut head, &mut sensor);
        assert!(sensor.read(id).unwrap().contains(&format!(r#""order":{n},"#)));
    }
    assert!(head.sent < 4000, "{} bytes for three edits", head.sent);
    sensor.restart();
    sensor.rule(rights());
    head.cut();
    head.merge(id, r#"{"order":5}"#);
    meet(&mut head, &mut sensor);
    assert!(sensor.read(id).unwrap().contains(r#""order":5,"#));
}
