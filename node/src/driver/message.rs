//! What the driver is told, and the network it drives.
//!
//! Purpose: the vocabulary between the driver and the tasks around it: API calls, transport, membership, shutdown.
//! What it does not do: anything with it.

use crate::handle::Published;
use peat_node_core::event::{Address, Edit, Quorum, Reply, RequestError, Terms};
use peat_node_core::ids::{Key, PeerId};
use peat_node_core::{Input, Output};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A call of an application.
#[derive(Debug)]
pub enum Request {
    /// See [`Input::Write`].
    Write {
        /// Which document.
        key: Key,
        /// What to do to it.
        edit: Edit,
        /// Under what.
        terms: Terms,
    },
    /// See [`Input::Await`].
    Await {
        /// Which document.
        key: Key,
        /// Who must have stored it.
        quorum: Quorum,
        /// How long to wait.
        limit: Duration,
    },
    /// See [`Input::Connect`].
    Connect {
        /// Whom.
        peer: PeerId,
        /// Where.
        addresses: Vec<Address>,
    },
    /// See [`Input::Disconnect`].
    Disconnect {
        /// Whom.
        peer: PeerId,
    },
    /// See [`Input::Sync`].
    Sync {
        /// On or off.
        active: bool,
    },
}

/// What the driver is told.
#[derive(Debug)]
pub enum Message {
    /// A call that waits for its answer.
    Request {
        /// The call.
        request: Request,
        /// Dropped without an answer when the driver ends.
        answer: oneshot::Sender<Result<Reply, RequestError>>,
    },
    /// Something happened outside.
    Event(Input),
    /// A frame came; `room` is given back once it is handled.
    Frame {
        /// [`Input::Frame`].
        input: Input,
        /// Its share of the memory for received frames.
        room: OwnedSemaphorePermit,
    },
    /// Asks for a view as it is after the messages before this one.
    View(oneshot::Sender<Arc<Published>>),
    /// Ends the driver after the messages before this one.
    Stop,
}

/// The network, as the driver sees it. No call waits.
pub trait Network: Send + 'static {
    /// Does what the engine asks for.
    fn act(&self, output: Output);
}

/// Whether the list of peers, or what is said of the node's state, may differ after this input.
pub(super) fn concerns_peers(input: &Input) -> bool {
    match input {
        Input::Write { .. }
        | Input::Await { .. }
        | Input::Expire { .. }
        | Input::Frame { .. }
        | Input::Sent { .. }
        | Input::Drain { .. }
        | Input::Leave
        | Input::Rights(_)
        | Input::Tick => false,
        Input::Want { .. }
        | Input::Unwant { .. }
        | Input::Connect { .. }
        | Input::Disconnect { .. }
        | Input::Revoke { .. }
        | Input::Reinstate { .. }
        | Input::DialFailed { .. }
        | Input::Connected { .. }
        | Input::Disconnected { .. }
        | Input::Sync { .. } => true,
    }
}
