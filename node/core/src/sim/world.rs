//! The simulated world: nodes with disks, links between them, applications that write, and faults.
//!
//! One queue of events, ordered by virtual time and then by birth; every choice comes from one seeded generator, and every
//! map is ordered, so that a seed is a run. What it does not do: judge; [`super::check`] does.

use super::disk::Disk;
use super::{Report, Scenario, now};
use crate::docs::Document;
use crate::docs::row::View;
use crate::event::{Direction, Input, Output, Outputs, Reply, RequestError, Source};
use crate::ids::{Collection, ConnId, Key, PeerId, RequestId};
use crate::node::{Config, MeshNode};
use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

type Node = usize;

/// A leaf that some application wrote and nobody removes.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) key: Key,
    pub(super) leaf: String,
    pub(super) value: u64,
}

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
}

struct SimNode {
    me: PeerId,
    boot: u32,
    /// None while the node is down.
    core: Option<MeshNode>,
    disk: Disk,
    inbox: VecDeque<Input>,
    /// Whether a batch is on its way to the disk; the driver waits for it.
    writing: bool,
    skew: Duration,
    peers: Vec<Node>,
}

pub(super) struct World {
    rng: ChaCha8Rng,
    uptime: Duration,
    queue: BTreeMap<(Duration, u64), Event>,
    births: u64,
    nodes: Vec<SimNode>,
    conns: BTreeMap<ConnId, (Node, Node)>,
    next_id: u64,
    /// Side of the partition each node is on; all zero when there is none.
    side: Vec<u8>,
    loss: f64,
    pending: BTreeMap<RequestId, Written>,
    kept: Vec<Written>,
    acknowledged: usize,
    frames: u64,
    bytes: u64,
    trace: DefaultHasher,
}

impl World {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(scenario.seed);
        let all: Vec<Node> = (0..scenario.nodes).collect();
        let nodes = all
            .iter()
            .map(|node| {
                let mut peers: BTreeSet<Node> =
                    (0..scenario.peers).map(|_| rng.random_range(0..scenario.nodes)).collect();
                peers.insert((node + 1) % scenario.nodes);
                peers.remove(node);
                let skew = Duration::from_millis(rng.random_range(0..120_000));
                let me = PeerId(rng.random());
                SimNode {
                    me,
                    boot: 0,
                    core: None,
                    disk: Disk::default(),
                    inbox: VecDeque::new(),
                    writing: false,
                    skew,
                    peers: peers.into_iter().collect(),
                }
            })
            .collect();
        let mut world = Self {
            rng,
            uptime: Duration::ZERO,
            queue: BTreeMap::new(),
            births: 0,
            nodes,
            conns: BTreeMap::new(),
            next_id: 0,
            side: vec![0; scenario.nodes],
            loss: scenario.loss,
            pending: BTreeMap::new(),
            kept: Vec::new(),
            acknowledged: 0,
            frames: 0,
            bytes: 0,
            trace: DefaultHasher::new(),
        };
        all.iter().for_each(|&node| world.boot(node));
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

    /// One-way delay of a message: mostly a few milliseconds, sometimes a second.
    fn latency(&mut self) -> Duration {
        let slow = self.rng.random_bool(0.05);
        Duration::from_micros(self.rng.random_range(200..if slow { 1_000_000 } else { 20_000 }))
    }

