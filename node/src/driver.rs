//! The one loop of the node: inputs, engine, disk, network, answers.
//!
//! Purpose: run the engine on a thread of its own, because the disk blocks. Inputs: [`Message`]s. Outputs: rows to the
//! store, acts to the network, answers to callers, a view for readers. The order is always the same and stands in one
//! function, [`Driver::finish`]: **persist, then send, then answer**. All inputs that wait are handled before the next
//! commit (group commit), so one `fdatasync` serves many callers. The loop waits for its inputs and the disk, never for
//! a peer. What it does not do: decide anything about documents or peers.

mod ended;
mod failed;
mod message;
mod pulse;
mod rows;
mod start;

use message::concerns_peers;
pub use message::{Message, Network, Request};
pub use pulse::{Commits, Pulse};
pub use start::{DriverError, Running, Setup, start};

use crate::changes::Recent;
use crate::handle::Published;
use crate::metrics::Metrics;
use crate::quota::Gate;
use crate::store::{Seq, Store};
use crate::telemetry::traces::Begun;
use arc_swap::ArcSwapOption;
use ended::Ended;
use peat_node_core::docs::row;
use peat_node_core::event::{Reply, RequestError};
use peat_node_core::ids::{Key, RequestId};
use peat_node_core::{Config, Input, MeshNode, Now, Outputs};
use rows::StoredRows;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info};

/// Inputs that wait for the driver. When it is full, callers and connections wait, and so their peers: nothing is lost.
pub const INPUTS: usize = 1024;

/// Most inputs of one commit: enough to share the disk's delay, few enough that the first caller does not wait long.
const BATCH: usize = 512;

/// The view for readers is at most this old while inputs keep coming; it is fresh whenever the driver has nothing to
/// do.
const VIEW_AGE: Duration = Duration::from_millis(100);

struct Driver<N> {
    node: MeshNode,
    store: Arc<dyn Store>,
    network: N,
    began: Instant,
    timer: tokio::runtime::Runtime,
    waiting: HashMap<RequestId, oneshot::Sender<Result<Reply, RequestError>>>,
    next_request: u64,
    committed: watch::Sender<Seq>,
    recent: Arc<Recent>,
    published: Arc<ArcSwapOption<Published>>,
    /// When the view was last renewed, and whether something happened since.
    viewed: Instant,
    stale: bool,
    /// Whether an application wrote while no peer was connected.
    unsent: bool,
    /// Keys of batches that failed and of which nobody can see yet what became of them: a disk may have kept such a row
    /// nevertheless.
    doubtful: BTreeSet<Key>,
    /// Why the store could not be opened again after a batch that failed, as callers are told; nothing is written then.
    closed: Option<RequestError>,
    /// When a commit is tried again that nobody asked for; none while commits succeed.
    trial_at: Option<Instant>,
    metrics: Arc<Metrics>,
    gate: Gate,
}

impl<N: Network> Driver<N> {
    fn new(
        config: Config,
        store: Arc<dyn Store>,
        network: N,
        (published, metrics): (Arc<ArcSwapOption<Published>>, Arc<Metrics>),
        mut gate: Gate,
    ) -> Result<(Self, watch::Receiver<Seq>), DriverError> {
        let timer = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let mut node = MeshNode::new(config);
        let wall = wall();
        node.restore(rows::all(&*store)?, wall);
        gate.look(store.usage(), Instant::now());
        let (committed, watch) = watch::channel(store.last());
        let began = Instant::now();
        let mut driver = Self {
            node,
            store,
            network,
            began,
            timer,
            waiting: HashMap::new(),
            next_request: 0,
            committed,
            recent: Arc::default(),
            published,
            viewed: began,
            stale: true,
            unsent: false,
            doubtful: BTreeSet::new(),
            closed: None,
            trial_at: None,
            metrics,
            gate,
        };
        driver.publish();
        info!(rows = driver.node.stats().rows, "the store is open");
        Ok((driver, watch))
    }

