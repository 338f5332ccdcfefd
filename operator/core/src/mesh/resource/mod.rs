//! The objects of a mesh, one Kubernetes kind per file.
//!
//! What it does not do: Secrets; keys are the shell's.

pub mod config_map;