    pub(super) fn run_until(&mut self, end: Duration) {
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
            let ((at, birth), event) = entry.remove_entry();
            self.uptime = at;
            (at, birth, std::mem::discriminant(&event)).hash(&mut self.trace);
            self.step(event);
        }
        self.uptime = end;
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
                    self.perform(node, outputs);
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
            Event::Dialled { from, boot, to } => self.dialled(from, boot, to),
            Event::Write { node } => self.write(node),
            Event::Crash { node } => self.crash(node),
            Event::Boot { node } => self.boot(node),
            Event::Partition { length } => {
                for side in &mut self.side {
                    *side = self.rng.random_range(0..2);
                }
                self.cut();
                self.after(length, Event::Rejoin);
            }
            Event::Rejoin => self.side.fill(0),
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
            core.handle(now, input, disk, &mut outputs);
        }
        core.flush(now, disk, &mut outputs);
        let (boot, deadline) = (*boot, core.deadline());
        let idle = outputs.writes.is_empty();
        *writing = !idle;
        if let Some(at) = deadline {
            self.at(at.max(uptime), Event::Wake { node, boot });
        }
        if idle {
            self.perform(node, outputs);
        } else {
            let fsync = Duration::from_micros(self.rng.random_range(100..8_000));
            self.after(fsync, Event::Durable { node, boot, outputs });
        }
    }

    /// Persist, then send, then answer.
    fn perform(&mut self, node: Node, outputs: Outputs) {
        let Outputs { writes, sends, answers } = outputs;
        self.nodes[node].disk.commit(writes);
        sends.into_iter().for_each(|output| self.send(node, output));
        answers.into_iter().for_each(|(request, answer)| self.answer(request, answer));
    }

    fn send(&mut self, node: Node, output: Output) {
        let boot = self.nodes[node].boot;
        match output {
            Output::Dial { peer, .. } => {
                let Some(to) = self.nodes.iter().position(|other| other.me == peer) else { return };
                let latency = self.latency();
                self.after(latency, Event::Dialled { from: node, boot, to });
            }
            Output::Close { conn, .. } => self.close(conn),
            Output::Send { conn, peer, frame } => {
                self.frames += 1;
                self.bytes += frame.len() as u64;
                let (bytes, latency) = (frame.len(), self.latency());
                self.after(latency, Event::Arrive { node, boot, input: Input::Sent { conn, peer, bytes } });
                self.deliver(node, conn, frame);
            }
        }
    }

    fn deliver(&mut self, from: Node, conn: ConnId, frame: Bytes) {
        let Some(&(a, b)) = self.conns.get(&conn) else { return };
        let to = if from == a { b } else { a };
        if self.side[from] != self.side[to] || self.rng.random_bool(self.loss) {
            return;
        }
        let input = Input::Frame { conn, peer: self.nodes[from].me, frame };
        let (boot, latency) = (self.nodes[to].boot, self.latency());
        self.after(latency, Event::Arrive { node: to, boot, input });
    }

    fn answer(&mut self, request: RequestId, answer: Result<Reply, RequestError>) {
        self.acknowledged += usize::from(answer.is_ok());
        if let (Some(written), Ok(Reply::Done)) = (self.pending.remove(&request), answer) {
            self.kept.push(written);
        }
    }

    fn dialled(&mut self, from: Node, boot: u32, to: Node) {
        if !self.runs(from, boot) {
            return;
        }
        let latency = self.latency();
        let (me, peer) = (self.nodes[from].me, self.nodes[to].me);
        if self.side[from] != self.side[to] || self.nodes[to].core.is_none() || self.rng.random_bool(self.loss) {
            let input = Input::DialFailed { peer, reason: "no answer".into() };
            self.after(latency, Event::Arrive { node: from, boot, input });
            return;
        }
        let conn = ConnId(self.id());
        self.conns.insert(conn, (from, to));
        let there = self.nodes[to].boot;
        let inbound = Input::Connected { conn, peer: me, direction: Direction::In };
        self.after(Duration::ZERO, Event::Arrive { node: to, boot: there, input: inbound });
        let outbound = Input::Connected { conn, peer, direction: Direction::Out };
        self.after(latency, Event::Arrive { node: from, boot, input: outbound });
    }

    /// Ends a connection; both sides hear of it, each in its own time.
    fn close(&mut self, conn: ConnId) {
        let Some((a, b)) = self.conns.remove(&conn) else { return };
        for (node, other) in [(a, b), (b, a)] {
            let input = Input::Disconnected { conn, peer: self.nodes[other].me };
            // Later than any message that is on its way, among them the report that it is up.
            let delay = Duration::from_millis(1_001) + self.latency();
            let boot = self.nodes[node].boot;
            self.after(delay, Event::Arrive { node, boot, input });
        }
    }

    fn cut(&mut self) {
        let crossing = |(_, (a, b)): &(&ConnId, &(Node, Node))| self.side[*a] != self.side[*b];
        let cut: Vec<ConnId> = self.conns.iter().filter(crossing).map(|(conn, _)| *conn).collect();
        cut.into_iter().for_each(|conn| self.close(conn));
    }

    fn crash(&mut self, node: Node) {
        if self.nodes[node].core.take().is_none() {
            return;
        }
        self.nodes[node].inbox.clear();
        self.nodes[node].writing = false;
        let of_node = |(_, (a, b)): &(&ConnId, &(Node, Node))| *a == node || *b == node;
        let lost: Vec<ConnId> = self.conns.iter().filter(of_node).map(|(conn, _)| *conn).collect();
        lost.into_iter().for_each(|conn| self.close(conn));
        let down = Duration::from_millis(self.rng.random_range(100..10_000));
        self.after(down, Event::Boot { node });
    }

    fn boot(&mut self, node: Node) {
        if self.nodes[node].core.is_some() {
            return;
        }
        let (actor, seed) = (self.rng.random(), self.rng.random());
        let peers: Vec<PeerId> = self.nodes[node].peers.iter().map(|&peer| self.nodes[peer].me).collect();
        let SimNode { me, boot, core, disk, inbox, .. } = &mut self.nodes[node];
        *boot += 1;
        let mut fresh = MeshNode::new(Config { me: *me, actor, seed, sync_active: true, cache_bytes: 1 << 20 });
        for (key, row) in &disk.rows {
            let restored = fresh.restore(key, row);
            debug_assert!(restored.is_ok(), "the simulated disk damages nothing");
        }
        *core = Some(fresh);
        let wants =
            peers.into_iter().map(|peer| Input::Want { source: Source::Flag, peer, addresses: vec!["sim:1".into()] });
        inbox.extend(wants);
        self.drive(node);
    }

    /// One write of an application, of four kinds; the first three must survive once acknowledged.
    fn write(&mut self, node: Node) {
        if self.nodes[node].core.is_none() {
            return;
        }
        if self.nodes[node].writing {
            // The application reads, adds a leaf and puts as one step; between two steps the driver could merge a leaf that
            // the put would then rightly remove.
            self.after(Duration::from_millis(10), Event::Write { node });
            return;
        }
        let request = RequestId(self.id());
        let value = request.0;
        let (kind, shared) = (self.rng.random_range(0..5), self.rng.random_range(0..6));
        let (key, leaf) = match kind {
            0 => (key("single", &format!("doc-{value}")), "only".to_owned()),
            1 | 2 => (key("shared", &format!("doc-{shared}")), format!("leaf-{value}")),
            3 => (key("tracks", &format!("own-{value}")), "only".to_owned()),
            _ => (key("tracks", &format!("doc-{shared}")), "last".to_owned()),
        };
        if kind < 4 {
            self.pending.insert(request, Written { key: key.clone(), leaf: leaf.clone(), value });
        }
        let input = if kind == 4 && self.rng.random_bool(0.3) {
            Input::Delete { request, key }
        } else {
            let mut members = self.document(node, &key).map(Document::into_map).unwrap_or_default();
            members.insert(leaf, value.into());
            Input::Put { request, key, document: Document::from_map(members) }
        };
        self.nodes[node].inbox.push_back(input);
        self.drive(node);
    }

    /// What an application reads at `node`: what is durable.
    fn document(&self, node: Node, key: &Key) -> Option<Document> {
        View::parse(self.nodes[node].disk.rows.get(key)?).ok()?.document().ok()?
    }

    /// Ends all faults; what was planned and has not happened does not.
    pub(super) fn heal(&mut self) {
        self.side.fill(0);
        self.queue
            .retain(|_, event| !matches!(event, Event::Crash { .. } | Event::Partition { .. } | Event::Write { .. }));
    }

    /// Deletes every live document at the first node.
    pub(super) fn delete_everything(&mut self) {
        let keys: Vec<Key> = self.nodes[0].disk.rows.keys().cloned().collect();
        for key in keys {
            let request = RequestId(self.id());
            let boot = self.nodes[0].boot;
            self.after(Duration::ZERO, Event::Arrive { node: 0, boot, input: Input::Delete { request, key } });
        }
        self.run_until(self.uptime + Duration::from_secs(1));
    }

    /// Crashes all nodes at once; they come back one by one.
    pub(super) fn restart_all(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.crash(node));
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

    pub(super) fn disks(&self) -> impl Iterator<Item = (PeerId, &Disk)> {
        self.nodes.iter().map(|node| (node.me, &node.disk))
    }

    pub(super) fn kept_writes(&self) -> &[Written] {
        &self.kept
    }

    pub(super) const fn acknowledged(&self) -> usize {
        self.acknowledged
    }

    pub(super) fn report(&self) -> Report {
        Report {
            acknowledged: self.acknowledged,
            rows: 0,
            frames: self.frames,
            bytes: self.bytes,
            healed_in: Duration::ZERO,
            trace: self.trace.finish(),
        }
    }
}

#[expect(clippy::expect_used, reason = "constants of the simulator, checked by its every run")]
fn key(collection: &str, id: &str) -> Key {
    let collection = Collection::parse(collection).expect("a valid collection");
    Key::new(&collection, id).expect("a valid id")
}
