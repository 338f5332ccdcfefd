//! Whom the operator revoked, and when this node was told.
//!
//! Purpose: a revoked peer is refused until the operator names it as a peer again. None is forgotten by time, which a
//! wrong clock would decide, but the oldest of too many are, so that the list can lie beside the key. Inputs: peers, and
//! the wall time since the Unix epoch. Outputs: a set of peers. What it does not do: refuse anybody; transport and core
//! do.

use super::PeerSet;
use peat_node_core::ids::PeerId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// As many as the operator remembers of one mesh. They take 320 KB beside the key, twice that while the file is
/// replaced, of 1 MiB.
const MOST: usize = 4096;

/// Between a peer and its time, in a text.
const AT: char = '@';

/// Revoked peers, each with the second in which this node was told last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Revoked(BTreeMap<PeerId, Duration>);

impl Revoked {
    /// Notes these. The newest word counts: who came back unnoticed and left again has a newer certificate.
    pub(super) fn add(&mut self, peers: impl IntoIterator<Item = PeerId>, now: Duration) {
        let told = Duration::from_secs(now.as_secs());
        self.0.extend(peers.into_iter().map(|peer| (peer, told)));
    }

    /// Takes out whoever is a member: the operator names nobody to dial whom it refuses.
    pub(super) fn lift(&mut self, members: &PeerSet) {
        self.0.retain(|peer, _| !members.contains_key(peer));
    }

    /// Takes out the oldest of too many.
    pub(super) fn bound(&mut self) {
        let surplus = self.0.len().saturating_sub(MOST);
        if surplus == 0 {
            return;
        }
        let mut by_age: Vec<(Duration, PeerId)> = self.0.iter().map(|(peer, told)| (*told, *peer)).collect();
        by_age.sort_unstable();
        for (_, peer) in by_age.into_iter().take(surplus) {
            self.0.remove(&peer);
        }
    }

    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.0.contains_key(peer)
    }

    pub(super) fn peers(&self) -> BTreeSet<PeerId> {
        self.0.keys().copied().collect()
    }

    /// One text for each: endpoint id, `@`, seconds since the Unix epoch.
    pub(super) fn texts(&self) -> Vec<String> {
        self.0.iter().map(|(peer, told)| format!("{peer}{AT}{}", told.as_secs())).collect()
    }

    /// Reads [`Revoked::texts`]; none when one of them is something else. An earlier release wrote endpoint ids alone:
    /// as if they had been told `now`, so that none is forgotten too soon.
    pub(super) fn parse(texts: &[String], now: Duration) -> Option<Self> {
        let mut revoked = Self::default();
        for text in texts {
            let (peer, told) = match text.split_once(AT) {
                Some((peer, seconds)) => (peer, Duration::from_secs(seconds.parse().ok()?)),
                None => (text.as_str(), now),
            };
            revoked.add([PeerId::parse(peer).ok()?], told);
        }
        Some(revoked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn one(told: Duration) -> Revoked {
        let mut revoked = Revoked::default();
        revoked.add([PeerId([1; 32])], told);
        revoked
    }

    #[test]
    fn a_second_revocation_counts_from_when_it_was_told() {
        let mut revoked = one(NOW);
        revoked.add([PeerId([1; 32])], NOW + HOUR);
        assert_eq!(revoked, one(NOW + HOUR));
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten() {
        let numbered = |n: u32| {
            let mut id = [7; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            PeerId(id)
        };
        let mut revoked = one(NOW);
        revoked.add((0..MOST as u32).map(numbered), NOW + HOUR);
        revoked.bound();
        assert_eq!(revoked.peers().len(), MOST);
        assert!(!revoked.contains(&PeerId([1; 32])) && revoked.contains(&numbered(0)));
        let bytes: usize = revoked.texts().iter().map(|text| text.len() + "\"\",".len()).sum();
        assert!(bytes < 400 * 1024, "{bytes}: two of them must fit beside the key");
    }

    #[test]
    fn texts_read_back_and_an_earlier_release_s_count_from_now() {
        let revoked = one(NOW);
        assert_eq!(Revoked::parse(&revoked.texts(), NOW + HOUR), Some(revoked));
        assert_eq!(Revoked::parse(&[PeerId([1; 32]).to_string()], NOW + HOUR), Some(one(NOW + HOUR)));
        assert_eq!(Revoked::parse(&["peer@1".to_owned()], NOW), None);
        assert_eq!(Revoked::parse(&[format!("{}@soon", PeerId([1; 32]))], NOW), None);
    }
}
