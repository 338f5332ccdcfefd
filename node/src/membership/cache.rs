//! What the operator told last, kept beside the key.
//!
//! Purpose: a restarted container rejoins its mesh although the operator is away. The file lies in the key's folder, so
//! it lives exactly as long as the key that the certificate is for. Inputs and outputs: [`Told`].
//! What it does not do: decide whether it is still good; verification does, with dates.

use super::PeerSet;
use crate::identity::write_private;
use peat_node_core::ids::PeerId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
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
    pub(super) revoked: BTreeSet<PeerId>,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    mesh_uid: String,
    certificate: String,
    trust_bundle: Vec<String>,
    expiry_grace_seconds: u64,
    peers: Vec<Peer>,
    revoked: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Peer {
    endpoint_id: String,
    addresses: Vec<String>,
}

const FORMAT: u32 = 1;

/// Reads what was saved in `folder`; none when there is nothing, or nothing that this release understands.
pub(super) fn load(folder: &Path) -> Option<Told> {
    let file: File = serde_json::from_slice(&std::fs::read(folder.join(FILE)).ok()?).ok()?;
    let peer = |peer: Peer| Some((PeerId::parse(&peer.endpoint_id).ok()?, peer.addresses));
    Some(Told {
        mesh_uid: file.mesh_uid,
        certificate: hex::decode(file.certificate).ok()?,
        trust_bundle: file.trust_bundle.into_iter().map(hex::decode).collect::<Result<_, _>>().ok()?,
        grace: Duration::from_secs(file.expiry_grace_seconds),
        peers: file.peers.into_iter().map(peer).collect::<Option<_>>()?,
        revoked: file.revoked.iter().map(|id| PeerId::parse(id)).collect::<Result<_, _>>().ok()?,
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
        revoked: revoked.iter().map(ToString::to_string).collect(),
    };
    write_private(&folder.join(FILE), &serde_json::to_vec(&file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()), None);
        let told = Told {
            mesh_uid: "mesh".to_owned(),
            certificate: vec![1, 2],
            trust_bundle: vec![vec![3], vec![4]],
            grace: Duration::from_secs(9),
            peers: PeerSet::from([(PeerId([5; 32]), vec!["10.0.0.1:11204".to_owned()])]),
            revoked: BTreeSet::from([PeerId([6; 32])]),
        };
        save(folder.path(), &told).unwrap();
        assert_eq!(load(folder.path()), Some(told));
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(load(folder.path()), None);
    }
}
