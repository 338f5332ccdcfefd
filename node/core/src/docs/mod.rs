//! Documents: JSON in and out, and the two ways in which concurrent writes merge.
//!
//! Purpose: [`json`] parses and prints, [`path`] flattens an object into leaves, [`full`] keeps them in Automerge
//! and [`first`] writes and reads a new one without it,
//! [`chunk`] tells Automerge's chunks apart, [`columns`] counts what is in them, [`received`] reads changes of peers,
//! [`sealed`] keeps what is encrypted, [`life`] says whether a delete or an edit counts,
//! [`generation`] which history it has, [`epoch`] begins a history anew before it grows too long, and
//! [`row`] is what a store and a peer hold of a document. What it does not do: know peers, time or disks.

pub(crate) mod chunk;
mod columns;
pub mod epoch;
pub mod first;
pub mod full;
pub mod generation;
pub mod json;
pub mod kind;
mod leb128;
pub mod life;
mod path;
pub mod received;
pub mod row;
pub mod sealed;

pub use json::Document;
pub use kind::{Kind, Kinds};
pub use sealed::Sealed;
