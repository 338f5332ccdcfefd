//! Wiring: which parts there are, what each gets, and in which order they start and stop.
//!
//! Inputs: configuration, bound listeners, a client, a token. Output: returns after the token was cancelled and every
//! task has ended, or with the error that kept the operator from starting.
//! What it does not do: anything else; each part is one function of its own module.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use peat_operator_core::mesh::status::InjectionState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::authority::meshes::Authorities;
use crate::authority::store::operator_place;
use crate::cache::Readiness;
use crate::cli::{Config, ListenAddresses};
use crate::controller::{
    self, Caches, ExternalController, Feeds, MeshController, PARTS, PeerController, Queues, UnservedController, start,
    watch_all,
};
use crate::membership::{Context, MembershipService};
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::tls::{Limits, TlsError, TlsIdentity, serve};
use crate::webhook::{Webhook, ca_bundle, router};

/// Readiness part: the TLS identity.
const TLS: &str = "TLS";
/// How long tasks may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// The API server keeps few connections to a webhook.
const WEBHOOK_LIMITS: Limits = Limits { connections: 256, streams: 256 };
/// One connection per node, one stream per connection, and a few to spare for reconnects.
const MEMBERSHIP_LIMITS: Limits = Limits { connections: 20_000, streams: 4 };

/// The operator could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An address is taken or not ours.
    #[error("listen on {address} for {purpose}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What for.
        purpose: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// No certificate to serve with.
    #[error("set up TLS")]
    Tls(#[from] TlsError),
}

/// Bound sockets. Bound before anything else, so that a taken port is found at once and tests learn their ports.
#[derive(Debug)]
pub struct Listeners {
    /// Admission webhook.
    pub webhook: TcpListener,
    /// Membership server.
    pub membership: TcpListener,
    /// Health and metrics.
    pub admin: TcpListener,
}

impl Listeners {
    /// Binds the three addresses of the configuration.
    pub async fn bind(config: &Config) -> Result<Self, RunError> {
        let bind = async |address, purpose| {
            bind_any(address).await.map_err(|source| RunError::Listen { address, purpose, source })
        };
        let ListenAddresses { webhook, membership, admin } = config.listen;
        Ok(Self {
            webhook: bind(webhook, "the webhook").await?,
            membership: bind(membership, "the membership server").await?,
            admin: bind(admin, "health and metrics").await?,
        })
    }
}

/// Binds; where "every address" is asked for on a machine without IPv6, every IPv4 address.
async fn bind_any(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// Runs the operator until `stop`.
pub async fn run(
    config: Config,
    listeners: Listeners,
    client: Client,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, namespace = config.namespace, membership = config.membership_url, "peat-operator starts");
    let tasks = TaskTracker::new();
    let started = Operator::new(&config, &client, &tasks, &stop).start(listeners).await;
    if started.is_err() {
        stop.cancel();
    }
    stop.cancelled().await;
    tasks.close();
    if timeout(STOP_LIMIT, tasks.wait()).await.is_err() {
        tracing::warn!("some tasks did not end in time");
    }
    started
}

