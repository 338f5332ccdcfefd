//! TLS of the webhook and of the membership server: one identity, two listeners, hot reload.
//!
//! Inputs: the operator's authority in its Secret, the names clients dial. Outputs: served connections, and the CA
//! bundle that clients must trust, as a `watch` channel. What it does not do: authenticate clients; nodes prove who
//! they are inside the membership stream, and the API server is limited to what admission gives it.

mod identity;
mod serve;

pub use identity::{TlsError, TlsIdentity};
pub use serve::{Limits, serve};
