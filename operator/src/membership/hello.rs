//! The first two messages of a node, checked: what it claims, and the proof that it holds the key it claims.
//!
//! Inputs: wire messages. Outputs: types whose existence is the proof of their shape ([`Claim`]) or of possession
//! ([`Addresses`] come with it). What it does not do: ask the API server anything.

use std::net::SocketAddr;

use peat_operator_core::discovery::Peer;
use peat_operator_core::identity::join_message;
use peat_operator_core::names::EndpointId;
use peat_proto::membership as wire;
use ring::signature::{ED25519, UnparsedPublicKey};

/// Longest token, UID, version and relay URL that is read.
const MAX_TOKEN: usize = 16 * 1024;
const MAX_UID: usize = 64;
const MAX_VERSION: usize = 64;
const MAX_RELAY: usize = 512;

/// What a node claims in its hello; nothing is proven yet.
pub(crate) struct Claim {
    /// `ValidatedMesh::id`: what certificates call the mesh. The wire's `mesh_uid`, which is the UID unless the mesh
    /// has an ID.
    pub(crate) mesh_id: String,
    pub(crate) token: String,
    pub(crate) pod_uid: String,
    pub(crate) endpoint: EndpointId,
    pub(crate) node_version: String,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim").field("mesh_id", &self.mesh_id).field("pod_uid", &self.pod_uid).finish_non_exhaustive()
    }
}

/// Where a node can be reached, as it says; checked for shape only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) sockets: Vec<SocketAddr>,
    pub(crate) relay: Option<String>,
}

/// A message that is not what the protocol wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("the first message must be a hello")]
    NoHello,
    #[error("the message after the challenge must be a proof")]
    NoProof,
    #[error("only one hello and one proof are allowed on a stream")]
    Repeated,
    #[error("{field} has {length} bytes, {expected} are expected")]
    Length { field: &'static str, length: usize, expected: &'static str },
    #[error("address {0:?} is not ip:port with a port other than 0")]
    Address(String),
    #[error("{0} addresses were given, at least 1 and at most {max} are expected", max = peat_crds::peer::MAX_ADDRESSES)]
    AddressCount(usize),
    #[error("relay URL {0:?} is not an http or https URL")]
    Relay(String),
    #[error("protocol versions {min} to {max} do not include 1")]
    Protocol { min: u32, max: u32 },
}

impl Claim {
    /// Checks the shape of a hello.
    pub(crate) fn new(hello: wire::Hello) -> Result<Self, Malformed> {
        let wire::Hello { mesh_uid, token, pod_uid, endpoint_id, node_version, protocol_min, protocol_max } = hello;
        within("mesh_uid", mesh_uid.len(), MAX_UID, "1 to 64")?;
        within("pod_uid", pod_uid.len(), MAX_UID, "1 to 64")?;
        within("token", token.len(), MAX_TOKEN, "1 to 16384")?;
        let length = endpoint_id.len();
        let endpoint = <[u8; 32]>::try_from(endpoint_id).map(EndpointId).map_err(|_| Malformed::Length {
            field: "endpoint_id",
            length,
            expected: "32",
        })?;
        if protocol_min > 1 || protocol_max < 1 {
            return Err(Malformed::Protocol { min: protocol_min, max: protocol_max });
        }
        let node_version = node_version.chars().filter(|c| !c.is_control()).take(MAX_VERSION).collect();
        Ok(Self { mesh_id: mesh_uid, token, pod_uid, endpoint, node_version })
    }

    /// What the node must sign: the challenge, bound to token, mesh and pod.
    fn signed_bytes(&self, nonce: &[u8; 32]) -> Vec<u8> {
        join_message(nonce, self.token.as_bytes(), &self.mesh_id, &self.pod_uid)
    }

    /// Whether `signature` proves possession of the endpoint key for this stream's `nonce`.
    pub(crate) fn is_proven_by(&self, signature: &[u8], nonce: &[u8; 32]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.endpoint.0).verify(&self.signed_bytes(nonce), signature).is_ok()
    }
}

