//! What goes into the core and what comes out of it.
//!
//! Purpose: the only vocabulary between [`crate::MeshNode`] and a shell (the real node or the simulator).
//! What it does not do: hold behaviour.

use crate::docs::life::Ttl;
use crate::docs::row::Version;
use crate::docs::{Document, Sealed};
use crate::ids::{ConnId, Key, PeerId, RequestId};
use crate::rights::Rights;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The two clocks, read by the shell once for each input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since the Unix epoch, as the host believes it; may jump. Stamps come from it.
    pub wall: Duration,
    /// Time since some fixed moment; never goes back. Timers come from it.
    pub uptime: Duration,
}

/// Who wants a peer to be dialled. A peer is dialled while at least one source wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A `--peer` flag.
    Flag,
    /// `ConnectPeer`.
    Api,
    /// The membership stream of the operator, or the mesh's ConfigMap.
    Membership,
}

/// Where a peer may be reached: `host:port`, kept as text; resolving is the shell's.
pub type Address = String;

/// What an application does to a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Replaces it, or makes it.
    Put(Document),
    /// Merges a patch into it, or into an empty one: a member that is null goes, an object is merged member by member,
    /// anything else replaces. Source: RFC 7396. `limit`: most bytes of JSON that may come of it.
    #[expect(missing_docs, reason = "the variant's line names its fields")]
    Merge { patch: Document, limit: usize },
    /// Replaces it by ciphertext, or makes it. The last write of such a document wins whole.
    Seal(Sealed),
    /// Deletes it; nothing happens when there is none.
    Delete,
}

/// What must hold for a write to happen; it is looked at and the write is made as one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// There is no live document.
    Absent,
    /// The row has this version: nobody wrote since it was read.
    Version(Version),
}

/// Under what a write is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// What must hold.
    pub condition: Condition,
    /// How long after this write the document goes by itself, unless it is written again; none: it stays.
    pub ttl: Option<Ttl>,
}

impl From<Condition> for Terms {
    fn from(condition: Condition) -> Self {
        Self { condition, ttl: None }
    }
}

/// Which neighbours must have stored a document before its writer goes on: so many, and these among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quorum {
    /// How many.
    pub peers: usize,
    /// Which. Shared: a thousand documents of one call wait for the same ones.
    pub named: Arc<BTreeSet<PeerId>>,
}

/// What happened outside.
#[expect(missing_docs, reason = "the variant's line names its fields")]
#[derive(Debug)]
pub enum Input {
    /// The deadline of [`crate::MeshNode::deadline`] has come.
    Tick,
    /// An application writes; answered by [`Reply::Written`].
    Write { request: RequestId, key: Key, edit: Edit, terms: Terms },
    /// An application waits until neighbours have stored `key` as it is here now, or later; answered by
    /// [`Reply::Stored`] then, or after `limit`.
    Await { request: RequestId, key: Key, quorum: Quorum, limit: Duration },
    /// Time may have taken these documents away, or the marks of their deletes; the core looks whether it has.
    Expire { keys: Vec<Key> },
    /// A source wants `peer`; the addresses replace those it gave before.
    Want { source: Source, peer: PeerId, addresses: Vec<Address> },
    /// A source no longer wants `peer`. A live connection stays.
    Unwant { source: Source, peer: PeerId },
    /// `ConnectPeer`: wants `peer` and lifts a ban; answered when it is attached, or by the failure of the next dial.
    Connect { request: RequestId, peer: PeerId, addresses: Vec<Address> },
    /// `DisconnectPeer`: closes, and bans until the next `Connect`; answered by [`Reply::Done`].
    Disconnect { request: RequestId, peer: PeerId },
    /// The operator revoked these: closed, and refused until they are reinstated.
    Revoke { peers: BTreeSet<PeerId> },
    /// These are refused no longer. Their wishes of before are gone; a ban is not lifted.
    Reinstate { peers: BTreeSet<PeerId> },
    /// The dial asked for by [`Output::Dial`] failed, authentication included.
    DialFailed { peer: PeerId, failure: DialFailure },
    /// A connection is up and `peer` has proved its id and its membership; `version` is that of the protocol on it.
    Connected { conn: ConnId, peer: PeerId, direction: Direction, version: u16 },
    /// A connection is gone. One report for each `Connected`.
    Disconnected { conn: ConnId, peer: PeerId },
    /// One whole frame arrived, of at most [`crate::sync::frame::LONGEST`] bytes.
    Frame { conn: ConnId, peer: PeerId, frame: Bytes },
    /// `bytes` of what [`Output::Send`] gave have left for the network; room for more.
    Sent { conn: ConnId, peer: PeerId, bytes: usize },
    /// Somebody waits until peers have what is here, or not any more: meanwhile they are asked whether what they were
    /// sent is stored ([`PeerView::unconfirmed`](crate::PeerView::unconfirmed)).
    Drain {
        /// Whether a caller begins to wait, or ends.
        begins: bool,
    },
    /// The process ends soon: nothing is taken in from now on, so that what is owed comes to an end.
    Leave,
    /// The rules changed.
    Rights(Rights),
    /// `StartSync` or `StopSync`.
    Sync { request: RequestId, active: bool },
}

