//! Histories that are begun anew, on one node, on both, and while one of them writes on.

use super::*;
use crate::docs::Document;
use crate::docs::life::Life;
use proptest::prelude::*;

const DAY: Duration = Duration::from_secs(86_400);
const NOON: Duration = Duration::from_secs(1_800_000_000);

/// A node with one document.
struct Node {
    doc: FullDoc,
    generation: Generation,
    actor: [u8; 16],
    stamp: u64,
}

impl Node {
    fn new(actor: u8) -> Self {
        let stamp = Stamp::at(NOON).0 + u64::from(actor);
        let actor = [actor; 16];
        Self { doc: FullDoc::new(actor), generation: Generation::default(), actor, stamp }
    }

    fn put(&mut self, json: &str) {
        // Stamps are far apart by time, so that nodes' writes have an order, and differ between nodes.
        self.stamp += 1 << 26;
        self.doc.put(&Document::parse(json).unwrap(), Stamp(self.stamp)).unwrap();
    }

    /// Writes one leaf beside the others.
    fn set(&mut self, leaf: &str, value: impl Into<serde_json::Value>) {
        let mut members = self.doc.document().into_map();
        members.insert(leaf.to_owned(), value.into());
        self.put(&Document::from_map(members).to_json());
    }

    /// Begins anew with all but the newest eighth of the history as the base.
    fn begin(&mut self) {
        let limits = Limits { changes: 1, bytes: 0, settle: Duration::MAX };
        let look = Look { limits, bytes: usize::MAX, text: 0, today: NOON + DAY, marks: DAY, most: 1 << 20 };
        let (doc, generation) = begin(&self.doc, self.generation, look).unwrap().unwrap();
        assert_eq!(doc.document(), self.doc.document(), "readers see no difference");
        assert!(generation > self.generation);
        (self.doc, self.generation) = (doc, generation);
    }

    /// Takes in what `other` has, as the shelf does.
    fn hear(&mut self, other: &Self) {
        let mut theirs = FullDoc::new(self.actor);
        theirs.apply(&other.doc.changes_since(&[])).unwrap();
        if other.generation == self.generation {
            self.doc.apply(&theirs.changes_since(&[])).unwrap();
        } else if other.generation > self.generation {
            let images = carry_over((&self.doc, self.generation), (&theirs, other.generation)).unwrap();
            theirs.apply(&images).unwrap();
            (self.doc, self.generation) = (theirs, other.generation);
        } else {
            let images = carry_over((&theirs, other.generation), (&self.doc, self.generation)).unwrap();
            self.doc.apply(&images).unwrap();
        }
        self.stamp = self.stamp.max(other.stamp);
    }

    fn text(&self) -> String {
        self.doc.document().to_json()
    }
}

/// Until both have everything.
fn meet(a: &mut Node, b: &mut Node) {
    for _ in 0..3 {
        a.hear(b);
        b.hear(a);
    }
    assert_eq!((a.generation, a.doc.heads(), a.text()), (b.generation, b.doc.heads(), b.text()));
}

/// Two that have the same ten changes.
fn pair() -> (Node, Node) {
    let (mut a, mut b) = (Node::new(1), Node::new(2));
    (0..10).for_each(|n| a.set("n", n));
    a.set("list", serde_json::json!([1, 2, 3]));
    b.hear(&a);
    (a, b)
}

