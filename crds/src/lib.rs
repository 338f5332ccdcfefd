//! Custom resources `PeatMesh` and `PeatPeer`, and the names that operator and node share.
//!
//! Purpose: the types behind `peat.mesh/v1alpha1`, with their defaults and CEL rules, from which the committed YAML is
//! generated. What a schema can refuse is refused here, so that no validating webhook is needed.
//! Inputs: none. Outputs: Rust types, and [`all`] for whoever installs or prints the definitions.
//! What it does not do: talk to an API server; it has no runtime.

#[expect(
    unreachable_pub,
    clippy::duplicated_attributes,
    reason = "the derive of CEL rules makes public types inside functions; columns repeat their type"
)]
pub mod mesh;
pub mod names;
#[expect(unreachable_pub, reason = "as above")]
pub mod peer;
mod schema;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use mesh::{PeatMesh, PeatMeshSpec, PeatMeshStatus};
pub use peer::{PeatPeer, PeatPeerSpec, PeatPeerStatus};

/// Both definitions, in the order in which they are to be installed (neither needs the other).
///
/// They carry the recommended labels and nothing that depends on how they get installed. Use these instead of
/// `PeatMesh::crd()`, which lets every optional field be null and wants a `spec` of those who are content with the
/// defaults.
pub fn all() -> Vec<CustomResourceDefinition> {
    [schema::spec_may_be_left_out(PeatMesh::crd()), PeatPeer::crd()].map(schema::without_nulls).into()
}
