//! SPIFFE IDs of nodes: `spiffe://<mesh id>/ns/<namespace>/sa/<service account>/pod/<pod>`.
//!
//! Source: the SPIFFE-ID standard, section 2 (trust domain: lower-case letters, digits, `.`, `-`, `_`; path segments:
//! letters, digits, `.`, `-`, `_`; at most 2048 bytes). Inputs: names as the API server gave them. Outputs: a
//! [`SpiffeId`] that is valid. What it does not do: put it into a certificate.

use std::fmt;

/// Longest SPIFFE ID, in bytes.
const LONGEST: usize = 2048;

/// Who a pod is, as its token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodIdentity {
    /// Namespace of the pod.
    pub namespace: String,
    /// Its ServiceAccount.
    pub service_account: String,
    /// Its name.
    pub pod: String,
}

/// A valid SPIFFE ID of a node; prints as the URI.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId(String);

/// Why there is no SPIFFE ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeError {
    /// A part that cannot be in a SPIFFE ID.
    #[error("{part} {value:?} cannot be part of a SPIFFE ID")]
    Part {
        /// Which part.
        part: &'static str,
        /// What it says.
        value: String,
    },
    /// Longer than 2048 bytes.
    #[error("the SPIFFE ID would have {0} bytes, at most 2048 are allowed")]
    Length(usize),
}

impl SpiffeId {
    /// The SPIFFE ID of a pod in the mesh with this identity (`ValidatedMesh::id`).
    pub fn of_pod(mesh_id: &str, pod: &PodIdentity) -> Result<Self, SpiffeError> {
        let PodIdentity { namespace, service_account, pod } = pod;
        check("mesh ID", mesh_id, |b| b.is_ascii_lowercase())?;
        for (part, value) in [("namespace", namespace), ("service account", service_account), ("pod", pod)] {
            check(part, value, |b| b.is_ascii_alphabetic())?;
        }
        let uri = format!("spiffe://{mesh_id}/ns/{namespace}/sa/{service_account}/pod/{pod}");
        if uri.len() > LONGEST {
            return Err(SpiffeError::Length(uri.len()));
        }
        Ok(Self(uri))
    }

    /// The URI.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(part: &'static str, value: &str, letter: fn(&u8) -> bool) -> Result<(), SpiffeError> {
    let allowed = |b: u8| letter(&b) || b.is_ascii_digit() || b"._-".contains(&b);
    // `.` and `..` are relative segments, which the standard forbids.
    if value.is_empty() || value == "." || value == ".." || !value.bytes().all(allowed) {
        return Err(SpiffeError::Part { part, value: value.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(namespace: &str, service_account: &str, pod: &str) -> PodIdentity {
        PodIdentity { namespace: namespace.into(), service_account: service_account.into(), pod: pod.into() }
    }

    #[test]
    fn a_pod_is_named_by_mesh_namespace_account_and_name() {
        let id = SpiffeId::of_pod("0f9a3c5d-1", &pod("coast", "default", "ferry-0")).unwrap();
        assert_eq!(id.to_string(), "spiffe://0f9a3c5d-1/ns/coast/sa/default/pod/ferry-0");
    }

    #[test]
    fn a_part_that_could_forge_another_path_is_refused() {
        for bad in ["", ".", "..", "a/pod/b", "a b", "a%2Fb", "ä"] {
            assert!(SpiffeId::of_pod("mesh", &pod("coast", "default", bad)).is_err(), "{bad}");
            assert!(SpiffeId::of_pod(bad, &pod("coast", "default", "ferry-0")).is_err(), "{bad}");
        }
        assert!(SpiffeId::of_pod("Mesh", &pod("coast", "default", "ferry-0")).is_err());
    }

    #[test]
    fn the_length_is_bounded() {
        let error = SpiffeId::of_pod("mesh", &pod("coast", &"a".repeat(2048), "p")).unwrap_err();
        assert!(matches!(error, SpiffeError::Length(_)));
    }
}
