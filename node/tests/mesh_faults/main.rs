//! What nodes do when the network, a neighbour, the disk or they themselves fail: real processes, real faults.
//!
//! Inputs: none needed; `PEAT_SEED`, `PEAT_KILLS`, `PEAT_DAMAGES` and `PEAT_SOAK_SECONDS` are for longer runs by hand.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub,
    reason = "a test suite"
)]

mod damaged;
mod fail_points;
mod impaired;
mod killed;
mod link;
mod pair;
mod parted;
#[path = "../process/mod.rs"]
mod process;
mod soak;
mod stalled;
mod walled;

/// A number from the environment, for longer runs by hand.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}
