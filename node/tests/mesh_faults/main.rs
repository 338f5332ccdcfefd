//! What nodes do when the network, a neighbour, the disk or they themselves fail: real processes, real faults.
//!
//! Inputs: none needed. For longer runs by hand: `PEAT_SEED`, `PEAT_KILLS` (25), `PEAT_DAMAGES`
//! (24), `PEAT_PARTED_PUTS` (on each side of a cut, 1,000), `PEAT_STALLED_SECS` (that a neighbour does not read, 0: as long
//! as the writes take), `PEAT_IMPAIRED_SECS` (of writes over a bad link, 10) and `PEAT_SOAK_SECONDS` (15).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs,
    unreachable_pub,
    reason = "a test suite"
)]

mod bounded;
mod clocks;
mod damaged;
mod fail_points;
mod impaired;
mod killed;
mod link;
mod pair;
mod parted;
#[path = "../process/mod.rs"]
mod process;
mod relayed;
mod soak;
mod stalled;
mod walled;

use std::io::Write as _;

/// A number from the environment, for longer runs by hand.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Says that `what` is not tested here; the caller returns. On a line of its own, past the harness, which keeps the
/// prints of a test that passes to itself.
fn leave_out(what: &str, reason: &str) {
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = write!(std::io::stderr(), "\nleft out: {what}: {reason}\n");
}
