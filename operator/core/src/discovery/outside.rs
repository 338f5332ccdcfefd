//! Which nodes outside the cluster a node is told about.
//!
//! They do not join by the stream, so nobody is chosen for them: each is told to the few members before it on the ring
//! of keys. However large the mesh, somebody dials it, and one member less does not lose it. Inputs: members, nodes
//! outside, a node. Outputs: keys. What it does not do: know whether a node outside answers.

use std::{collections::BTreeSet, ops::Bound};

use super::Peers;
use crate::names::EndpointId;

/// How many members dial each node outside.
pub const DIALERS: usize = 3;

/// The nodes outside that `node` is to dial.
///
/// `members`: the registered peers of the mesh; `node` may be among them. `outside`: nodes that users named. Returns at
/// most `most` keys, none of a member: who proved a key has it. In a mesh of at most [`DIALERS`] members each is told
/// of all. Equal inputs give equal output on every replica. Cannot fail.
pub fn outside(members: &Peers, outside: &Peers, node: EndpointId, most: usize) -> BTreeSet<EndpointId> {
    let after = (Bound::Excluded(node), Bound::Unbounded);
    let mut next = members.range(after).chain(members.range(..node)).map(|(id, _)| *id);
    let keys = |from, to| outside.range((from, to)).map(|(id, _)| *id);
    let stranger = |id: &EndpointId| *id != node && !members.contains_key(id);
    // What lies between a member and its third next has that member among the three before it.
    match next.nth(DIALERS - 1) {
        None => keys(Bound::Unbounded, Bound::Unbounded).filter(stranger).take(most).collect(),
        Some(end) if node < end => {
            keys(Bound::Excluded(node), Bound::Excluded(end)).filter(stranger).take(most).collect()
        }
        Some(end) => {
            let around =
                keys(Bound::Excluded(node), Bound::Unbounded).chain(keys(Bound::Unbounded, Bound::Excluded(end)));
            around.filter(stranger).take(most).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::{super::Peer, *};

    fn id(n: u32) -> EndpointId {
        EndpointId(Sha256::digest(n.to_be_bytes()).into())
    }

    fn peers(numbers: std::ops::Range<u32>) -> Peers {
        numbers.map(|n| (id(n), Peer { id: id(n), addresses: vec![], relay_url: None, zone: None })).collect()
    }

    /// How many members are told of each of 20 nodes outside.
    fn dialers(members: u32) -> Vec<usize> {
        let (members, strangers) = (peers(0..members), peers(1000..1020));
        let told: Vec<_> = members.keys().map(|node| outside(&members, &strangers, *node, 16)).collect();
        strangers.keys().map(|stranger| told.iter().filter(|keys| keys.contains(stranger)).count()).collect()
    }

    #[test]
    fn every_node_outside_has_three_dialers_in_a_mesh_of_any_size() {
        for members in [4, 10, 500] {
            assert_eq!(dialers(members), [3; 20], "{members} members");
        }
    }

    #[test]
    fn a_small_mesh_dials_all_up_to_the_limit() {
        for members in [1, 2, 3] {
            let dialers = dialers(members);
            assert_eq!(dialers.iter().filter(|count| **count == members as usize).count(), 16, "{dialers:?}");
        }
        assert!(outside(&Peers::new(), &peers(0..2), id(0), 16).contains(&id(1)));
    }

    #[test]
    fn the_key_of_a_member_is_not_outside() {
        let members = peers(0..5);
        for node in members.keys() {
            assert!(outside(&members, &peers(0..5), *node, 16).is_empty());
        }
    }
}
