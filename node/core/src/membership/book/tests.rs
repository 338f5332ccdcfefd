//! Who is dialled, when, and which of two connections stays.

use super::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const ME: PeerId = PeerId([5; 32]);
const LARGER: PeerId = PeerId([9; 32]);
const SMALLER: PeerId = PeerId([1; 32]);
const T0: Duration = Duration::from_secs(100);

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(7)
}

fn wanting(peer: PeerId) -> PeerBook {
    let mut book = PeerBook::new(ME);
    book.want(Source::Flag, peer, vec!["a:1".into()], T0);
    book
}

#[test]
fn a_wanted_peer_is_dialled_again_for_ever_until_it_answers() {
    let mut book = wanting(LARGER);
    let mut now = T0;
    for _ in 0..50 {
        assert_eq!(book.due(now).len(), 1);
        assert!(book.due(now).is_empty(), "one dial at a time");
        book.dial_failed(LARGER, DialFailure::Refused("refused".into()), now, &mut rng(), &mut Vec::new());
        now = book.deadline().expect("a next try");
    }
    assert!(now - T0 <= Duration::from_secs(50 * 10));
}

#[test]
fn a_peer_that_was_down_for_a_minute_is_dialled_within_ten_seconds() {
    for seed in 0..100 {
        let (mut book, mut rng) = (wanting(LARGER), ChaCha8Rng::seed_from_u64(seed));
        let mut now = T0;
        while now < T0 + Duration::from_secs(60) {
            assert_eq!(book.due(now).len(), 1);
            // What a dial takes that nobody answers.
            now += Duration::from_secs(5);
            book.dial_failed(LARGER, DialFailure::Unreachable("silent".into()), now, &mut rng, &mut Vec::new());
            let next = book.deadline().expect("a next try");
            assert!(next - now <= Duration::from_secs(10), "seed {seed}: {:?}", next - now);
            now = next;
        }
    }
}

#[test]
fn of_two_simultaneous_connections_both_sides_keep_the_one_the_smaller_dialled() {
    for (peer, kept) in [(LARGER, Direction::Out), (SMALLER, Direction::In)] {
        let other = if kept == Direction::Out { Direction::In } else { Direction::Out };
        for order in [[kept, other], [other, kept]] {
            let mut book = wanting(peer);
            let attached: Vec<_> = order
                .into_iter()
                .zip(1..)
                .map(|(direction, n)| book.connected(ConnId(n), peer, direction, T0, &mut Vec::new()))
                .collect();
            let second = match order[1] == kept {
                true => Attach::Kept { replaces: Some(ConnId(1)) },
                false => Attach::Refused(CloseReason::Duplicate),
            };
            assert_eq!(attached, [Attach::Kept { replaces: None }, second]);
        }
    }
}

#[test]
fn a_newer_connection_of_the_same_dialler_takes_over_from_a_dead_one() {
    let mut book = wanting(LARGER);
    book.connected(ConnId(1), LARGER, Direction::In, T0, &mut Vec::new());
    let again = book.connected(ConnId(2), LARGER, Direction::In, T0, &mut Vec::new());
    assert_eq!(again, Attach::Kept { replaces: Some(ConnId(1)) });
    assert!(!book.disconnected(ConnId(1), LARGER, T0, &mut rng()), "the old one's end changes nothing");
    assert_eq!(book.connection(&LARGER), Some(ConnId(2)));
}

#[test]
fn a_disconnected_peer_stays_away_until_connect() {
    let mut book = wanting(LARGER);
    book.connected(ConnId(1), LARGER, Direction::Out, T0, &mut Vec::new());
    assert_eq!(book.disconnect(LARGER, &mut Vec::new()), Ok(Some(ConnId(1))));
    book.want(Source::Membership, LARGER, vec!["b:2".into()], T0);
    assert!(book.due(T0 + Duration::from_secs(3600)).is_empty());
    let inbound = book.connected(ConnId(2), LARGER, Direction::In, T0, &mut Vec::new());
    assert_eq!(inbound, Attach::Refused(CloseReason::Requested));
    let mut answers = Vec::new();
    book.connect(RequestId(1), LARGER, Vec::new(), T0, &mut answers);
    assert!(answers.is_empty(), "answered when it is attached");
    assert_eq!(book.due(T0).len(), 1);
    book.connected(ConnId(3), LARGER, Direction::Out, T0, &mut answers);
    assert_eq!(answers, [(RequestId(1), Ok(Reply::Done))]);
}