/// What the parts share.
struct Operator {
    config: Config,
    client: Client,
    caches: Arc<Caches>,
    queues: Arc<Queues>,
    metrics: Arc<Metrics>,
    authorities: Arc<Authorities>,
    readiness: Readiness,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Operator {
    fn new(config: &Config, client: &Client, tasks: &TaskTracker, stop: &CancellationToken) -> Self {
        let parts: Vec<&str> = PARTS.into_iter().chain([TLS]).collect();
        Self {
            config: config.clone(),
            client: client.clone(),
            caches: Arc::default(),
            queues: Arc::default(),
            metrics: Arc::default(),
            authorities: Arc::new(Authorities::new(Api::namespaced(client.clone(), &config.namespace))),
            readiness: Readiness::waiting_for(&parts),
            tasks: tasks.clone(),
            stop: stop.clone(),
        }
    }

    /// Health first, so that the kubelet can see the rest come up; controllers last, since they must not decide about
    /// what the caches do not hold yet.
    async fn start(&self, listeners: Listeners) -> Result<(), RunError> {
        let Listeners { webhook, membership, admin } = listeners;
        let (metrics, readiness) = (Arc::clone(&self.metrics), self.readiness.clone());
        self.tasks.spawn(admin::serve(admin, metrics, readiness, self.stop.clone()));
        watch_all(&Feeds {
            client: self.client.clone(),
            namespace: self.config.namespace.clone(),
            caches: Arc::clone(&self.caches),
            queues: Arc::clone(&self.queues),
            readiness: self.readiness.clone(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        });
        let tls = self.start_tls().await?;
        let settings = Settings {
            sidecar_image: self.config.sidecar_image.clone(),
            membership_url: self.config.membership_url.clone(),
            bundle: tls.bundle(),
        };
        self.start_webhook(webhook, &tls, &settings);
        let injection = self.start_ca_bundle(&tls);
        self.follow(tls.bundle());
        self.follow(injection.clone());
        if self.stop.run_until_cancelled(self.readiness.complete()).await.is_none() {
            return Ok(());
        }
        self.start_membership(membership, &tls);
        self.start_controllers(&settings, injection);
        Ok(())
    }

    async fn start_tls(&self) -> Result<Arc<TlsIdentity>, RunError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.config.namespace);
        let tls = TlsIdentity::load(&secrets, operator_place(), self.config.tls_names.clone()).await?;
        self.tasks.spawn(Arc::clone(&tls).maintain(secrets, self.stop.clone()));
        self.readiness.reached(TLS);
        Ok(tls)
    }

    fn start_webhook(&self, listener: TcpListener, tls: &Arc<TlsIdentity>, settings: &Settings) {
        let webhook = Webhook {
            caches: Arc::clone(&self.caches),
            settings: settings.clone(),
            metrics: Arc::clone(&self.metrics),
            readiness: self.readiness.clone(),
        };
        self.serve(listener, tls, router(webhook), WEBHOOK_LIMITS);
    }

    fn start_ca_bundle(&self, tls: &TlsIdentity) -> watch::Receiver<InjectionState> {
        let (state, injection) = watch::channel(InjectionState::Pending);
        let configurations = Api::all(self.client.clone());
        let name = self.config.webhook_configuration.clone();
        self.tasks.spawn(ca_bundle::maintain(configurations, name, tls.bundle(), state, self.stop.clone()));
        injection
    }

    fn start_membership(&self, listener: TcpListener, tls: &Arc<TlsIdentity>) {
        let context = Context::new(
            self.client.clone(),
            Arc::clone(&self.caches),
            Arc::clone(&self.authorities),
            Arc::clone(&self.metrics),
            self.stop.clone(),
        );
        self.serve(listener, tls, MembershipService::router(context, self.tasks.clone()), MEMBERSHIP_LIMITS);
    }

    fn serve(&self, listener: TcpListener, tls: &Arc<TlsIdentity>, app: axum::Router, limits: Limits) {
        let (tasks, stop) = (self.tasks.clone(), self.stop.clone());
        self.tasks.spawn(serve(listener, Arc::clone(tls), app, limits, tasks, stop));
    }

    fn start_controllers(&self, settings: &Settings, injection: watch::Receiver<InjectionState>) {
        let (client, caches, queues) =
            (|| self.client.clone(), || Arc::clone(&self.caches), || Arc::clone(&self.queues));
        let authorities = Arc::clone(&self.authorities);
        let meshes = MeshController::new(client(), caches(), queues(), authorities, settings.clone(), injection);
        let metrics = Arc::clone(&self.metrics);
        let unserved = UnservedController::new(client(), caches(), queues(), settings.clone(), metrics);
        start(meshes, &self.metrics, &self.tasks, &self.stop);
        start(PeerController::new(client(), caches(), queues()), &self.metrics, &self.tasks, &self.stop);
        start(ExternalController::new(client(), caches(), queues()), &self.metrics, &self.tasks, &self.stop);
        start(unserved, &self.metrics, &self.tasks, &self.stop);
        tracing::info!("peat-operator is ready");
    }

    /// Has every mesh looked at again when `changes` does.
    fn follow<T: Send + Sync + 'static>(&self, mut changes: watch::Receiver<T>) {
        let (caches, queues, stop) = (Arc::clone(&self.caches), Arc::clone(&self.queues), self.stop.clone());
        self.tasks.spawn(async move {
            while let Some(Ok(())) = stop.run_until_cancelled(changes.changed()).await {
                controller::touch_all_meshes(&caches, &queues);
            }
        });
    }
}
