//! Names of objects, as types whose existence is the proof that they can be used.
//!
//! Inputs: metadata as read. Outputs: [`MeshKey`], [`MeshUid`], [`EndpointId`], and names derived from them that always
//! fit. What it does not do: hold the constants; `peat_crds::names` does.

use std::{fmt, str::FromStr};

/// Namespace and name of a PeatMesh; prints as `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeshKey {
    /// Namespace of the PeatMesh.
    pub namespace: String,
    /// Name of the PeatMesh.
    pub name: String,
}

impl MeshKey {
    /// The key of `namespace`/`name`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for MeshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// `metadata.uid` of a PeatMesh. Names Kubernetes objects of the mesh (labels, Secrets); unlike a name, never used
/// twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeshUid(pub String);

impl fmt::Display for MeshUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Public Ed25519 key of a node: 32 bytes. Prints as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub [u8; 32]);

/// A text that is not an endpoint ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an endpoint ID of 64 lower-case hexadecimal digits")]
pub struct EndpointIdError(pub String);

impl EndpointId {
    /// The first 10 digits, as lists show it.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..5])
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for EndpointId {
    type Err = EndpointIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || EndpointIdError(text.to_owned());
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(refused());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| refused())?;
        Ok(Self(bytes))
    }
}

/// Name of the `attempt`th PeatPeer of a pod: `<pod>-<uid8>`, then `<pod>-<uid8>-2` and so on.
///
/// `attempt`: from 1. A node reboot empties the memory volume while the pod lives on: the key is new, the record is
/// replaced and never edited. At most 253 characters.
pub fn peer_name(pod: &str, pod_uid: &str, attempt: u32) -> String {
    let first = peat_crds::names::peer(pod, pod_uid);
    if attempt <= 1 { first } else { format!("{first}-{attempt}") }
}

/// Which attempt a PeatPeer's name stands for; the inverse of [`peer_name`]. `None` for a name that is not of this pod.
pub fn peer_attempt(name: &str, pod: &str, pod_uid: &str) -> Option<u32> {
    let rest = name.strip_prefix(&peat_crds::names::peer(pod, pod_uid))?;
    if rest.is_empty() {
        return Some(1);
    }
    rest.strip_prefix('-')?.parse().ok().filter(|attempt| *attempt >= 2)
}

/// Whether `text` can be the name of a namespace: a DNS label of RFC 1123.
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_subdomain(text) && !text.contains('.')
}

/// Whether `text` can be the name of a custom resource: a DNS subdomain of RFC 1123.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_peer_is_numbered_and_the_number_is_read_back() {
        assert_eq!(peer_name("ferry-0", "0f9a3c5d-1", 1), "ferry-0-0f9a3c5d");
        assert_eq!(peer_name("ferry-0", "0f9a3c5d-1", 2), "ferry-0-0f9a3c5d-2");
        for attempt in [1, 2, 3, 41] {
            let name = peer_name("ferry-0", "0f9a3c5d-1", attempt);
            assert_eq!(peer_attempt(&name, "ferry-0", "0f9a3c5d-1"), Some(attempt));
        }
        assert_eq!(peer_attempt("ferry-0-0f9a3c5d-x", "ferry-0", "0f9a3c5d-1"), None);
        assert_eq!(peer_attempt("ferry-1-0f9a3c5d", "ferry-0", "0f9a3c5d-1"), None);
        assert_eq!(peer_attempt("ferry-0-0f9a3c5d-1", "ferry-0", "0f9a3c5d-1"), None);
    }

    #[test]
    fn the_longest_pod_name_leaves_room_for_a_number() {
        assert!(peer_name(&"a".repeat(253), "0f9a3c5d", 999_999).len() <= 253);
    }

    #[test]
    fn an_endpoint_id_prints_as_it_is_written() {
        let text = "ab".repeat(32);
        let id: EndpointId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(id.short(), "ababababab");
        for bad in ["", "ab", &"AB".repeat(32), &"zz".repeat(32), &"ab".repeat(33)] {
            assert!(bad.parse::<EndpointId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "a-b", "a.b-c.d", "0"] {
            assert!(is_dns_subdomain(good), "{good}");
        }
        for bad in ["", "-a", "a-", "a..b", "A", "a_b", "a/b", &"a".repeat(254)] {
            assert!(!is_dns_subdomain(bad), "{bad}");
        }
        assert!(!is_dns_label("a.b") && !is_dns_label(&"a".repeat(64)) && is_dns_label("a-b"));
    }
}
