//! The application API: `peat.sidecar.v1`, `peat.node.v1`, health and reflection over gRPC, gRPC-Web and Connect.
//!
//! Purpose: serve a [`NodeHandle`] on TCP and Unix sockets. [`listener`] accepts, [`access`] lets in (and speaks TLS),
//! [`connection`] speaks HTTP ([`patience`] bounds headers, [`body`] carries bytes, [`text`] is base64),
//! [`service`] and [`node`] have the methods, [`guard`] stands around each call, [`status`] decides on codes.
//! Inputs: calls. Outputs: answers. Generated types and connectrpc stay inside this folder and the client's.
//! What it does not do: hold state; a call that was answered leaves nothing here.

pub(crate) mod access;
mod backup;
mod batch;
mod body;
mod calls;
mod collections;
mod concern;
mod connection;
mod detail;
mod documents;
mod guard;
mod health;
mod list;
pub mod listener;
mod node;
mod patience;
mod peers;
pub mod query;
mod resume;
mod service;
mod status;
mod text;
mod typed;
mod wait;
mod watch;

pub use access::AccessError;
pub use calls::CallMetrics;

use crate::config::{ApiConfig, Listen};
use crate::handle::NodeHandle;
use access::{Access, Door};
use connection::Serving;
use connectrpc::{ConnectRpcService, DeadlinePolicy, Limits, Router};
use connectrpc_health::{HealthExt as _, HealthService};
use connectrpc_reflection::{ReflectionError, Reflector};
use listener::{Bound, ListenError};
use peat_proto::sidecar::DESCRIPTOR_SET;
use peat_proto::sidecar::peat::node::v1::NodeExt;
use peat_proto::sidecar::peat::sidecar::v1::PeatSidecarExt;
use service::Sidecar;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Room in a message for everything but the document.
const MESSAGE_OVERHEAD: usize = 64 * 1024;

/// An API that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The files that say who may call changed since the flags were read.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The address of a bound listener.
    #[error("read the address of a listener")]
    Address(#[source] std::io::Error),
    /// The descriptors that were compiled in.
    #[error("read the compiled descriptors")]
    Reflection(#[from] ReflectionError),
}

/// A served API. Dropping it ends every connection at once.
#[derive(Debug)]
pub struct Api {
    addresses: Vec<Listen>,
    stopping: CancellationToken,
    listeners: JoinSet<()>,
}

impl Api {
    /// Binds every listener of `config` and serves; the node behind `handle` may still be starting.
    ///
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`ApiError::Listen`] when an address cannot be had; then nothing is served.
    pub fn start(
        config: &ApiConfig,
        node_id: String,
        handle: NodeHandle,
        calls: Arc<CallMetrics>,
    ) -> Result<Self, ApiError> {
        let stopping = CancellationToken::new();
        calls.set_exposed(config.exposed);
        let access = Access::load(&config.access, calls.access().clone())?;
        let health = Arc::new(HealthService::new(health::PhaseChecker::new(handle.clone(), stopping.clone())));
        let document_limit = config.document_limit;
        let (counted, ends) = (Arc::clone(&calls), stopping.clone());
        let sidecar = Arc::new(Sidecar { handle, node_id, document_limit, calls: counted, stopping: ends });
        let router = NodeExt::register(Arc::clone(&sidecar), Router::new());
        let router = PeatSidecarExt::register(sidecar, router);
        let router = health.register(router);
        let router = connectrpc_health::apply_request_limits(router, connectrpc_health::request_limits());
        let router = connectrpc_reflection::install(router, Reflector::from_descriptor_set_bytes(DESCRIPTOR_SET)?);
        let service = bounded(router, config).with_interceptor(guard::Guard(calls));
        let bound = config.listen.iter().map(|listen| Bound::bind(listen, config)).collect::<Result<Vec<_>, _>>()?;
        let addresses = bound.iter().map(Bound::address).collect::<Result<_, _>>().map_err(ApiError::Address)?;
        let serving = Serving { service, config: Arc::new(config.clone()), stopping: stopping.clone() };
        let mut listeners = JoinSet::new();
        for (bound, listen) in bound.into_iter().zip(&addresses) {
            let door = Door::of(listen, config, access.as_ref().map(|(access, _)| access));
            listeners.spawn(bound.serve(door, serving.clone()));
        }
        if let Some((access, followed)) = access {
            listeners.spawn(access.follow(followed, stopping.clone()));
        }
        Ok(Self { addresses, stopping, listeners })
    }

    /// Where it is served, ports resolved, in the order of the configuration.
    pub fn addresses(&self) -> &[Listen] {
        &self.addresses
    }

    /// Accepts nothing more, ends the streams with UNAVAILABLE, and lets other calls end for at most `grace`.
    pub async fn stop(mut self, grace: Duration) {
        self.stopping.cancel();
        let ended = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, ended).await.is_err() {
            tracing::warn!(?grace, "calls were still running when the API stopped");
        }
    }
}

fn bounded(router: Router, config: &ApiConfig) -> ConnectRpcService {
    // JSON within JSON needs a backslash before every quote, so that a document may double.
    let message = 2 * config.document_limit + MESSAGE_OVERHEAD;
    let limits = Limits::default().with_max_request_body_size(message).with_max_message_size(message);
    let deadlines = DeadlinePolicy::new().with_default_timeout(config.default_timeout).with_max(config.max_timeout);
    ConnectRpcService::new(router).with_limits(limits).with_deadline_policy(deadlines)
}
