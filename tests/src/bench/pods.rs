//! Real pods: how long after its creation a pod has a document of another one, and what a sidecar holds in memory.
//!
//! Inputs: the images, and root; outputs: figures. The clock starts before the request that creates the pod and stops
//! at the container runtime's time stamp of the line in which the application prints the document. Beside it, a pod
//! without a sidecar prints a line in the same cluster: what Kubernetes takes by itself. What it does not do: pull
//! images.

use super::latency::Latencies;
use super::{Figure, Plan, Quantity, Report, process};
use crate::e2e::Installed;
use crate::e2e::mesh::{self, Mesh};
use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, LogParams, PostParams};
use peat_cluster::{ClusterId, Flavor, local, wait_for};
use peat_crds::names::annotation;
use serde_json::{Value, json};
use std::time::Duration;

/// The cluster of this group. Not the demo's, nor that of the suites.
const CLUSTER: &str = "bench";
const PATIENCE: Duration = Duration::from_secs(120);
const COLLECTION: &str = "sightings";
const WHAT: &str = "pod created to first synced document, memory of a sidecar";

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    if plan.quick {
        report.leave_out(WHAT, "--quick");
        return Ok(());
    }
    let id = ClusterId::new(CLUSTER)?;
    // What a crashed run left.
    id.down().await?;
    let measured = match id.up(Flavor::Local).await {
        Ok(cluster) => on(cluster, plan, report).await,
        Err(error) => cannot(error.into(), report),
    };
    id.down().await.context("take the cluster down")?;
    measured
}

/// A machine that lacks something is left out with the reason; anything else is a failure.
fn cannot(error: anyhow::Error, report: &mut Report) -> Result<()> {
    let lacking = error.chain().find_map(|cause| cause.downcast_ref::<local::HostError>());
    match lacking {
        Some(local::HostError::Install { .. }) | None => Err(error.context("bring up the cluster")),
        Some(lacking) => {
            report.leave_out(WHAT, lacking.to_string());
            Ok(())
        }
    }
}

async fn on(cluster: peat_cluster::Cluster, plan: &Plan, report: &mut Report) -> Result<()> {
    for image in ["peat-operator.tar", "peat-node.tar"] {
        cluster.load_image(&plan.images.join(image)).await?;
    }
    // It lives as long as the process, as that of the suites does.
    let installed: &'static Installed = Box::leak(Box::new(Installed { cluster }));
    installed.install().await?;
    let mesh = Mesh::create(installed, "bench").await?;
    let place = mesh.namespace.name().to_owned();
    let members = mesh.deploy(&place, "lighthouse", 1).await?;
    let writer = members.first().context("no member")?;
    writer.put(COLLECTION, "aurora", r#"{"lat":59.9}"#).await?;
    let pods: Api<Pod> = Api::namespaced(installed.client().await?, &place);
    let (mut joined, mut bare) = (Vec::new(), Vec::new());
    for n in 0..plan.sizes.pods {
        bare.push(first_line(&pods, &pod(&format!("gull-{n}"), &["--version"], None), "peat-node").await?);
        let asks = pod(&format!("ferry-{n}"), &["doc", "watch", "--collection", COLLECTION], Some(mesh::NAME));
        joined.push(first_line(&pods, &asks, "aurora").await?);
    }
    let times = plan.sizes.pods;
    report.add(
        Figure::new("pod created to first synced document, median", Latencies::of(joined).percentile(50))
            .note(format!("of {times}"))
            .against("a pod without a sidecar prints a line", Latencies::of(bare).percentile(50)),
    );
    let sidecar = sidecar_memory(installed, &place, &writer.name).await?;
    report.add(
        Figure::new("memory of a sidecar in its pod", Quantity::mebibytes(sidecar))
            .note("a few documents, peers came and went")
            .budget("≤ 25 MiB", |mib, _| mib <= 25.0),
    );
    Ok(())
}

fn pod(name: &str, args: &[&str], mesh: Option<&str>) -> Value {
    let annotations = mesh.map_or_else(|| json!({}), |mesh| json!({ annotation::INJECT: mesh }));
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "annotations": annotations },
        "spec": mesh::once(args),
    })
}

/// Creates a pod, and returns how long after that its application printed the first line with `text`. The pod is
/// deleted.
async fn first_line(pods: &Api<Pod>, pod: &Value, text: &str) -> Result<Duration> {
    let pod: Pod = serde_json::from_value(pod.clone())?;
    let name = pod.metadata.name.clone().context("a pod without a name")?;
    let began = Timestamp::now();
    pods.create(&PostParams::default(), &pod).await?;
    let log = LogParams { container: Some("app".to_owned()), timestamps: true, ..LogParams::default() };
    let line = wait_for(PATIENCE, &format!("{text} in the log of {name}"), async || {
        let log = pods.logs(&name, &log).await.map_err(|error| error.to_string())?;
        log.lines().find(|line| line.contains(text)).map(str::to_owned).ok_or(log)
    })
    .await?;
    let stamp = line.split(' ').next().unwrap_or_default();
    let printed: Timestamp = stamp.parse().with_context(|| format!("read the time of {line:?}"))?;
    pods.delete(&name, &DeleteParams::default().grace_period(0)).await?;
    printed.duration_since(began).try_into().context("a line from before the pod")
}

/// Resident memory of a pod's sidecar in MiB, read by the shell beside it, which shares its processes.
async fn sidecar_memory(installed: &Installed, namespace: &str, pod: &str) -> Result<f64> {
    // `[p]` keeps grep from finding itself.
    let script =
        "cat /proc/$(ps -o pid,args | grep '[p]eat-node$' | while read -r pid rest; do echo $pid; done)/status";
    let exec = ["exec", "-n", namespace, pod, "-c", "shell", "--", "sh", "-c", script];
    process::resident(&installed.cluster.kubectl(exec).await?)
}
