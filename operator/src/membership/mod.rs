//! The membership server: `peat.membership.v1.Membership`, one stream per node.
//!
//! Inputs: streams of nodes, the caches, the API server. Outputs: PeatPeer statuses, certificates, peers, revocations.
//! Order on a stream: hello, challenge, proof ([`join`]), joined, then updates both ways ([`session`]).
//! Guarantees: nobody gets a certificate without a valid token of the pod it names, the private key it names, and an
//! address of that pod; memory per stream is bounded, as are message sizes and the time of each step.
//! What it does not do: carry documents, or stop nodes from talking to each other when it is away.

mod directory;
mod hello;
mod join;
pub(crate) mod record;
mod refusal;
mod service;
mod session;
mod sessions;
mod token;

pub use directory::Directory;
pub use record::RecordError;
pub use service::{Context, MembershipService};
pub(crate) use sessions::Sessions;
