//! One core with its rows, and a loss-free wire between two.

use bytes::Bytes;
use peat_node_core::docs::epoch::Limits;
use peat_node_core::docs::row::{Have, State, Version, View};
use peat_node_core::docs::{Document, Kinds};
use peat_node_core::event::{Condition, Direction, Edit, Quorum, Reply, RequestError, Terms};
use peat_node_core::ids::{Collection, ConnId, Key, PeerId, RequestId};
use peat_node_core::rights::Rights;
use peat_node_core::rows::MemoryRows;
use peat_node_core::sync::frame::{Frame, THIRD};
use peat_node_core::{Config, Input, MeshNode, Now, Output, Outputs, Stored};
use std::time::Duration;

type Answers = Vec<(RequestId, Result<Reply, RequestError>)>;

/// The only connection there is.
const CONN: ConnId = ConnId(1);

pub(crate) struct Place {
    pub(crate) me: PeerId,
    core: MeshNode,
    disk: MemoryRows,
    uptime: Duration,
    /// How far its clock is ahead of the others'.
    pub(crate) ahead: Duration,
    requests: u64,
    /// What waits to be sent.
    out: Vec<Output>,
    /// Bytes of frames sent.
    pub(crate) sent: usize,
    /// Version of the protocol with the peer.
    pub(crate) version: u16,
    /// Writes that readers were told of.
    pub(crate) events: usize,
    /// Counts what a test writes.
    pub(crate) edits: usize,
    /// Answers that came while two places talked, or time passed.
    pub(crate) heard: Vec<Reply>,
}

/// Wall time when a place begins.
const NOON: Duration = Duration::from_secs(1_800_000_000);
/// How long neighbours are told of a delete.
pub(crate) const MARKS: Duration = Duration::from_secs(3600);

/// Of a document of `ships`, or of another collection: `collection/id`.
pub(crate) fn key(id: &str) -> Key {
    let (collection, id) = id.split_once('/').unwrap_or(("ships", id));
    Key::new(&Collection::parse(collection).unwrap(), id).unwrap()
}

/// A process of `me` that begins; `number` is its own.
fn core(me: PeerId, number: u8) -> MeshNode {
    let (actor, seed, tombstone_ttl) = ([number; 16], [number; 32], MARKS);
    let history = Limits::default();
    MeshNode::new(Config {
        me,
        actor,
        seed,
        sync_active: true,
        cache_bytes: 24 << 20,
        tombstone_ttl,
        known_time: None,
        history,
        rights: Rights::default(),
        kinds: Kinds::default(),
    })
}

impl Place {
    pub(crate) fn new(number: u8) -> Self {
        let me = PeerId([number; 32]);
        let (core, disk) = (core(me, number), MemoryRows::default());
        let (version, heard, ahead) = (THIRD, Vec::new(), Duration::ZERO);
        let (uptime, out) = (Duration::ZERO, Vec::new());
        let (requests, sent, events, edits) = (0, 0, 0, 0);
        Self { me, core, disk, uptime, ahead, requests, out, sent, version, events, edits, heard }
    }

    fn now(&self) -> Now {
        Now { wall: NOON + self.ahead + self.uptime, uptime: self.uptime }
    }

    /// Handles inputs as one batch, persists, and gives what is answered; what is to be sent waits in `out`.
    fn turn(&mut self, inputs: Vec<Input>) -> Answers {
        self.uptime += Duration::from_millis(1);
        let now = self.now();
        let mut outputs = Outputs::default();
        inputs.into_iter().for_each(|input| self.core.handle(now, input, &self.disk, &mut outputs));
        self.core.flush(now, &self.disk, &mut outputs);
        self.events += outputs.writes.values().filter(|write| write.visible).count();
        self.disk.commit(outputs.writes);
        self.out.extend(outputs.sends);
        outputs.answers
    }

    fn listen(&mut self, inputs: Vec<Input>) {
        let answers = self.turn(inputs);
        self.heard.extend(answers.into_iter().map(|(_, answer)| answer.unwrap()));
    }

    /// Waits for neighbours to have stored a document.
    pub(crate) fn wait_for(&mut self, id: &str, quorum: Quorum, limit: Duration) {
        self.requests += 1;
        let request = RequestId(self.requests);
        self.listen(vec![Input::Await { request, key: key(id), quorum, limit }]);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.uptime += time;
        self.listen(vec![Input::Tick]);
    }

