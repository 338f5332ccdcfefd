//! The stage with real pods: which cluster it runs on, and whether it can.
//!
//! Input: `PEAT_CLUSTER`, and whether this process is root on Linux. Output: the [`Outcome`] of the `e2e_` suites.

use anyhow::Result;

use super::{Runner, stage::Stage, summary::Outcome};

/// Runs the suites on the chosen cluster, or says why not.
pub(crate) async fn run(runner: &mut Runner) -> Result<Outcome> {
    let has_suites = runner.suites.as_ref().is_some_and(|suites| suites.has(Stage::Pods));
    if !has_suites {
        return Ok(Outcome::LeftOut("no suite was built".to_owned()));
    }
    runner.programs(Stage::Pods).await
}
