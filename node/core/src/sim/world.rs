//! The simulated world: nodes with disks, links between them, applications that write, and faults.
//!
//! One queue of events, ordered by virtual time and then by birth; every choice comes from one seeded generator, and
//! every map is ordered, so that a seed is a run. What it does not do: judge; [`super::check`] does.

mod apps;
mod disks;
mod faults;
mod files;
mod links;
mod queues;
mod shapes;

use super::check::Problem;
use super::{Report, SKEW, Scenario, now};
use crate::event::{Input, Outputs};
use crate::ids::{ConnId, PeerId, RequestId};
use crate::node::MeshNode;
use crate::rights::Rights;
use crate::rows::MemoryRows;
use disks::Commits;
use files::Files;
use links::Cut;
use queues::InFlight;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shapes::Written;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

type Node = usize;

/// How often nodes look for deletes to be collected.
const SWEEP: Duration = Duration::from_secs(3);

#[derive(Debug)]
enum Event {
    /// An input reaches a node's inbox, if it still runs the same process.
    Arrive {
        node: Node,
        boot: u32,
        input: Input,
    },
    /// The disk finished a batch.
    Durable {
        node: Node,
        boot: u32,
        outputs: Outputs,
    },
    /// The node's own deadline.
    Wake {
        node: Node,
        boot: u32,
    },
    /// The driver tries a commit that nobody asked for.
    Trial {
        node: Node,
        boot: u32,
    },
    /// A dial reaches the other side.
    Dialled {
        from: Node,
        boot: u32,
        to: Node,
    },
    /// An application writes.
    Write {
        node: Node,
    },
    /// The file of rights of a node changes.
    File {
        node: Node,
    },
    Crash {
        node: Node,
    },
    Boot {
        node: Node,
    },
    Partition {
        length: Duration,
    },
    Rejoin,
    /// Each node looks for deletes of which nobody is to be told any more.
    Sweep,
    /// Nodes that have heard nothing over a connection for so long give it up.
    Silence,
}

struct SimNode {
    me: PeerId,
    boot: u32,
    /// None while the node is down.
    core: Option<MeshNode>,
    /// What the last process knew of the time.
    known_time: Option<Duration>,
    disk: MemoryRows,
    commits: Commits,
    inbox: VecDeque<Input>,
    /// Whether a batch is on its way to the disk; the driver waits for it.
    writing: bool,
    skew: Duration,
    peers: Vec<Node>,
    /// What its file says now.
    rights: Rights,
}