/// Why a dial failed. The text is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialFailure {
    /// Nobody answered, or not in time; the same dial may go well later.
    #[error("{0}")]
    Unreachable(String),
    /// One side does not accept the other's proof; only another key, certificate or release helps.
    #[error("{0}")]
    Refused(String),
}

/// What kind of trouble a store has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageFault {
    /// No room is left; deleting something outside helps.
    Full,
    /// Anything else.
    Failed,
}

/// Who opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// We dialled.
    Out,
    /// The peer dialled.
    In,
}

/// What becomes of the history records of one document.
#[expect(missing_docs, reason = "the variant's line names its fields")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum History {
    /// One more record, `number` counted from 0.
    Append { number: u16, chunk: Vec<u8> },
    /// `base` becomes record 0, or nothing does when it is empty; the other records below `count` go.
    Replace { base: Vec<u8>, count: u16 },
}

/// A row to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The encoded row; see [`crate::docs::row`].
    pub row: Vec<u8>,
    /// Its history, where that changes.
    pub history: Option<History>,
    /// Whether readers see a difference: then the change feed tells them. A row may change without (a tombstone that
    /// learns more history).
    pub visible: bool,
}

/// What the shell is to do; it may collect the outputs of many inputs before it acts (group commit). It persists
/// `writes`, then sends, then answers: in that order, in one place.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Rows by key, to be durable before anything else here happens; one atomic batch.
    pub writes: BTreeMap<Key, Write>,
    /// To the network.
    pub sends: Vec<Output>,
    /// To the callers. Where `writes` fail, all of them become [`RequestError::Storage`].
    pub answers: Vec<(RequestId, Result<Reply, RequestError>)>,
}

/// One act towards the network.
#[expect(missing_docs, reason = "the variant's line names its fields")]
#[derive(Debug)]
pub enum Output {
    /// Send one frame, in order with the others of this connection, and report `Sent`.
    Send { conn: ConnId, peer: PeerId, frame: Bytes },
    /// Dial, for at most `patience` without an answer, and authenticate; report `Connected` or `DialFailed`, exactly one.
    Dial { peer: PeerId, addresses: Vec<Address>, patience: Duration },
    /// Close with a reason that the other side may log; report `Disconnected`.
    Close { conn: ConnId, peer: PeerId, reason: CloseReason },
}

/// Why a connection is closed by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Another connection between the same two nodes stays.
    Duplicate,
    /// `DisconnectPeer`.
    Requested,
    /// The operator revoked the peer.
    Revoked,
    /// The peer sent a frame that cannot be read.
    Malformed,
}

/// A request that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The write is durable. The version of the row now; none when there is no row.
    Written(Option<Version>),
    /// So many neighbours have stored the document; whether that is what the caller waits for.
    #[expect(missing_docs, reason = "the variant's line names its fields")]
    Stored { peers: usize, enough: bool },
}

/// A request that did not.
#[expect(missing_docs, reason = "the variant's line names its fields")]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// `ConnectPeer` without addresses, and none known.
    #[error("endpoint {0} has no known addresses: give at least one in `addresses`")]
    NoAddress(PeerId),
    /// The peer could not be reached.
    #[error("connect to {peer}: {reason}")]
    Unreachable { peer: PeerId, reason: String },
    /// The peer or this node refused the other's proof.
    #[error("connect to {peer}: {reason}")]
    Refused { peer: PeerId, reason: String },
    /// The policy of the collection has no deletes.
    #[error("collection {0} is IMMUTABLE: its documents can be changed but not deleted")]
    Immutable(String),
    /// The peer is this node.
    #[error("endpoint_id is this node's own")]
    Own,
    /// The operator revoked the peer.
    #[error("endpoint {0} is revoked")]
    Revoked(PeerId),
    /// Calls have named as many peers as are remembered.
    #[error(
        "ConnectPeer and DisconnectPeer have named {limit} peers since this node started, which is as many as it \
         remembers: name one of them, or start it again"
    )]
    TooManyPeers { limit: usize },
    /// The condition of a write does not hold. The version that the row has; none when there is no live document.
    #[error("the document is not as the call demands: {}", current(version))]
    Conflict { version: Option<Version> },
    /// The store could not be read or written; the text has no secrets.
    #[error("store: {reason}")]
    Storage { fault: StorageFault, reason: String },
    /// The document's shape cannot be stored; the text names the field.
    #[error("{0}")]
    Shape(String),
    /// A quota of this node, which the shell keeps; the text names it and says what to do.
    #[error("{0}")]
    Quota(String),
    /// A patch for a document that is ciphertext here.
    #[error("the document is encrypted and this node does not have its key: it can be replaced, but not merged into")]
    Sealed,
    /// The document that a patch would make exceeds the limit.
    #[error("merge_json makes a document of {size} bytes, over the limit of {limit}")]
    OverLimit { size: usize, limit: usize },
    /// The document would exceed the limit once encoded.
    #[error("json_data needs {size} bytes as one change, over the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
}

fn current(version: &Option<Version>) -> String {
    match version {
        Some(version) => {
            let digits: String = version.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("its version is {digits}")
        }
        None => "there is none".to_owned(),
    }
}
