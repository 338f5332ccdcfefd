//! Reads what a test program of Rust's own harness printed.
//!
//! Input: its whole output and whether it ended well. Output: [`Counts`]. Believes the printed totals, and counts a
//! program that ended badly without reporting a failure as one failure of its own.

/// What ran.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    /// How many passed.
    pub(crate) passed: usize,
    /// `program: test`, one entry for each failure.
    pub(crate) failed: Vec<String>,
    /// `program: test` for each that failed among the others and passed when it was run alone. Each wants a mend.
    pub(crate) flaky: Vec<String>,
    /// How many were not run because they are marked to be run by hand.
    pub(crate) ignored: usize,
    /// What a test found that it cannot do on this machine, and why; such a test counts as neither passed nor failed.
    pub(crate) left_out: Vec<String>,
}

impl Counts {
    /// Adds `other` to these.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { passed, failed, flaky, ignored, left_out } = other;
        self.passed += passed;
        self.failed.extend(failed);
        self.flaky.extend(flaky);
        self.ignored += ignored;
        self.left_out.extend(left_out);
    }
}

/// Counts the results in `output` of `program`, which `succeeded` or not as a process.
pub(crate) fn tests(output: &str, program: &str, succeeded: bool) -> Counts {
    let mut counts = Counts::default();
    let mut reported = 0;
    for line in output.lines() {
        if let Some(totals) = line.strip_prefix("test result: ") {
            counts.passed += total(totals, "passed");
            counts.ignored += total(totals, "ignored");
            reported += total(totals, "failed");
        } else if let Some(test) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            counts.failed.push(format!("{program}: {test}"));
        } else if let Some(what) = line.strip_prefix("left out: ") {
            counts.left_out.push(what.to_owned());
        }
    }
    // The harness has no word for them: to it, a test that returns has passed.
    counts.passed = counts.passed.saturating_sub(counts.left_out.len());
    // Output of a test can fall between its name and its result, so the totals may know of more failures than the
    // lines.
    for index in counts.failed.len()..reported {
        counts.failed.push(format!("{program}: failure {}", index + 1));
    }
    if !succeeded && counts.failed.is_empty() {
        counts.failed.push(format!("{program}: ended without saying which test failed"));
    }
    counts
}

/// The number before `word` in `ok. 5 passed; 0 failed; 1 ignored`.
fn total(totals: &str, word: &str) -> usize {
    let part = totals.split([';', '.']).find_map(|part| part.trim().strip_suffix(word));
    part.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_several_programs_add_up() {
        let output = "test a ... ok\ntest result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                      test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.25s\n";
        assert_eq!(tests(output, "p", true), Counts { passed: 7, ignored: 1, ..Counts::default() });
    }

    #[test]
    fn a_test_that_says_it_is_left_out_has_not_passed() {
        let output =
            "left out: curl: it is not installed\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n";
        let left_out = vec!["curl: it is not installed".to_owned()];
        assert_eq!(tests(output, "p", true), Counts { passed: 1, left_out, ..Counts::default() });
    }

    #[test]
    fn a_failure_is_named() {
        let output =
            "test mesh::a_peer_leaves ... FAILED\ntest result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured\n";
        assert_eq!(tests(output, "p", false).failed, ["p: mesh::a_peer_leaves"]);
    }

    #[test]
    fn a_failure_whose_line_was_torn_is_still_counted() {
        let output = "test a ... some output\nFAILED\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured\n";
        assert_eq!(tests(output, "p", false).failed, ["p: failure 1"]);
    }

    #[test]
    fn a_program_that_dies_is_one_failure() {
        assert_eq!(tests("test a ... ok\n", "p", false).failed.len(), 1);
    }
}
