//! Bytes are a certificate of a member of the mesh or an error; and a root, or an error.

use peat_node::transport::certificate::{LONGEST, TrustBundle, validity};
use peat_node_core::ids::PeerId;
use std::time::Duration;

const ROOT: &[u8] = include_bytes!("../corpus/certificate/root.der");
const MESH: &str = "0f9a3c5d-1111-2222-3333-444455556666";
const NOW: Duration = Duration::from_secs(1_800_000_000);
const PEER: PeerId = PeerId([7; 32]);

/// Panics when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let (mesh, refused) = TrustBundle::load([ROOT]);
    assert_eq!(refused, [], "the root of the corpus is one");
    if let Ok(member) = mesh.verify(bytes, &PEER, MESH, NOW, Duration::ZERO) {
        assert!(bytes.len() <= LONGEST && member.uri.starts_with(&format!("spiffe://{MESH}/")));
        assert_eq!(validity(bytes), Some((member.not_before, member.not_after)));
        assert!((member.not_before..=member.not_after).contains(&NOW));
    }
    let (own, _) = TrustBundle::load([bytes]);
    // Whatever it is, it does not vouch for itself: a root is not a leaf.
    assert!(own.is_empty() || own.verify(bytes, &PEER, MESH, NOW, Duration::ZERO).is_err());
}
