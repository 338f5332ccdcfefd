//! The one door of the mesh engine.
//!
//! Purpose: [`MeshNode::handle`] takes one [`Input`], [`MeshNode::flush`] turns what neighbours lack into frames; the
//! shell then persists, sends and answers. What it does not do: any of those.

mod concern;
mod flush;
mod grants;
mod receive;
mod spread;
mod stats;

use crate::docs::Kinds;
use crate::docs::epoch::Limits;
use crate::event::{CloseReason, Input, Now, Output, Outputs, Reply, RequestError, StorageFault};
use crate::ids::{ConnId, Key, PeerId, RequestId};
use crate::membership::PeerBook;
use crate::membership::book::Attach;
use crate::rights::Rights;
use crate::rows::Rows;
use crate::shelf::{Changed, Shelf, ShelfError, Stored};
use crate::sync::frame::LONGEST;
use crate::sync::neighbour::{Neighbour, Since};
use crate::sync::spread::Origins;
use concern::Concerns;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use crate::membership::{PeerState, PeerView};
pub use stats::Stats;

/// What a node needs to know at start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who we are.
    pub me: PeerId,
    /// Automerge actor: fresh random bytes for each start of the process, so that a restored or cloned store can never
    /// use a sequence number twice.
    pub actor: [u8; 16],
    /// Seed of the jitter.
    pub seed: [u8; 32],
    /// Whether sync begins switched on.
    pub sync_active: bool,
    /// Memory for hot documents.
    pub cache_bytes: usize,
    /// How long neighbours are told of a delete where no policy says it.
    pub tombstone_ttl: Duration,
    /// [`MeshNode::known_time`] of before the last restart.
    pub known_time: Option<Duration>,
    /// When the history of a document is begun anew.
    pub history: Limits,
    /// What peers may read and write.
    pub rights: Rights,
    /// How new documents of a collection merge.
    pub kinds: Kinds,
}

/// How often two neighbours compare roots, before jitter.
const ROOT_EVERY: Duration = Duration::from_secs(5);
/// Documents that the first neighbour is told of unasked. More are found by the comparison of roots.
const UNHEARD_LIMIT: usize = 1 << 16;
/// Never, for the side that does not open comparisons.
const NEVER: Duration = Duration::MAX;

/// A node of the mesh, without I/O.
#[derive(Debug)]
pub struct MeshNode {
    me: PeerId,
    shelf: Shelf,
    book: PeerBook,
    neighbours: BTreeMap<PeerId, Neighbour>,
    rng: ChaCha8Rng,
    sync_active: bool,
    /// Whether the process ends soon.
    leaves: bool,
    /// Callers that wait until peers have what is here.
    drains: usize,
    frames_malformed: u64,
    frames_unknown: u64,
    merges_failed: u64,
    docs_received: u64,
    docs_redundant: u64,
    docs_refused: u64,
    rights: Rights,
    /// When it was last told the time.
    uptime: Duration,
    /// Documents written here while nobody was connected: the first neighbour is told without being asked.
    unheard: BTreeSet<Key>,
    origins: Origins,
    concerns: Concerns,
}

impl MeshNode {
    /// A node without documents or peers.
    pub fn new(config: Config) -> Self {
        let Config { me, actor, seed, sync_active, cache_bytes, tombstone_ttl, known_time, history, rights, kinds } =
            config;
        Self {
            me,
            shelf: Shelf::new(me, actor, cache_bytes, (tombstone_ttl, known_time), (history, kinds)),
            book: PeerBook::new(me),
            neighbours: BTreeMap::new(),
            rng: ChaCha8Rng::from_seed(seed),
            sync_active,
            leaves: false,
            drains: 0,
            frames_malformed: 0,
            frames_unknown: 0,
            merges_failed: 0,
            docs_received: 0,
            docs_redundant: 0,
            docs_refused: 0,
            rights,
            uptime: Duration::ZERO,
            unheard: BTreeSet::new(),
            origins: Origins::default(),
            concerns: Concerns::default(),
        }
    }

    /// Notes the stored rows; call once, before the first [`MeshNode::handle`]. `wall`: see [`Now`].
    pub fn restore(&mut self, rows: Vec<Stored>, wall: Duration) {
        self.shelf.restore(rows, wall);
    }

    /// Wall time as far as it is sure that it has come: what the next start goes on from, so that a clock that is still
    /// wrong then is believed no more than now.
    pub fn known_time(&mut self, now: Now) -> Duration {
        self.shelf.known_time(now)
    }

    /// The rows of these documents were damaged and are gone: every neighbour that may know of them is asked for them.
    pub fn lost(&mut self, keys: &[Key]) {
        for key in keys {
            self.shelf.lose(key);
            self.neighbours.values_mut().for_each(|neighbour| grants::show(neighbour, key));
        }
    }

