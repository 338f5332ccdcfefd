//! What the suites and benchmarks of this workspace share.
//!
//! Purpose: the suites are in `tests/`; this library holds what more than one of them, or a benchmark, needs.
//! What it does not do: imitate any part of the product or of Kubernetes.

pub mod bench;
pub mod e2e;
pub mod envtest;
