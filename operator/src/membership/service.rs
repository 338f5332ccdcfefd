//! The tonic service: one task per stream, which first joins and then serves the session.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenReview;
use kube::{Api, Client};
use peat_proto::membership::membership_server::{Membership, MembershipServer};
use peat_proto::membership::{JoinRequest, JoinResponse};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use super::join::join;
use super::refusal::Refusal;
use super::{Directory, Sessions};
use crate::authority::meshes::Authorities;
use crate::controller::Caches;
use crate::error::Chain;
use crate::metrics::Metrics;

/// Largest message of a node: a hello with the longest token is 17 KiB.
const MAX_REQUEST: usize = 32 * 1024;
/// Messages waiting for the network per stream. A node that reads slower is disconnected after [`SEND_LIMIT`]; nothing
/// is lost, since it gets the whole state when it joins again.
const SEND_CAPACITY: usize = 8;
/// How long one message may wait for a place in that queue.
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// Token reviews under way at once: a cold start of thousands of pods must not flood the API server.
const REVIEWS_AT_ONCE: usize = 32;

/// What every stream shares.
#[derive(Clone)]
pub struct Context {
    pub(crate) client: Client,
    pub(crate) reviews: Api<TokenReview>,
    pub(crate) reviewers: Arc<Semaphore>,
    pub(crate) caches: Arc<Caches>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stop: CancellationToken,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl Context {
    /// What streams need. `stop` ends them all.
    pub(crate) fn new(
        client: Client,
        caches: Arc<Caches>,
        authorities: Arc<Authorities>,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            reviews: Api::all(client.clone()),
            client,
            reviewers: Arc::new(Semaphore::new(REVIEWS_AT_ONCE)),
            directory: Arc::clone(&caches.directory),
            sessions: Arc::clone(&caches.sessions),
            caches,
            authorities,
            metrics,
            stop,
        }
    }
}

/// The service.
#[derive(Debug)]
pub struct MembershipService {
    context: Context,
    tasks: TaskTracker,
}

impl MembershipService {
    /// An axum router with the service; the streams are `tasks`.
    pub fn router(context: Context, tasks: TaskTracker) -> axum::Router {
        let service = MembershipServer::new(Self { context, tasks }).max_decoding_message_size(MAX_REQUEST);
        tonic::service::Routes::new(service).into_axum_router()
    }
}

#[tonic::async_trait]
impl Membership for MembershipService {
    type JoinStream = ReceiverStream<Result<JoinResponse, Status>>;

    async fn join(&self, request: Request<Streaming<JoinRequest>>) -> Result<Response<Self::JoinStream>, Status> {
        let (sender, receiver) = mpsc::channel(SEND_CAPACITY);
        let stream = Stream { inbound: request.into_inner(), outbound: Outbound { sender } };
        self.tasks.spawn(converse(self.context.clone(), stream));
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Both directions of a node's stream.
pub(super) struct Stream {
    pub(super) inbound: Streaming<JoinRequest>,
    pub(super) outbound: Outbound,
}

/// The direction towards the node.
pub(super) struct Outbound {
    sender: mpsc::Sender<Result<JoinResponse, Status>>,
}

impl Outbound {
    /// Queues a message; fails when the node is gone or reads too slowly.
    pub(super) async fn send(&self, message: peat_proto::membership::join_response::Message) -> Result<(), Refusal> {
        let response = JoinResponse { message: Some(message) };
        match self.sender.send_timeout(Ok(response), SEND_LIMIT).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Refusal::SlowReader),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => {
                Err(Refusal::Transport(Status::cancelled("the node left")))
            }
        }
    }

    /// Resolves when the node is gone.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }
}

async fn converse(context: Context, mut stream: Stream) {
    let from = Instant::now();
    let refusal = match join(&context, &mut stream).await {
        Ok(session) => {
            context.metrics.join("joined", from.elapsed());
            let Err(end) = session.serve(&mut stream).await else { return };
            end
        }
        Err(refusal) => {
            context.metrics.join(refusal.category(), from.elapsed());
            tracing::info!(reason = refusal.category(), error = %Chain(&refusal), "a node may not join");
            refusal
        }
    };
    // A node that is gone cannot be told, and a full queue means that it does not read.
    let _ = stream.outbound.sender.try_send(Err(refusal.into()));
}