    fn run(mut self, mut inputs: mpsc::Receiver<Message>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            match self.receive(&mut inputs, &mut batch) {
                Received::Inputs | Received::Nothing => {}
                Received::Closed => return,
            }
            self.metrics.pulse().turn_begins();
            if self.turn(&mut batch) {
                return self.store.close();
            }
            self.try_again();
            self.metrics.pulse().turn_ends(self.waiting.len());
        }
    }

    /// Waits for inputs, but not longer than to the engine's deadline, the renewal of the view or a trial of the disk.
    fn receive(&self, inputs: &mut mpsc::Receiver<Message>, batch: &mut Vec<Message>) -> Received {
        let deadline = self.node.deadline().map(|at| self.began + at);
        let view = self.stale.then(|| self.viewed + VIEW_AGE);
        let until = deadline.into_iter().chain(view).chain(self.trial_at).min();
        let received = self.timer.block_on(async {
            let receive = inputs.recv_many(batch, BATCH);
            match until {
                Some(until) => tokio::time::timeout_at(until.into(), receive).await.ok(),
                None => Some(receive.await),
            }
        });
        match received {
            Some(0) => Received::Closed,
            Some(_) => Received::Inputs,
            None => Received::Nothing,
        }
    }

    /// Handles everything that waits, then lets it take effect. Returns whether this was the last turn.
    fn turn(&mut self, batch: &mut Vec<Message>) -> bool {
        let round = Begun::now(None);
        let mut outputs = Outputs::default();
        let mut rooms = Vec::new();
        let (mut last, mut peers_changed) = (false, false);
        let mut viewers = Vec::new();
        self.gate.look(self.store.usage(), Instant::now());
        for message in batch.drain(..) {
            let input = match message {
                Message::Request { request, answer } => match self.refusal(&request, &outputs) {
                    // Nothing is to be durable first.
                    Some(refusal) => {
                        let _ = answer.send(Err(refusal));
                        continue;
                    }
                    None => self.admit(request, answer),
                },
                Message::Event(input) => input,
                // As if the network had lost it: what it brings could not be kept, and would be remembered all the same.
                Message::Frame { .. } if self.closed.is_some() => continue,
                Message::Frame { input, room } => {
                    rooms.push(room);
                    input
                }
                Message::View(answer) => {
                    viewers.push(answer);
                    peers_changed = true;
                    continue;
                }
                Message::Stop => {
                    last = true;
                    continue;
                }
            };
            peers_changed |= concerns_peers(&input);
            let writes = matches!(input, Input::Write { .. });
            self.unsent = self.unsent || writes && self.node.stats().connected_peers == 0;
            self.node.handle(self.now(), input, &StoredRows(&*self.store), &mut outputs);
        }
        if self.node.deadline().is_some_and(|at| at <= self.began.elapsed()) {
            self.node.handle(self.now(), Input::Tick, &StoredRows(&*self.store), &mut outputs);
            peers_changed = true;
        }
        self.forget_damaged(&outputs);
        self.node.flush(self.now(), &StoredRows(&*self.store), &mut outputs);
        self.stale = true;
        let (written, sent) = (outputs.writes.len(), outputs.sends.len());
        self.finish(outputs, peers_changed);
        if let Some(round) = round.filter(|_| !rooms.is_empty()) {
            round.round_ended(rooms.len(), written, sent);
        }
        for viewer in viewers {
            // Whoever asked may be gone.
            let _ = self.published.load_full().map(|view| viewer.send(view));
        }
        last
    }

    /// Rows that somebody found damaged are set aside now; neighbours have them, and are asked.
    fn forget_damaged(&mut self, outputs: &Outputs) {
        match self.store.set_damaged_aside(&outputs.writes) {
            Ok(keys) => self.node.lost(&keys),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                error!(error, "damaged rows could not be set aside");
            }
        }
    }

    /// Persist, then send, then answer. The only place where the engine's outputs take effect, but for a batch that
    /// fails.
    fn finish(&mut self, outputs: Outputs, peers_changed: bool) {
        self.metrics.pulse().calls_wait(self.waiting.len());
        let began = Instant::now();
        let writes = &outputs.writes;
        let persisted = if writes.is_empty() { Ok(self.store.last()) } else { self.store.commit(writes) };
        let seq = match persisted {
            Ok(seq) => seq,
            Err(failed) => return self.commit_failed(&failed, outputs),
        };
        let Outputs { writes, sends, answers } = outputs;
        if !writes.is_empty() {
            self.metrics.committed(writes.len(), began.elapsed());
            let Ended { documents, deletes } = Ended::of(&writes);
            self.metrics.ended(documents, deletes);
            self.recent.keep(seq, writes);
            self.committed.send_replace(seq);
            self.gate.look(self.store.usage(), Instant::now());
            self.commit_succeeded();
        }
        sends.into_iter().for_each(|output| self.network.act(output));
        if peers_changed || self.viewed.elapsed() >= VIEW_AGE {
            self.renew_view();
        }
        answers.into_iter().for_each(|(request, answer)| self.answer(request, answer));
    }

    /// Why an edit is refused, if it is. What this turn has written so far counts as stored.
    fn refusal(&mut self, request: &Request, outputs: &Outputs) -> Option<RequestError> {
        let Request::Write { key, edit, .. } = request else { return None };
        if self.closed.is_some() {
            return self.closed.clone();
        }
        let store = &self.store;
        let is_live = |row: &[u8]| row::weight(row).is_some_and(|(live, _)| live);
        let is_there = || match outputs.writes.get(key) {
            Some(write) => is_live(&write.row),
            // One that cannot be read now is not new: what is wrong with it the engine says.
            None => store.read(key).map_or(true, |row| row.is_some_and(|row| is_live(&row.bytes))),
        };
        self.gate.admit(key, edit, is_there).err().map(|refusal| RequestError::Quota(refusal.to_string()))
    }

    fn admit(&mut self, request: Request, answer: oneshot::Sender<Result<Reply, RequestError>>) -> Input {
        self.next_request += 1;
        let id = RequestId(self.next_request);
        self.waiting.insert(id, answer);
        match request {
            Request::Write { key, edit, terms } => Input::Write { request: id, key, edit, terms },
            Request::Await { key, quorum, limit } => Input::Await { request: id, key, quorum, limit },
            Request::Connect { peer, addresses } => Input::Connect { request: id, peer, addresses },
            Request::Disconnect { peer } => Input::Disconnect { request: id, peer },
            Request::Sync { active } => Input::Sync { request: id, active },
        }
    }

    fn answer(&mut self, request: RequestId, answer: Result<Reply, RequestError>) {
        if let Some(waiting) = self.waiting.remove(&request) {
            // A caller that went away wants no answer.
            let _ = waiting.send(answer);
        }
    }

    fn renew_view(&mut self) {
        self.viewed = Instant::now();
        self.stale = false;
        let some_peer_has_all = self.node.peers().iter().any(|peer| peer.connected.is_some() && peer.backlog == 0);
        self.unsent &= !some_peer_has_all;
        self.publish();
    }

    fn publish(&mut self) {
        let known_time = self.node.known_time(self.now());
        let (peers, stats) = (self.node.peers(), self.node.stats());
        let (unsent, began, at) = (self.unsent, self.began, Instant::now());
        let view = Published { peers, stats, unsent, began, known_time, at };
        self.published.store(Some(Arc::new(view)));
    }

    fn now(&self) -> Now {
        Now { wall: wall(), uptime: self.began.elapsed() }
    }
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

enum Received {
    Inputs,
    Nothing,
    Closed,
}

/// The chain of causes on one line: the caller sees only this text.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

#[cfg(test)]
mod tests;
