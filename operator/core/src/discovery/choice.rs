//! Choice of neighbours by rendezvous hash.
//!
//! Source: "Using name-based mappings to increase hit rates", IEEE/ACM ToN 6(1), 1998. One neighbour is the next peer
//! on the ring of keys: the ring alone connects the whole mesh, so that not even k = 1 leaves islands. Inputs: the
//! peers of a mesh, a node, k. Outputs: keys. What it does not do: remember earlier choices; it need not.

use std::{cmp::Reverse, collections::BTreeSet, ops::Bound};

use super::{Peer, Peers};
use crate::names::EndpointId;

/// Chooses which peers `node` is told about.
///
/// `peers`: the peers of the mesh; `node` itself may be among them and is not chosen. `zone`: of `node`. `k`: 1..=16.
/// Returns at most `k` keys: the next on the ring, and of the rest half from `node`'s zone when it has that many, each
/// by best score. Equal inputs give equal output on every replica; one peer more changes at most one entry. Cannot
/// fail: with fewer than `k` peers it returns all of them.
pub fn choose(peers: &Peers, node: EndpointId, zone: Option<&str>, k: usize) -> BTreeSet<EndpointId> {
    let Some(next) = next_on_ring(peers, node).filter(|_| k > 0) else {
        return BTreeSet::new();
    };
    let others = peers.values().filter(|peer| peer.id != node && peer.id != next);
    let (near, far): (Vec<&Peer>, Vec<&Peer>) = others.partition(|peer| zone.is_some() && peer.zone.as_deref() == zone);
    let rest = k - 1;
    let near = best(node, near, rest);
    let far = best(node, far, rest);
    // Each half takes what the other cannot fill.
    let near_share = k / 2;
    let take_near = near.len().min(near_share.max(rest.saturating_sub(far.len())));
    let take_far = far.len().min(rest - take_near);
    near.into_iter().take(take_near).chain(far.into_iter().take(take_far)).chain([next]).collect()
}

/// The peer with the smallest key above `node`'s, from the start after the end.
fn next_on_ring(peers: &Peers, node: EndpointId) -> Option<EndpointId> {
    let above = peers.range((Bound::Excluded(node), Bound::Unbounded)).next();
    above.or_else(|| peers.first_key_value()).map(|(id, _)| *id).filter(|id| *id != node)
}

/// At most `most` of `peers`, best score first.
fn best(node: EndpointId, peers: Vec<&Peer>, most: usize) -> Vec<EndpointId> {
    let seed = fold(node);
    let mut scored: Vec<_> = peers.into_iter().map(|peer| (Reverse(score(seed, peer.id)), peer.id)).collect();
    if most < scored.len() {
        // Selecting first keeps ten thousand peers linear.
        scored.select_nth_unstable(most);
        scored.truncate(most);
    }
    scored.sort_unstable();
    scored.into_iter().map(|(_, id)| id).collect()
}

fn score(node: u64, peer: EndpointId) -> u64 {
    mix(node ^ fold(peer).rotate_left(32))
}

/// A key as one word. Keys are public keys, so their bits are spread already.
fn fold(id: EndpointId) -> u64 {
    id.0.chunks_exact(8).fold(0, |word, chunk| {
        let bytes = chunk.iter().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        mix(word ^ bytes)
    })
}

/// The finaliser of SplitMix64: every bit of the input changes half of the output's.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// Keys spread like real ones, the same at every run.
    fn id(n: u32) -> EndpointId {
        EndpointId(Sha256::digest(n.to_be_bytes()).into())
    }

    fn peer(n: u32, zones: u32) -> Peer {
        let zone = (zones > 0).then(|| format!("zone-{}", n % zones.max(1)));
        Peer { id: id(n), addresses: vec![], relay_url: None, zone }
    }

    fn peers(count: u32, zones: u32) -> Peers {
        (0..count).map(|n| (id(n), peer(n, zones))).collect()
    }

    fn choice(peers: &Peers, n: u32, k: usize) -> BTreeSet<EndpointId> {
        choose(peers, id(n), peers[&id(n)].zone.as_deref(), k)
    }

    #[test]
    fn a_node_is_told_k_others_and_never_itself() {
        let peers = peers(100, 3);
        for n in 0..100 {
            for k in [1, 2, 3, 15, 16] {
                let chosen = choice(&peers, n, k);
                assert_eq!(chosen.len(), k);
                assert!(!chosen.contains(&id(n)));
            }
        }
    }

    #[test]
    fn a_small_mesh_is_told_whole() {
        for count in 1..=16 {
            let peers = peers(count, 2);
            for n in 0..count {
                assert_eq!(choice(&peers, n, 16).len(), count as usize - 1);
            }
        }
        assert!(choose(&Peers::new(), id(0), None, 16).is_empty());
    }

    #[test]
    fn half_come_from_the_own_zone_when_it_has_that_many() {
        let peers = peers(300, 3);
        for n in 0..300 {
            let chosen = choice(&peers, n, 16);
            let near = chosen.iter().filter(|id| peers[id].zone == peers[&self::id(n)].zone).count();
            assert!((8..=9).contains(&near), "{near}");
        }
    }

    #[test]
    fn one_peer_more_changes_at_most_one_entry() {
        for zones in [0, 1, 2, 5] {
            for k in [1, 2, 5, 16] {
                for count in [1, 3, 16, 17, 18, 40] {
                    let before = peers(count, zones);
                    let mut after = before.clone();
                    after.insert(id(count), peer(count, zones));
                    for n in 0..count {
                        let (old, new) = (choice(&before, n, k), choice(&after, n, k));
                        assert!(old.difference(&new).count() <= 1, "zones {zones}, k {k}, count {count}, node {n}");
                        assert!(new.difference(&old).count() <= 1, "zones {zones}, k {k}, count {count}, node {n}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_mesh_is_connected_even_with_one_neighbour_each() {
        let peers = peers(200, 4);
        let mut reached = BTreeSet::from([id(0)]);
        let mut open = vec![id(0)];
        while let Some(node) = open.pop() {
            for next in choose(&peers, node, peers[&node].zone.as_deref(), 1) {
                if reached.insert(next) {
                    open.push(next);
                }
            }
        }
        assert_eq!(reached.len(), 200);
    }

    #[test]
    fn no_peer_is_everybody_s_neighbour() {
        let peers = peers(500, 0);
        let mut told = std::collections::BTreeMap::<EndpointId, usize>::new();
        for n in 0..500 {
            choice(&peers, n, 16).into_iter().for_each(|id| *told.entry(id).or_default() += 1);
        }
        assert!(told.values().all(|times| *times < 48), "{:?}", told.values().max());
    }
}
