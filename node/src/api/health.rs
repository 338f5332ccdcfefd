//! `grpc.health.v1.Health`: whether the node serves applications.
//!
//! Serving means that the store is open and no stop was asked for; peers do not count, since an application works on its
//! own documents while it is alone. What it does not do: stand in for the probes of the admin port.

use crate::handle::{NodeHandle, Phase};
use connectrpc::ConnectError;
use connectrpc_health::{Checker, Status, StatusStream};
use futures::stream;
use peat_proto::sidecar::peat::sidecar::v1::PEAT_SIDECAR_SERVICE_NAME;
use std::time::Duration;

/// How often a watched status is looked at: it changes twice in the life of a node.
const LOOK: Duration = Duration::from_millis(250);

/// Answers from the phase of a node.
#[derive(Debug)]
pub(super) struct PhaseChecker(pub(super) NodeHandle);

impl Checker for PhaseChecker {
    async fn check(&self, service: &str) -> Result<Status, ConnectError> {
        known(service)?;
        Ok(status(&self.0))
    }

    async fn watch(&self, service: &str) -> Result<StatusStream, ConnectError> {
        known(service)?;
        let handle = self.0.clone();
        let changes = stream::unfold((handle, None), |(handle, told)| async move {
            loop {
                let now = status(&handle);
                if told != Some(now) {
                    return Some((now, (handle, Some(now))));
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        Ok(StatusStream::new(changes))
    }
}

fn known(service: &str) -> Result<(), ConnectError> {
    if service.is_empty() || service == PEAT_SIDECAR_SERVICE_NAME {
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