    /// Takes the frames that wait and handles them, but its disk fails.
    pub(crate) fn fail_to_store(&mut self, frames: Vec<Frame>, peer: PeerId) {
        let now = self.now();
        let mut outputs = Outputs::default();
        for frame in frames {
            let input = Input::Frame { conn: CONN, peer, frame: frame.encode() };
            self.core.handle(now, input, &self.disk, &mut outputs);
        }
        self.core.flush(now, &self.disk, &mut outputs);
        self.core.persist_failed(outputs.writes.keys(), &self.disk);
    }

    /// The frames that wait, as the peer's inputs; `own` is told that they left.
    fn post(&mut self, own: &mut Vec<Input>) -> Vec<Input> {
        let mut theirs = Vec::new();
        for output in self.out.drain(..) {
            if let Output::Send { conn, peer, frame } = output {
                self.sent += frame.len();
                own.push(Input::Sent { conn, peer, bytes: frame.len() });
                theirs.push(Input::Frame { conn, peer: self.me, frame });
            }
        }
        theirs
    }

    fn is_connected(&self) -> bool {
        self.core.stats().connected_peers > 0
    }

    pub(crate) fn write(
        &mut self,
        id: &str,
        edit: Edit,
        terms: impl Into<Terms>,
    ) -> Result<Option<Version>, RequestError> {
        self.requests += 1;
        let request = RequestId(self.requests);
        let answers = self.turn(vec![Input::Write { request, key: key(id), edit, terms: terms.into() }]);
        match answers.into_iter().next().unwrap() {
            (_, Ok(Reply::Written(version))) => Ok(version),
            (_, Ok(other)) => panic!("a write is answered by its version, not {other:?}"),
            (_, Err(error)) => Err(error),
        }
    }

    pub(crate) fn put(&mut self, id: &str, json: &str) {
        self.write(id, Edit::Put(Document::parse(json).unwrap()), Condition::Always).unwrap();
    }

    pub(crate) fn merge(&mut self, id: &str, patch: &str) {
        let patch = Document::parse(patch).unwrap();
        self.write(id, Edit::Merge { patch, limit: usize::MAX }, Condition::Always).unwrap();
    }

    pub(crate) fn read(&self, id: &str) -> Option<String> {
        let row = self.disk.rows.get(&key(id))?;
        View::parse(row).unwrap().text().map(str::to_owned)
    }

    /// Lets time pass, and names every deleted document.
    pub(crate) fn sweep_after(&mut self, time: Duration) {
        self.uptime += time;
        let deleted = |row: &[u8]| View::parse(row).unwrap().state == State::Deleted;
        let keys = self.disk.rows.iter().filter(|(_, row)| deleted(row)).map(|(key, _)| key.clone()).collect();
        self.turn(vec![Input::Expire { keys }]);
    }

    /// The shell names a document that may be due.
    pub(crate) fn expire(&mut self, id: &str) {
        self.turn(vec![Input::Expire { keys: vec![key(id)] }]);
    }

    /// What the store has of a document: its state, and bytes of its history.
    pub(crate) fn stored(&self, id: &str) -> (State, usize) {
        let history = self.disk.history.iter().filter(|((of, _), _)| *of == key(id));
        (View::parse(&self.disk.rows[&key(id)]).unwrap().state, history.map(|(_, record)| record.len()).sum())
    }

    /// How often the history of a document was begun anew.
    pub(crate) fn epoch(&self, id: &str) -> u32 {
        match View::parse(&self.disk.rows[&key(id)]).unwrap().have {
            Have::Full { life, .. } => life.generation.epoch.map_or(0, |epoch| epoch.number.get()),
            Have::Latest { .. } => panic!("a full document"),
        }
    }

    /// Its file of rights says this from now on.
    pub(crate) fn rule(&mut self, rights: Rights) {
        self.turn(vec![Input::Rights(rights)]);
    }

    /// Documents of peers that may not write them.
    pub(crate) fn refused(&self) -> u64 {
        self.core.stats().docs_refused
    }

    /// Documents of peers whose stamps are too far ahead.
    pub(crate) fn stamps_ahead(&self) -> u64 {
        self.core.stats().stamps_ahead
    }

    /// The process is to end soon.
    pub(crate) fn leave(&mut self) {
        self.turn(vec![Input::Leave]);
    }

    /// A caller begins to wait until peers have everything, or ends.
    pub(crate) fn drain(&mut self, begins: bool) {
        self.turn(vec![Input::Drain { begins }]);
    }

    /// The process ends and another begins with the same store.
    pub(crate) fn restart(&mut self) {
        let rows = self.disk.rows.iter().map(|(key, row)| Stored::read(key.clone(), row).unwrap()).collect();
        self.core = core(self.me, self.me.0[0] + 100);
        self.core.restore(rows, self.now().wall);
        self.out.clear();
    }

