//! Who is told of a change with its content, and who by name only: a broadcast tree over the links that are there.
//!
//! Purpose: with sixteen neighbours a flooded change would reach every node many times. A link on which content came
//! that had come by another link before becomes lazy: changes are announced on it in batches, by key and version. What
//! was announced and does not come by itself is asked for, and that link becomes eager again. So the eager links
//! become a tree, and a broken branch is replaced by the first link that knows better.
//! Inputs: what was received from whom; outputs: what is owed on a link, and when to look again. What it does not do:
//! guarantee anything: the comparison of roots does. Source: Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees",
//! SRDS 2007.

use super::frame::Push;
use crate::docs::row::Version;
use crate::ids::{Key, PeerId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How long announcements are gathered: a batch costs little more than one.
const GATHER: Duration = Duration::from_millis(100);

/// How long what was announced may take to come by an eager link, at least; at most twice that.
const PATIENCE: Duration = Duration::from_millis(250);

/// Announcements noted for one link. More are found by the comparison of roots.
const MOST_EXPECTED: usize = 1 << 14;

/// Received changes whose sender is remembered.
const MOST_ORIGINS: usize = 1 << 10;

/// What was announced, and what was here at that time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    announced: Version,
    had: Option<Version>,
}

impl Expected {
    /// Whether `now`, the version that is here, shows that nothing came since.
    pub(crate) fn is_missing(&self, now: Option<Version>) -> bool {
        now != Some(self.announced) && now == self.had
    }
}

/// How changes travel on one link.
#[derive(Debug)]
pub(crate) struct Spread {
    /// How we tell the peer.
    push: Push,
    /// How the peer is to tell us: each side decides what it hears, so that nobody is cut off by what others hear.
    hears: Push,
    /// The wish that the peer has not been told of.
    pub(crate) wish: Option<Push>,
    /// Documents to announce, and when they are due.
    gathering: BTreeSet<Key>,
    due: Option<Duration>,
    /// Documents to announce now.
    pub(crate) announce: BTreeSet<Key>,
    /// Documents announced of late, which the peer may still ask for, and until when.
    doubtful: (usize, Duration),
    /// What the peer announced, newest and older, and when to look at the older.
    expected: BTreeMap<Key, Expected>,
    overdue: BTreeMap<Key, Expected>,
    look: Option<Duration>,
}

impl Spread {
    pub(crate) const fn new() -> Self {
        Self {
            push: Push::Eager,
            hears: Push::Eager,
            wish: None,
            gathering: BTreeSet::new(),
            due: None,
            announce: BTreeSet::new(),
            doubtful: (0, Duration::ZERO),
            expected: BTreeMap::new(),
            overdue: BTreeMap::new(),
            look: None,
        }
    }

    pub(crate) fn is_eager(&self) -> bool {
        self.push == Push::Eager
    }

    /// Whether the peer is to tell us with content.
    pub(crate) fn hears_eagerly(&self) -> bool {
        self.hears == Push::Eager
    }

    /// Changes how the peer tells us, and says so, again also when it was told before and did not listen.
    pub(crate) const fn turn(&mut self, push: Push) {
        self.hears = push;
        self.wish = Some(push);
    }

    /// The peer changed how we tell it.
    pub(crate) const fn turned(&mut self, push: Push) {
        self.push = push;
    }

    /// Notes a change to announce.
    pub(crate) fn gather(&mut self, key: &Key, uptime: Duration) {
        self.gathering.insert(key.clone());
        self.due.get_or_insert(uptime + GATHER);
    }

    /// The peer announced a version of `key` that is not here.
    pub(crate) fn expect(&mut self, key: Key, announced: Version, had: Option<Version>, uptime: Duration) {
        if self.expected.len() < MOST_EXPECTED {
            self.expected.insert(key, Expected { announced, had });
            self.look.get_or_insert(uptime + PATIENCE);
        }
    }

    /// The peer and this node have the same of `key`: neither owes the other a word.
    pub(crate) fn equal(&mut self, key: &Key) {
        self.gathering.remove(key);
        self.announce.remove(key);
    }

    /// Forgets what is not to be told, or not to be heard, any more.
    pub(crate) fn retain(&mut self, tells: impl Fn(&Key) -> bool, hears: impl Fn(&Key) -> bool) {
        self.gathering.retain(&tells);
        self.announce.retain(tells);
        self.expected.retain(|key, _| hears(key));
        self.overdue.retain(|key, _| hears(key));
    }

    /// Lets time pass; gives what was announced long enough ago to be asked for if it is still missing.
    pub(crate) fn pass(&mut self, uptime: Duration) -> BTreeMap<Key, Expected> {
        if self.due.is_some_and(|due| due <= uptime) {
            self.due = None;
            self.announce.append(&mut self.gathering);
        }
        if self.look.is_none_or(|look| look > uptime) {
            return BTreeMap::new();
        }
        let late = std::mem::replace(&mut self.overdue, std::mem::take(&mut self.expected));
        self.look = (!self.overdue.is_empty()).then_some(uptime + PATIENCE);
        late
    }

