//! What should exist in the cluster, and why: the decisions of the Peat operator, without the doing.
//!
//! Pipeline of a mesh: the shell reads ([`mesh::validate`]: PeatMesh -> [`mesh::ValidatedMesh`]), asks what should exist
//! ([`mesh::build`] -> [`resources::Resources<Prepared>`](resources::Resources)), applies it, and reports
//! ([`mesh::status`], which accepts only what was applied). A peer goes the same way through [`peer`]. The webhook asks
//! [`inject::inject`]; the membership server asks [`identity`] what to verify and certify, and [`discovery`] whom to name.
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