impl Addresses {
    /// Checks the shape of what a node says about how to reach it.
    pub(crate) fn new(addresses: &[String], relay_url: String) -> Result<Self, Malformed> {
        if addresses.is_empty() || addresses.len() > peat_crds::peer::MAX_ADDRESSES {
            return Err(Malformed::AddressCount(addresses.len()));
        }
        let parse = |text: &String| {
            let parsed = text.parse::<SocketAddr>().ok().filter(|socket| socket.port() != 0);
            parsed.ok_or_else(|| Malformed::Address(text.chars().take(MAX_UID).collect()))
        };
        let sockets = addresses.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { sockets, relay: relay(relay_url)? })
    }
}

impl Addresses {
    /// The peer that others are told about. `zone`: of its Kubernetes node, if known.
    pub(crate) fn peer(&self, id: EndpointId, zone: Option<String>) -> Peer {
        let addresses = self.sockets.iter().map(SocketAddr::to_string).collect();
        Peer { id, addresses, relay_url: self.relay.clone(), zone }
    }
}

fn relay(url: String) -> Result<Option<String>, Malformed> {
    if url.is_empty() {
        return Ok(None);
    }
    let usable = url.len() <= MAX_RELAY
        && url.parse::<axum::http::Uri>().is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    if usable { Ok(Some(url)) } else { Err(Malformed::Relay(url.chars().take(MAX_RELAY).collect())) }
}

fn within(field: &'static str, length: usize, most: usize, expected: &'static str) -> Result<(), Malformed> {
    if (1..=most).contains(&length) { Ok(()) } else { Err(Malformed::Length { field, length, expected }) }
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    fn key() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    fn hello() -> wire::Hello {
        wire::Hello {
            mesh_uid: "mesh-1".into(),
            token: "token".into(),
            pod_uid: "pod-1".into(),
            endpoint_id: key().public_key().as_ref().to_vec(),
            node_version: "0.1.0\n".into(),
            protocol_min: 1,
            protocol_max: 1,
        }
    }

    #[test]
    fn a_signature_over_the_challenge_proves_possession_once() {
        let claim = Claim::new(hello()).unwrap();
        let signature = key().sign(&claim.signed_bytes(&[1; 32]));
        assert!(claim.is_proven_by(signature.as_ref(), &[1; 32]));
        assert!(!claim.is_proven_by(signature.as_ref(), &[2; 32]));
        for changed in [
            wire::Hello { token: "other".into(), ..hello() },
            wire::Hello { mesh_uid: "mesh-2".into(), ..hello() },
            wire::Hello { pod_uid: "pod-2".into(), ..hello() },
        ] {
            assert!(!Claim::new(changed).unwrap().is_proven_by(signature.as_ref(), &[1; 32]));
        }
    }

    #[test]
    fn a_hello_of_the_wrong_shape_is_refused_by_field() {
        let refused = |hello: wire::Hello| Claim::new(hello).unwrap_err().to_string();
        assert_eq!(
            refused(wire::Hello { endpoint_id: vec![0; 31], ..hello() }),
            "endpoint_id has 31 bytes, 32 are expected"
        );
        assert_eq!(
            refused(wire::Hello { token: String::new(), ..hello() }),
            "token has 0 bytes, 1 to 16384 are expected"
        );
        assert_eq!(
            refused(wire::Hello { mesh_uid: "x".repeat(65), ..hello() }),
            "mesh_uid has 65 bytes, 1 to 64 are expected"
        );
        assert_eq!(
            refused(wire::Hello { protocol_min: 2, protocol_max: 3, ..hello() }),
            "protocol versions 2 to 3 do not include 1"
        );
    }

    #[test]
    fn addresses_are_few_numeric_and_have_a_port() {
        let parse = |addresses: &[&str], relay: &str| {
            Addresses::new(&addresses.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>(), relay.to_owned())
        };
        assert!(parse(&["10.0.0.1:11204", "[fd00::1]:11204"], "https://relay.example").is_ok());
        assert_eq!(parse(&[], ""), Err(Malformed::AddressCount(0)));
        assert_eq!(parse(&["10.0.0.1:1"; 9], ""), Err(Malformed::AddressCount(9)));
        for bad in ["ferry:11204", "10.0.0.1", "10.0.0.1:0", ""] {
            assert_eq!(parse(&[bad], ""), Err(Malformed::Address(bad.into())));
        }
        assert_eq!(parse(&["10.0.0.1:1"], "file:///etc"), Err(Malformed::Relay("file:///etc".into())));
    }

    #[test]
    fn a_claim_never_prints_its_token() {
        assert!(!format!("{:?}", Claim::new(hello()).unwrap()).contains("token"));
    }
}
