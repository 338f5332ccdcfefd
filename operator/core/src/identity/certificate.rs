//! What the certificate of a node must say.
//!
//! Source: the X.509-SVID standard: one URI SAN, digital signature, client and server authentication, no CA.
//! Inputs: the mesh, the pod, the endpoint ID, the time, the end of the signing authority. Outputs: [`Certificate`].
//! What it does not do: encode or sign.

use std::time::{Duration, SystemTime};

use super::{PodIdentity, SpiffeError, SpiffeId};
use crate::{mesh::ValidatedMesh, names::EndpointId};

/// How far clocks of nodes may lag behind the operator's without a fresh certificate being refused.
const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// What the certificate of a node must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its only subject alternative name, a URI.
    pub spiffe_id: SpiffeId,
    /// Its public key, Ed25519.
    pub endpoint_id: EndpointId,
    /// Start of validity.
    pub not_before: SystemTime,
    /// End of validity.
    pub not_after: SystemTime,
}

/// The certificate of a pod in `mesh`.
///
/// Valid from five minutes ago to the mesh's `certificateTTL` from `now`, never beyond `authority_end`.
/// Errors: a pod whose names do not make a SPIFFE ID.
pub fn certificate(
    mesh: &ValidatedMesh,
    pod: &PodIdentity,
    endpoint_id: EndpointId,
    now: SystemTime,
    authority_end: SystemTime,
) -> Result<Certificate, SpiffeError> {
    Ok(Certificate {
        spiffe_id: SpiffeId::of_pod(&mesh.id, pod)?,
        endpoint_id,
        not_before: now - CLOCK_SKEW,
        not_after: (now + mesh.certificate_ttl).min(authority_end),
    })
}

/// When to renew a certificate that was issued now: after a third of its life, less up to a tenth of that.
///
/// `life`: from now to its end. `jitter`: uniform in `0.0..1.0`, so that nodes started together renew apart.
pub fn renewal_delay(life: Duration, jitter: f64) -> Duration {
    (life / 3).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::validate;

    fn issue(authority_life: Duration) -> (Certificate, SystemTime) {
        let text = "{apiVersion: peat.mesh/v1alpha1, kind: PeatMesh, metadata: {name: harbour, namespace: coast, \
                    uid: 0f9a3c5d-1}, spec: {identity: {certificateTTL: 3h}}}";
        let mesh = validate(&serde_yaml::from_str(text).unwrap()).unwrap();
        let pod = PodIdentity { namespace: "coast".into(), service_account: "sailor".into(), pod: "ferry-0".into() };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let issued = certificate(&mesh, &pod, EndpointId([9; 32]), now, now + authority_life).unwrap();
        (issued, now)
    }

    #[test]
    fn a_certificate_names_the_pod_and_lives_as_long_as_the_mesh_says() {
        let (issued, now) = issue(Duration::from_secs(1 << 30));
        assert_eq!(issued.spiffe_id.as_str(), "spiffe://0f9a3c5d-1/ns/coast/sa/sailor/pod/ferry-0");
        assert_eq!(issued.not_after, now + Duration::from_secs(3 * 3600));
        assert_eq!(issued.not_before, now - Duration::from_secs(300));
    }

    #[test]
    fn a_certificate_never_outlives_its_authority() {
        let (issued, now) = issue(Duration::from_secs(60));
        assert_eq!(issued.not_after, now + Duration::from_secs(60));
    }

    #[test]
    fn renewal_comes_within_the_last_tenth_before_a_third() {
        let life = Duration::from_secs(3000);
        assert_eq!(renewal_delay(life, 0.0), Duration::from_secs(1000));
        assert_eq!(renewal_delay(life, 1.0), Duration::from_secs(900));
    }
}
