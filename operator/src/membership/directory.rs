//! Who is in which mesh, for the streams: a synchronous index, fed by the watch of PeatPeers.
//!
//! Inputs: PeatPeers of pods as they come and go, and those of nodes outside that pods may be told about. Outputs: per
//! mesh a version that streams wait on, the peers a node is told about, and the endpoints that left. Every replica has
//! the whole. What it does not do: read the API server, or decide who may join.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use peat_operator_core::discovery::{Peer, Peers, choose, outside};
use peat_operator_core::names::EndpointId;
use tokio::sync::watch;

use crate::cache::Uid;

/// Endpoints that left and are still remembered, per mesh. A stream that was connected all the time has seen each one;
/// a node that joins anew is told all of them. Beyond this the oldest are forgotten: their certificates run out.
const REVOKED_REMEMBERED: usize = 4096;
/// Most peers that a mesh's ConfigMaps name.
const BOOTSTRAP: usize = 16;
/// How many of these may be nodes outside the cluster.
const BOOTSTRAP_OUTSIDE: usize = 4;
/// Most peers that a node is told, as the proto promises.
const TOLD: usize = 16;

/// How much of a mesh's revocations a stream has seen. Starts at zero: none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cursor(u64);

/// One mesh.
#[derive(Debug)]
struct Mesh {
    peers: Peers,
    /// Which pod each of `peers` is.
    owners: BTreeMap<EndpointId, Uid>,
    /// Nodes outside the cluster. One with the key of a member is not told: who proved the key has it.
    outside: Peers,
    /// Endpoints that left, each with its place in the sequence of all that ever did.
    revoked: VecDeque<(Cursor, EndpointId)>,
    last: Cursor,
    version: watch::Sender<u64>,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            peers: Peers::new(),
            owners: BTreeMap::new(),
            outside: Peers::new(),
            revoked: VecDeque::new(),
            last: Cursor::default(),
            version: watch::Sender::new(0),
        }
    }
}

/// The members of every mesh.
#[derive(Debug, Default)]
pub struct Directory {
    meshes: Mutex<BTreeMap<Uid, Mesh>>,
    /// By PeatPeer of type External: the mesh it is told in, and its key. Locked before `meshes`.
    outside: Mutex<BTreeMap<Uid, (Uid, EndpointId)>>,
}

/// Another peer of the mesh has the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken;

impl Directory {
    /// A node registered, or changed its addresses.
    pub(crate) fn upsert(&self, mesh: &str, pod: Uid, peer: Peer) {
        let mut meshes = self.lock();
        let mesh = meshes.entry(mesh.to_owned()).or_default();
        mesh.revoked.retain(|(_, endpoint)| *endpoint != peer.id);
        mesh.owners.insert(peer.id, pod);
        mesh.peers.insert(peer.id, peer);
        mesh.version.send_modify(|version| *version += 1);
    }

    /// A node's PeatPeer is gone: its endpoint is to be refused from now on.
    pub(crate) fn remove(&self, mesh: &str, endpoint: &EndpointId) {
        let mut meshes = self.lock();
        let Some(mesh) = meshes.get_mut(mesh) else { return };
        if mesh.peers.remove(endpoint).is_none() {
            return;
        }
        mesh.owners.remove(endpoint);
        mesh.last.0 += 1;
        if mesh.revoked.len() == REVOKED_REMEMBERED {
            mesh.revoked.pop_front();
        }
        mesh.revoked.push_back((mesh.last, *endpoint));
        mesh.version.send_modify(|version| *version += 1);
    }

    /// The node outside that the PeatPeer `record` stands for: told in `mesh` from now on instead of where it was, or
    /// nowhere.
    ///
    /// Its end is no revocation: whoever writes the record anew means the same node.
    pub(crate) fn place_outside(&self, record: &str, wanted: Option<(&str, Peer)>) -> Result<(), Taken> {
        let mut records = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        let mut meshes = self.lock();
        let place = wanted.as_ref().map(|(mesh, peer)| ((*mesh).to_owned(), peer.id));
        let before = records.get(record).cloned();
        if let Some((mesh, id)) = before.filter(|before| Some(before) != place.as_ref()) {
            records.remove(record);
            if let Some(mesh) = meshes.get_mut(&mesh) {
                mesh.outside.remove(&id);
                mesh.version.send_modify(|version| *version += 1);
            }
        }
        let (Some((uid, peer)), Some(place)) = (wanted, place) else { return Ok(()) };
        let mesh = meshes.entry(uid.to_owned()).or_default();
        let ours = records.contains_key(record);
        if mesh.peers.contains_key(&peer.id) || (!ours && mesh.outside.contains_key(&peer.id)) {
            return Err(Taken);
        }
        records.insert(record.to_owned(), place);
        if mesh.outside.get(&peer.id) != Some(&peer) {
            mesh.outside.insert(peer.id, peer);
            mesh.version.send_modify(|version| *version += 1);
        }
        Ok(())
    }

