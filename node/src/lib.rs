//! The Peat node: Iroh, disk and APIs around the engine of `peat-node-core`.
//!
//! Purpose: the process beside an application. Inputs: flags, environment, API calls, frames of peers. Outputs: API
//! answers, frames, rows on disk. Everything that decides what a document is or what a peer needs lives in the core.
//! What it does not do: parse Kubernetes objects.

pub mod admin;
pub mod api;
pub mod changes;
pub mod cli;
pub mod client;
mod clock;
pub mod config;
#[cfg(test)]
mod corpus;
pub mod driver;
mod expiry;
pub mod handle;
mod hkdf;
pub mod identity;
pub mod membership;
pub mod metrics;
pub mod quota;
mod rights;
pub mod run;
mod secrets;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod traffic;
pub mod transport;
pub mod vault;

/// The checks of the fuzz targets see this crate from outside.
#[cfg(test)]
extern crate self as peat_node;
