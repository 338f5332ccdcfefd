//! One peer: the record of a node.
//!
//! Steps: [`validate`](fn@validate) (raw PeatPeer -> [`ValidatedPeer`]), [`build`](fn@build) (pod -> PeatPeer),
//! [`status`] (registration -> status), [`external`](fn@external) (record of a node outside -> whom pods are told
//! about). What it does not do: read or write objects; check who may register.

mod build;
mod external;
pub mod status;
mod validate;

pub use build::{PodFacts, build};
pub use external::{ExternalError, external};
pub use status::Registration;
pub use validate::{PeerKind, ValidateError, ValidatedPeer, validate};
