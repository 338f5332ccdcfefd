//! What a node signs to prove that it holds the key of its endpoint ID.
//!
//! Inputs: the operator's nonce, the token the node sent, who it says it is. Outputs: the bytes to verify.
//! What it does not do: verify the signature.

use sha2::{Digest as _, Sha256};

/// First bytes of the message: a signature made for this cannot be taken for another.
const DOMAIN: &[u8] = b"peat join v1\0";

/// `"peat join v1" ‖ 0 ‖ nonce ‖ SHA-256(token) ‖ mesh ‖ pod UID`.
///
/// `nonce`: the operator's, of this stream only. `token`: the bytes sent in the hello. `mesh`: as sent in the hello,
/// equal to `ValidatedMesh::id`. `pod_uid`: as sent in the hello, equal to the one the token is bound to.
pub fn join_message(nonce: &[u8; 32], token: &[u8], mesh: &str, pod_uid: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(DOMAIN.len() + 64 + mesh.len() + pod_uid.len());
    message.extend_from_slice(DOMAIN);
    message.extend_from_slice(nonce);
    message.extend_from_slice(&Sha256::digest(token));
    message.extend_from_slice(mesh.as_bytes());
    message.extend_from_slice(pod_uid.as_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_has_the_parts_in_the_agreed_order() {
        let message = join_message(&[7; 32], b"abc", "mesh", "pod");
        assert_eq!(&message[..13], b"peat join v1\0");
        assert_eq!(&message[13..45], &[7; 32]);
        // FIPS 180-2, appendix B.1: SHA-256 of "abc".
        let sha = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::encode(&message[45..77]), sha);
        assert_eq!(&message[77..], b"meshpod");
    }

    #[test]
    fn every_part_changes_the_message() {
        let base = join_message(&[0; 32], b"t", "m", "p");
        for other in [
            join_message(&[1; 32], b"t", "m", "p"),
            join_message(&[0; 32], b"u", "m", "p"),
            join_message(&[0; 32], b"t", "n", "p"),
            join_message(&[0; 32], b"t", "m", "q"),
        ] {
            assert_ne!(base, other);
        }
    }
}
