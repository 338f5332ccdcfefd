//! The simulator: a mesh of cores in one thread, with virtual time and a network that fails.
//!
//! Purpose: find an order of events in which the engine loses or diverges, and replay it from one number. Inputs: a
//! [`Scenario`] with its seed; outputs: a [`Report`], or a [`Failure`] that prints the seed. Faults: lost, late and
//! reordered frames, partitions, crashes that lose what was not yet durable, clocks that disagree; deletes are
//! forgotten within seconds, and histories begun anew after some writes, while nodes are away; files of rights that
//! differ and change. Frames are lost one by one, which is harsher than QUIC. What it does not do: run the shell, or
//! measure speed.

mod check;
mod world;

pub use check::{Failure, Problem};

use crate::docs::epoch::Limits;
use crate::event::Now;
use std::time::Duration;
use world::World;

/// What to simulate.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The one source of chance.
    pub seed: u64,
    /// Nodes: at least 2.
    pub nodes: usize,
    /// Peers each node is told of, beside its successor in the ring.
    pub peers: usize,
    /// Chance that a frame is lost: below 1.
    pub loss: f64,
    /// Chance that a message takes up to a second.
    pub slow: f64,
    /// How long applications write and faults happen.
    pub trouble: Duration,
    /// Writes in all.
    pub writes: usize,
    /// Crashes in all.
    pub crashes: usize,
    /// Changes of files of rights in all; none: there are no files.
    pub files: usize,
    /// Partitions in all, one after the other.
    pub partitions: usize,
    /// How long after the last fault all nodes must be equal.
    pub heal: Duration,
    /// How long neighbours are told of a delete.
    pub marks: Duration,
    /// When the history of a document is begun anew.
    pub history: Limits,
}

impl Scenario {
    /// The scenario of the acceptance suite: `nodes` nodes, a fifth of all frames lost, partitions and restarts.
    pub fn rough(seed: u64, nodes: usize) -> Self {
        Self {
            seed,
            nodes,
            peers: 3,
            loss: 0.2,
            slow: 0.05,
            trouble: Duration::from_secs(60),
            writes: nodes * 6,
            crashes: nodes / 4,
            files: 0,
            partitions: 4,
            heal: Duration::from_secs(300),
            marks: Duration::from_secs(8),
            history: Limits { changes: 5, settle: Duration::from_secs(2), ..Limits::default() },
        }
    }

    /// As [`Scenario::rough`], and every node has a file of rights, which differ and change; in the end they go.
    pub fn ruled(seed: u64, nodes: usize) -> Self {
        // Enough that histories are begun anew in a small mesh too.
        Self { files: nodes / 2 + 1, writes: nodes * 24, ..Self::rough(seed, nodes) }
    }

    /// A mesh of `nodes` with about sixteen neighbours each and nothing that fails.
    pub fn calm(seed: u64, nodes: usize) -> Self {
        let (peers, writes, marks) = (7, nodes * 8, Duration::from_secs(300));
        let rough = Self { peers, writes, marks, history: Limits::default(), ..Self::rough(seed, nodes) };
        Self { loss: 0.0, slow: 0.0, crashes: 0, partitions: 0, ..rough }
    }
}

/// What a run showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Writes that were acknowledged until all nodes were equal.
    pub acknowledged: usize,
    /// Of every fourth of them, where things fail: those of which a neighbour said in time that it had stored them.
    pub stored: usize,
    /// Rows on every node at the end.
    pub rows: usize,
    /// How often histories were begun anew, over all documents.
    pub epochs: u64,
    /// Frames sent.
    pub frames: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Documents that came with content, over all nodes, until all were equal.
    pub payloads: u64,
    /// Those of them that told nothing new.
    pub redundant: u64,
    /// Virtual time from the last fault to equality.
    pub healed_in: Duration,
    /// Hash over every event in order: equal for equal seeds.
    pub trace: u64,
}

/// Runs one scenario to its end.
///
/// # Errors
/// [`Failure`] with the seed when an invariant does not hold.
pub fn run(scenario: &Scenario) -> Result<Report, Failure> {
    let Scenario { seed, nodes, writes, files, .. } = *scenario;
    let fail = |problem| Failure { seed, nodes, writes, files: files > 0, problem: Box::new(problem) };
    let mut world = World::new(scenario);
    world.run_until(scenario.trouble);
    world.heal();
    if scenario.files > 0 {
        obeys_the_files(&mut world, scenario).map_err(fail)?;
    }
    let healed_at = world.uptime();
    let limit = healed_at + scenario.heal;
    while !world.is_equal() {
        if world.uptime() >= limit {
            return Err(fail(check::divergence(&world)));
        }
        world.run_until(world.uptime() + Duration::from_secs(1));
    }
    let healed_in = world.uptime() - healed_at;
    let rows = check::acknowledged(&world).map_err(fail)?;
    let epochs = check::epochs(&world);
    check::nothing_was_mended(&world).map_err(fail)?;
    check::what_was_said_to_be_stored_was(&world).map_err(fail)?;
    let (acknowledged, (payloads, redundant)) = (world.acknowledged(), world.payloads());
    world.delete_everything();
    let limit = world.uptime() + scenario.heal;
    while !(world.is_idle() && world.is_equal()) {
        if world.uptime() >= limit {
            return Err(fail(check::divergence(&world)));
        }
        world.run_until(world.uptime() + Duration::from_secs(1));
    }
    world.restart_all();
    world.run_until(world.uptime() + Duration::from_secs(30));
    check::nothing_is_back(&world).map_err(fail)?;
    world.run_until(world.uptime() + scenario.marks * 2 + SKEW);
    check::all_marks_are_collected(&world).map_err(fail)?;
    check::nothing_is_back(&world).map_err(fail)?;
    Ok(Report { acknowledged, rows, epochs, payloads, redundant, healed_in, ..world.report() })
}

/// Every two neighbours become equal in what they share, what flows one way arrives and is confirmed, and nothing was
/// ever told or taken that is not to be. Then the files go, and the mesh is one like any other.
fn obeys_the_files(world: &mut World, scenario: &Scenario) -> Result<(), Problem> {
    let limit = world.uptime() + scenario.heal;
    while let Some(problem) = world.unsettled() {
        if world.uptime() >= limit {
            return Err(problem);
        }
        world.run_until(world.uptime() + Duration::from_secs(1));
    }
    if let Some(problem) = world.leak() {
        return Err(problem);
    }
    world.remove_files();
    Ok(())
}

/// How far clocks are apart at most.
const SKEW: Duration = Duration::from_secs(30);

/// Wall time of the simulated world at uptime zero.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

fn now(uptime: Duration, skew: Duration) -> Now {
    Now { wall: EPOCH + uptime + skew, uptime }
}
