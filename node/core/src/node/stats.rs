//! What a node counts.
//!
//! Inputs: the node as it is, and what its parts counted since the start. Outputs: plain numbers, for the shell to show.
//! What it does not do: keep any of them.

use super::MeshNode;
use crate::sync::digest::Place;

/// Figures for metrics and health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Rows, deletes included that were not collected.
    pub rows: usize,
    /// Peers with a live connection.
    pub connected_peers: usize,
    /// Documents that wait to be sent, over all neighbours.
    pub backlog: usize,
    /// Whether sync is switched on.
    pub sync_active: bool,
    /// Frames that could not be read, since start.
    pub frames_malformed: u64,
    /// Frames of kinds that this release does not know, left out.
    pub frames_unknown: u64,
    /// Documents of peers that could not be merged, since start.
    pub merges_failed: u64,
    /// Documents that came with content, since start.
    pub docs_received: u64,
    /// Those of them that told nothing new, since start.
    pub docs_redundant: u64,
    /// Documents whose history was damaged and that went on from their text, since start.
    pub histories_mended: u64,
    /// Histories that were begun anew here because they had grown long, since start.
    pub histories_begun: u64,
    /// Documents of peers that may not write them, since start.
    pub docs_refused: u64,
    /// Documents of peers with stamps so far ahead of the clock here that it does not follow, since start.
    pub stamps_ahead: u64,
    /// Estimated memory of hot documents.
    pub cache_bytes: usize,
    /// Documents that were needed and in memory, since start.
    pub cache_hits: u64,
    /// Documents that were needed and whose history had to be read, since start.
    pub cache_misses: u64,
    /// Root of the hash tree: equal on nodes with equal rows.
    pub digest: u128,
}

impl MeshNode {
    /// Figures of this moment.
    pub fn stats(&self) -> Stats {
        let (cache_hits, cache_misses) = self.shelf.hits_and_misses();
        Stats {
            rows: self.shelf.index.count(Place::ROOT),
            connected_peers: self.neighbours.len(),
            backlog: self.neighbours.values().map(|neighbour| neighbour.backlog(self.uptime)).sum(),
            sync_active: self.sync_active,
            frames_malformed: self.frames_malformed,
            frames_unknown: self.frames_unknown,
            merges_failed: self.merges_failed,
            docs_received: self.docs_received,
            docs_redundant: self.docs_redundant,
            docs_refused: self.docs_refused,
            stamps_ahead: self.shelf.stamps_ahead(),
            histories_mended: self.shelf.mended(),
            histories_begun: self.shelf.begun(),
            cache_bytes: self.shelf.cached_bytes(),
            cache_hits,
            cache_misses,
            digest: self.shelf.index.root(),
        }
    }
}
