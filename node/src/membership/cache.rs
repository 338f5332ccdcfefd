//! What the operator told last, kept beside the key.
//!
//! Purpose: a restarted container rejoins its mesh although the operator is away. The file lies in the key's folder, so
//! it lives exactly as long as the key that the certificate is for. Inputs and outputs: [`Told`].
//! What it does not do: decide whether it is still good; verification does, with dates.

use super::PeerSet;
use super::revoked::Revoked;
use crate::identity::write_private;
use peat_node_core::ids::PeerId;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::time::Duration;

const FILE: &str = "membership.json";

/// All that the stream has said so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) mesh_uid: String,
    /// Ours, DER.
    pub(super) certificate: Vec<u8>,
    /// DER each.
    pub(super) trust_bundle: Vec<Vec<u8>>,
    pub(super) grace: Duration,
    pub(super) peers: PeerSet,
    /// None of them is among the peers.
    pub(super) revoked: Revoked,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    mesh_uid: String,
    certificate: String,
    trust_bundle: Vec<String>,
    expiry_grace_seconds: u64,
    peers: Vec<Peer>,
    /// See [`Revoked::texts`].
    revoked: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Peer {
    endpoint_id: String,
    addresses: Vec<String>,
}

const FORMAT: u32 = 1;

/// Reads what was saved in `folder`, at this wall time; none when there is nothing, or nothing that this release
/// understands.
pub(super) fn load(folder: &Path, now: Duration) -> Option<Told> {
    let file: File = serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()?;
    let peer = |peer: Peer| Some((PeerId::parse(&peer.endpoint_id).ok()?, peer.addresses));
    let peers: PeerSet = file.peers.into_iter().map(peer).collect::<Option<_>>()?;
    let mut revoked = Revoked::parse(&file.revoked, now)?;
    // An earlier release kept peers that had come back in both lists.
    revoked.lift(&peers);
    Some(Told {
        mesh_uid: file.mesh_uid,
        certificate: hex::decode(file.certificate).ok()?,
        trust_bundle: file.trust_bundle.into_iter().map(hex::decode).collect::<Result<_, _>>().ok()?,
        grace: Duration::from_secs(file.expiry_grace_seconds),
        peers,
        revoked,
    })
    .filter(|_| file.format == FORMAT)
}

/// Replaces what was saved.
pub(super) fn save(folder: &Path, told: &Told) -> io::Result<()> {
    let Told { mesh_uid, certificate, trust_bundle, grace, peers, revoked } = told;
    let file = File {
        format: FORMAT,
        mesh_uid: mesh_uid.clone(),
        certificate: hex::encode(certificate),
        trust_bundle: trust_bundle.iter().map(hex::encode).collect(),
        expiry_grace_seconds: grace.as_secs(),
        peers: peers
            .iter()
            .map(|(peer, addresses)| Peer { endpoint_id: peer.to_string(), addresses: addresses.clone() })
            .collect(),
        revoked: revoked.texts(),
    };
    write_private(&folder.join(FILE), &serde_json::to_vec(&file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const LATER: Duration = Duration::from_secs(1_800_000_060);

    fn told(heard: Duration) -> Told {
        let mut revoked = Revoked::default();
        revoked.add([PeerId([6; 32])], heard);
        Told {
            mesh_uid: "mesh".to_owned(),
            certificate: vec![1, 2],
            trust_bundle: vec![vec![3], vec![4]],
            grace: Duration::from_secs(9),
            peers: PeerSet::from([(PeerId([5; 32]), vec!["10.0.0.1:11204".to_owned()])]),
            revoked,
        }
    }

    #[test]
    fn what_was_told_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path(), NOW), None);
        save(folder.path(), &told(NOW)).unwrap();
        assert_eq!(load(folder.path(), LATER), Some(told(NOW)));
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(load(folder.path(), LATER), None);
    }

    #[test]
    fn the_file_of_an_earlier_release_is_read_and_a_peer_that_had_come_back_is_not_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (five, six) = (PeerId([5; 32]), PeerId([6; 32]));
        let text = format!(
            r#"{{"format":1,"mesh_uid":"mesh","certificate":"0102","trust_bundle":["03","04"],
            "expiry_grace_seconds":9,"peers":[{{"endpoint_id":"{five}","addresses":["10.0.0.1:11204"]}}],
            "revoked":["{five}","{six}"]}}"#
        );
        std::fs::write(folder.path().join(FILE), text).unwrap();
        assert_eq!(load(folder.path(), LATER), Some(told(LATER)));
    }
}
