//! `cargo xtask soak`: real nodes under mixed load, for as long as asked.
//!
//! Input: flags. Output: the suite's own: lines of progress and a verdict for each node on memory, disk and handles;
//! fails when one of them grows. The scenario is that of the acceptance suite, which runs it for a quarter of a minute.

use anyhow::{Context as _, Result, bail, ensure};
use std::time::Duration;
use tokio::process::Command;

/// How long to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Length of the load: a number with `s`, `m` or `h`.
    #[arg(long = "for", value_name = "TIME", value_parser = length, default_value = "1h")]
    lasting: Duration,
}

/// Runs the scenario.
pub(crate) async fn run(args: Args) -> Result<()> {
    let Args { lasting } = args;
    let mut command = Command::from(crate::cargo::command());
    // The whole workspace, so that compiled crates are the same as in the tests.
    command.current_dir(crate::root()?).args(["test", "--locked", "--workspace", "--quiet", "--test", "mesh_faults"]);
    command.args(["--", "under_mixed_load", "--nocapture"]).env("PEAT_SOAK_SECONDS", lasting.as_secs().to_string());
    let mut child = command.spawn().context("start cargo")?;
    loop {
        tokio::select! {
            ended = child.wait() => {
                ensure!(ended.context("wait for cargo")?.success(), "not flat, or interrupted");
                return Ok(());
            }
            // The suite hears it as well and takes its nodes down; this program waits for that.
            heard = tokio::signal::ctrl_c() => heard.context("listen for interrupts")?,
        }
    }
}

fn length(text: &str) -> Result<Duration> {
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).context("a number with a unit")?;
    let number: u64 = number.parse().context("a number before the unit")?;
    let seconds = match unit {
        "s" => number,
        "m" => number * 60,
        "h" => number * 3600,
        _ => bail!("the unit is none of s, m and h"),
    };
    ensure!(seconds >= 15, "15 s at least: less shows nothing");
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_a_number_with_a_unit() {
        assert_eq!(length("20m").unwrap(), Duration::from_secs(1200));
        assert_eq!(length("15s").unwrap(), Duration::from_secs(15));
        for wrong in ["", "h", "1", "1d", "-1h", "5s", "é"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }
}
