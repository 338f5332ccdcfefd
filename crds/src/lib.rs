//! Custom resources `PeatMesh` and `PeatPeer`, and the names that operator and node share.
//!
//! Purpose: the types behind `peat.mesh/v1alpha1`, with their CEL rules, from which the committed YAML is generated.
//! What it does not do: talk to an API server; it has no runtime.

pub mod names;
