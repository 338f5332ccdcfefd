//! The Peat mesh engine without I/O.
//!
//! Purpose: documents that converge between peers, whatever the network does. One door, [`MeshNode::handle`]: an
//! [`Input`] with the time goes in, [`Outputs`] come out; the shell persists, then sends, then answers.
//! What it does not do: read a clock, draw randomness, hold a key, touch a disk or a socket. Time is an argument, the
//! seed of the jitter is part of [`Config`], and a connection reaches the core only after the shell has proved the
//! peer.
#![warn(clippy::wildcard_enum_match_arm, clippy::iter_over_hash_type)]

#[cfg(test)]
mod corpus;
pub mod docs;
pub mod event;
pub mod ids;
pub mod membership;
mod node;
pub mod policy;
pub mod rights;
pub mod rows;
mod shelf;
#[cfg(feature = "sim")]
pub mod sim;
pub mod stamp;
pub mod sync;

pub use event::{Input, Now, Output, Outputs};
pub use node::{Config, MeshNode, PeerState, PeerView, Stats};
pub use rows::{ReadError, Rows};
pub use shelf::Stored;

/// The checks of the fuzz targets see this crate from outside.
#[cfg(test)]
extern crate self as peat_node_core;