    /// The pod that an endpoint belongs to.
    pub(crate) fn owner(&self, mesh: &str, endpoint: &EndpointId) -> Option<Uid> {
        self.lock().get(mesh)?.owners.get(endpoint).cloned()
    }

    /// Changes whenever the members of the mesh do.
    pub(crate) fn version(&self, mesh: &str) -> watch::Receiver<u64> {
        self.lock().entry(mesh.to_owned()).or_default().version.subscribe()
    }

    /// The peers that `node` is told about, at most 16: see [`choose`] and [`outside`].
    pub(crate) fn neighbours(&self, mesh: &str, node: EndpointId, k: usize) -> Peers {
        let meshes = self.lock();
        let Some(mesh) = meshes.get(mesh) else { return Peers::new() };
        let zone = mesh.peers.get(&node).and_then(|peer| peer.zone.as_deref());
        // One place is always left for the next member on the ring, which keeps the mesh connected.
        let outside = outside(&mesh.peers, &mesh.outside, node, TOLD - 1);
        let chosen = choose(&mesh.peers, node, zone, k.min(TOLD - outside.len()));
        let of = |peers: &Peers, id: &EndpointId| Some((*id, peers.get(id)?.clone()));
        let members = chosen.iter().filter_map(|id| of(&mesh.peers, id));
        members.chain(outside.iter().filter_map(|id| of(&mesh.outside, id))).collect()
    }

    /// The endpoints that left since `seen`, and the new cursor.
    pub(crate) fn revoked_since(&self, mesh: &str, seen: Cursor) -> (Vec<EndpointId>, Cursor) {
        let meshes = self.lock();
        let Some(mesh) = meshes.get(mesh) else { return (Vec::new(), seen) };
        let new = mesh.revoked.iter().filter(|(at, _)| *at > seen);
        (new.map(|(_, endpoint)| *endpoint).collect(), mesh.last)
    }

