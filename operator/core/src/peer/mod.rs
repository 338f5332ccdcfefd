//! One peer: the record of a node.
//!
//! Steps: [`validate`](fn@validate) (raw PeatPeer -> [`ValidatedPeer`]), [`build`](fn@build) (pod -> PeatPeer),
//! [`status`] (registration -> status). What it does not do: read or write objects; check who may register.

mod build;
pub mod status;
mod validate;

pub use build::{PodFacts, build};
pub use status::Registration;
pub use validate::{PeerKind, ValidateError, ValidatedPeer, validate};
