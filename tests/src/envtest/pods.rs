//! Pods without a kubelet: created by the API server, never scheduled; the test writes their IP.
//!
//! Inputs: a [`Harness`]. Outputs: pods as stored, and the warnings that a person at a terminal would see.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::client::Body;
use peat_crds::names::annotation;
use serde_json::{Value, json};

use super::Harness;

/// A pod as it was stored, with what the API server warned about.
#[derive(Debug)]
pub struct Created {
    /// The pod.
    pub pod: Pod,
    /// Texts of the `Warning` headers.
    pub warnings: Vec<String>,
}

/// A minimal pod that the Pod Security level `restricted` accepts.
pub fn pod(name: &str, annotations: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "annotations": annotations },
        "spec": {
            "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "app",
                "image": "app.example/app:1",
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
            }],
        },
    })
}

/// A pod that asks for `wish`.
pub fn asking(name: &str, wish: &str) -> Value {
    pod(name, json!({ annotation::INJECT: wish }))
}

/// Whether a pod has the sidecar.
pub fn is_injected(pod: &Pod) -> bool {
    sidecar(pod).is_some()
}

/// The sidecar of a pod.
pub fn sidecar(pod: &Pod) -> Option<&k8s_openapi::api::core::v1::Container> {
    let first = pod.spec.as_ref()?.init_containers.as_ref()?.first()?;
    (first.name == peat_crds::names::sidecar::CONTAINER).then_some(first)
}

impl Harness {
    /// Creates a pod and returns it with the warnings.
    pub async fn create_pod(&self, pod: &Value) -> Result<Created> {
        let path = format!("/api/v1/namespaces/{}/pods", self.namespace.name());
        let request = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(serde_json::to_vec(pod)?))?;
        let response = self.client.send(request).await?;
        let status = response.status();
        let headers = response.headers().get_all(http::header::WARNING).iter();
        // `299 - "text"`, RFC 7234 5.5.
        let text = |header: &http::HeaderValue| {
            header.to_str().ok()?.splitn(3, ' ').nth(2).map(|t| t.trim_matches('"').to_owned())
        };
        let warnings: Vec<String> = headers.filter_map(text).collect();
        let body = response.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        anyhow::ensure!(status.is_success(), "{status}: {text}");
        Ok(Created { pod: serde_json::from_slice(&body).with_context(|| text.to_string())?, warnings })
    }

    /// Creates a pod that asks for `mesh`, and gives it an IP. Fails if it was not injected.
    pub async fn member(&self, name: &str, mesh: &str) -> Result<(Pod, IpAddr)> {
        let created = self.create_pod(&asking(name, mesh)).await?;
        anyhow::ensure!(is_injected(&created.pod), "not injected: {:?}", created.warnings);
        let ip = unique_ip();
        self.give_ip(name, ip).await?;
        Ok((created.pod, ip))
    }

    /// Writes what a kubelet would: the pod's IP.
    pub async fn give_ip(&self, name: &str, ip: IpAddr) -> Result<Pod> {
        let status = json!({ "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] } });
        Ok(self.api::<Pod>().patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await?)
    }

    /// Deletes a pod at once, as when its kubelet had confirmed.
    pub async fn delete_pod(&self, pod: &Pod) -> Result<()> {
        self.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }
}

/// An address that no other pod of this process has.
pub fn unique_ip() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    IpAddr::from(std::net::Ipv4Addr::from(u32::from(std::net::Ipv4Addr::new(10, 80, 0, 0)) + n))
}
