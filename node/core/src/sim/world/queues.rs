//! Bounds of what a node keeps for others, looked at while everything fails.
//!
//! Purpose: memory is bounded by what exists, whatever the network and the disk do. Inputs: what goes in and out of the
//! engine, and its own figures; outputs: the first [`Problem`]. What it does not do: look into the engine.

use super::{Node, World};
use crate::event::{Input, Output, Outputs};
use crate::ids::ConnId;
use crate::sim::check::Problem;
use crate::sync::frame::LONGEST;
use std::collections::BTreeMap;

/// Memory for hot documents at each node.
pub(super) const CACHE: usize = 2 << 20;

/// Of it and of what the engine keeps of older histories by itself.
const MOST_CACHED: usize = CACHE + (8 << 20);

/// What the engine hands to the transport for one neighbour before it waits. The last frame may reach beyond.
const WINDOW: usize = (1 << 20) + LONGEST;

/// Beyond four for each row, so many documents may count as owed to one neighbour: a row may be owed, gathered, waiting
/// to be announced, and announced of late; what was announced counts again with each change within a second, and for
/// that time also where a commit failed and there is no row.
const COUNTED_AGAIN: usize = 64;

/// Batches between two looks at one world's figures: they cost more than what they are about.
const EVERY: u64 = 16;

/// Bytes that were made for a connection and have not left, by node and connection.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    bytes: BTreeMap<(Node, ConnId), usize>,
    batches: u64,
}

impl InFlight {
    /// Notes room that the transport gives back.
    pub(super) fn note_input(&mut self, node: Node, input: &Input) {
        if let Input::Sent { conn, bytes, .. } = input {
            self.give_back(node, *conn, *bytes);
        }
    }

    pub(super) fn give_back(&mut self, node: Node, conn: ConnId, bytes: usize) {
        if let Some(in_flight) = self.bytes.get_mut(&(node, conn)) {
            *in_flight = in_flight.saturating_sub(bytes);
            if *in_flight == 0 {
                self.bytes.remove(&(node, conn));
            }
        }
    }

    /// Notes what a batch sends; gives the most that any of its connections has.
    fn note_outputs(&mut self, node: Node, outputs: &Outputs) -> usize {
        let mut most = 0;
        for output in &outputs.sends {
            let Output::Send { conn, frame, .. } = output else { continue };
            let bytes = self.bytes.entry((node, *conn)).or_default();
            *bytes += frame.len();
            most = most.max(*bytes);
        }
        most
    }

    /// The process at `node` is gone, and what it sent with it.
    pub(super) fn forget(&mut self, node: Node) {
        self.bytes.retain(|(of, _), _| *of != node);
    }
}

impl World {
    /// Looks at what a batch leaves behind.
    pub(super) fn bound(&mut self, node: Node, outputs: &Outputs) {
        let in_flight = self.in_flight.note_outputs(node, outputs);
        self.in_flight.batches += 1;
        let is_due = self.in_flight.batches.is_multiple_of(EVERY);
        let overflow = exceeds("bytes in flight", in_flight, WINDOW).or_else(|| self.figures(node, outputs, is_due));
        if let Some((queue, holds, most)) = overflow {
            let node = self.nodes[node].me;
            self.overflow.get_or_insert(Problem::Overflow { node, queue, holds, most });
        }
    }

    fn figures(&self, node: Node, outputs: &Outputs, is_due: bool) -> Option<(&'static str, usize, usize)> {
        let node = &self.nodes[node];
        let core = node.core.as_ref().filter(|_| is_due)?;
        let new = outputs.writes.keys().filter(|key| !node.disk.rows.contains_key(key)).count();
        let rows = node.disk.rows.len() + new;
        let backlog = core.peers().iter().map(|peer| peer.backlog).max().unwrap_or(0);
        let stats = core.stats();
        exceeds("documents that one neighbour is owed", backlog, rows * 4 + COUNTED_AGAIN)
            .or_else(|| exceeds("neighbours", stats.connected_peers, self.nodes.len() - 1))
            .or_else(|| exceeds("bytes of hot documents", stats.cache_bytes, MOST_CACHED))
    }
}

fn exceeds(queue: &'static str, holds: usize, most: usize) -> Option<(&'static str, usize, usize)> {
    (holds > most).then_some((queue, holds, most))
}
