//! Documents: JSON in and out, and the two ways in which concurrent writes merge.
//!
//! Purpose: [`json`] parses and prints, [`path`] flattens an object into leaves, [`full`] keeps them in Automerge,
//! [`row`] is what a store and a peer hold of a document. What it does not do: know peers, time or disks.

pub mod full;
pub mod json;
pub mod kind;
mod path;
pub mod row;

pub use json::Document;
pub use kind::Kind;