#[test]
fn connect_says_what_is_missing_and_what_failed() {
    let mut book = PeerBook::new(ME);
    let mut answers = Vec::new();
    book.connect(RequestId(1), LARGER, Vec::new(), T0, &mut answers);
    book.connect(RequestId(2), ME, vec!["a:1".into()], T0, &mut answers);
    book.connect(RequestId(3), LARGER, vec!["a:1".into()], T0, &mut answers);
    book.due(T0);
    book.dial_failed(LARGER, DialFailure::Unreachable("no route".into()), T0, &mut rng(), &mut answers);
    let texts: Vec<_> = answers.iter().map(|(_, answer)| answer.clone().unwrap_err().to_string()).collect();
    assert!(texts[0].contains("give at least one in `addresses`"), "{}", texts[0]);
    assert_eq!(texts[1], "endpoint_id is this node's own");
    assert!(texts[2].contains("no route"));
}

#[test]
fn a_revoked_peer_is_closed_and_refused_whoever_wants_it() {
    let mut book = wanting(LARGER);
    book.connected(ConnId(1), LARGER, Direction::Out, T0, &mut Vec::new());
    assert_eq!(book.revoke(BTreeSet::from([LARGER]), &mut Vec::new()), [(LARGER, ConnId(1))]);
    book.want(Source::Flag, LARGER, vec!["a:1".into()], T0);
    assert!(book.due(T0).is_empty());
    let again = book.connected(ConnId(2), LARGER, Direction::In, T0, &mut Vec::new());
    assert_eq!(again, Attach::Refused(CloseReason::Revoked));
}

#[test]
fn a_peer_that_is_reinstated_is_dialled_when_it_is_wanted_and_let_in() {
    let mut book = wanting(LARGER);
    book.revoke(BTreeSet::from([LARGER, SMALLER]), &mut Vec::new());
    book.reinstate(&BTreeSet::from([LARGER]));
    assert!(book.due(T0).is_empty(), "nobody wants it any more");
    book.want(Source::Membership, LARGER, vec!["a:1".into()], T0);
    book.want(Source::Membership, SMALLER, vec!["b:1".into()], T0);
    assert_eq!(book.due(T0).len(), 1, "the other is refused as before");
    let inbound = book.connected(ConnId(1), LARGER, Direction::In, T0, &mut Vec::new());
    assert_eq!(inbound, Attach::Kept { replaces: None });
    let refused = book.connected(ConnId(2), SMALLER, Direction::In, T0, &mut Vec::new());
    assert_eq!(refused, Attach::Refused(CloseReason::Revoked));
}

#[test]
fn a_disconnected_peer_stays_away_also_when_it_is_revoked_and_reinstated() {
    let mut book = wanting(LARGER);
    book.disconnect(LARGER, &mut Vec::new()).unwrap();
    book.revoke(BTreeSet::from([LARGER]), &mut Vec::new());
    assert!(!book.knows(&LARGER), "its wishes are gone");
    book.reinstate(&BTreeSet::from([LARGER]));
    book.want(Source::Membership, LARGER, vec!["a:1".into()], T0);
    assert!(book.due(T0).is_empty());
    let inbound = book.connected(ConnId(1), LARGER, Direction::In, T0, &mut Vec::new());
    assert_eq!(inbound, Attach::Refused(CloseReason::Requested));
}

#[test]
fn a_new_address_is_tried_at_once() {
    let mut book = wanting(LARGER);
    book.due(T0);
    book.dial_failed(LARGER, DialFailure::Refused("refused".into()), T0, &mut rng(), &mut Vec::new());
    assert!(book.due(T0).is_empty());
    book.want(Source::Flag, LARGER, vec!["b:2".into()], T0);
    assert_eq!(book.due(T0).len(), 1);
}

#[test]
fn an_address_that_comes_during_a_dial_is_tried_before_whoever_named_it_is_answered() {
    let (mut book, mut answers) = (PeerBook::new(ME), Vec::new());
    book.connect(RequestId(1), LARGER, vec!["a:1".into()], T0, &mut answers);
    assert_eq!(book.due(T0).len(), 1);
    book.connect(RequestId(2), LARGER, vec!["b:2".into()], T0, &mut answers);
    let silent = || DialFailure::Unreachable("silent".into());
    book.dial_failed(LARGER, silent(), T0, &mut rng(), &mut answers);
    assert_eq!(answers, []);
    let dials = book.due(T0);
    assert!(matches!(&dials[..], [Output::Dial { addresses, .. }] if *addresses == ["b:2"]), "{dials:?}");
    book.dial_failed(LARGER, silent(), T0, &mut rng(), &mut answers);
    assert_eq!(answers.len(), 2, "both hear of that one");
    assert!(book.due(T0).is_empty());
}

