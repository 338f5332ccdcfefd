//! Files of rights: what they come to, and what is wrong with others.

use super::*;
use proptest::prelude::*;

const A: PeerId = PeerId([0xa; 32]);
const B: PeerId = PeerId([0xb; 32]);
const READ: Right = Right { read: true, write: false };
const WRITE: Right = Right { read: false, write: true };

/// The rights of a file in which `A` and `B` stand for two peers.
fn rights(text: &str) -> Rights {
    Rights::parse(&text.replace('A', &A.to_string()).replace('B', &B.to_string())).unwrap()
}

fn of(text: &str, peer: PeerId, collection: &str) -> Right {
    rights(text).grants(&peer).of(collection)
}

#[test]
fn without_a_file_everybody_may_do_everything() {
    assert_eq!(Rights::default().grants(&A), Grants::ALL);
    assert_eq!(rights("* both *").grants(&A), Grants::ALL);
}

#[test]
fn a_collection_that_is_named_is_open_to_those_who_are_named_with_it_alone() {
    let file = "* both *\ncommands write A\n# who reports\n\nreports read A\nreports  write\tB";
    assert_eq!(of(file, A, "commands"), Right::ALL);
    assert_eq!(of(file, B, "commands"), READ, "no line is about reading it, so the rest decides");
    assert_eq!((of(file, A, "reports"), of(file, B, "reports")), (READ, WRITE));
    assert_eq!(of(file, B, "ships"), Right::ALL);
}

#[test]
fn what_no_line_allows_is_not_allowed() {
    assert_eq!(of("ships read A", A, "ships"), READ);
    assert_eq!(of("ships read A", B, "ships"), Right::NONE);
    assert_eq!(of("ships read A", A, "tracks"), Right::NONE);
    assert_eq!(of("* both *\nkeys both nobody", A, "keys"), Right::NONE);
}

#[test]
fn the_lines_of_one_collection_add_up_in_any_order() {
    for file in ["ships read A\nships read *", "ships read *\nships read A", "ships read nobody\nships read *"] {
        assert_eq!((of(file, A, "ships"), of(file, B, "ships")), (READ, READ), "{file}");
    }
}

#[test]
fn policies_are_for_everybody_to_read_and_for_those_to_write_whom_the_file_names() {
    assert_eq!(of("* read nobody", A, RESERVED), READ);
    assert_eq!(of("* both *", A, RESERVED), Right::ALL);
    let file = "* both *\npeat.collections both A";
    assert_eq!((of(file, A, RESERVED), of(file, B, RESERVED)), (Right::ALL, READ));
}

#[test]
fn the_name_of_a_collection_may_have_blanks() {
    assert_eq!(of("my ships  read A", A, "my ships"), READ);
}

#[test]
fn a_line_that_is_wrong_is_named_with_what_is_wrong_in_it() {
    for (file, error) in [
        ("ships read", "line 1 is not `collection right who`"),
        ("# ours\n\nships", "line 3 is not `collection right who`"),
        ("* both *\nships see *", "line 2: \"see\" is not `read`, `write` or `both`"),
        ("ships read 12", "line 1: \"12\" is not an endpoint id of 64 hexadecimal digits, `*` or `nobody`"),
        ("a:b read *", "line 1: collection has a `:`"),
        ("\n# nothing\n", "there is no rule in it; `* both *` allows everything, `* both nobody` nothing"),
    ] {
        assert_eq!(Rights::parse(file).unwrap_err().to_string(), error);
    }
}

#[test]
fn a_file_is_as_long_as_one_frame_can_tell_and_no_longer() {
    let file = |collections: usize| -> String { (0..collections).map(|n| format!("c{n} read *\n")).collect() };
    assert_eq!(Rights::parse(&(file(MOST_COLLECTIONS) + "* both *")).unwrap().collections(), MOST_COLLECTIONS);
    assert_eq!(
        Rights::parse(&file(MOST_COLLECTIONS + 1)),
        Err(RightsError::Collections { line: MOST_COLLECTIONS + 1 })
    );
    assert_eq!(Rights::parse(&"* both *\n".repeat(MOST_LINES + 1)), Err(RightsError::Lines));
}

proptest! {
    #[test]
    fn any_text_is_rights_or_an_error(text in "([a-c*# ]{1,3}[ \t]+(read|write|both|own)[ \t]+([*]|nobody|[0-9a-f]{62,64})\n?){0,9}") {
        if let Ok(rights) = Rights::parse(&text) {
            prop_assert!(rights.grants(&A).of(RESERVED).read && rights.collections() <= 9);
        }
    }
}
