//! The operator as a process of its own, next to a real API server.
//!
//! Inputs: its binary and a control plane; outputs: a process that ends with the value, registered as webhook by URL.
//! What it does not do: differ from what the chart starts, but for addresses.

use super::http::{Pool, get};
use super::process::{Process, free_ports};
use crate::envtest::operator::{
    CONFIGURATION, NAMESPACE, SIDECAR_IMAGE, apply, bundle_is_set, install_definitions, register,
};
use anyhow::{Context as _, Result};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, ObjectMeta};
use peat_cluster::Cluster;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

/// A running operator.
#[derive(Debug)]
pub(super) struct Operator {
    process: Process,
    webhook: SocketAddr,
}

impl Operator {
    /// Installs definitions, namespace and webhook configuration, starts the operator, and waits until it serves.
    pub(super) async fn start(binary: &Path, cluster: &Cluster) -> Result<Self> {
        let client = cluster.client().await?;
        install_definitions(&client).await?;
        let metadata = ObjectMeta { name: Some(NAMESPACE.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        apply(&Api::all(client.clone()), NAMESPACE, &namespace).await?;
        let addresses = free_ports::<3>()?.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let [webhook, membership, admin] = addresses;
        let mut command = Command::new(binary);
        command.env("KUBECONFIG", cluster.kubeconfig());
        command.args(["--namespace", NAMESPACE, "--sidecar-image", SIDECAR_IMAGE]);
        command.args(["--membership-url", &format!("https://{membership}"), "--extra-sans", "127.0.0.1"]);
        command.args(["--webhook-listen", &webhook.to_string(), "--membership-listen", &membership.to_string()]);
        command.args(["--admin-listen", &admin.to_string()]);
        let mut process = Process::start("peat-operator", &mut command)?;
        register(&client, CONFIGURATION, &format!("https://{webhook}")).await?;
        process.until(async || get(admin, "/readyz").await.ok().filter(|(status, _)| *status == 200).map(drop)).await?;
        bundle_is_set(&client, CONFIGURATION).await?;
        Ok(Self { process, webhook })
    }

    /// Connections to the webhook as the API server makes them: it trusts the bundle of the configuration.
    pub(super) async fn connections(&self, client: &Client) -> Result<Pool> {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
        let entries = configurations.get(CONFIGURATION).await?.webhooks.unwrap_or_default();
        let bundle = entries.into_iter().next().and_then(|entry| entry.client_config.ca_bundle);
        Pool::new(self.webhook, &bundle.context("no CA bundle")?.0)
    }

    /// Resident memory in MiB.
    pub(super) fn resident(&self) -> Result<f64> {
        self.process.resident()
    }
}
