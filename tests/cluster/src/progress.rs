//! One line on standard error per step that a person may have to wait for.
//!
//! Input: a line. Output: the same on standard error, also under the test harness, because a first run builds for
//! minutes and silence would look like a hang. Does not log what is quick.

use std::io::Write as _;

/// Prints `line`. A closed standard error is no reason to stop, so its failure is ignored.
pub(crate) fn report(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "cluster: {line}");
}
