//! Bytes of mesh traffic, as QUIC counts them.
//!
//! Purpose: cumulative totals over all connections of the process, live ones included, read at any moment without
//! slowing the transport. Inputs: connections as they begin and end. Outputs: [`SyncStats`]. What it does not do: count
//! the API, or the UDP and IP headers around QUIC packets.

use crate::handle::SyncStats;
use iroh::endpoint::Connection;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Totals {
    ended: SyncStats,
    live: BTreeMap<u64, Connection>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<Totals>);

impl Traffic {
    /// Totals so far.
    pub fn totals(&self) -> SyncStats {
        let totals = self.totals_locked();
        totals.live.values().fold(totals.ended, add)
    }

    pub(crate) fn watch(&self, number: u64, connection: &Connection) {
        self.totals_locked().live.insert(number, connection.clone());
    }

    pub(crate) fn retire(&self, number: u64) {
        let mut totals = self.totals_locked();
        if let Some(connection) = totals.live.remove(&number) {
            totals.ended = add(totals.ended, &connection);
        }
    }

    fn totals_locked(&self) -> MutexGuard<'_, Totals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(sum: SyncStats, connection: &Connection) -> SyncStats {
    let stats = connection.stats();
    SyncStats {
        bytes_sent: sum.bytes_sent + stats.udp_tx.bytes,
        bytes_received: sum.bytes_received + stats.udp_rx.bytes,
    }
}
