//! etcd, kube-apiserver, kube-controller-manager and (for clusters with nodes) kube-scheduler.
//!
//! Input: a state folder, binaries, addresses and options. Output: an API server that answers `/readyz`, with the
//! controllers that make garbage collection, default ServiceAccounts and built-in workloads real. Does not make nodes.
//!
//! etcd listens on a Unix socket in the state folder, and the controllers serve nothing, so one TCP port is all that is
//! used.

use std::time::Duration;

use crate::binaries::{Binaries, Binary};
use crate::files::FileError;
use crate::kubeconfig;
use crate::launcher::Launcher;
use crate::pki::{ADMIN, CONTROLLER_MANAGER, Pki, PkiError, SCHEDULER};
use crate::process::{ProcessError, Program};
use crate::state::StateDir;
use crate::wait::{WaitError, wait_for};

/// Service addresses of every cluster; the first is the API server's, the tenth the DNS server's.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// The API server's Service address.
const API_SERVICE: &str = "10.96.0.1";
/// etcd's socket, relative to the state folder. etcd insists on the form `host:port`; the whole of it is the file name.
const ETCD_SOCKET: &str = "unix://etcd.sock:0";
const ETCD_PEER_SOCKET: &str = "unix://etcd-peer.sock:0";
/// Five seconds on an idle machine; far more on one that compiles at the same time.
const READY: Duration = Duration::from_secs(180);

