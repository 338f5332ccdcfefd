//! The live connections of the mesh, as QUIC counts and sees them.
//!
//! Purpose: cumulative totals over all connections of the process, live ones included, and the figures of each live
//! one, read at any moment without slowing the transport. Inputs: connections as they begin and end. Outputs:
//! [`SyncStats`], [`Link`]s. What it does not do: count the API, or the UDP and IP headers around QUIC packets.

use crate::handle::SyncStats;
use crate::transport::certificate::Member;
use iroh::TransportAddr;
use iroh::endpoint::Connection;
use peat_node_core::event::Address;
use peat_node_core::ids::ConnId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// A live connection at this moment.
#[derive(Debug, Clone)]
pub struct Link {
    /// The other side's `ip:port`, as packets come from it, or the URL of the relay that they come through; it may
    /// move. None while no path is open.
    pub remote: Option<Address>,
    /// Smoothed estimate of the path in use.
    pub round_trip: Option<Duration>,
    /// When the peer had proved itself.
    pub since: SystemTime,
    /// Bytes on this connection.
    pub bytes: SyncStats,
    /// Of the mesh protocol, as both sides agreed.
    pub version: u16,
    /// What the peer showed; none in a mesh of a shared key.
    pub certificate: Option<Member>,
}

#[derive(Debug)]
struct Live {
    connection: Connection,
    since: SystemTime,
    version: u16,
    certificate: Option<Member>,
}

#[derive(Debug, Default)]
struct Totals {
    ended: SyncStats,
    live: BTreeMap<ConnId, Live>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<Totals>);

impl Traffic {
    /// Totals so far.
    pub fn totals(&self) -> SyncStats {
        let totals = self.totals_locked();
        totals.live.values().fold(totals.ended, |sum, live| add(sum, &live.connection))
    }

    /// A live connection; none once it has ended.
    pub fn link(&self, conn: ConnId) -> Option<Link> {
        let totals = self.totals_locked();
        let Live { connection, since, version, certificate } = totals.live.get(&conn)?;
        let paths = connection.paths();
        let path = paths.iter().find(|path| path.is_selected()).or_else(|| paths.iter().next());
        let remote = path.as_ref().and_then(|path| match path.remote_addr() {
            TransportAddr::Ip(socket) => Some(socket.to_string()),
            TransportAddr::Relay(url) => Some(url.to_string()),
            // No other transport is configured.
            _ => None,
        });
        Some(Link {
            remote,
            round_trip: path.map(|path| path.rtt()),
            since: *since,
            bytes: add(SyncStats::default(), connection),
            version: *version,
            certificate: certificate.clone(),
        })
    }

    pub(crate) fn watch(&self, conn: ConnId, connection: &Connection, version: u16, certificate: Option<Member>) {
        let live = Live { connection: connection.clone(), since: SystemTime::now(), version, certificate };
        self.totals_locked().live.insert(conn, live);
    }

    pub(crate) fn retire(&self, conn: ConnId) {
        let mut totals = self.totals_locked();
        if let Some(live) = totals.live.remove(&conn) {
            totals.ended = add(totals.ended, &live.connection);
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
