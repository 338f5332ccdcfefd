//! `Watch`: the events of a subscription with versions, and tokens to take it up again.
//!
//! Inputs: collections, a query, a token. Outputs: a stream as that of `Subscribe`, with a mark behind what is stored;
//! after a token, only what changed since. A token names the log and a place in it: 16 bytes id of the store, 8 bytes
//! number of the change, big endian. What it does not do: remember watchers; the store's log keeps one entry for each
//! document for as long as it lives.

use super::service::Sidecar;
use super::status::IntoStatus as _;
use super::watch::told;
use crate::changes::{Change, Told};
use crate::store::{Seq, StoreId};
use connectrpc::ConnectError;
use futures::stream::{BoxStream, StreamExt as _};
use peat_proto::sidecar::peat::node::v1 as proto;

/// What a watcher gets.
pub(super) type Events = BoxStream<'static, Result<proto::WatchEvent, ConnectError>>;

impl Sidecar {
    /// Every error in the request comes before the first event.
    pub(super) fn events_after(&self, request: &proto::WatchRequest) -> Result<Events, ConnectError> {
        let (store, last) = self.handle.log().map_err(|error| error.into_status())?;
        let after = if request.after.is_empty() { None } else { Some(place(&request.after, store, last)?) };
        let feed = self.watched(&request.collections, request.query.as_option(), after)?;
        let events = feed.map(move |told| {
            told.map(|told| match told {
                Told::Change(change) => event(change, store),
                Told::Complete { resume } => complete(token(store, resume)),
            })
        });
        Ok(events.boxed())
    }
}

fn event(change: Change, store: StoreId) -> proto::WatchEvent {
    let (change_type, json_data) = told(&change);
    proto::WatchEvent {
        collection: change.key.collection().to_owned(),
        doc_id: change.key.doc_id().to_owned(),
        change_type: change_type.into(),
        json_data,
        version: change.version.to_vec(),
        token: change.resume.map(|seq| token(store, seq)).unwrap_or_default(),
        ..Default::default()
    }
}

/// The end of what was stored.
fn complete(token: Vec<u8>) -> proto::WatchEvent {
    proto::WatchEvent { snapshot_complete: true, token, ..Default::default() }
}

fn token(store: StoreId, seq: Seq) -> Vec<u8> {
    [&store[..], &seq.to_be_bytes()].concat()
}

/// Where the token leads to in the log of `store`, whose newest change is `last`.
fn place(token: &[u8], store: StoreId, last: Seq) -> Result<Seq, ConnectError> {
    let parts = token.split_first_chunk::<{ size_of::<StoreId>() }>();
    let seq = parts.and_then(|(id, seq)| (*id == store).then(|| <[u8; 8]>::try_from(seq).ok()).flatten());
    let seq = seq.map(Seq::from_be_bytes).filter(|seq| *seq <= last);
    let text = "the token in `after` is not of this store as it is now: begin again without one";
    seq.ok_or_else(|| ConnectError::failed_precondition(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place_and_any_other_text_is_refused() {
        let (ours, other) = ([1; 16], [2; 16]);
        for seq in [0, 1, 258] {
            assert_eq!(place(&token(ours, seq), ours, 258).unwrap(), seq);
        }
        let ours_at_7 = token(ours, 7);
        let long = [&ours_at_7[..], &[0]].concat();
        for wrong in [&token(other, 7)[..], &token(ours, 8), &long, &ours_at_7[..23], &ours_at_7[..16], b"x"] {
            let error = place(wrong, ours, 7).unwrap_err();
            assert_eq!(error.code, connectrpc::ErrorCode::FailedPrecondition, "{wrong:?}");
        }
    }
}
