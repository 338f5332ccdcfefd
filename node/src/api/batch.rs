//! `Write` and `Read`: many documents in one call, each with a result of its own.
//!
//! Inputs: edits under conditions, or references. Outputs: results in the order of the request. A call fails whole only
//! while the node is starting and when it asks for too much at once.
//! What it does not do: make a batch atomic. What a call that is cut off had begun is made nevertheless.

use super::concern::Concern;
use super::documents::{key, key_to_write};
use super::service::Sidecar;
use super::status::IntoStatus as _;
use crate::changes::blocking;
use crate::handle::NodeHandle;
use connectrpc::ConnectError;
use futures::stream::{FuturesUnordered, StreamExt as _};
use peat_node_core::docs::life::Ttl;
use peat_node_core::docs::row::Version;
use peat_node_core::event::{Condition, Edit, Terms};
use peat_proto::sidecar::peat::node::v1 as proto;
use peat_proto::sidecar::peat::node::v1::__buffa::oneof::edit;
use std::collections::BTreeMap;

/// Most documents of one call.
const MOST: usize = 1_000;

/// The JSON of an answer to `Read` may be so many times a document's limit, as that of a request to `Write`.
pub(super) const ROOM: usize = 2;

/// An edit or its result, with its place in the call.
type Placed<T> = (usize, T);

impl Sidecar {
    /// Edits of one document are made one after another, those of different documents share the disk's flushes.
    pub(super) async fn write_each(
        &self,
        edits: Vec<proto::Edit>,
        concern: Option<&Concern>,
    ) -> Result<Vec<proto::WriteResult>, ConnectError> {
        self.accept(edits.len())?;
        let named = edits.iter().filter(|_| concern.is_some());
        let keys: Vec<_> = named.map(|edit| key(&edit.collection, &edit.doc_id).ok()).collect();
        let mut lanes: BTreeMap<_, Vec<Placed<proto::Edit>>> = BTreeMap::new();
        for (place, edit) in edits.into_iter().enumerate() {
            lanes.entry((edit.collection.clone(), edit.doc_id.clone())).or_default().push((place, edit));
        }
        let lanes: FuturesUnordered<_> = lanes.into_values().map(|lane| self.write_lane(lane)).collect();
        let mut results = lanes.concat().await;
        results.sort_unstable_by_key(|(place, _)| *place);
        let mut results: Vec<_> = results.into_iter().map(|(_, result)| result).collect();
        if let Some(concern) = concern {
            self.await_stored(concern, &keys, &mut results).await;
        }
        Ok(results)
    }

    async fn write_lane(&self, lane: Vec<Placed<proto::Edit>>) -> Vec<Placed<proto::WriteResult>> {
        let mut results = Vec::with_capacity(lane.len());
        for (place, edit) in lane {
            let result = match self.write_one(edit).await {
                Ok(version) => {
                    let version = version.map(Vec::from).unwrap_or_default();
                    proto::WriteResult { version, ..Default::default() }
                }
                Err(error) => proto::WriteResult { error: told(error).into(), ..Default::default() },
            };
            results.push((place, result));
        }
        results
    }

    async fn write_one(&self, request: proto::Edit) -> Result<Option<Version>, ConnectError> {
        let key = key_to_write(&request.collection, &request.doc_id)?;
        let edit = match request.edit {
            Some(edit::Edit::PutJson(json)) => Edit::Put(self.parse("put_json", &json)?),
            Some(edit::Edit::MergeJson(json)) => {
                Edit::Merge { patch: self.parse("merge_json", &json)?, limit: self.document_limit }
            }
            Some(edit::Edit::Delete(_)) => Edit::Delete,
            None => return Err(ConnectError::invalid_argument("none of put_json, merge_json, delete is set")),
        };
        let condition = match request.condition {
            None => Condition::Always,
            Some(edit::Condition::IfAbsent(_)) => Condition::Absent,
            Some(edit::Condition::IfVersion(version)) => Condition::Version(parse_version(&version)?),
        };
        let ttl = time_to_live(request.ttl_secs, &edit)?;
        self.handle.write(key, edit, Terms { condition, ttl }).await.map_err(|error| error.into_status())
    }

    /// Reads on the blocking pool: a thousand rows need not all be in memory.
    pub(super) async fn read_each(
        &self,
        documents: Vec<proto::Reference>,
    ) -> Result<Vec<proto::ReadResult>, ConnectError> {
        self.accept(documents.len())?;
        let (handle, mut room) = (self.handle.clone(), Room::of(ROOM * self.document_limit));
        let read = move || {
            let results = documents.iter().map(|wanted| read_one(&handle, wanted, &mut room));
            Ok(results.map(|result| result.unwrap_or_else(refused)).collect())
        };
        blocking(read).await.map_err(|error| error.into_status())
    }

    fn accept(&self, count: usize) -> Result<(), ConnectError> {
        // Before the store is open every item would fail alike; clients try again by the status of the call.
        self.handle.opened().map_err(|error| error.into_status())?;
        if count > MOST {
            let text = format!("the call names {count} documents, over the limit of {MOST}");
            return Err(ConnectError::resource_exhausted(text));
        }
        Ok(())
    }
}

/// Bytes of JSON that an answer may still take.
struct Room {
    limit: usize,
    used: usize,
}

impl Room {
    const fn of(limit: usize) -> Self {
        Self { limit, used: 0 }
    }

    /// The first document always fits, so that a caller who asks again for what did not gets on.
    fn take(&mut self, bytes: usize) -> Result<(), ConnectError> {
        if self.used > 0 && self.used + bytes > self.limit {
            let text = format!("the answer has no room for it, over its {} bytes: ask again for this one", self.limit);
            return Err(ConnectError::resource_exhausted(text));
        }
        self.used += bytes;
        Ok(())
    }
}

fn read_one(
    handle: &NodeHandle,
    wanted: &proto::Reference,
    room: &mut Room,
) -> Result<proto::ReadResult, ConnectError> {
    let key = key(&wanted.collection, &wanted.doc_id)?;
    let Some((content, version)) = handle.read(&key).map_err(|error| error.into_status())? else {
        return Ok(proto::ReadResult::default());
    };
    let json_data = content.to_json();
    room.take(json_data.len())?;
    Ok(proto::ReadResult { found: true, json_data, version: version.to_vec(), ..Default::default() })
}

fn refused(error: ConnectError) -> proto::ReadResult {
    proto::ReadResult { error: told(error).into(), ..Default::default() }
}

fn time_to_live(seconds: u64, edit: &Edit) -> Result<Option<Ttl>, ConnectError> {
    let refused = |reason| Err(ConnectError::invalid_argument(format!("ttl_secs: {reason}")));
    match (seconds, edit) {
        (0, _) => Ok(None),
        (_, Edit::Delete) => refused("a deleted document has no time to live".to_owned()),
        (seconds, _) => {
            Ttl::of(seconds).map_or_else(|| refused(format!("{seconds} is over {}", u32::MAX)), |ttl| Ok(Some(ttl)))
        }
    }
}

fn parse_version(bytes: &[u8]) -> Result<Version, ConnectError> {
    Version::try_from(bytes).map_err(|_| {
        let text = format!("if_version has {} bytes, a version has {}", bytes.len(), size_of::<Version>());
        ConnectError::invalid_argument(text)
    })
}

/// An error within a result: the code by the name that gRPC gives it.
fn told(error: ConnectError) -> proto::Error {
    let code = error.code.as_str().to_ascii_uppercase();
    proto::Error { code, message: error.message.unwrap_or_default(), ..Default::default() }
}