    /// Takes in what happened and appends what is to be done.
    pub fn handle(&mut self, now: Now, input: Input, rows: &dyn Rows, outputs: &mut Outputs) {
        let Now { uptime, .. } = now;
        self.shelf.it_is(now);
        self.shelf.end_due(rows, outputs);
        match input {
            Input::Tick => {}
            Input::Drain { begins } => {
                self.drains = if begins { self.drains + 1 } else { self.drains.saturating_sub(1) };
                let wanted = self.drains > 0;
                self.neighbours.values_mut().for_each(|neighbour| neighbour.last.want(wanted));
            }
            Input::Leave => self.leaves = true,
            Input::Write { request, key, edit, terms } => {
                let result = self.shelf.write(&key, &edit, terms, rows, outputs);
                self.finish(request, &key, result, uptime, outputs);
            }
            Input::Await { request, key, quorum, limit } => {
                self.on_await((request, key), quorum, limit, uptime, outputs);
            }
            Input::Expire { keys } => {
                // One that cannot be read now is found again by the shell.
                keys.iter().for_each(|key| self.shelf.expire(key, rows, outputs).unwrap_or_default());
            }
            Input::Want { source, peer, addresses } => self.book.want(source, peer, addresses, uptime),
            Input::Unwant { source, peer } => self.book.unwant(source, peer),
            Input::Connect { request, peer, addresses } => {
                self.book.connect(request, peer, addresses, uptime, &mut outputs.answers);
            }
            Input::Disconnect { request, peer } => {
                let closed = self.book.disconnect(peer, &mut outputs.answers);
                if let Ok(Some(conn)) = closed {
                    self.detach(peer, conn, CloseReason::Requested, outputs);
                }
                outputs.answers.push((request, closed.map(|_| Reply::Done)));
            }
            Input::Revoke { peers } => {
                for (peer, conn) in self.book.revoke(peers, &mut outputs.answers) {
                    self.detach(peer, conn, CloseReason::Revoked, outputs);
                }
            }
            Input::Reinstate { peers } => self.book.reinstate(&peers),
            Input::DialFailed { peer, failure } => {
                self.book.dial_failed(peer, failure, uptime, &mut self.rng, &mut outputs.answers);
            }
            Input::Connected { conn, peer, direction, version } => {
                let attach = self.book.connected(conn, peer, direction, uptime, &mut outputs.answers);
                self.attach(attach, (conn, version), peer, uptime, outputs);
            }
            Input::Disconnected { conn, peer } => {
                if self.book.disconnected(conn, peer, uptime, &mut self.rng) {
                    self.neighbours.remove(&peer);
                }
            }
            Input::Frame { conn, peer, frame } => self.receive(now, (conn, peer), frame, rows, outputs),
            Input::Sent { conn, peer, bytes } => self.give_back(conn, peer, bytes),
            Input::Rights(rights) => self.on_rights(rights, uptime),
            Input::Sync { request, active } => {
                self.switch_sync(active, uptime);
                outputs.answers.push((request, Ok(Reply::Done)));
            }
        }
        self.pass_concerns(uptime, outputs);
        outputs.sends.extend(self.book.due(uptime));
    }