    /// Up to 16 peers with a socket address, up to 4 of them outside, in the order of keys, for nodes that start while
    /// the operator is away.
    pub(crate) fn bootstrap(&self, mesh: &str) -> Vec<(EndpointId, SocketAddr)> {
        let meshes = self.lock();
        let Some(mesh) = meshes.get(mesh) else { return Vec::new() };
        let reachable = |peer: &Peer| Some((peer.id, peer.addresses.iter().find_map(|a| a.parse().ok())?));
        let strangers = mesh.outside.values().filter(|peer| !mesh.peers.contains_key(&peer.id));
        let outside = strangers.filter_map(reachable).take(BOOTSTRAP_OUTSIDE);
        outside.chain(mesh.peers.values().filter_map(reachable)).take(BOOTSTRAP).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uid, Mesh>> {
        self.meshes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(byte: u8) -> Peer {
        let addresses = vec![format!("10.0.0.{byte}:11204")];
        Peer { id: EndpointId([byte; 32]), addresses, relay_url: None, zone: None }
    }

    fn three() -> Directory {
        let directory = Directory::default();
        (1..=3).for_each(|byte| directory.upsert("mesh", format!("pod-{byte}"), peer(byte)));
        directory
    }

    #[test]
    fn a_node_is_told_about_the_others_and_never_about_itself() {
        let directory = three();
        let told = directory.neighbours("mesh", EndpointId([1; 32]), 16);
        assert_eq!(told.keys().copied().collect::<Vec<_>>(), [EndpointId([2; 32]), EndpointId([3; 32])]);
        assert!(directory.neighbours("another", EndpointId([1; 32]), 16).is_empty());
    }

    #[test]
    fn who_left_is_told_once_to_each_stream() {
        let directory = three();
        let mut version = directory.version("mesh");
        version.mark_unchanged();
        directory.remove("mesh", &EndpointId([2; 32]));
        assert!(version.has_changed().unwrap());
        let (left, seen) = directory.revoked_since("mesh", Cursor::default());
        assert_eq!(left, [EndpointId([2; 32])]);
        assert_eq!(directory.revoked_since("mesh", seen).0, []);
        assert_eq!(directory.owner("mesh", &EndpointId([2; 32])), None);
        assert_eq!(directory.owner("mesh", &EndpointId([3; 32])).as_deref(), Some("pod-3"));
    }

    #[test]
    fn a_peer_that_comes_back_is_no_longer_refused() {
        let directory = three();
        directory.remove("mesh", &EndpointId([2; 32]));
        directory.upsert("mesh", "pod-2".into(), peer(2));
        assert_eq!(directory.revoked_since("mesh", Cursor::default()).0, []);
    }

    #[test]
    fn a_node_outside_is_told_like_a_member_and_leaves_without_being_refused() {
        let directory = three();
        let stranger = Peer { addresses: vec!["buoy.example:4433".into()], ..peer(9) };
        assert_eq!(directory.place_outside("record", Some(("mesh", stranger.clone()))), Ok(()));
        let version = directory.version("mesh");
        let told = |byte: u8| directory.neighbours("mesh", EndpointId([byte; 32]), 16);
        assert_eq!(told(1).get(&stranger.id), Some(&stranger));
        assert_eq!(told(1).len(), 3);
        // A name cannot be in the bootstrap list, which nodes read without asking anyone.
        assert_eq!(directory.bootstrap("mesh").len(), 3);
        let moved = Peer { addresses: vec!["192.0.2.1:4433".into()], ..stranger.clone() };
        assert_eq!(directory.place_outside("record", Some(("mesh", moved.clone()))), Ok(()));
        assert!(version.has_changed().unwrap());
        assert_eq!(told(2).get(&stranger.id), Some(&moved));
        assert_eq!(directory.bootstrap("mesh")[0].0, stranger.id);
        assert_eq!(directory.place_outside("record", None), Ok(()));
        assert_eq!((told(1).len(), directory.revoked_since("mesh", Cursor::default()).0.len()), (2, 0));
    }

    #[test]
    fn who_proved_a_key_has_it_and_one_record_outside_has_it_at_a_time() {
        let directory = three();
        assert_eq!(directory.place_outside("a", Some(("mesh", peer(2)))), Err(Taken));
        assert_eq!(directory.place_outside("a", Some(("mesh", peer(9)))), Ok(()));
        assert_eq!(directory.place_outside("b", Some(("mesh", peer(9)))), Err(Taken));
        assert_eq!(directory.place_outside("a", Some(("another", peer(9)))), Ok(()));
        assert_eq!(directory.place_outside("b", Some(("mesh", peer(9)))), Ok(()));
        directory.upsert("mesh", "pod-9".into(), Peer { addresses: vec!["10.9.9.9:1".into()], ..peer(9) });
        let told = directory.neighbours("mesh", EndpointId([1; 32]), 16);
        assert_eq!(told[&EndpointId([9; 32])].addresses, ["10.9.9.9:1"]);
    }

    #[test]
    fn nodes_outside_take_places_of_members_but_never_all() {
        let directory = Directory::default();
        (1..=40).for_each(|byte| directory.upsert("mesh", byte.to_string(), peer(byte)));
        (101..=140).for_each(|byte| {
            directory.place_outside(&byte.to_string(), Some(("mesh", peer(byte)))).unwrap();
        });
        for byte in 1..=40 {
            let told = directory.neighbours("mesh", EndpointId([byte; 32]), 16);
            assert!(told.len() <= TOLD && told.keys().any(|id| id.0[0] <= 40), "{told:?}");
        }
    }

    #[test]
    fn memory_of_those_who_left_is_bounded() {
        let directory = Directory::default();
        for n in 0..5000_u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let id = EndpointId(id);
            directory.upsert("mesh", n.to_string(), Peer { id, ..peer(1) });
            directory.remove("mesh", &id);
        }
        assert_eq!(directory.revoked_since("mesh", Cursor::default()).0.len(), REVOKED_REMEMBERED);
    }
}
