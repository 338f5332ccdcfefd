//! `peat-operator check`: whether an installation works, as seen from a pod of the cluster. The chart's `helm test`
//! runs it.
//!
//! Inputs: [`CheckArgs`] and a client with the rights of the chart's test. Steps: the webhook configuration has a CA
//! bundle; the membership server shows a certificate of that authority; a pod that asks for a mesh which nobody has is
//! sent to the operator and comes back with its reason. The pod is created as a dry run, so nothing is left behind.
//! What it does not do: join a mesh.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use clap::Parser;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use peat_crds::names::annotation;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::cli::{ConfigError, membership_url};

/// A mesh that nobody has: the name is not one that a person would choose.
const NO_MESH: &str = "peat-check-of-an-installation";

/// Flags of `peat-operator check`.
#[derive(Debug, Clone, Parser)]
#[command(name = "peat-operator check", about = "Says whether an installation works; run by `helm test`")]
pub struct CheckArgs {
    /// URL at which pods reach the membership server
    #[arg(long, env = "PEAT_OPERATOR_MEMBERSHIP_URL")]
    pub membership_url: String,
    /// MutatingWebhookConfiguration of the operator
    #[arg(long, default_value = "peat-operator")]
    pub webhook_configuration: String,
    /// Namespace in which a pod is created as a dry run; one whose pods are sent to the operator
    #[arg(long, default_value = "default")]
    pub pod_namespace: String,
    /// Seconds after which the check has failed
    #[arg(long, default_value_t = 30)]
    pub timeout: u64,
}

/// What does not work.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The URL cannot be one.
    #[error("read --membership-url")]
    Url(#[from] ConfigError),
    /// The host of the URL cannot be in a certificate.
    #[error("read the host of --membership-url")]
    Host(#[from] InvalidDnsNameError),
    /// The API server refused or could not be reached.
    #[error("{attempted}")]
    Api {
        /// What was attempted.
        attempted: &'static str,
        /// Why it failed.
        source: kube::Error,
    },
    /// The operator has not written its authority yet.
    #[error("the webhook configuration has no usable CA bundle: the operator does not run, or may not patch it")]
    NoBundle,
    /// The TLS library refused its own defaults.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
    /// The membership server cannot be reached, or is not the one of this installation.
    #[error("connect to the membership server at {address}")]
    Membership {
        /// `host:port`.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// The webhook was not asked.
    #[error("a pod in namespace {0} that asks is not sent to the operator: is the namespace excluded?")]
    NotAsked(String),
    /// Not done in time.
    #[error("not done within {0:?}")]
    TimedOut(Duration),
}

/// Checks an installation, within the time that `args` allow.
pub async fn run(args: CheckArgs, client: Client) -> Result<(), CheckError> {
    let limit = Duration::from_secs(args.timeout);
    tokio::time::timeout(limit, check(&args, client)).await.unwrap_or(Err(CheckError::TimedOut(limit)))
}

async fn check(args: &CheckArgs, client: Client) -> Result<(), CheckError> {
    let roots = roots(&client, &args.webhook_configuration).await?;
    tracing::info!(configuration = args.webhook_configuration, "the webhook is registered");
    membership(&args.membership_url, roots).await?;
    tracing::info!(url = args.membership_url, "the membership server answers");
    admission(&args.pod_namespace, client).await?;
    tracing::info!(namespace = args.pod_namespace, "pods that ask are sent to the operator and answered");
    Ok(())
}

/// The operator's authority, as the API server trusts it.
async fn roots(client: &Client, configuration: &str) -> Result<RootCertStore, CheckError> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let found = api.get(configuration).await.map_err(failed("read the webhook configuration"))?;
    let bundle = found.webhooks.into_iter().flatten().find_map(|webhook| webhook.client_config.ca_bundle);
    let bundle = bundle.ok_or(CheckError::NoBundle)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&bundle.0) {
        roots.add(certificate.map_err(|_| CheckError::NoBundle)?)?;
    }
    if roots.is_empty() { Err(CheckError::NoBundle) } else { Ok(roots) }
}

async fn membership(url: &str, roots: RootCertStore) -> Result<(), CheckError> {
    let url: Uri = membership_url(url.to_owned())?.parse().map_err(|_| ConfigError::MembershipUrl(url.to_owned()))?;
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(443);
    let name = ServerName::try_from(host.to_owned())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let failed = |source| CheckError::Membership { address: format!("{host}:{port}"), source };
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(failed)?;
    Ok(())
}

/// Whether a pod that asks comes back with our reason on it.
async fn admission(namespace: &str, client: Client) -> Result<(), CheckError> {
    let api: Api<Pod> = Api::namespaced(client, namespace);
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let answered = api.create(&params, &pod()).await.map_err(failed("create a pod as a dry run"))?;
    if answered.annotations().contains_key(annotation::STATUS) {
        Ok(())
    } else {
        Err(CheckError::NotAsked(namespace.to_owned()))
    }
}

/// A pod for any namespace: it asks little, and the Pod Security level `restricted` accepts it.
fn pod() -> Pod {
    let spec = json!({
        "metadata": { "generateName": "peat-check-", "annotations": { annotation::INJECT: NO_MESH } },
        "spec": {
            "automountServiceAccountToken": false,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "check",
                "image": "check",
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
                "resources": {
                    "requests": { "cpu": "1m", "memory": "1Mi" },
                    "limits": { "cpu": "1m", "memory": "1Mi" },
                },
            }],
        },
    });
    // A literal of ours: the test below parses it.
    serde_json::from_value(spec).unwrap_or_default()
}

fn failed(attempted: &'static str) -> impl FnOnce(kube::Error) -> CheckError {
    move |source| CheckError::Api { attempted, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pod_of_the_check_asks_for_a_mesh() {
        let pod = pod();
        assert_eq!(pod.annotations()[annotation::INJECT], NO_MESH);
        assert_eq!(pod.spec.unwrap().containers.len(), 1);
    }
}