/// A control plane did not come up.
#[derive(Debug, thiserror::Error)]
pub enum ControlPlaneError {
    /// Certificates.
    #[error("make certificates")]
    Pki(#[from] PkiError),
    /// Files.
    #[error("prepare files")]
    Files(#[from] FileError),
    /// A program could not be started.
    #[error("start the control plane")]
    Start(#[from] ProcessError),
    /// A program ended while the API server was awaited.
    #[error("wait for the API server: {0}")]
    Ended(String),
    /// The API server did not become ready.
    #[error("wait for the API server (logs are under {log_dir})")]
    NotReady {
        /// Folder of the logs.
        log_dir: String,
        /// What it said last.
        source: WaitError,
    },
}

/// Where the API server listens and how it is reached.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Address it binds.
    pub(crate) bind: String,
    /// Port it binds.
    pub(crate) port: u16,
    /// Address clients use; also what it advertises to pods.
    pub(crate) address: String,
}

impl Endpoint {
    /// The URL in kubeconfigs.
    pub(crate) fn url(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }
}

/// What is different from cluster to cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Extra flags of kube-apiserver.
    pub(crate) api_server_flags: Vec<String>,
    /// Which controllers run, as in `--controllers`; empty means the default set.
    pub(crate) controllers: Vec<String>,
    /// The pod range, where there are nodes.
    pub(crate) pod_range: Option<String>,
}

/// Makes the certificates and kubeconfigs of a new control plane. With an existing one's state folder this would lock
/// out its users, so it is called once per cluster.
pub(crate) fn prepare(state: &StateDir, endpoint: &Endpoint) -> Result<Pki, ControlPlaneError> {
    let pki = Pki::create(&state.pki())?;
    pki.api_server(&["127.0.0.1".to_owned(), API_SERVICE.to_owned(), endpoint.address.clone()])?;
    for subject in [ADMIN, CONTROLLER_MANAGER, SCHEDULER] {
        pki.client(subject)?;
        let path =
            if subject.file == ADMIN.file { state.kubeconfig() } else { state.component_kubeconfig(subject.file) };
        kubeconfig::write(&path, &endpoint.url(), &state.pki(), subject.file)?;
    }
    Ok(pki)
}

/// Starts the processes on a prepared state folder and waits until the API server is ready.
pub(crate) async fn start(
    state: &StateDir,
    binaries: &Binaries,
    endpoint: &Endpoint,
    settings: &Settings,
    launcher: &mut Launcher,
) -> Result<(), ControlPlaneError> {
    let program = |binary: Binary, flags: Vec<String>| program(state, binaries, binary, flags);
    launcher.start(program(Binary::Etcd, etcd_flags()))?;
    launcher.start(program(Binary::KubeApiserver, api_server_flags(state, endpoint, settings)))?;
    ready(state, launcher).await?;
    launcher.start(program(Binary::KubeControllerManager, controller_manager_flags(state, settings)))?;
    if settings.pod_range.is_some() {
        launcher.start(program(Binary::KubeScheduler, scheduler_flags(state)))?;
    }
    Ok(())
}

/// A program that runs in the state folder and logs there.
pub(crate) fn program(state: &StateDir, binaries: &Binaries, binary: Binary, flags: Vec<String>) -> Program {
    let mut line = vec![binaries.path(binary).display().to_string()];
    line.extend(flags);
    Program { name: binary.name(), line, dir: state.path().to_owned(), log: state.log(binary.name()) }
}

async fn ready(state: &StateDir, launcher: &mut Launcher) -> Result<(), ControlPlaneError> {
    let client = crate::client::from_kubeconfig(&state.kubeconfig()).await;
    let ready = wait_for(READY, "the API server", async || {
        if let Some(ended) = launcher.ended() {
            return Ok(Err(ControlPlaneError::Ended(ended)));
        }
        let client = client.as_ref().map_err(ToString::to_string)?;
        let request = http::Request::get("/readyz").body(Vec::new()).map_err(|error| error.to_string())?;
        client.request_text(request).await.map(|_| Ok(())).map_err(|error| error.to_string())
    });
    let log_dir = state.path().join("log").display().to_string();
    ready.await.map_err(|source| ControlPlaneError::NotReady { log_dir, source })?
}

fn etcd_flags() -> Vec<String> {
    let initial = format!("default={ETCD_PEER_SOCKET}");
    [
        "--data-dir=etcd",
        "--unsafe-no-fsync", // what is stored here is worth nothing after a crash of the machine
        "--log-level=warn",
        "--listen-client-urls",
        ETCD_SOCKET,
        "--advertise-client-urls",
        ETCD_SOCKET,
        "--listen-peer-urls",
        ETCD_PEER_SOCKET,
        "--initial-advertise-peer-urls",
        ETCD_PEER_SOCKET,
        "--initial-cluster",
        &initial,
    ]
    .map(str::to_owned)
    .to_vec()
}

fn api_server_flags(state: &StateDir, endpoint: &Endpoint, settings: &Settings) -> Vec<String> {
    let pki = |file: &str| state.pki().join(file).display().to_string();
    let mut flags = vec![
        format!("--etcd-servers={ETCD_SOCKET}"),
        format!("--bind-address={}", endpoint.bind),
        format!("--secure-port={}", endpoint.port),
        format!("--advertise-address={}", endpoint.address),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--allow-privileged=true".to_owned(),
    ];
    if settings.pod_range.is_some() {
        flags.extend([
            format!("--kubelet-certificate-authority={}", pki("ca.crt")),
            format!("--kubelet-client-certificate={}", pki("admin.crt")),
            format!("--kubelet-client-key={}", pki("admin.key")),
            // The node's name resolves nowhere; without this, logs and exec fail.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ]);
    } else {
        // Endpoints of the `kubernetes` Service must not be loopback addresses, and nothing here could use them.
        flags.push("--endpoint-reconciler-type=none".to_owned());
    }
    flags.extend(settings.api_server_flags.iter().cloned());
    flags
}

fn controller_manager_flags(state: &StateDir, settings: &Settings) -> Vec<String> {
    let pki = |file: &str| state.pki().join(file).display().to_string();
    let mut flags = vec![
        format!("--kubeconfig={}", state.component_kubeconfig(CONTROLLER_MANAGER.file).display()),
        format!("--root-ca-file={}", pki("ca.crt")),
        format!("--service-account-private-key-file={}", pki("sa.key")),
        format!("--cluster-signing-cert-file={}", pki("ca.crt")),
        format!("--cluster-signing-key-file={}", pki("ca.key")),
        "--use-service-account-credentials".to_owned(),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        // The default is a folder of the host, which would be created.
        format!("--flex-volume-plugin-dir={}", state.path().join("flex-volumes").display()),
        // The defaults (20 and 30) make a namespace's ServiceAccount late when many tests start at once.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ];
    if !settings.controllers.is_empty() {
        flags.push(format!("--controllers={}", settings.controllers.join(",")));
    }
    if let Some(range) = &settings.pod_range {
        flags.extend([
            "--allocate-node-cidrs".to_owned(),
            format!("--cluster-cidr={range}"),
            "--node-cidr-mask-size=24".to_owned(),
            "--node-monitor-grace-period=20s".to_owned(),
        ]);
    }
    flags
}

fn scheduler_flags(state: &StateDir) -> Vec<String> {
    let kubeconfig = state.component_kubeconfig(SCHEDULER.file);
    vec![
        format!("--kubeconfig={}", kubeconfig.display()),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
    ]
}
