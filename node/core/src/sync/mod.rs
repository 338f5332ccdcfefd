//! How two nodes find out what the other lacks, and bring it.
//!
//! - **Live**: each neighbour has a set of dirty keys ([`neighbour`]), not a queue of messages. A slow neighbour costs at
//!   most one entry per document and gets the latest state when there is room again, what matters most first (`owed`).
//! - **Catch-up**: [`digest`] keeps a hash tree over (key, version); two nodes compare it from the root down and exchange
//!   key lists only where it differs ([`frame`] has the messages). Every answer is computed from the state of the moment,
//!   so any lost message is made good by the next comparison of roots, which comes every few seconds.
//! - **Spread**: changes travel with their content along a tree of eager links and by name on the others (`spread`).
//! - **Rights**: neighbours that may not have everything compare what they share (`flow`), and what goes one way is
//!   confirmed by its receiver (`one_way`).
//!
//! What it does not do: prove who a peer is, or move bytes.

pub mod digest;
pub(crate) mod flow;
pub mod frame;
pub(crate) mod neighbour;
pub(crate) mod one_way;
pub(crate) mod owed;
pub(crate) mod spread;
pub(crate) mod word;