    /// When it has something to do, from now on.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.core.deadline().map(|at| at.saturating_sub(self.uptime))
    }

    /// Rows of which neighbours are told.
    pub(crate) fn told(&self) -> usize {
        self.core.stats().rows
    }

    /// The shell found the row damaged and set it aside.
    pub(crate) fn lose(&mut self, id: &str) {
        let key = key(id);
        self.disk.rows.remove(&key);
        self.disk.history.retain(|(of, _), _| *of != key);
        self.core.lost(&[key]);
    }

    /// The records of its history are gone, the row is not, and the process begins again.
    pub(crate) fn lose_history(&mut self, id: &str) {
        self.disk.history.retain(|(of, _), _| *of != key(id));
        self.restart();
    }

    /// A connection to `peer` is up.
    pub(crate) fn meets(&mut self, peer: &Self) {
        let (direction, version) = (Direction::Out, self.version);
        self.listen(vec![Input::Connected { conn: CONN, peer: peer.me, direction, version }]);
    }

    /// So much of what was sent to `peer` has left.
    pub(crate) fn sent_to(&mut self, peer: &Self, bytes: usize) {
        self.listen(vec![Input::Sent { conn: CONN, peer: peer.me, bytes }]);
    }

    /// `frame` arrives from `peer`.
    pub(crate) fn hear(&mut self, peer: &Self, frame: Frame) {
        self.hear_bytes(peer, frame.encode());
    }

    /// The bytes of a frame arrive from `peer`.
    pub(crate) fn hear_bytes(&mut self, peer: &Self, frame: Bytes) {
        self.listen(vec![Input::Frame { conn: CONN, peer: peer.me, frame }]);
    }

    /// Frames that were left out because their kind is not known, and those that could not be read.
    pub(crate) fn not_read(&self) -> (u64, u64) {
        let stats = self.core.stats();
        (stats.frames_unknown, stats.frames_malformed)
    }

    /// Takes the frames that wait.
    pub(crate) fn frames(&mut self) -> Vec<Frame> {
        let frame = |output| match output {
            Output::Send { frame, .. } => Some(Frame::decode(frame).unwrap()),
            Output::Dial { .. } | Output::Close { .. } => None,
        };
        self.out.drain(..).filter_map(frame).collect()
    }

    /// Documents that some peer lacks.
    pub(crate) fn backlog(&self) -> usize {
        self.core.stats().backlog
    }

    /// Peers that have not said that they stored what they were sent, where somebody waits for that.
    pub(crate) fn unconfirmed(&self) -> usize {
        self.core.peers().iter().filter(|view| view.unconfirmed).count()
    }

    /// Documents that came in frames since the process began, whether new or not.
    pub(crate) fn received(&self) -> u64 {
        self.core.stats().docs_received
    }

    /// The connection is gone.
    pub(crate) fn cut(&mut self) {
        let peers: Vec<PeerId> = self.core.peers().into_iter().map(|view| view.peer).collect();
        self.turn(peers.into_iter().map(|peer| Input::Disconnected { conn: CONN, peer }).collect());
        self.out.clear();
    }

    pub(crate) fn digest(&self) -> u128 {
        self.core.stats().digest
    }
}

/// Joins two places and lets them talk until both are silent and equal.
pub(crate) fn join(a: &mut Place, b: &mut Place) {
    assert!(talk(a, b, 10_000), "not equal after ten thousand turns");
}

/// The two are connected until they are equal, and no longer.
pub(crate) fn meet(a: &mut Place, b: &mut Place) {
    join(a, b);
    a.cut();
    b.cut();
}

/// Joins two places and lets them talk for so many turns, or until both are silent and equal; whether they are.
pub(crate) fn talk(a: &mut Place, b: &mut Place, turns: usize) -> bool {
    let version = a.version.min(b.version);
    let connected = |peer, direction| Input::Connected { conn: CONN, peer, direction, version };
    let mut to_a = Vec::from_iter((!a.is_connected()).then(|| connected(b.me, Direction::Out)));
    let mut to_b = Vec::from_iter((!b.is_connected()).then(|| connected(a.me, Direction::In)));
    for _ in 0..turns {
        a.listen(std::mem::take(&mut to_a));
        b.listen(std::mem::take(&mut to_b));
        let (from_a, from_b) = (a.post(&mut to_a), b.post(&mut to_b));
        to_a.extend(from_b);
        to_b.extend(from_a);
        if to_a.is_empty() && to_b.is_empty() && a.digest() == b.digest() {
            return true;
        }
    }
    false
}
