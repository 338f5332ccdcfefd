//! `Watch`: the events of a subscription with versions, and tokens to take it up again.
//!
//! Inputs: collections, a query, a token. Outputs: a stream as that of `Subscribe`, with a mark behind what is stored;
//! after a token, only what changed since. A token names the log and a place in it: 16 bytes id of the store, 8 bytes
//! run of the process that gave the number out, 8 bytes number of the change, big endian; where a copy of the store, or
//! an earlier state of it, went on, the number alone would name another change. Tokens of an earlier release have no
//! run, and are good for numbers that have none. What it does not do: remember watchers; the store's log keeps one
//! entry for each document for as long as it lives.

use super::service::Sidecar;
use super::status::IntoStatus as _;
use super::watch::told;
use crate::changes::{Change, Told};
use crate::store::{Run, Seq, StoreId};
use connectrpc::ConnectError;
use futures::stream::{BoxStream, StreamExt as _};
use peat_proto::sidecar::peat::node::v1 as proto;

/// What a watcher gets.
pub(super) type Events = BoxStream<'static, Result<proto::WatchEvent, ConnectError>>;

impl Sidecar {
    /// Every error in the request comes before the first event.
    pub(super) fn events_after(&self, request: &proto::WatchRequest) -> Result<Events, ConnectError> {
        let (store, last) = self.handle.log().map_err(|error| error.into_status())?;
        let handle = self.handle.clone();
        let run = move |seq| handle.run(seq);
        let after = if request.after.is_empty() { None } else { Some(place(&request.after, store, last, &run)?) };
        let feed = self.watched(&request.collections, request.query.as_option(), after)?;
        let named = move |seq| token(store, run(seq), seq);
        let events = feed.map(move |told| {
            told.map(|told| match told {
                Told::Change(change) => event(change, &named),
                Told::Complete { resume } => complete(named(resume)),
            })
        });
        Ok(events.boxed())
    }
}

fn event(change: Change, token: impl Fn(Seq) -> Vec<u8>) -> proto::WatchEvent {
    let (change_type, json_data) = told(&change);
    proto::WatchEvent {
        collection: change.key.collection().to_owned(),
        doc_id: change.key.doc_id().to_owned(),
        change_type: change_type.into(),
        json_data,
        version: change.version.to_vec(),
        token: change.resume.map(token).unwrap_or_default(),
        ..Default::default()
    }
}

/// The end of what was stored.
fn complete(token: Vec<u8>) -> proto::WatchEvent {
    proto::WatchEvent { snapshot_complete: true, token, ..Default::default() }
}

/// A number of which no run is remembered gets a token like any other, which is refused.
fn token(store: StoreId, run: Option<Run>, seq: Seq) -> Vec<u8> {
    [&store[..], &run.unwrap_or_default().to_be_bytes(), &seq.to_be_bytes()].concat()
}

/// Where the token leads to in the log of `store`, whose newest change is `last` and whose numbers are of these runs.
fn place(token: &[u8], store: StoreId, last: Seq, run: impl Fn(Seq) -> Option<Run>) -> Result<Seq, ConnectError> {
    let parts = parts(token).filter(|(id, of, seq)| *id == store && *seq <= last && run(*seq) == Some(*of));
    let text = "the token in `after` is not of this store as it is now: begin again without one";
    parts.map(|(_, _, seq)| seq).ok_or_else(|| ConnectError::failed_precondition(text))
}

fn parts(token: &[u8]) -> Option<(StoreId, Run, Seq)> {
    let (id, rest) = token.split_first_chunk::<{ size_of::<StoreId>() }>()?;
    let (run, seq) = match rest.as_chunks::<8>() {
        ([run, seq], []) => (Run::from_be_bytes(*run), seq),
        ([seq], []) => (0, seq),
        _ => return None,
    };
    Some((*id, run, Seq::from_be_bytes(*seq)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: StoreId = [1; 16];

    /// The place of a token in our store whose newest change is 9; `runs` are first numbers and runs, the newest first.
    fn found(token: &[u8], runs: &[(Seq, Run)]) -> Option<Seq> {
        let run = |seq: Seq| runs.iter().find(|(first, _)| *first <= seq).map(|(_, run)| *run);
        match place(token, OURS, 9, run) {
            Ok(seq) => Some(seq),
            Err(error) => {
                assert_eq!(error.code, connectrpc::ErrorCode::FailedPrecondition, "{token:?}");
                None
            }
        }
    }

    #[test]
    fn a_token_leads_back_to_its_place_and_any_other_text_is_refused() {
        let runs = [(5, 77), (0, 0)];
        for (run, seq) in [(0, 0), (0, 4), (77, 5), (77, 9)] {
            assert_eq!(found(&token(OURS, Some(run), seq), &runs), Some(seq));
        }
        let ours = token(OURS, Some(77), 7);
        let long = [&ours[..], &[0]].concat();
        let other = token([2; 16], Some(77), 7);
        for wrong in [&other[..], &token(OURS, Some(77), 10), &long, &ours[..31], &ours[..24], &ours[..16], b"x"] {
            assert_eq!(found(wrong, &runs), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_token_of_a_change_that_the_store_lost_is_refused_when_its_number_is_given_out_again() {
        let (before, lost) = (token(OURS, Some(77), 5), token(OURS, Some(88), 6));
        let put_back = [(6, 99), (3, 77), (0, 0)];
        assert_eq!((found(&before, &put_back), found(&lost, &put_back)), (Some(5), None));
        let cut_off = [(6, 99), (3, 88), (0, 0)];
        assert_eq!(found(&lost, &cut_off), None, "the end of a run");
        assert_eq!(found(&token(OURS, Some(88), 5), &cut_off), Some(5));
    }

    #[test]
    fn a_token_whose_run_is_not_remembered_any_more_is_refused() {
        for run in [Some(66), Some(0), None] {
            assert_eq!(found(&token(OURS, run, 2), &[(3, 77)]), None, "{run:?}");
        }
    }

    #[test]
    fn a_token_of_an_earlier_release_is_good_for_what_that_release_wrote() {
        let earlier = |seq: Seq| [&OURS[..], &seq.to_be_bytes()].concat();
        let runs = [(5, 77), (0, 0)];
        assert_eq!([4, 5].map(|seq| found(&earlier(seq), &runs)), [Some(4), None]);
        assert_eq!(found(&earlier(2), &[(3, 77)]), None, "too long ago");
    }
}