pub(super) struct World {
    rng: ChaCha8Rng,
    /// Chance of what came to the simulator later (frames that come twice, cuts of one direction, the troubles of
    /// disks, the shapes of documents), so that a run without those is what it always was.
    chance: ChaCha8Rng,
    /// What is simulated; some of its faults end before the others.
    scenario: Scenario,
    uptime: Duration,
    queue: BTreeMap<(Duration, u64), Event>,
    births: u64,
    nodes: Vec<SimNode>,
    conns: BTreeMap<ConnId, (Node, Node)>,
    next_id: u64,
    /// Side of the partition each node is on; all zero when there is none.
    side: Vec<u8>,
    /// What does not pass between the sides.
    cut: Cut,
    in_flight: InFlight,
    /// The first bound that a queue broke.
    overflow: Option<Problem>,
    pending: BTreeMap<RequestId, Written>,
    /// Who sets the policy, until it is set.
    policy: Option<RequestId>,
    kept: Vec<Written>,
    /// Writers that wait for a neighbour to have stored what they wrote.
    concerns: BTreeMap<RequestId, Written>,
    /// How many of them heard that one has, and whose word was not true.
    stored: usize,
    unstored: Option<Written>,
    acknowledged: usize,
    frames: u64,
    bytes: u64,
    /// Frames that came twice, and commits that failed.
    twice: u64,
    failed: u64,
    trace: DefaultHasher,
    files: Files,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(scenario.seed);
        let mut chance = rng.clone();
        chance.set_stream(1);
        let all: Vec<Node> = (0..scenario.nodes).collect();
        let nodes = all
            .iter()
            .map(|node| {
                let mut peers: BTreeSet<Node> =
                    (0..scenario.peers).map(|_| rng.random_range(0..scenario.nodes)).collect();
                peers.insert((node + 1) % scenario.nodes);
                peers.remove(node);
                let skew = rng.random_range(Duration::ZERO..SKEW);
                let me = PeerId(rng.random());
                SimNode {
                    me,
                    boot: 0,
                    core: None,
                    known_time: None,
                    disk: MemoryRows::default(),
                    commits: Commits::new(chance.random_bool(scenario.stalling)),
                    inbox: VecDeque::new(),
                    writing: false,
                    skew,
                    peers: peers.into_iter().collect(),
                    rights: Rights::default(),
                }
            })
            .collect();
        let mut world = Self {
            rng,
            chance,
            scenario: scenario.clone(),
            uptime: Duration::ZERO,
            queue: BTreeMap::new(),
            births: 0,
            nodes,
            conns: BTreeMap::new(),
            next_id: 0,
            side: vec![0; scenario.nodes],
            cut: Cut::Both,
            in_flight: InFlight::default(),
            overflow: None,
            pending: BTreeMap::new(),
            policy: None,
            kept: Vec::new(),
            concerns: BTreeMap::new(),
            stored: 0,
            unstored: None,
            acknowledged: 0,
            frames: 0,
            bytes: 0,
            twice: 0,
            failed: 0,
            trace: DefaultHasher::new(),
            files: Files::new(scenario.seed),
        };
        world.hand_out_files(scenario.files, scenario.trouble);
        all.iter().for_each(|&node| world.boot(node));
        world.set_policy();
        world.plan(scenario);
        world
    }

    fn plan(&mut self, scenario: &Scenario) {
        let nodes = 0..scenario.nodes;
        for _ in 0..scenario.writes {
            let (at, node) = (self.moment(scenario.trouble), self.rng.random_range(nodes.clone()));
            self.at(at, Event::Write { node });
        }
        for _ in 0..scenario.crashes {
            let (at, node) = (self.moment(scenario.trouble), self.rng.random_range(nodes.clone()));
            self.at(at, Event::Crash { node });
        }
        self.after(SWEEP, Event::Sweep);
        let slot = scenario.trouble / (scenario.partitions.max(1) as u32);
        for number in 0..scenario.partitions as u32 {
            let length = slot / 2;
            self.at(slot * number + slot / 4, Event::Partition { length });
        }
    }

    fn moment(&mut self, within: Duration) -> Duration {
        self.rng.random_range(Duration::ZERO..within)
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.births += 1;
        self.queue.insert((at, self.births), event);
    }

    fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.uptime + delay, event);
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Lets time pass until `end`, or until a queue breaks its bound.
    pub(super) fn run_until(&mut self, end: Duration) -> Result<(), Problem> {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, birth), event) = entry.remove_entry();
            self.uptime = at;
            (at, birth, std::mem::discriminant(&event)).hash(&mut self.trace);
            self.step(event);
            if let Some(problem) = self.overflow.take() {
                return Err(problem);
            }
        }
        self.uptime = end;
        Ok(())
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Arrive { node, boot, input } => {
                if self.runs(node, boot) {
                    self.nodes[node].inbox.push_back(input);
                    self.drive(node);
                }
            }
            Event::Durable { node, boot, outputs } => {
                if self.runs(node, boot) {
                    self.nodes[node].writing = false;
                    self.finish(node, outputs);
                    self.drive(node);
                }
            }
            Event::Wake { node, boot } => {
                let due = |core: &MeshNode| core.deadline().is_some_and(|at| at <= self.uptime);
                if self.runs(node, boot) && self.nodes[node].core.as_ref().is_some_and(due) {
                    self.nodes[node].inbox.push_back(Input::Tick);
                    self.drive(node);
                }
            }
            Event::Trial { node, boot } => self.try_again(node, boot),
            Event::Dialled { from, boot, to } => self.dialled(from, boot, to),
            Event::Write { node } => self.write(node),
            Event::File { node } => self.change_file(node),
            Event::Crash { node } => self.crash(node),
            Event::Boot { node } => self.boot(node),
            Event::Partition { length } => self.partition(length),
            Event::Rejoin => self.side.fill(0),
            Event::Silence => self.close_what_is_cut(),
            Event::Sweep => self.sweep(),
        }
    }

    fn runs(&self, node: Node, boot: u32) -> bool {
        self.nodes[node].core.is_some() && self.nodes[node].boot == boot
    }

    /// The driver of a node: all inputs of the moment as one batch, then the disk.
    fn drive(&mut self, node: Node) {
        let uptime = self.uptime;
        let SimNode { core, disk, inbox, writing, skew, boot, .. } = &mut self.nodes[node];
        let Some(core) = core.as_mut().filter(|_| !*writing && !inbox.is_empty()) else { return };
        let mut outputs = Outputs::default();
        let now = now(uptime, *skew);
        for input in inbox.drain(..) {
            self.in_flight.note_input(node, &input);
            core.handle(now, input, disk, &mut outputs);
        }
        core.flush(now, disk, &mut outputs);
        let (boot, idle) = (*boot, outputs.writes.is_empty());
        *writing = !idle;
        self.watch(node, &outputs);
        self.bound(node, &outputs);
        self.wake(node);
        if idle {
            self.finish(node, outputs);
        } else {
            let delay = self.commit_takes(node);
            self.after(delay, Event::Durable { node, boot, outputs });
        }
    }

    /// Plans for the node's own deadline.
    fn wake(&mut self, node: Node) {
        let SimNode { core, boot, .. } = &self.nodes[node];
        let boot = *boot;
        if let Some(at) = core.as_ref().and_then(MeshNode::deadline) {
            self.at(at.max(self.uptime), Event::Wake { node, boot });
        }
    }

    /// Whether all nodes are up and have equal rows, in memory and on disk.
    pub(super) fn is_equal(&self) -> bool {
        let digests: BTreeSet<Option<u128>> =
            self.nodes.iter().map(|node| node.core.as_ref().map(|core| core.stats().digest)).collect();
        digests.len() == 1 && !digests.contains(&None) && self.is_idle()
    }

    /// Whether no node has anything in its inbox or on its way to the disk.
    pub(super) fn is_idle(&self) -> bool {
        self.nodes.iter().all(|node| node.inbox.is_empty() && !node.writing)
    }

    pub(super) const fn uptime(&self) -> Duration {
        self.uptime
    }

    pub(super) fn me(&self, node: Node) -> PeerId {
        self.nodes[node].me
    }

    pub(super) fn disks(&self) -> impl Iterator<Item = (PeerId, &MemoryRows)> {
        self.nodes.iter().map(|node| (node.me, &node.disk))
    }

    /// A write that a neighbour said to have stored and had not.
    pub(super) const fn unstored(&self) -> Option<&Written> {
        self.unstored.as_ref()
    }

    pub(super) fn kept_writes(&self) -> &[Written] {
        &self.kept
    }

    /// Histories that were found damaged, by running node.
    pub(super) fn mended(&self) -> impl Iterator<Item = (PeerId, u64)> {
        self.nodes.iter().filter_map(|node| Some((node.me, node.core.as_ref()?.stats().histories_mended)))
    }

    /// Documents that came with content, and those of them that told nothing new, over all running nodes.
    pub(super) fn payloads(&self) -> (u64, u64) {
        let stats = self.nodes.iter().filter_map(|node| node.core.as_ref()).map(MeshNode::stats);
        stats.fold((0, 0), |(all, redundant), stats| (all + stats.docs_received, redundant + stats.docs_redundant))
    }

    pub(super) const fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    pub(super) fn report(&self) -> Report {
        Report {
            acknowledged: self.acknowledged,
            stored: self.stored,
            rows: 0,
            epochs: 0,
            payloads: 0,
            redundant: 0,
            frames: self.frames,
            bytes: self.bytes,
            twice: self.twice,
            failed: self.failed,
            healed_in: Duration::ZERO,
            trace: self.trace.finish(),
        }
    }
}
