//! What time took away.
//!
//! Inputs: the documents that were named to the engine as due, and what it made of them. Outputs: counts for metrics.
//! What it does not do: count what neighbours took away, of which this node is told.

use peat_node_core::docs::row::{State, View};
use peat_node_core::event::Write;
use peat_node_core::ids::Key;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ended {
    /// Documents whose time was over.
    pub(super) documents: u64,
    /// Deletes of which nobody is told any more.
    pub(super) deletes: u64,
}

impl Ended {
    pub(super) fn of(named: &[Key], writes: &BTreeMap<Key, Write>) -> Self {
        let mut ended = Self::default();
        for view in named.iter().filter_map(|key| View::parse(&writes.get(key)?.row).ok()) {
            match view.state {
                State::Deleted if view.have.newest().is_expiry() => ended.documents += 1,
                State::Collected => ended.deletes += 1,
                State::Deleted | State::Live => {}
            }
        }
        ended
    }
}
