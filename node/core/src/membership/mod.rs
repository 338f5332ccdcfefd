//! Which peers there are, which of them to dial and when, and which of two connections stays.
//!
//! Inputs: wishes from every source, results of dials, connections coming and going; outputs: dials and closes.
//! One book serves flags, API and operator alike, so that a wished peer is never forgotten and never dialled twice at
//! once. What it does not do: prove a peer's identity, or carry documents.

pub mod backoff;
pub(crate) mod book;
mod view;

pub(crate) use book::PeerBook;
pub use view::{PeerState, PeerView};
