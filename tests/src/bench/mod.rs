//! Benchmarks: real processes, figures with the limit that they are measured against in the same run.
//!
//! Inputs: the path of the `peat-node` binary; outputs: [`Figure`]s. Machines differ and are noisy, so a figure without the
//! ratio beside it says little. What it does not do: judge; the budgets are printed next to the figures.

pub mod node;
mod process;
mod stats;

pub use stats::{Figure, Latencies};
