//! The simulator: a mesh of cores in one thread, with virtual time and a network that fails.
//!
//! Purpose: find an order of events in which the engine loses or diverges, and replay it from one number. Inputs: a
//! [`Scenario`] with its seed; outputs: a [`Report`], or a [`Failure`] that prints the seed. Faults: lost, late,
//! reordered and repeated frames, partitions of both directions or one, crashes that lose what was not yet durable,
//! disks that stall, commits that fail, clocks that disagree; deletes are forgotten within seconds, and histories begun
//! anew after some writes, while nodes are away; files of rights that differ and change. Frames are lost one by one,
//! which is harsher than QUIC. What it does not do: run the shell, or measure speed.

mod check;
mod world;

pub use check::{Failure, Kind, Problem};

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
    /// Chance that a frame that arrives does so twice.
    pub twice: f64,
    /// Chance that a partition takes only what one of its sides says.
    pub one_way: f64,
    /// Chance that the disk of a node is one that stalls at times.
    pub stalling: f64,
    /// Chance that a commit fails, until the mesh heals.
    pub failing: f64,
    /// Chance that a write has lists and objects, or is a patch.
    pub shaped: f64,
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
            twice: 0.05,
            one_way: 0.5,
            stalling: 0.2,
            failing: 0.01,
            shaped: 0.3,
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
        Self { loss: 0.0, slow: 0.0, crashes: 0, partitions: 0, ..rough.without_later_faults() }
    }

    fn kind(&self) -> Kind {
        match () {
            () if self.loss <= 0.0 => Kind::Calm,
            () if self.files > 0 => Kind::Ruled,
            () => Kind::Rough,
        }
    }

    /// Without what came to the simulator after the first seeds had failed: such a seed then runs as it did.
    pub fn without_later_faults(self) -> Self {
        Self { twice: 0.0, one_way: 0.0, stalling: 0.0, failing: 0.0, shaped: 0.0, ..self }
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
    /// Frames that came twice.
    pub twice: u64,
    /// Commits that failed.
    pub failed: u64,
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
    let Scenario { seed, nodes, writes, failing, .. } = *scenario;
    let fail = |problem| Failure { seed, nodes, writes, failing, kind: scenario.kind(), problem: Box::new(problem) };
    Run { world: World::new(scenario), scenario }.go().map_err(fail)
}

/// A world on its way.
struct Run<'a> {
    world: World,
    scenario: &'a Scenario,
}

impl Run<'_> {
    fn go(mut self) -> Result<Report, Problem> {
        self.world.run_until(self.scenario.trouble)?;
        self.world.heal();
        if self.scenario.files > 0 {
            self.obeys_the_files()?;
        }
        let healed_at = self.world.uptime();
        self.until(|world| world.is_equal())?;
        let healed_in = self.world.uptime() - healed_at;
        let rows = check::acknowledged(&self.world)?;
        let epochs = check::epochs(&self.world);
        check::nothing_was_mended(&self.world)?;
        check::what_was_said_to_be_stored_was(&self.world)?;
        let (acknowledged, (payloads, redundant)) = (self.world.acknowledged(), self.world.payloads());
        self.deletes_stay()?;
        Ok(Report { acknowledged, rows, epochs, payloads, redundant, healed_in, ..self.world.report() })
    }

    /// Every document is deleted; none comes back by a restart, and in the end nobody is told of it any more.
    fn deletes_stay(&mut self) -> Result<(), Problem> {
        self.world.delete_everything()?;
        self.until(|world| world.is_idle() && world.is_equal())?;
        self.world.restart_all();
        self.pass(Duration::from_secs(30))?;
        check::nothing_is_back(&self.world)?;
        self.pass(self.scenario.marks * 2 + SKEW)?;
        check::all_marks_are_collected(&self.world)?;
        check::nothing_is_back(&self.world)
    }

    fn pass(&mut self, time: Duration) -> Result<(), Problem> {
        self.world.run_until(self.world.uptime() + time)
    }

    /// Lets time pass until all nodes are as `they_are`, but not for ever.
    fn until(&mut self, they_are: impl Fn(&World) -> bool) -> Result<(), Problem> {
        let limit = self.world.uptime() + self.scenario.heal;
        while !they_are(&self.world) {
            if self.world.uptime() >= limit {
                return Err(check::divergence(&self.world));
            }
            self.pass(Duration::from_secs(1))?;
        }
        Ok(())
    }

    /// Every two neighbours become equal in what they share, what flows one way arrives and is confirmed, and nothing
    /// was ever told or taken that is not to be. Then the files go, and the mesh is one like any other.
    fn obeys_the_files(&mut self) -> Result<(), Problem> {
        let limit = self.world.uptime() + self.scenario.heal;
        while let Some(problem) = self.world.unsettled() {
            if self.world.uptime() >= limit {
                return Err(problem);
            }
            self.pass(Duration::from_secs(1))?;
        }
        if let Some(problem) = self.world.leak() {
            return Err(problem);
        }
        self.world.remove_files();
        Ok(())
    }
}

/// How far clocks are apart at most.
const SKEW: Duration = Duration::from_secs(30);

/// Wall time of the simulated world at uptime zero.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

fn now(uptime: Duration, skew: Duration) -> Now {
    Now { wall: EPOCH + uptime + skew, uptime }
}