    /// Takes what is to be announced now, at most `most`.
    pub(crate) fn take_announced(&mut self, most: usize, uptime: Duration) -> Vec<Key> {
        let keys: Vec<Key> = std::iter::from_fn(|| self.announce.pop_first()).take(most).collect();
        let (still, until) = self.doubtful;
        let still = if uptime < until { still } else { 0 };
        self.doubtful = (still + keys.len(), uptime + PATIENCE * 4);
        keys
    }

    /// Documents that changed and that the peer, as far as is known, does not have: not announced yet, or so lately
    /// that it would not have asked for them.
    pub(crate) fn untold(&self, uptime: Duration) -> usize {
        let (announced, until) = self.doubtful;
        self.gathering.len() + self.announce.len() + if uptime < until { announced } else { 0 }
    }

    /// Whether there is something to tell, or [`Spread::pass`] has something to do.
    pub(crate) fn has_work(&self, uptime: Duration) -> bool {
        self.wish.is_some() || !self.announce.is_empty() || self.deadline().is_some_and(|at| at <= uptime)
    }

    /// Uptime at which [`Spread::pass`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.due.into_iter().chain(self.look).min()
    }
}

/// From whom the latest changes came first.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    peers: BTreeMap<Key, (Version, PeerId)>,
    order: VecDeque<Key>,
}

impl Origins {
    /// Notes that this version of `key` was news when `peer` sent it.
    pub(crate) fn note(&mut self, key: &Key, version: Version, peer: PeerId) {
        if self.peers.insert(key.clone(), (version, peer)).is_none() {
            self.order.push_back(key.clone());
        }
        if self.order.len() > MOST_ORIGINS
            && let Some(oldest) = self.order.pop_front()
        {
            self.peers.remove(&oldest);
        }
    }

    /// The other peer from which this version of `key` came first, if it was not `peer`.
    pub(crate) fn other(&self, key: &Key, version: Version, peer: PeerId) -> Option<PeerId> {
        let (seen, first) = self.peers.get(key)?;
        (*seen == version && *first != peer).then_some(*first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Collection;

    const T0: Duration = Duration::from_secs(9);

    fn key(id: &str) -> Key {
        Key::new(&Collection::parse("c").unwrap(), id).unwrap()
    }

    #[test]
    fn announcements_are_gathered_and_leave_together() {
        let mut spread = Spread::new();
        spread.gather(&key("a"), T0);
        spread.gather(&key("b"), T0 + GATHER / 2);
        assert_eq!(spread.deadline(), Some(T0 + GATHER));
        assert!(spread.pass(T0 + GATHER / 2).is_empty() && spread.announce.is_empty());
        spread.equal(&key("b"));
        spread.pass(T0 + GATHER);
        assert_eq!((spread.announce.len(), spread.deadline()), (1, None));
    }

    #[test]
    fn what_was_announced_counts_as_untold_until_the_peer_would_have_asked_for_it() {
        let mut spread = Spread::new();
        spread.gather(&key("a"), T0);
        spread.pass(T0 + GATHER);
        assert_eq!(spread.untold(T0 + GATHER), 1);
        assert_eq!(spread.take_announced(9, T0 + GATHER), [key("a")]);
        assert_eq!(spread.untold(T0 + GATHER + PATIENCE * 2), 1);
        assert_eq!(spread.untold(T0 + GATHER + PATIENCE * 4), 0);
    }

    #[test]
    fn what_was_announced_is_late_after_one_to_two_patiences_and_not_asked_for_twice() {
        let mut spread = Spread::new();
        spread.expect(key("a"), [1; 16], None, T0);
        spread.expect(key("b"), [1; 16], None, T0 + PATIENCE / 2);
        assert!(spread.pass(T0 + PATIENCE).is_empty());
        let late = spread.pass(T0 + PATIENCE * 2);
        assert_eq!(late.len(), 2);
        assert!(late[&key("a")].is_missing(None));
        assert!(!late[&key("a")].is_missing(Some([1; 16])), "it came");
        assert!(!late[&key("a")].is_missing(Some([2; 16])), "something newer came");
        assert!(spread.pass(T0 + PATIENCE * 4).is_empty());
        assert_eq!(spread.deadline(), None);
    }

    #[test]
    fn each_side_decides_what_it_hears() {
        let mut spread = Spread::new();
        spread.turn(Push::Lazy);
        assert_eq!((spread.wish, spread.hears_eagerly(), spread.is_eager()), (Some(Push::Lazy), false, true));
        spread.turned(Push::Lazy);
        assert!(!spread.is_eager());
    }

    #[test]
    fn origins_are_few_and_know_only_the_version_that_came() {
        let mut origins = Origins::default();
        let (one, two) = (PeerId([1; 32]), PeerId([2; 32]));
        origins.note(&key("a"), [1; 16], one);
        assert_eq!(origins.other(&key("a"), [1; 16], two), Some(one));
        assert_eq!(origins.other(&key("a"), [1; 16], one), None);
        assert_eq!(origins.other(&key("a"), [2; 16], two), None);
        (0..2 * MOST_ORIGINS).for_each(|n| origins.note(&key(&n.to_string()), [1; 16], one));
        assert_eq!((origins.peers.len(), origins.order.len()), (MOST_ORIGINS, MOST_ORIGINS));
    }
}