#[test]
fn a_caller_is_answered_where_the_address_that_came_during_the_dial_is_gone_when_it_fails() {
    let (mut book, mut answers) = (PeerBook::new(ME), Vec::new());
    book.want(Source::Membership, LARGER, vec!["a:1".into()], T0);
    book.connect(RequestId(1), LARGER, Vec::new(), T0, &mut answers);
    assert_eq!(book.due(T0).len(), 1);
    book.want(Source::Membership, LARGER, vec!["b:2".into()], T0);
    book.unwant(Source::Membership, LARGER);
    book.dial_failed(LARGER, DialFailure::Unreachable("silent".into()), T0, &mut rng(), &mut answers);
    assert!(matches!(answers[..], [(RequestId(1), Err(RequestError::Unreachable { .. }))]), "{answers:?}");
    assert_eq!(book.views().count(), 0, "nobody wants it any more");
}

#[test]
fn a_peer_that_ends_a_young_connection_is_not_dialled_without_a_pause() {
    let (mut book, mut now) = (wanting(LARGER), T0);
    book.due(now);
    book.connected(ConnId(1), LARGER, Direction::Out, now, &mut Vec::new());
    now += LIVED;
    book.disconnected(ConnId(1), LARGER, now, &mut rng());
    let mut dials = 0;
    while now < T0 + LIVED + Duration::from_secs(60) {
        now = book.deadline().expect("a next try");
        dials += book.due(now).len();
        book.connected(ConnId(2), LARGER, Direction::Out, now, &mut Vec::new());
        book.disconnected(ConnId(2), LARGER, now, &mut ChaCha8Rng::seed_from_u64(dials as u64));
    }
    assert!((3..40).contains(&dials), "{dials} in a minute");
}

#[test]
fn a_peer_that_lost_an_old_connection_is_let_in_whoever_dialled_that() {
    let mut book = wanting(LARGER);
    book.connected(ConnId(1), LARGER, Direction::Out, T0, &mut Vec::new());
    let back = book.connected(ConnId(2), LARGER, Direction::In, T0 + LIVED, &mut Vec::new());
    assert_eq!(back, Attach::Kept { replaces: Some(ConnId(1)) });
}

#[test]
fn a_peer_that_any_source_wants_is_dialled_again_when_its_link_is_lost() {
    for source in [Source::Flag, Source::Api, Source::Membership] {
        let mut book = PeerBook::new(ME);
        book.want(source, LARGER, vec!["a:1".into()], T0);
        assert_eq!(book.due(T0).len(), 1);
        book.connected(ConnId(1), LARGER, Direction::Out, T0, &mut Vec::new());
        assert_eq!(book.deadline(), None, "{source:?}: nothing to dial while it is there");
        let lost = T0 + LIVED;
        assert!(book.disconnected(ConnId(1), LARGER, lost, &mut rng()));
        let again = book.deadline().expect("a next try");
        assert!(again - lost <= Duration::from_secs(1), "{source:?}: {:?}", again - lost);
        assert_eq!(book.due(again).len(), 1, "{source:?}");
    }
}

#[test]
fn calls_add_so_many_peers_and_no_more_and_those_that_are_known_are_obeyed_nevertheless() {
    let numbered = |n: usize| {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        PeerId(id)
    };
    let mut book = wanting(LARGER);
    let mut answers = Vec::new();
    for n in 0..MOST_BY_CALL / 2 {
        book.disconnect(numbered(n), &mut answers).unwrap();
        book.connect(RequestId(1), numbered(MOST_BY_CALL + n), vec!["a:1".into()], T0, &mut answers);
    }
    assert!(answers.is_empty(), "{answers:?}");
    let full = RequestError::TooManyPeers { limit: MOST_BY_CALL };
    let new = numbered(usize::MAX);
    assert_eq!(book.disconnect(new, &mut answers), Err(full.clone()));
    book.connect(RequestId(2), new, vec!["a:1".into()], T0, &mut answers);
    assert_eq!(answers, [(RequestId(2), Err(full))]);
    assert_eq!(book.views().count(), MOST_BY_CALL + 1);
    assert_eq!(book.disconnect(LARGER, &mut answers), Ok(None), "one of --peer");
    assert_eq!(book.connected(ConnId(1), SMALLER, Direction::In, T0, &mut answers), Attach::Kept { replaces: None });
    assert_eq!(book.disconnect(SMALLER, &mut answers), Ok(Some(ConnId(1))), "one that is connected");
    let banned = book.connected(ConnId(2), numbered(0), Direction::In, T0, &mut answers);
    assert_eq!(banned, Attach::Refused(CloseReason::Requested), "the first is not forgotten");
    book.connect(RequestId(3), numbered(0), vec!["a:1".into()], T0, &mut answers);
    assert_eq!(answers.len(), 1, "it is asked back, and dialled: {answers:?}");
}
