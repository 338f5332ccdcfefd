//! The objects of one mesh, with the stage they are in as part of the type.
//!
//! Inputs: [`mesh::build`](crate::mesh::build). Outputs: `Resources<Prepared>`, which the shell applies and turns into
//! `Resources<Applied>`; status takes only the latter, so a status about things merely built does not compile.
//! What it does not do: apply. Secrets are not here: keys are the shell's.

use std::marker::PhantomData;

use k8s_openapi::api::core::v1::ConfigMap;

/// Built, not yet in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {}

/// In the cluster, as far as the API server said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Applied {}

/// The objects of one mesh. Whoever applies them takes the struct apart without `..`, so that a new kind cannot be
/// forgotten.
#[derive(Debug, Clone, PartialEq)]
pub struct Resources<Stage> {
    /// One per namespace served.
    pub config_maps: Vec<ConfigMap>,
    /// The stage; carries nothing.
    pub stage: PhantomData<Stage>,
}

impl Resources<Prepared> {
    /// Collects what should exist.
    pub(crate) fn prepared(config_maps: Vec<ConfigMap>) -> Self {
        Self { config_maps, stage: PhantomData }
    }
}

impl Resources<Applied> {
    /// What the API server returned for each object of a `Resources<Prepared>`. Only the apply step makes one.
    pub fn applied(config_maps: Vec<ConfigMap>) -> Self {
        Self { config_maps, stage: PhantomData }
    }
}
