//! Certificate authorities: the operator's own (TLS) and one per mesh (identities), and what they sign.
//!
//! Inputs: the clock as an argument and, for new keys and serials, the system's random source. Outputs: PEM for
//! Secrets and ConfigMaps, DER for streams. Private keys never leave this module except towards a Secret.
//! What it does not do: talk to the API server ([`store`] does) or decide who deserves a certificate.

mod generation;
mod leaf;
pub mod meshes;
pub mod store;

pub use generation::{Authority, AuthorityError, Kind};
pub use leaf::{LeafError, ServerLeaf, server_leaf, svid};
