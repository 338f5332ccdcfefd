//! The `envtest` flavour: a control plane on loopback, without nodes and without root.
//!
//! Input: options. Output: running processes in a state folder. Pods are created but run nowhere, and Service addresses
//! lead nowhere: webhooks are registered by the URL of the test process. Does not hand out clients (`cluster.rs` does).

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use crate::binaries::{Binaries, Binary, BinaryCache, BinaryError};
use crate::control_plane::{self, ControlPlaneError, Endpoint, Settings};
use crate::files;
use crate::launcher::Launcher;
use crate::state::{StateDir, StateError, TiedDir, default_root};

/// Attempts to find a port that stays free between choosing it and the API server binding it.
const PORT_ATTEMPTS: usize = 5;

/// A control plane on loopback did not come up.
#[derive(Debug, thiserror::Error)]
pub enum EnvtestError {
    /// Binaries are missing.
    #[error("provide the binaries")]
    Binaries(#[from] BinaryError),
    /// The state folder is unusable.
    #[error("prepare the state folder")]
    State(#[from] StateError),
    /// The operating system gave no port.
    #[error("find a free port on 127.0.0.1")]
    Port(#[source] std::io::Error),
    /// A process failed.
    #[error("bring up the control plane")]
    ControlPlane(#[from] ControlPlaneError),
}

/// What a control plane on loopback may be told.
#[derive(Debug, Clone)]
pub struct EnvtestOptions {
    /// Extra flags of kube-apiserver, such as `--feature-gates=…`.
    pub api_server_flags: Vec<String>,
    /// Which controllers run, as in kube-controller-manager's `--controllers`; empty means the default set.
    pub controllers: Vec<String>,
    /// Folder that the state folder is made in.
    pub root: PathBuf,
}

impl Default for EnvtestOptions {
    fn default() -> Self {
        Self { api_server_flags: Vec::new(), controllers: Vec::new(), root: default_root() }
    }
}

/// A control plane that ends with this process. Fields are dropped in order: processes first, then their folder.
#[derive(Debug)]
pub(crate) struct TiedControlPlane {
    /// Held for its end.
    _launcher: Launcher,
    pub(crate) dir: TiedDir,
    pub(crate) server: String,
}

/// Starts a control plane that ends with this process.
pub(crate) async fn start_tied(
    cache: &BinaryCache,
    options: &EnvtestOptions,
) -> Result<TiedControlPlane, EnvtestError> {
    let binaries = cache.ensure(Binary::CONTROL_PLANE).await?;
    let dir = TiedDir::create(&options.root).await?;
    let mut launcher = Launcher::tied();
    let server = start(dir.state(), &binaries, options, &mut launcher).await?;
    Ok(TiedControlPlane { _launcher: launcher, dir, server })
}

/// Starts a control plane in `state` and returns the API server's URL.
pub(crate) async fn start(
    state: &StateDir,
    binaries: &Binaries,
    options: &EnvtestOptions,
    launcher: &mut Launcher,
) -> Result<String, EnvtestError> {
    let EnvtestOptions { api_server_flags, controllers, root: _ } = options.clone();
    let settings = Settings { api_server_flags, controllers, pod_range: None };
    let mut attempt = 1;
    loop {
        let endpoint = loopback().map_err(EnvtestError::Port)?;
        control_plane::prepare(state, &endpoint)?;
        match control_plane::start(state, binaries, &endpoint, &settings, launcher).await {
            Ok(()) => return Ok(endpoint.url()),
            Err(ControlPlaneError::Ended(log)) if attempt < PORT_ATTEMPTS && log.contains("address already in use") => {
                attempt += 1;
                launcher.stop();
                start_over(state)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Forgets what a first attempt stored and logged.
fn start_over(state: &StateDir) -> Result<(), StateError> {
    files::remove_tree(&state.path().join("etcd"))?;
    files::remove_tree(&state.path().join("log"))?;
    Ok(state.prepare()?)
}

fn loopback() -> std::io::Result<Endpoint> {
    let address = Ipv4Addr::LOCALHOST.to_string();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    Ok(Endpoint { bind: address.clone(), port, address })
}
