//! Links of the simulated world: dials, frames, closes.
//!
//! A frame is late, lost alone, or cut off by a partition; a closed connection is told to both sides, each in its own
//! time. What it does not do: decide when links fail; the faults do.

use super::{Event, Node, World};
use crate::event::{DialFailure, Direction, Input, Output};
use crate::ids::ConnId;
use crate::sync::frame::THIRD;
use bytes::Bytes;
use rand::Rng;
use std::time::Duration;

impl World {
    /// One-way delay of a message: mostly a few milliseconds, sometimes a second.
    fn latency(&mut self) -> Duration {
        let slow = self.rng.random_bool(self.slow);
        Duration::from_micros(self.rng.random_range(200..if slow { 1_000_000 } else { 20_000 }))
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
        if self.side[from] != self.side[to] || self.rng.random_bool(self.loss) {
            return;
        }
        let input = Input::Frame { conn, peer: self.nodes[from].me, frame };
        let (boot, latency) = (self.nodes[to].boot, self.latency());
        self.after(latency, Event::Arrive { node: to, boot, input });
    }

    pub(super) fn dialled(&mut self, from: Node, boot: u32, to: Node) {
        if !self.runs(from, boot) {
            return;
        }
        let latency = self.latency();
        let (me, peer) = (self.nodes[from].me, self.nodes[to].me);
        if self.side[from] != self.side[to] || self.nodes[to].core.is_none() || self.rng.random_bool(self.loss) {
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

    pub(super) fn cut(&mut self) {
        let crossing = |(_, (a, b)): &(&ConnId, &(Node, Node))| self.side[*a] != self.side[*b];
        let cut: Vec<ConnId> = self.conns.iter().filter(crossing).map(|(conn, _)| *conn).collect();
        cut.into_iter().for_each(|conn| self.close(conn));
    }
}
