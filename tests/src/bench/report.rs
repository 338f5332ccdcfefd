//! The report: figures in the order of measuring, what was left out and why, and on what machine.
//!
//! Inputs: [`Figure`]s; outputs: a Markdown table, and JSON by `serde`. Each line also goes to standard error when it
//! is known, so that a run that is stopped has shown what it found. What it does not do: measure.

use super::{Figure, Group, Sizes};
use anyhow::Result;
use serde::Serialize;
use std::fmt;

/// What was not measured.
#[derive(Debug, Clone, Serialize)]
pub struct LeftOut {
    /// The group it belongs to.
    pub group: Group,
    /// What it is.
    pub what: String,
    /// Why not.
    pub reason: String,
}

/// Where the figures come from.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Model of the processor, where Linux knows it.
    pub processor: String,
    /// Version of the kernel.
    pub kernel: String,
    /// Load of the last minute when the run began: far above 0, others worked at the same time.
    pub load_before: f64,
}

impl Machine {
    /// This one.
    pub fn this() -> Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let model = read("/proc/cpuinfo").lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        });
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: model.unwrap_or_default(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_before: read("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
        })
    }
}

/// See the module.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// How much.
    pub sizes: Sizes,
    /// What was measured.
    pub figures: Vec<Line>,
    /// What was not, because this machine or the flags do not allow it.
    pub left_out: Vec<LeftOut>,
    /// What was tried and failed.
    pub failed: Vec<LeftOut>,
    #[serde(skip)]
    group: Group,
}

/// A figure with its group.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// The group.
    pub group: Group,
    /// The figure.
    #[serde(flatten)]
    pub figure: Figure,
}

impl Report {
    /// An empty one.
    pub fn new(machine: Machine, sizes: Sizes) -> Self {
        let empty = (Vec::new(), Vec::new(), Vec::new());
        Self { machine, sizes, figures: empty.0, left_out: empty.1, failed: empty.2, group: Group::Start }
    }

    /// What follows belongs to `group`.
    pub(super) fn begin(&mut self, group: Group) {
        self.group = group;
    }

    /// One more figure.
    pub(super) fn add(&mut self, figure: Figure) {
        eprintln!("      {figure}");
        self.figures.push(Line { group: self.group, figure });
    }

    /// Something that cannot be measured here.
    pub(super) fn leave_out(&mut self, what: &str, reason: impl Into<String>) {
        let left = LeftOut { group: self.group, what: what.to_owned(), reason: reason.into() };
        eprintln!("      {} left out: {}", left.what, left.reason);
        self.left_out.push(left);
    }

    /// The group could not go on.
    pub(super) fn failed(&mut self, reason: String) {
        eprintln!("      failed: {reason}");
        self.failed.push(LeftOut { group: self.group, what: self.group.name().to_owned(), reason });
    }
}

/// The table, as Markdown.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cores, processor, kernel, load_before } = &self.machine;
        writeln!(f, "{cores} cores ({processor}), Linux {kernel}, load before the run {load_before:.1}.\n")?;
        writeln!(f, "| work | figure | against | ratio | budget | within budget |\n|---|---|---|---|---|---|")?;
        self.figures.iter().try_for_each(|line| writeln!(f, "{}", line.figure))?;
        for (list, how) in [(&self.left_out, "left out"), (&self.failed, "failed")] {
            for LeftOut { group: _, what, reason } in list {
                writeln!(f, "| {what} | {how}: {} | | | | |", reason.replace('\n', " "))?;
            }
        }
        let judged = self.figures.iter().filter_map(|line| line.figure.budget.as_ref());
        let (met, all) = judged.fold((0, 0), |(met, all), budget| (met + usize::from(budget.met), all + 1));
        write!(f, "\n{met} of {all} budgets kept.")
    }
}
