//! Cores that talk to each other directly: what is written under which condition, and what catching up costs.
#![cfg(feature = "sim")]
#![allow(clippy::panic, clippy::unwrap_used, clippy::print_stdout, reason = "a test suite")]

mod apart;
mod catch_up;
mod collected;
mod concern;
mod conditions;
mod epochs;
mod leaving;
mod lost;
mod place;
mod refused;
mod rights;
mod sealed;
mod stamps;
mod ttl;
mod unknown;
