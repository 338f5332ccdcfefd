//! What time took away.
//!
//! Inputs: a batch. Outputs: counts for metrics. What it does not do: tell what went here first from what neighbours told
//! of: every node comes to the same rows.

use peat_node_core::docs::row::{self, State, View};
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
    pub(super) fn of(writes: &BTreeMap<Key, Write>) -> Self {
        let mut ended = Self::default();
        // Most rows are of live documents, which is seen at a glance.
        let gone = writes.values().filter(|write| row::weight(&write.row).is_some_and(|(live, _)| !live));
        for view in gone.filter_map(|write| View::parse(&write.row).ok()) {
            match view.state {
                State::Deleted if view.have.newest().is_expiry() => ended.documents += 1,
                State::Collected => ended.deletes += 1,
                State::Deleted | State::Live => {}
            }
        }
        ended
    }
}
