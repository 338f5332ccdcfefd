//! What a node has to prove, and what its certificate must say, as plain values.
//!
//! Inputs: a mesh, a pod, an endpoint ID, the time. Outputs: the message that a node signs ([`join_message`]) and a
//! [`Certificate`] to be signed. What it does not do: sign, verify, parse tokens, hold keys; the shell does.

mod certificate;
mod join;
mod spiffe;

pub use certificate::{Certificate, certificate, renewal_delay};
pub use join::join_message;
pub use spiffe::{PodIdentity, SpiffeError, SpiffeId};
