//! API clients from kubeconfig files.
//!
//! Input: a kubeconfig. Output: a [`kube::Client`]. A client belongs to the runtime it was made on, so tests make one
//! each. Does not look at the environment or at the user's kubeconfig.

use std::path::Path;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig is missing or wrong.
    #[error("read the kubeconfig {path}")]
    Kubeconfig {
        /// Which file.
        path: String,
        /// What is wrong with it.
        source: KubeconfigError,
    },
    /// TLS could not be set up.
    #[error("make a client for {path}")]
    Client {
        /// Which file it was made from.
        path: String,
        /// What is wrong.
        source: kube::Error,
    },
}

/// Makes a client from a kubeconfig and its current context.
pub(crate) async fn from_kubeconfig(path: &Path) -> Result<kube::Client, ClientError> {
    let shown = path.display().to_string();
    let kubeconfig_error = |source| ClientError::Kubeconfig { path: shown.clone(), source };
    let kubeconfig = Kubeconfig::read_from(path).map_err(kubeconfig_error)?;
    let options = KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(kubeconfig_error)?;
    kube::Client::try_from(config).map_err(|source| ClientError::Client { path: shown, source })
}
