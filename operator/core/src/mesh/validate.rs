//! Parses a PeatMesh into a type whose existence is the proof that it can be used.
//!
//! Inputs: the PeatMesh as read; the API server has applied its defaults and CEL rules, an older definition may not
//! have. Outputs: [`ValidatedMesh`], which no later step has to check again. What it does not do: look at other
//! objects.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::{
    api::core::v1::{EnvVar, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use kube::core::{Selector, SelectorExt as _};
use peat_crds::{
    PeatMesh,
    mesh::{AllowedNamespaces, IdentitySpec, ImagePullPolicy, NamespacesFrom, PeatMeshSpec, SidecarSpec},
};

use crate::names::{MeshKey, MeshUid};

/// Why a PeatMesh cannot be used. Waits for a change of the object; never retried on a timer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    /// It was not read from an API server.
    #[error("the PeatMesh has no metadata.{0}")]
    Metadata(&'static str),
    /// A duration that is none.
    #[error("{field} is {value:?}: write hours, minutes and seconds, such as 24h or 1h30m")]
    Duration {
        /// Path of the field.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// A life too short to renew, or a negative grace.
    #[error("{field} is {value:?}: write {least} or more")]
    DurationTooShort {
        /// Path of the field.
        field: &'static str,
        /// What it says.
        value: String,
        /// What it must be at least.
        least: &'static str,
    },
    /// `from: Selector` without one, or with one that says nothing sensible.
    #[error("spec.injection.allowedNamespaces.selector cannot be used: {0}")]
    Selector(String),
    /// Outside of 1 to 16.
    #[error("spec.discovery.bootstrapPeers is {0}: write 1 to 16")]
    BootstrapPeers(i32),
}

impl ValidateError {
    /// Reason of the `Accepted` condition and label of the metric: from a fixed set.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Metadata(_) => "InvalidMetadata",
            Self::Duration { .. } | Self::DurationTooShort { .. } => "InvalidDuration",
            Self::Selector(_) => "InvalidSelector",
            Self::BootstrapPeers(_) => "InvalidBootstrapPeers",
        }
    }
}

/// A mesh that can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatedMesh {
    /// Namespace and name.
    pub key: MeshKey,
    /// `metadata.uid`: what Kubernetes objects of the mesh are labelled and named by.
    pub uid: MeshUid,
    /// `spec.meshID`, else the UID: what nodes and certificates call the mesh.
    pub id: String,
    /// `metadata.generation`.
    pub generation: Option<i64>,
    /// The container to inject.
    pub sidecar: Sidecar,
    /// Whose pods may join.
    pub namespaces: Namespaces,
    /// How many peers each node is told, 1 to 16.
    pub bootstrap_peers: usize,
    /// Life of a node's certificate.
    pub certificate_ttl: Duration,
    /// How long after its expiry a certificate of a known peer is accepted.
    pub expiry_grace: Duration,
    /// Nothing is to be written for this mesh.
    pub paused: bool,
}

/// What a mesh says about the container to inject.
#[derive(Debug, Clone, PartialEq)]
pub struct Sidecar {
    /// Image, when the mesh names one.
    pub image: Option<String>,
    /// Pull policy, when the mesh names one.
    pub pull_policy: Option<ImagePullPolicy>,
    /// Log filter.
    pub log_level: String,
    /// Requests and limits.
    pub resources: ResourceRequirements,
    /// More environment.
    pub env: Vec<EnvVar>,
    /// Size limit of the store's volume.
    pub storage: Quantity,
}

/// Whose pods may join a mesh; its own namespace always may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespaces {
    /// Only the namespace of the mesh.
    Same,
    /// Also those with matching labels.
    Selected(Selector),
    /// Every namespace.
    All,
}

impl ValidatedMesh {
    /// Whether pods of the namespace with these labels may join.
    pub fn admits(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        namespace == self.key.namespace
            || match &self.namespaces {
                Namespaces::Same => false,
                Namespaces::Selected(selector) => selector.matches(labels),
                Namespaces::All => true,
            }
    }
}

/// Parses `mesh`.
///
/// Errors: the first thing that is wrong, saying what to write instead.
pub fn validate(mesh: &PeatMesh) -> Result<ValidatedMesh, ValidateError> {
    let metadata = &mesh.metadata;
    let name = metadata.name.clone().ok_or(ValidateError::Metadata("name"))?;
    let namespace = metadata.namespace.clone().ok_or(ValidateError::Metadata("namespace"))?;
    let uid = metadata.uid.clone().ok_or(ValidateError::Metadata("uid"))?;
    // Every field is named, so that one added to the spec cannot be forgotten here.
    let PeatMeshSpec { mesh_id, sidecar, injection, discovery, identity, paused } = &mesh.spec;
    let IdentitySpec { certificate_ttl, expiry_grace } = identity;
    let bootstrap_peers = usize::try_from(discovery.bootstrap_peers)
        .ok()
        .filter(|k| (1..=16).contains(k))
        .ok_or(ValidateError::BootstrapPeers(discovery.bootstrap_peers))?;
    Ok(ValidatedMesh {
        key: MeshKey { namespace, name },
        id: mesh_id.clone().unwrap_or_else(|| uid.clone()),
        uid: MeshUid(uid),
        generation: metadata.generation,
        sidecar: parse_sidecar(sidecar),
        namespaces: parse_namespaces(&injection.allowed_namespaces)?,
        bootstrap_peers,
        certificate_ttl: duration("spec.identity.certificateTTL", certificate_ttl, Duration::from_secs(60), "1m")?,
        expiry_grace: duration("spec.identity.expiryGrace", expiry_grace, Duration::ZERO, "0s")?,
        paused: *paused,
    })
}

