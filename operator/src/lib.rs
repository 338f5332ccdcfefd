//! The Peat operator: controllers, admission webhook and membership server around `peat-operator-core`.
//!
//! Inputs: a checked [`cli::Config`], bound [`Listeners`], a client of the API server. Output: [`run`], which ends when
//! its token is cancelled. A library so that tests run the whole operator in their own process against a real API
//! server; `main.rs` only adds flags, telemetry and signals.
//! What it does not do: decide what should exist (the core does), or read the environment.

pub mod admin;
pub mod authority;
pub mod cache;
pub mod check;
pub mod cleanup;
pub mod cli;
pub mod controller;
pub mod error;
pub mod membership;
pub mod metrics;
pub mod queue;
pub mod records;
mod run;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod tls;
pub mod webhook;

pub use run::{Listeners, RunError, run};
