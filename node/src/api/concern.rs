//! The write concern of `Write`: an answer only when peers have stored what was written.
//!
//! Inputs: the concern of a request, and what became of its edits. Outputs: how many peers have stored each document,
//! beside its result. What it does not do: fail a call because peers are slow: the edits are made, and go on to them.

use super::service::Sidecar;
use super::status::IntoStatus as _;
use super::wait;
use connectrpc::ConnectError;
use futures::stream::{FuturesUnordered, StreamExt as _};
use peat_node_core::event::Quorum;
use peat_node_core::ids::{Key, PeerId};
use peat_proto::sidecar::peat::node::v1 as proto;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Most endpoint ids of one concern, which every answer of a peer is compared with.
const MOST_IDS: usize = 64;

/// A concern that was checked.
#[derive(Debug)]
pub(super) struct Concern {
    quorum: Quorum,
    wait: Duration,
}

impl Concern {
    /// `left`: what is left of the call's time.
    pub(super) fn parse(concern: &proto::Concern, left: Duration) -> Result<Self, ConnectError> {
        if concern.endpoint_ids.len() > MOST_IDS {
            let count = concern.endpoint_ids.len();
            let text = format!("concern.endpoint_ids has {count} ids, over the limit of {MOST_IDS}");
            return Err(ConnectError::invalid_argument(text));
        }
        let named = concern.endpoint_ids.iter().map(|id| PeerId::parse(id));
        let named = named.collect::<Result<BTreeSet<_>, _>>().map_err(|error| error.into_status())?;
        if concern.peers == 0 && named.is_empty() {
            return Err(ConnectError::invalid_argument("concern names neither a number of peers nor an endpoint id"));
        }
        let wait = wait::within("concern.wait", concern.wait.as_option(), left)?;
        Ok(Self { quorum: Quorum { peers: concern.peers as usize, named: Arc::new(named) }, wait })
    }
}

impl Sidecar {
    /// Waits for all documents at once, each one once; `keys` has those of `results`.
    pub(super) async fn await_stored(
        &self,
        concern: &Concern,
        keys: &[Option<Key>],
        results: &mut [proto::WriteResult],
    ) {
        let made = |result: &proto::WriteResult| result.error.as_option().is_none() && !result.version.is_empty();
        let written = keys.iter().zip(results.iter()).filter(|(_, result)| made(result));
        let written: BTreeSet<&Key> = written.filter_map(|(key, _)| key.as_ref()).collect();
        let waits: FuturesUnordered<_> = written.into_iter().map(|key| self.stored(key, concern)).collect();
        let stored: BTreeMap<&Key, (usize, bool)> = waits.collect().await;
        for (key, result) in keys.iter().zip(results) {
            if let Some((peers, enough)) = key.as_ref().and_then(|key| stored.get(key)).filter(|_| made(result)) {
                result.stored_by = u32::try_from(*peers).unwrap_or(u32::MAX);
                result.concern_met = *enough;
            } else {
                // A delete that found nothing left nothing to store.
                result.concern_met = result.error.as_option().is_none();
            }
        }
    }

    async fn stored<'a>(&self, key: &'a Key, concern: &Concern) -> (&'a Key, (usize, bool)) {
        let stored = self.handle.stored(key.clone(), concern.quorum.clone(), concern.wait).await;
        // The edit was made, whatever became of the wait.
        (key, stored.unwrap_or_default())
    }
}
