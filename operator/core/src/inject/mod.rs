//! Injection: what becomes of a pod that is about to be created.
//!
//! One pure function, [`inject`], serves webhook, command line and golden tests. It resolves what the pod asks for
//! ([`decide`]), checks that the sidecar can work in it ([`fit`]), builds container and volumes ([`sidecar`]) and says
//! how to change the pod ([`patch`]). [`census`] counts pods that exist by the same rules. Inputs: [`InjectRequest`].
//! Outputs: [`Injection`]: a patch, and a warning for whoever asked and is not served. What it does not do: read or
//! write objects; have side effects. Guarantee: injecting twice is injecting once.

pub mod census;
pub mod decide;
pub mod fit;
pub mod patch;
mod refusal;
pub mod sidecar;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use json_patch::Patch;
use k8s_openapi::api::core::v1::Pod;
use peat_crds::names::annotation;

pub use decide::{Ask, resolve};
pub use refusal::Refusal;

use crate::{
    mesh::{MeshIndex, NamespaceView, ValidatedMesh},
    names::MeshKey,
};
use sidecar::Profile;

/// What the operator adds to every sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectConfig {
    /// Image where neither mesh nor pod names one.
    pub image: String,
    /// `https://host:port` of the membership server, as pods reach it.
    pub membership_url: String,
    /// PEM of the operator's certificate authorities.
    pub membership_ca: String,
}

/// A pod about to be created, and all that decides what becomes of it.
#[derive(Debug, Clone, Copy)]
pub struct InjectRequest<'a> {
    /// The pod as sent. Its `metadata.namespace` may be empty; `namespace` counts.
    pub pod: &'a Pod,
    /// The namespace it is created in.
    pub namespace: NamespaceView<'a>,
    /// Every mesh of the cluster.
    pub meshes: &'a MeshIndex,
    /// What the operator adds.
    pub config: &'a InjectConfig,
}

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Injection {
    /// It gets the sidecar.
    Inject {
        /// The mesh it joins.
        mesh: MeshKey,
        /// How to change the pod.
        patch: Patch,
        /// What is not as the pod's author may expect; at most 256 characters each.
        warnings: Vec<String>,
    },
    /// It stays as it is, and that is right.
    Skip(Skip),
    /// It asked and cannot be served; it is created without the sidecar.
    Refuse {
        /// Why, and what to write instead.
        refusal: Refusal,
        /// Notes the reason in the annotation `peat.mesh/status`; may be empty.
        patch: Patch,
    },
}

/// Why a pod rightly stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Neither the pod nor its namespace asks.
    NotAsked,
    /// `peat.mesh/inject: "false"`.
    OptedOut,
    /// It has our sidecar.
    AlreadyInjected,
}

impl Injection {
    /// How to change the pod; `None` to leave it alone.
    pub fn patch(&self) -> Option<&Patch> {
        match self {
            Self::Inject { patch, .. } | Self::Refuse { patch, .. } => Some(patch).filter(|p| !p.0.is_empty()),
            Self::Skip(_) => None,
        }
    }

    /// What to warn about in the admission response; at most 256 characters each, so that none is cut.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Inject { warnings, .. } => warnings.clone(),
            Self::Refuse { refusal, .. } => vec![refusal.warning()],
            Self::Skip(_) => Vec::new(),
        }
    }

    /// Outcome as the label of a metric: from a fixed set.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Inject { .. } => "injected",
            Self::Skip(Skip::NotAsked) => "not_asked",
            Self::Skip(Skip::OptedOut) => "opted_out",
            Self::Skip(Skip::AlreadyInjected) => "already_injected",
            Self::Refuse { refusal, .. } => refusal.category(),
        }
    }
}

/// Decides what becomes of a pod.
///
/// Guarantees: equal requests give equal answers. Applying the patch and asking again gives `Skip(AlreadyInjected)`. A
/// patch touches annotations, one label, `initContainers/0` and appended volumes, nothing else. Cannot fail: whatever
/// is wrong with the request is a [`Refusal`].
pub fn inject(request: &InjectRequest<'_>) -> Injection {
    let nothing = BTreeMap::new();
    let annotations = request.pod.metadata.annotations.as_ref().unwrap_or(&nothing);
    let already = fit::is_injected(request.pod);
    match resolve(annotations, request.namespace, request.meshes) {
        Ask::Nothing => Injection::Skip(Skip::NotAsked),
        Ask::OptOut => Injection::Skip(Skip::OptedOut),
        Ask::Mesh(_) | Ask::Refused(_) if already => Injection::Skip(Skip::AlreadyInjected),
        Ask::Refused(refusal) => refuse(request.pod, refusal),
        Ask::Mesh(mesh) => injected(request, annotations, mesh).unwrap_or_else(|refusal| refuse(request.pod, refusal)),
    }
}

fn injected(
    request: &InjectRequest<'_>,
    annotations: &BTreeMap<String, String>,
    mesh: &ValidatedMesh,
) -> Result<Injection, Refusal> {
    let shape = fit::fit(request.pod, &mesh.key)?;
    let profile = Profile::new(mesh, annotations, request.config)?;
    let warnings = shape.warnings();
    let patch = patch::inject(request.pod, &profile, &shape);
    Ok(Injection::Inject { mesh: mesh.key.clone(), patch, warnings })
}

fn refuse(pod: &Pod, refusal: Refusal) -> Injection {
    let patch = patch::annotate(pod, annotation::STATUS, &refusal.to_string());
    Injection::Refuse { refusal, patch }
}
