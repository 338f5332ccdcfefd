//! The whole operator, running in this process on a runtime of its own.
//!
//! Inputs: a control plane. Outputs: its addresses. The webhook is registered by the URL of its listener, since nothing
//! of a control plane without nodes could reach a Service. What it does not do: differ from the binary otherwise.

use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Empty};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use peat_cluster::{Cluster, wait_for};
use peat_operator::cli::{Config, ListenAddresses, LogFormat};
use peat_operator::webhook::{Target, webhook_configuration};
use peat_operator::{Listeners, run};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;

/// Namespace of the operator.
pub const NAMESPACE: &str = "peat-system";
/// Name of its MutatingWebhookConfiguration.
pub const CONFIGURATION: &str = "peat-operator";
/// Image of the sidecar where nobody names one.
pub const SIDECAR_IMAGE: &str = "peat.example/peat-node:test";
/// Field manager of what the tests apply.
const MANAGER: &str = "peat-tests";

/// An operator in this process.
#[derive(Debug)]
pub struct RunningOperator {
    /// `https://127.0.0.1:port` of the membership server.
    pub membership_url: String,
    /// `https://127.0.0.1:port` of the webhook.
    pub webhook_url: String,
    /// Address of health and metrics.
    pub admin: SocketAddr,
    stop: CancellationToken,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

impl RunningOperator {
    /// The one that all tests of this process share, on the shared control plane.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<RunningOperator> = OnceCell::const_new();
        SHARED.get_or_try_init(async || Self::start(Cluster::shared_envtest().await?).await).await
    }

    /// Installs definitions, namespace and webhook configuration, starts an operator, and waits until it is ready.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        Self::start_as(cluster, None).await
    }

    /// The same with no more rights than `user` has, such as a ServiceAccount by its long name.
    pub async fn start_as(cluster: &Cluster, user: Option<String>) -> Result<Self> {
        let client = cluster.client().await?;
        install_definitions(&client).await?;
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(NAMESPACE.to_owned()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        apply(&Api::all(client.clone()), NAMESPACE, &namespace).await?;
        let config = config();
        let (started, addresses) = std::sync::mpsc::channel();
        let stop = CancellationToken::new();
        let kubeconfig = cluster.kubeconfig().to_owned();
        let token = stop.clone();
        let thread = std::thread::Builder::new().name("operator".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
            runtime.block_on(serve(config, kubeconfig, user, token, started))
        })?;
        let [webhook, membership, admin] = addresses.recv().context("the operator did not open its listeners")?;
        let webhook_url = format!("https://{webhook}");
        let operator = Self {
            membership_url: format!("https://{membership}"),
            webhook_url: webhook_url.clone(),
            admin,
            stop,
            thread: Mutex::new(Some(thread)),
        };
        register(&client, CONFIGURATION, &webhook_url).await?;
        operator.ready(&client).await?;
        Ok(operator)
    }

    /// Stops it and returns what it ended with.
    pub async fn stop(&self) -> Result<()> {
        self.stop.cancel();
        let thread = self.thread.lock().map_err(|_| anyhow!("a test panicked"))?.take();
        let Some(thread) = thread else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await?;
        joined.map_err(|_| anyhow!("the operator panicked"))?
    }

    /// One of the admin routes: status code and text.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let stream = hyper_util::rt::TokioIo::new(TcpStream::connect(self.admin).await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection);
        let request =
            http::Request::get(path).header(http::header::HOST, self.admin.to_string()).body(Empty::<&[u8]>::new())?;
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8(body.to_vec())?))
    }

    async fn ready(&self, client: &Client) -> Result<()> {
        wait_for(PATIENCE, "the operator", async || match self.get("/readyz").await {
            Ok((200, _)) => Ok(()),
            Ok((_, text)) => Err(text),
            Err(error) => Err(error.to_string()),
        })
        .await?;
        bundle_is_set(client, CONFIGURATION).await
    }
}

impl Drop for RunningOperator {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What the chart would pass, on addresses of this machine.
fn config() -> Config {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Config {
        namespace: NAMESPACE.to_owned(),
        membership_url: String::new(),
        listen: ListenAddresses { webhook: any, membership: any, admin: any },
        sidecar_image: SIDECAR_IMAGE.to_owned(),
        webhook_configuration: CONFIGURATION.to_owned(),
        tls_names: vec![Ipv4Addr::LOCALHOST.to_string()],
        log_level: "info".to_owned(),
        log_format: LogFormat::Text,
    }
}

async fn serve(
    mut config: Config,
    kubeconfig: std::path::PathBuf,
    user: Option<String>,
    stop: CancellationToken,
    started: std::sync::mpsc::Sender<[SocketAddr; 3]>,
) -> Result<()> {
    let listeners = Listeners::bind(&config).await?;
    let addresses =
        [listeners.webhook.local_addr()?, listeners.membership.local_addr()?, listeners.admin.local_addr()?];
    config.membership_url = format!("https://{}", addresses[1]);
    let kubeconfig = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let options = kube::config::KubeConfigOptions::default();
    let mut access = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    access.auth_info.impersonate = user;
    let client = Client::try_from(access)?;
    started.send(addresses).map_err(|_| anyhow!("nobody waits for the operator"))?;
    Ok(run(config, listeners, client, stop).await?)
}

/// Applies the definitions and waits until the API server serves them.
pub async fn install_definitions(client: &Client) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in peat_crds::all() {
        let name = definition.name_any();
        apply(&api, &name, &definition).await?;
        tokio::time::timeout(PATIENCE, await_condition(api.clone(), &name, is_crd_established())).await??;
    }
    Ok(())
}

/// Registers a webhook by URL.
pub async fn register(client: &Client, name: &str, url: &str) -> Result<MutatingWebhookConfiguration> {
    let configuration = webhook_configuration(name, NAMESPACE, &Target::Url(url.to_owned()));
    apply(&Api::all(client.clone()), name, &configuration).await
}

/// Waits until every entry of a webhook configuration has a CA bundle.
pub async fn bundle_is_set(client: &Client, name: &str) -> Result<()> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let set = wait_for(PATIENCE, "the CA bundle", async || {
        let found = api.get(name).await.map_err(|error| error.to_string())?;
        let entries = found.webhooks.unwrap_or_default();
        let set = entries.iter().filter(|entry| entry.client_config.ca_bundle.is_some()).count();
        if set == 2 { Ok(()) } else { Err(format!("{set} of {} entries have a bundle", entries.len())) }
    });
    Ok(set.await?)
}

/// Server-side apply.
pub async fn apply<K>(api: &Api<K>, name: &str, object: &K) -> Result<K>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
{
    let applied = api.patch(name, &PatchParams::apply(MANAGER), &Patch::Apply(object)).await;
    applied.with_context(|| format!("apply {name}"))
}

/// `key` of a metric line, or an error that shows all.
pub fn metric(text: &str, line: impl Display) -> Result<f64> {
    let line = format!("{line} ");
    let value = text.lines().find_map(|l| l.strip_prefix(&line)).with_context(|| format!("no {line:?} in\n{text}"))?;
    Ok(value.parse()?)
}
