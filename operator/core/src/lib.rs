//! What should exist in the cluster, and why: the decisions of the Peat operator, without the doing.
//!
//! Pipeline of a mesh: the shell reads, [`mesh::validate`](fn@mesh::validate) makes a PeatMesh a
//! [`mesh::ValidatedMesh`], [`mesh::build`](fn@mesh::build) says what should exist as
//! [`resources::Resources<Prepared>`](resources::Resources), the shell applies it, and
//! [`mesh::status`](fn@mesh::status) reports, accepting only what was applied. A peer goes the same way through
//! [`peer`]. The webhook asks [`inject::inject`]; the membership server asks [`identity`] what to verify and certify,
//! and [`discovery`] whom to name.
//!
//! Inputs: objects as read, configuration, and where they matter the time and a random number, as arguments.
//! Outputs: objects to apply, patches, and plain values.
//! What it does not do: talk to an API server, read a clock, draw random numbers, hold keys. Equal inputs give equal
//! outputs on every replica.

#![warn(clippy::wildcard_enum_match_arm, clippy::iter_over_hash_type)]

pub mod backoff;
pub mod conditions;
pub mod discovery;
pub mod identity;
pub mod inject;
pub mod labels;
pub mod mesh;
pub mod names;
pub mod peer;
pub mod resources;
