//! What the stages came to, as one page.
//!
//! Input: a [`Report`] per stage. Output: a table, what was left out and why, what failed with the end of its log, and
//! the closing line `N passed, N failed`.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{count::Counts, stage::Stage};

/// How many lines of the log of a failed stage are repeated.
const TAIL: usize = 60;

/// What became of a stage.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It ran.
    Ran(Counts),
    /// It cannot run on this machine, and why.
    LeftOut(String),
}

impl Outcome {
    /// A stage that passes or fails as one.
    pub(crate) fn whole(name: &str, passed: bool) -> Self {
        let failed = if passed { Vec::new() } else { vec![name.to_owned()] };
        Self::Ran(Counts { passed: usize::from(passed), failed, ..Counts::default() })
    }

    /// A stage that could not even be tried.
    pub(crate) fn broken(name: &str, error: &anyhow::Error) -> Self {
        Self::Ran(Counts { failed: vec![format!("{name}: {error:#}")], ..Counts::default() })
    }
}

/// One stage's line.
#[derive(Debug)]
pub(crate) struct Report {
    /// Which.
    pub(crate) stage: Stage,
    /// How long it ran.
    pub(crate) took: Duration,
    /// What became of it.
    pub(crate) outcome: Outcome,
    /// Its log, which does not exist when it wrote none.
    pub(crate) log: PathBuf,
}

impl Report {
    /// The result in a few words. Never of the form of the closing line, which appears once.
    pub(crate) fn line(&self) -> String {
        let took = format!("{:.1} s", self.took.as_secs_f64());
        match &self.outcome {
            Outcome::LeftOut(_) => format!("{:<14} left out", self.stage.name()),
            Outcome::Ran(counts) if counts.failed.is_empty() => {
                format!("{:<14} ok      {:>5}  {took:>9}", self.stage.name(), counts.passed)
            }
            Outcome::Ran(counts) => {
                let of = counts.passed + counts.failed.len();
                format!(
                    "{:<14} FAILED  {:>5}  {took:>9}  ({} of {of} failed)",
                    self.stage.name(),
                    counts.passed,
                    counts.failed.len()
                )
            }
        }
    }
}

/// Every report so far.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    reports: Vec<Report>,
}

impl Summary {
    /// Adds the report of one more stage.
    pub(crate) fn add(&mut self, report: Report) {
        self.reports.push(report);
    }

    fn counts(&self) -> impl Iterator<Item = (&Report, &Counts)> {
        self.reports.iter().filter_map(|report| match &report.outcome {
            Outcome::Ran(counts) => Some((report, counts)),
            Outcome::LeftOut(_) => None,
        })
    }

    /// How many checks and tests failed.
    pub(crate) fn failed(&self) -> usize {
        self.counts().map(|(_, counts)| counts.failed.len()).sum()
    }

    /// Prints the page to standard output.
    pub(crate) fn print(&self) -> io::Result<()> {
        io::stderr().flush()?;
        let mut out = io::stdout().lock();
        self.write(&mut out)?;
        out.flush()
    }

    fn write(&self, out: &mut impl io::Write) -> io::Result<()> {
        for (report, counts) in self.counts().filter(|(_, counts)| !counts.failed.is_empty()) {
            let tail = tail(&report.log);
            if !tail.is_empty() {
                writeln!(
                    out,
                    "\n----- end of {} ({} failed) -----\n{tail}",
                    report.log.display(),
                    counts.failed.len()
                )?;
            }
        }
        writeln!(out, "\nstage          result  tests       time")?;
        for report in &self.reports {
            writeln!(out, "{}", report.line())?;
        }
        self.write_left_out(out)?;
        self.write_flaky(out)?;
        if self.failed() > 0 {
            writeln!(out, "\nfailed:")?;
        }
        for (report, counts) in self.counts() {
            for name in &counts.failed {
                writeln!(out, "  {}: {name} (log: {})", report.stage.name(), report.log.display())?;
            }
        }
        let passed: usize = self.counts().map(|(_, counts)| counts.passed).sum();
        writeln!(out, "\n{passed} passed, {} failed", self.failed())
    }

    fn write_flaky(&self, out: &mut impl io::Write) -> io::Result<()> {
        let flaky: Vec<_> =
            self.counts().flat_map(|(report, counts)| counts.flaky.iter().map(move |name| (report, name))).collect();
        if !flaky.is_empty() {
            writeln!(out, "\nflaky (failed once, passed alone; to be mended):")?;
        }
        let mut lines = flaky.iter();
        lines.try_for_each(|(report, name)| {
            writeln!(out, "  {}: {name} (log: {})", report.stage.name(), report.log.display())
        })
    }

    fn write_left_out(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut lines = Vec::new();
        for report in &self.reports {
            match &report.outcome {
                Outcome::LeftOut(reason) => lines.push(format!("{}: {reason}", report.stage.name())),
                Outcome::Ran(counts) => {
                    lines.extend(counts.left_out.iter().map(|what| format!("{}: {what}", report.stage.name())));
                    if counts.ignored > 0 {
                        lines.push(format!("{}: {} tests that are run by hand", report.stage.name(), counts.ignored));
                    }
                }
            }
        }
        if !lines.is_empty() {
            writeln!(out, "\nleft out:")?;
        }
        lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
    }
}

/// The end of a log; empty when there is none.
fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    // The build's log has cargo's messages for programs between those for people.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("{\"reason\"")).collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(stage: Stage, outcome: Outcome) -> Report {
        Report { stage, took: Duration::from_secs(1), outcome, log: PathBuf::from("no-such-log") }
    }

    fn page(reports: Vec<Report>) -> String {
        let mut page = Vec::new();
        Summary { reports }.write(&mut page).unwrap();
        String::from_utf8(page).unwrap()
    }

    #[test]
    fn the_last_line_is_the_total_and_stands_alone() {
        let failed = Counts { passed: 2, failed: vec!["a: b".to_owned()], ..Counts::default() };
        let page = page(vec![
            report(Stage::Format, Outcome::whole("format", true)),
            report(Stage::Unit, Outcome::Ran(failed)),
        ]);
        assert_eq!(page.lines().last(), Some("3 passed, 1 failed"));
        assert_eq!(page.matches(" passed, ").count(), 1);
        assert!(page.contains("unit: a: b"));
    }

    #[test]
    fn what_passed_only_alone_is_named() {
        let flaky = Counts { passed: 2, flaky: vec!["a: b".to_owned()], ..Counts::default() };
        let page = page(vec![report(Stage::Nodes, Outcome::Ran(flaky))]);
        assert!(page.contains("to be mended):\n  nodes: a: b (log: no-such-log)\n"));
        assert_eq!(page.lines().last(), Some("2 passed, 0 failed"));
    }

    #[test]
    fn what_is_left_out_is_named_and_not_counted() {
        let client = Counts { left_out: vec!["curl: it is not installed".to_owned()], ..Counts::default() };
        let page = page(vec![
            report(Stage::Pods, Outcome::LeftOut("needs root".to_owned())),
            report(Stage::Nodes, Outcome::Ran(client)),
        ]);
        assert!(page.contains("left out:\n  pods: needs root\n  nodes: curl: it is not installed\n"));
        assert_eq!(page.lines().last(), Some("0 passed, 0 failed"));
    }
}