    /// The batch with these keys was not persisted: forgets what was in memory only.
    pub fn persist_failed<'a>(&mut self, keys: impl Iterator<Item = &'a Key>, rows: &dyn Rows) {
        for key in keys {
            self.shelf.forget(key, rows);
            // What a disk kept without saying so, no neighbour heard of.
            self.neighbours.values_mut().for_each(|neighbour| neighbour.doubt(key));
        }
        self.neighbours.values_mut().for_each(|neighbour| neighbour.last.ask_again());
    }

    /// So much of what [`Output::Send`] gave does not wait for the network any more, because it left or was dropped.
    /// Nothing else happens, also where it is time for something: what a failed batch leaves behind has no outputs.
    pub fn give_back(&mut self, conn: ConnId, peer: PeerId, bytes: usize) {
        if let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|neighbour| neighbour.conn == conn) {
            neighbour.sent(bytes);
        }
    }

    /// Uptime at which [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        let roots = self.neighbours.values().map(|neighbour| neighbour.next_root).filter(|at| *at != NEVER);
        let spread = self.neighbours.values().filter_map(|neighbour| neighbour.spread.deadline());
        let one_way = self.neighbours.values().filter_map(|neighbour| neighbour.one_way.deadline());
        let sync = if self.sync_active { roots.chain(spread).chain(one_way).min() } else { None };
        let end = self.shelf.next_end().map(|after| self.uptime.saturating_add(after));
        self.book.deadline().into_iter().chain(sync).chain(self.concerns.deadline()).chain(end).min()
    }

    /// Every peer, connected or not.
    pub fn peers(&self) -> Vec<PeerView> {
        let views = self.book.views().map(|view| match self.neighbours.get(&view.peer) {
            Some(neighbour) => {
                PeerView { backlog: neighbour.backlog(self.uptime), unconfirmed: neighbour.last.is_missing(), ..view }
            }
            None => view,
        });
        views.collect()
    }

    /// Whether any source wants `peer`.
    pub fn knows(&self, peer: &PeerId) -> bool {
        self.book.knows(peer)
    }

    fn finish(
        &mut self,
        request: RequestId,
        key: &Key,
        result: Result<Changed, ShelfError>,
        uptime: Duration,
        outputs: &mut Outputs,
    ) {
        let answer = match result {
            Ok(changed) => {
                if changed.is_some() && self.neighbours.is_empty() && self.unheard.len() < UNHEARD_LIMIT {
                    self.unheard.insert(key.clone());
                }
                self.owe_all(key, changed, None, uptime);
                Ok(Reply::Written(self.shelf.index.version(key)))
            }
            Err(ShelfError::Immutable) => Err(RequestError::Immutable(key.collection().to_owned())),
            Err(ShelfError::Sealed) => Err(RequestError::Sealed),
            Err(ShelfError::Conflict { version }) => Err(RequestError::Conflict { version }),
            Err(ShelfError::OverLimit { size, limit }) => Err(RequestError::OverLimit { size, limit }),
            Err(ShelfError::TooLarge { size }) => Err(RequestError::TooLarge { size, limit: LONGEST }),
            Err(ShelfError::Document(crate::docs::full::FullError::Shape(shape))) => {
                Err(RequestError::Shape(shape.to_string()))
            }
            Err(
                error @ (ShelfError::Read(_)
                | ShelfError::Row(_)
                | ShelfError::History
                | ShelfError::EndOfTime
                | ShelfError::Document(_)),
            ) => Err(RequestError::Storage { fault: StorageFault::Failed, reason: error.to_string() }),
        };
        outputs.answers.push((request, answer));
    }

    fn attach(
        &mut self,
        attach: Attach,
        (conn, version): (ConnId, u16),
        peer: PeerId,
        uptime: Duration,
        outputs: &mut Outputs,
    ) {
        match attach {
            Attach::Refused(reason) => outputs.sends.push(Output::Close { conn, peer, reason }),
            Attach::Kept { replaces } => {
                if let Some(conn) = replaces {
                    outputs.sends.push(Output::Close { conn, peer, reason: CloseReason::Duplicate });
                }
                // Whatever was owed on the old connection is found again by comparing roots on the new one.
                let mut neighbour = Neighbour::new((conn, version), self.next_root(&peer, uptime));
                let is_bound = neighbour.permit(self.rights.grants(&peer));
                // Before anything that is owed: who was away has much to tell, and much to hear.
                neighbour.open_root = self.me < peer && neighbour.compares();
                neighbour.last.want(self.drains > 0);
                self.concerns.keys().for_each(|key| neighbour.ask_whether_stored(key));
                if self.sync_active {
                    // So that whoever waits for a peer to have everything sees what it does not have yet.
                    let (told, untold) =
                        std::mem::take(&mut self.unheard).into_iter().partition(|key| neighbour.flow.sends(key));
                    let told: BTreeSet<Key> = told;
                    told.iter().for_each(|key| neighbour.owe(key, Since::Start));
                    self.unheard = untold;
                }
                self.neighbours.insert(peer, neighbour);
                if is_bound {
                    self.divide();
                }
            }
        }
    }

    fn detach(&mut self, peer: PeerId, conn: ConnId, reason: CloseReason, outputs: &mut Outputs) {
        self.neighbours.remove(&peer);
        outputs.sends.push(Output::Close { conn, peer, reason });
    }

    fn switch_sync(&mut self, active: bool, uptime: Duration) {
        let starts = active && !self.sync_active;
        self.sync_active = active;
        for neighbour in self.neighbours.values_mut() {
            if starts {
                neighbour.next_root = uptime;
            } else if !active {
                neighbour.clear();
            }
        }
    }

    /// When to compare roots again: the smaller id opens, so that a pair compares once and not twice.
    fn next_root(&mut self, peer: &PeerId, uptime: Duration) -> Duration {
        if self.me < *peer { uptime + self.rng.random_range(ROOT_EVERY * 4 / 5..=ROOT_EVERY * 6 / 5) } else { NEVER }
    }
}
