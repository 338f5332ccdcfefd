//! `grpc.health.v1.Health`: whether the node serves applications.
//!
//! Serving means that the store is open and no stop was asked for; peers do not count, since an application works on
//! its own documents while it is alone. A watch tells the status at once and each change as it comes, and ends when the
//! node stops. What it does not do: stand in for the probes of the admin port.

use crate::handle::{NodeHandle, Phase};
use connectrpc::ConnectError;
use connectrpc_health::{Checker, Status, StatusStream};
use futures::stream::{self, StreamExt as _};
use peat_proto::sidecar::peat::node::v1::NODE_SERVICE_NAME;
use peat_proto::sidecar::peat::sidecar::v1::PEAT_SIDECAR_SERVICE_NAME;
use std::future::ready;
use tokio_util::sync::CancellationToken;

/// Answers from the phase of a node.
#[derive(Debug)]
pub(super) struct PhaseChecker {
    handle: NodeHandle,
    stopping: CancellationToken,
}

impl PhaseChecker {
    /// `stopping`: cancelled when the node stops.
    pub(super) const fn new(handle: NodeHandle, stopping: CancellationToken) -> Self {
        Self { handle, stopping }
    }
}

impl Checker for PhaseChecker {
    async fn check(&self, service: &str) -> Result<Status, ConnectError> {
        known(service)?;
        Ok(status(&self.handle))
    }

    async fn watch(&self, service: &str) -> Result<StatusStream, ConnectError> {
        known(service)?;
        let handle = self.handle.clone();
        let first = stream::once(ready(status(&handle)));
        let started = stream::once(async move {
            handle.started().await;
            status(&handle)
        });
        // Nothing but a stop ends serving, and nothing follows a stop.
        let life = first.chain(started).chain(stream::pending()).take_until(self.stopping.clone().cancelled_owned());
        let changes = life.chain(stream::once(ready(Status::NotServing)));
        let changes = changes.scan(None, |told, now| ready(Some((told.replace(now) != Some(now)).then_some(now))));
        Ok(StatusStream::new(changes.filter_map(ready)))
    }
}

fn known(service: &str) -> Result<(), ConnectError> {
    if ["", PEAT_SIDECAR_SERVICE_NAME, NODE_SERVICE_NAME].contains(&service) {
        return Ok(());
    }
    Err(ConnectError::not_found(format!("no service {service} here")))
}

fn status(handle: &NodeHandle) -> Status {
    match handle.status().phase {
        Phase::Ready | Phase::Syncing => Status::Serving,
        Phase::Initializing | Phase::ShuttingDown => Status::NotServing,
    }
}