fn parse_sidecar(spec: &SidecarSpec) -> Sidecar {
    let SidecarSpec { image, image_pull_policy, log_level, resources, env, storage } = spec;
    let env = env.iter().map(|e| EnvVar { name: e.name.clone(), value: Some(e.value.clone()), value_from: None });
    Sidecar {
        image: image.clone(),
        pull_policy: *image_pull_policy,
        log_level: log_level.clone(),
        resources: ResourceRequirements {
            requests: Some(resources.requests.clone()).filter(|r| !r.is_empty()),
            limits: Some(resources.limits.clone()).filter(|l| !l.is_empty()),
            claims: None,
        },
        env: env.collect(),
        storage: storage.size_limit.clone(),
    }
}

fn parse_namespaces(spec: &AllowedNamespaces) -> Result<Namespaces, ValidateError> {
    match (spec.from, &spec.selector) {
        (NamespacesFrom::Same, _) => Ok(Namespaces::Same),
        (NamespacesFrom::All, _) => Ok(Namespaces::All),
        (NamespacesFrom::Selector, None) => Err(ValidateError::Selector("it is missing".into())),
        (NamespacesFrom::Selector, Some(selector)) => Selector::try_from(selector.clone())
            .map(Namespaces::Selected)
            .map_err(|error| ValidateError::Selector(error.to_string())),
    }
}

fn duration(
    field: &'static str,
    text: &str,
    least: Duration,
    least_text: &'static str,
) -> Result<Duration, ValidateError> {
    let parsed: kube::core::Duration =
        text.parse().map_err(|_| ValidateError::Duration { field, value: text.to_owned() })?;
    let value = Duration::from(parsed);
    if parsed.is_negative() || value < least {
        return Err(ValidateError::DurationTooShort { field, value: text.to_owned(), least: least_text });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mesh(spec: &str) -> PeatMesh {
        let text = format!(
            "{{apiVersion: peat.mesh/v1alpha1, kind: PeatMesh, \
             metadata: {{name: harbour, namespace: coast, uid: 0f9a3c5d-1}}, spec: {spec}}}"
        );
        serde_yaml::from_str(&text).unwrap()
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn an_empty_spec_is_a_mesh_with_the_defaults() {
        let mesh = validate(&mesh("{}")).unwrap();
        assert_eq!(mesh.key.to_string(), "coast/harbour");
        assert_eq!((mesh.id.as_str(), mesh.uid.0.as_str()), ("0f9a3c5d-1", "0f9a3c5d-1"));
        assert_eq!(mesh.certificate_ttl, Duration::from_secs(24 * 3600));
        assert_eq!(mesh.expiry_grace, Duration::from_secs(7 * 24 * 3600));
        assert_eq!(mesh.bootstrap_peers, 16);
        assert!(mesh.sidecar.resources.limits.is_some() && mesh.sidecar.resources.requests.is_some());
    }

    #[test]
    fn a_mesh_id_names_the_mesh_and_the_uid_still_names_its_objects() {
        let mesh = validate(&mesh("{meshID: north-sea}")).unwrap();
        assert_eq!((mesh.id.as_str(), mesh.uid.0.as_str()), ("north-sea", "0f9a3c5d-1"));
    }

    #[test]
    fn only_the_own_namespace_is_admitted_unless_the_mesh_says_more() {
        let staff = labels(&[("team", "pilots")]);
        let admits = |spec: &str, namespace: &str| validate(&mesh(spec)).unwrap().admits(namespace, &staff);
        let selector = |team: &str| {
            format!(
                "{{injection: {{allowedNamespaces: {{from: Selector, selector: {{matchLabels: {{team: {team}}}}}}}}}}}"
            )
        };
        assert!(admits("{}", "coast") && !admits("{}", "inland"));
        assert!(admits("{injection: {allowedNamespaces: {from: All}}}", "inland"));
        assert!(admits(&selector("pilots"), "inland") && !admits(&selector("cooks"), "inland"));
        assert!(admits(&selector("cooks"), "coast"));
    }

    #[test]
    fn what_an_older_schema_lets_through_is_refused_here() {
        let error = |spec: &str| validate(&mesh(spec)).unwrap_err();
        for (spec, category) in [
            ("{identity: {certificateTTL: 7d}}", "InvalidDuration"),
            ("{identity: {certificateTTL: 5s}}", "InvalidDuration"),
            ("{identity: {expiryGrace: -1h}}", "InvalidDuration"),
            ("{discovery: {bootstrapPeers: 0}}", "InvalidBootstrapPeers"),
            ("{injection: {allowedNamespaces: {from: Selector}}}", "InvalidSelector"),
            (
                "{injection: {allowedNamespaces: {from: Selector, selector: {matchExpressions: [{key: a, operator: Near}]}}}}",
                "InvalidSelector",
            ),
        ] {
            assert_eq!(error(spec).category(), category, "{spec}");
        }
        assert!(error("{identity: {certificateTTL: 7d}}").to_string().contains("such as 24h"));
    }

    #[test]
    fn an_object_that_was_never_stored_is_refused() {
        let mut mesh = mesh("{}");
        mesh.metadata.uid = None;
        assert_eq!(validate(&mesh), Err(ValidateError::Metadata("uid")));
    }
}
