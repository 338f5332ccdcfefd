//! Links of the simulated world: dials, frames, closes.
//!
//! A frame is late, lost alone, cut off by a partition, or comes twice; a closed connection is told to both sides, each
//! in its own time. What it does not do: decide when links fail; the faults do.

use super::{Event, Node, World};
use crate::event::{DialFailure, Direction, Input, Output};
use crate::ids::ConnId;
use crate::sync::frame::THIRD;
use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// What does not pass between the two sides of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing passes.
    Both,
    /// What this side says does not arrive; it hears the other.
    From(u8),
}

impl World {
    fn latency(&mut self) -> Duration {
        latency_of(&mut self.rng, self.scenario.slow)
    }

    /// Whether nothing that `from` says arrives at `to`.
    fn is_cut(&self, from: Node, to: Node) -> bool {
        let silent = match self.cut {
            Cut::Both => true,
            Cut::From(side) => self.side[from] == side,
        };
        silent && self.side[from] != self.side[to]
    }

    /// Whether no two messages make a round between them.
    fn is_apart(&self, a: Node, b: Node) -> bool {
        self.is_cut(a, b) || self.is_cut(b, a)
    }

    pub(super) fn send(&mut self, node: Node, output: Output) {
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
        if self.is_cut(from, to) || self.rng.random_bool(self.scenario.loss) {
            return;
        }
        let (peer, boot, latency) = (self.nodes[from].me, self.nodes[to].boot, self.latency());
        // No stream of QUIC gives anything twice. The engine takes no advantage of that: a frame of any kind only adds
        // to what is known, or says what a later one says again. So every kind may come twice, the second time late.
        if self.chance.random_bool(self.scenario.twice) {
            self.twice += 1;
            let again = latency_of(&mut self.chance, self.scenario.slow);
            let input = Input::Frame { conn, peer, frame: frame.clone() };
            self.after(again, Event::Arrive { node: to, boot, input });
        }
        let input = Input::Frame { conn, peer, frame };
        self.after(latency, Event::Arrive { node: to, boot, input });
    }

    pub(super) fn dialled(&mut self, from: Node, boot: u32, to: Node) {
        if !self.runs(from, boot) {
            return;
        }
        let latency = self.latency();
        let (me, peer) = (self.nodes[from].me, self.nodes[to].me);
        // A handshake needs both directions.
        if self.is_apart(from, to) || self.nodes[to].core.is_none() || self.rng.random_bool(self.scenario.loss) {
            let input = Input::DialFailed { peer, failure: DialFailure::Unreachable("no answer".into()) };
            self.after(latency, Event::Arrive { node: from, boot, input });
            return;
        }
        let conn = ConnId(self.id());
        self.conns.insert(conn, (from, to));
        let there = self.nodes[to].boot;
        let inbound = Input::Connected { conn, peer: me, direction: Direction::In, version: THIRD };
        self.after(Duration::ZERO, Event::Arrive { node: to, boot: there, input: inbound });
        let outbound = Input::Connected { conn, peer, direction: Direction::Out, version: THIRD };
        self.after(latency, Event::Arrive { node: from, boot, input: outbound });
    }

    /// Ends a connection; both sides hear of it, each in its own time.
    pub(super) fn close(&mut self, conn: ConnId) {
        let Some((a, b)) = self.conns.remove(&conn) else { return };
        for (node, other) in [(a, b), (b, a)] {
            let input = Input::Disconnected { conn, peer: self.nodes[other].me };
            // Later than any message that is on its way, among them the report that it is up.
            let delay = Duration::from_millis(1_001) + self.latency();
            let boot = self.nodes[node].boot;
            self.after(delay, Event::Arrive { node, boot, input });
        }
    }

    /// Closes every connection over which no round is possible. QUIC does so where only one direction is cut, too: one
    /// side hears nothing, the other no acknowledgement.
    pub(super) fn close_what_is_cut(&mut self) {
        let is_cut = |(_, (a, b)): &(&ConnId, &(Node, Node))| self.is_apart(*a, *b);
        let cut: Vec<ConnId> = self.conns.iter().filter(is_cut).map(|(conn, _)| *conn).collect();
        cut.into_iter().for_each(|conn| self.close(conn));
    }
}

/// One-way delay of a message: mostly a few milliseconds, sometimes a second.
fn latency_of(rng: &mut ChaCha8Rng, slow: f64) -> Duration {
    let slow = rng.random_bool(slow);
    Duration::from_micros(rng.random_range(200..if slow { 1_000_000 } else { 20_000 }))
}
