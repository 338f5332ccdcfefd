//! What a process holds, again and again, and whether that grows.
//!
//! Inputs: a node's process. Outputs: samples, and for each quantity a verdict: the slope of a straight line through
//! the samples behind the warm-up (least squares), times the length of the run, against a bound. What it does not do:
//! wait.

use super::super::pair::{memory, size};
use super::super::process::Node;
use std::fmt;
use std::time::Duration;

/// What is held, and how much more of it than a tenth of its level a run may seem to gain. The engine replaces its
/// journal when that has 64 MiB: the disk is a saw, of which a run of minutes sees one tooth.
const QUANTITIES: [(&str, f64); 3] = [("memory, MiB", 24.0), ("disk, MiB", 72.0), ("handles", 8.0)];

/// The part of a run after which caches are full and files have their number.
const WARM_UP: f64 = 1.0 / 3.0;

/// One moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    at: Duration,
    /// As [`QUANTITIES`].
    held: [f64; 3],
}

impl Sample {
    /// None if the process is not there.
    pub fn of(node: &Node, at: Duration) -> Option<Self> {
        let handles = std::fs::read_dir(format!("/proc/{}/fd", node.pid())).ok()?.count();
        let (resident, _) = memory(node);
        Some(Self {
            at,
            held: [resident as f64 / 1024.0, size(&node.data()) as f64 / f64::from(1 << 20), handles as f64],
        })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [memory, disk, handles] = self.held;
        write!(f, "memory {memory:.1} MiB, disk {disk:.1} MiB, {handles} handles")
    }
}

/// Samples of one process, in order.
#[derive(Debug, Default)]
pub struct Series(Vec<Sample>);

/// What one quantity did.
#[derive(Debug)]
pub struct Verdict {
    what: String,
    level: f64,
    growth: f64,
    bound: f64,
}

impl Series {
    pub fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    pub fn verdicts(&self, name: &str) -> Vec<Verdict> {
        let end = self.0.last().map_or(0.0, |sample| sample.at.as_secs_f64());
        let warm = self.0.iter().filter(|sample| sample.at.as_secs_f64() >= end * WARM_UP);
        let warm: Vec<_> = warm.collect();
        assert!(warm.len() >= 8, "too few samples for a verdict: {}", warm.len());
        let verdict = |(index, (what, room)): (usize, &(&str, f64))| {
            let points = warm.iter().map(|sample| (sample.at.as_secs_f64(), sample.held[index]));
            let (level, slope) = line(points.collect());
            Verdict { what: format!("{name}, {what}"), level, growth: slope * end, bound: room + level / 10.0 }
        };
        QUANTITIES.iter().enumerate().map(verdict).collect()
    }
}

/// Mean and slope of the straight line that is nearest to the points.
fn line(points: Vec<(f64, f64)>) -> (f64, f64) {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let above: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let below: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    (y, above / below)
}

impl Verdict {
    pub fn is_flat(&self) -> bool {
        self.growth <= self.bound
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, level, growth, bound } = self;
        let flat = if self.is_flat() { "flat" } else { "GROWS" };
        write!(f, "{what}: level {level:.1}, growth over the run {growth:+.1}, bound {bound:.1}: {flat}")
    }
}

#[test]
fn a_quantity_that_grows_all_the_time_is_told_from_one_that_swings() {
    let held = |memory: fn(u64) -> f64| {
        let sample = |s: u64| Sample { at: Duration::from_secs(s), held: [memory(s), 100.0, 20.0] };
        let verdicts = Series((0..120).map(sample).collect()).verdicts("node");
        (verdicts[0].is_flat(), verdicts[1].is_flat() && verdicts[2].is_flat())
    };
    assert_eq!(held(|s| if s < 30 { s as f64 } else { 30.0 + (s % 7) as f64 }), (true, true));
    assert_eq!(held(|s| 30.0 + s as f64 / 2.0), (false, true));
}