#[test]
fn what_was_written_apart_while_another_began_anew_is_merged_as_if_in_time() {
    let (mut a, mut b) = pair();
    b.set("b", 1);
    b.set("list", serde_json::json!([1, 2, 3, 4]));
    a.set("list", serde_json::json!([0, 1, 2, 3]));
    a.begin();
    assert!(a.doc.changes() < b.doc.changes() / 2);
    meet(&mut a, &mut b);
    assert_eq!(a.text(), r#"{"b":1,"list":[0,1,2,3,4],"n":9}"#);
}

#[test]
fn two_that_begin_at_one_frontier_begin_the_same_epoch() {
    let (mut a, mut b) = pair();
    a.begin();
    b.begin();
    assert_eq!((a.generation, a.doc.heads()), (b.generation, b.doc.heads()));
}

#[test]
fn two_that_begin_apart_keep_every_leaf_and_the_later_write_of_one_that_both_wrote() {
    let (mut a, mut b) = pair();
    (0..4).for_each(|n| a.set("a", n));
    (0..8).for_each(|n| b.set("b", n));
    a.set("n", "from a, earlier");
    b.set("n", "from b, later");
    assert!(a.stamp < b.stamp);
    a.begin();
    b.begin();
    assert_ne!(a.generation, b.generation);
    meet(&mut a, &mut b);
    assert_eq!(a.text(), r#"{"a":3,"b":7,"list":[1,2,3],"n":"from b, later"}"#);
}

#[test]
fn whoever_was_away_for_many_epochs_keeps_what_it_wrote_and_overwrites_nothing_newer() {
    let (mut a, mut b) = pair();
    b.set("mine", 1);
    b.set("n", "long ago");
    for round in 0..5 {
        (0..12).for_each(|n| a.set("n", round * 100 + n));
        a.begin();
    }
    assert!(a.generation.epoch.unwrap().number.get() == 5 && a.stamp > b.stamp);
    meet(&mut a, &mut b);
    assert_eq!(a.text(), r#"{"list":[1,2,3],"mine":1,"n":411}"#);
}

#[test]
fn a_later_write_counts_also_when_its_value_is_the_one_that_the_frontier_has() {
    for begins in [false, true] {
        let (mut a, mut b) = pair();
        a.set("on", true);
        (0..8).for_each(|n| a.set("n", n));
        a.set("on", false);
        b.stamp = a.stamp;
        b.set("on", true);
        if begins {
            a.begin();
        }
        meet(&mut a, &mut b);
        assert_eq!(a.doc.document().as_map()["on"], true, "begins: {begins}");
    }
}

#[test]
fn a_later_write_counts_also_when_its_value_is_the_one_that_an_unknown_base_has() {
    let (mut a, mut b) = pair();
    a.set("on", true);
    b.hear(&a);
    b.set("on", false);
    for _ in 0..2 {
        (0..12).for_each(|n| a.set("n", n));
        a.begin();
    }
    a.set("on", false);
    b.stamp = a.stamp;
    b.set("on", true);
    meet(&mut a, &mut b);
    assert_eq!(a.doc.document().as_map()["on"], true);
}

#[test]
fn what_readers_see_of_a_leaf_that_several_wrote_is_the_same_after_beginning_anew() {
    let (mut a, mut b) = pair();
    let mut c = Node::new(3);
    c.hear(&a);
    a.set("k", 1);
    (0..8).for_each(|n| a.set("n", n));
    c.stamp = a.stamp;
    c.set("k", 2);
    b.stamp = c.stamp + 1;
    b.set("k", 1);
    a.hear(&b);
    a.hear(&c);
    assert_eq!(a.doc.document().as_map()["k"], 1);
    a.begin();
}

#[test]
fn of_a_list_that_both_edited_over_an_unknown_base_the_later_one_counts_whole() {
    let (mut a, mut b) = pair();
    for _ in 0..2 {
        (0..12).for_each(|n| a.set("n", n));
        a.begin();
    }
    a.set("list", serde_json::json!([1, 2, 3, 9]));
    b.stamp = a.stamp;
    b.set("list", serde_json::json!([4]));
    meet(&mut a, &mut b);
    assert_eq!(a.doc.document().as_map()["list"], serde_json::json!([4]));
}

#[test]
fn a_long_list_that_every_edit_appends_to_is_begun_anew() {
    let mut a = Node::new(1);
    let mut list: Vec<String> = (0..1000).map(|n| format!("line {n}")).collect();
    for n in 0..200 {
        list.push(format!("more {n}"));
        a.put(&serde_json::json!({ "log": list }).to_string());
    }
    a.begin();
    assert!(a.doc.changes() < 40);
}

#[test]
fn marks_of_removed_leaves_are_bounded_by_their_paths_as_well() {
    let mut node = Node::new(1);
    for n in 0..300_u32 {
        let path: String = (0..60).map(|part| format!("{:08x}", (n * 60 + part).wrapping_mul(2_654_435_761))).collect();
        node.put(&format!(r#"{{"{path}":1,"n":{n}}}"#));
    }
    node.begin();
    let base = Base::find(&node.doc.doc, node.generation).unwrap();
    assert!(base.size() < 40 << 10, "{} bytes", base.size());
}

#[test]
fn a_leaf_that_was_removed_does_not_come_back_with_whoever_was_away() {
    let (mut a, mut b) = pair();
    a.put(r#"{"n":9}"#);
    for _ in 0..3 {
        (0..12).for_each(|n| a.set("n", n));
        a.begin();
    }
    b.set("b", 1);
    meet(&mut a, &mut b);
    assert_eq!(a.text(), r#"{"b":1,"n":11}"#);
}

#[test]
fn the_later_one_of_a_removal_and_a_write_counts() {
    for removal_is_later in [false, true] {
        let (mut a, mut b) = pair();
        if removal_is_later {
            a.stamp += 1 << 40;
        } else {
            b.stamp += 1 << 40;
        }
        a.put(r#"{"list":[1,2,3]}"#);
        b.set("n", "still wanted");
        meet(&mut a, &mut b);
        assert_eq!(a.doc.document().as_map().contains_key("n"), !removal_is_later);
    }
}

#[test]
fn the_history_of_a_document_that_is_edited_for_ever_is_bounded_and_so_are_the_marks_of_removed_leaves() {
    let mut node = Node::new(1);
    let limits = Limits { changes: 64, bytes: 4 << 10, settle: Duration::from_secs(4) };
    let (mut most, mut largest, mut begun) = (0, 0, 0);
    for n in 0..4000_u32 {
        node.put(&format!(r#"{{"seen-{n}":1,"n":{n}}}"#));
        if limits.are_passed(node.doc.changes(), 0, 0) {
            let today = Stamp(node.stamp).wall();
            let look = Look { limits, bytes: 0, text: 0, today, marks: DAY, most: 1 << 20 };
            if let Some((doc, generation)) = begin(&node.doc, node.generation, look).unwrap() {
                (node.doc, node.generation) = (doc, generation);
                (begun, largest) = (begun + 1, largest.max(node.doc.save().len()));
            }
        }
        most = most.max(node.doc.changes());
    }
    assert!(begun > 50 && most <= 64 * HARD, "{begun} epochs, {most} changes");
    assert!(largest < 16 << 10, "{largest} bytes");
}

#[test]
fn a_history_is_not_begun_anew_while_most_of_it_may_still_be_on_its_way_unless_it_is_far_too_long() {
    let limits = Limits { changes: 100, bytes: 1 << 20, settle: Duration::from_secs(4) };
    let at = |millis| Stamp::at(NOON + Duration::from_millis(millis));
    let burst = || (0..200).map(at).collect();
    let after = |millis| NOON + Duration::from_millis(millis);
    assert_eq!(limits.cut(burst(), false, after(1000)), None);
    assert_eq!(limits.cut(burst(), true, after(1000)), Some(at(175)));
    assert!(limits.cut(burst(), false, after(4200)).is_some_and(|cut| at(100) <= cut && cut <= at(175)));
    assert_eq!(limits.cut(Vec::new(), true, after(0)), None);
}

#[test]
fn a_change_that_says_it_is_of_next_year_does_not_keep_a_history_from_being_forgotten() {
    let (mut a, mut b) = pair();
    let honest = b.stamp;
    b.stamp += Stamp::at(365 * DAY).0;
    b.set("b", 1);
    a.hear(&b);
    a.stamp = honest;
    (0..40).for_each(|n| a.set("n", n));
    a.begin();
    assert!(a.doc.changes() < 10, "{} changes are left of 52", a.doc.changes());
    meet(&mut a, &mut b);
    assert_eq!(a.text(), r#"{"b":1,"list":[1,2,3],"n":39}"#);
}

#[test]
fn what_is_new_stays_as_it_is_also_where_every_stamp_is_far_ahead() {
    let (mut a, mut b) = pair();
    (0..40).for_each(|n| a.set("n", n));
    b.hear(&a);
    b.stamp += Stamp::at(365 * DAY).0;
    b.set("b", 1);
    a.hear(&b);
    // Later stamps are above it, as those of every node are.
    (0..20).for_each(|n| a.set("late", n));
    let look = |changes| {
        let limits = Limits { changes, bytes: 1 << 20, settle: Duration::from_secs(4) };
        Look { limits, bytes: 0, text: 0, today: NOON + DAY, marks: DAY, most: 1 << 20 }
    };
    assert!(begin(&a.doc, a.generation, look(60)).unwrap().is_none(), "it is not known what is everywhere");
    let (begun, _) = begin(&a.doc, a.generation, look(15)).unwrap().unwrap();
    assert_eq!(begun.changes(), 1 + 62 / YOUNG + 1, "far too long: all but the newest eighth");
}

#[test]
fn nodes_that_look_at_nearly_the_same_history_mostly_forget_the_same() {
    let limits = Limits::default();
    let edits = |count: u64| (0..count).map(|n| Stamp::at(NOON + Duration::from_millis(n * 700))).collect();
    let cuts: Vec<_> = (1000..1020).map(|count| limits.cut(edits(count), false, NOON + DAY)).collect();
    let changes = cuts.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(cuts.iter().all(Option::is_some) && changes <= 1, "{cuts:?}");
}

#[test]
fn a_document_whose_base_could_not_be_sent_keeps_its_history() {
    let (a, _) = pair();
    let limits = Limits { changes: 1, bytes: 0, settle: Duration::from_secs(1) };
    let look = |most| Look { limits, bytes: usize::MAX, text: 0, today: Duration::ZERO, marks: DAY, most };
    assert!(begin(&a.doc, a.generation, look(100)).unwrap().is_none());
    assert!(begin(&a.doc, a.generation, look(2000)).unwrap().is_some());
}

#[test]
fn a_base_that_says_nothing_of_itself_is_no_base() {
    let (mut a, _) = pair();
    a.begin();
    let base = Base::find(&a.doc.doc, a.generation).unwrap();
    assert!(base.follows(Generation::default()) && !base.follows(a.generation));
    let plain = a.doc.heads()[0];
    assert!(Base::find(&a.doc.doc, a.generation.next(plain).unwrap()).is_none());
    let unknown = a.generation.next(ChangeHash([7; 32])).unwrap();
    assert!(Base::find(&a.doc.doc, unknown).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Three nodes write, begin anew and meet in any order; in the end all have the same, and of each leaf the last
    /// write.
    #[test]
    fn any_order_of_writes_epochs_and_meetings_ends_with_equal_documents_and_the_last_write_of_each_leaf(
        steps in prop::collection::vec((0..3_usize, 0..3_usize, 0..8_u8), 1..60),
    ) {
        let mut nodes = [Node::new(1), Node::new(2), Node::new(3)];
        let mut last = std::collections::BTreeMap::new();
        for (one, other, what) in steps {
            match what {
                0..=4 => {
                    // A clock for all: later is later.
                    nodes[one].stamp = nodes.iter().map(|node| node.stamp).max().unwrap();
                    nodes[one].stamp += 1;
                    // Few values, so that a write may be of what was there before, or of what another wrote.
                    let (leaf, value) = (format!("leaf-{other}"), what % 2);
                    let changes = nodes[one].doc.changes();
                    nodes[one].set(&leaf, value);
                    if nodes[one].doc.changes() > changes {
                        last.insert(leaf, value);
                    }
                }
                5 if nodes[one].doc.changes() > 4 => nodes[one].begin(),
                _ if one != other => {
                    let [a, b] = nodes.get_disjoint_mut([one, other]).unwrap();
                    a.hear(b);
                }
                _ => {}
            }
        }
        for _ in 0..4 {
            for (one, other) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                let [a, b] = nodes.get_disjoint_mut([one, other]).unwrap();
                a.hear(b);
            }
        }
        let wanted = serde_json::to_string(&last).unwrap();
        for node in &nodes {
            prop_assert_eq!(&node.text(), &wanted);
            prop_assert_eq!((node.generation, node.doc.heads()), (nodes[0].generation, nodes[0].doc.heads()));
        }
    }
}

#[test]
fn generations_join_to_the_higher_one() {
    let (mut a, _) = pair();
    let low = Life { generation: a.generation, ..Life::default() };
    a.begin();
    let high = Life { generation: a.generation, ..Life::default() };
    assert_eq!((low.join(high), high.join(low)), (high, high));
}
