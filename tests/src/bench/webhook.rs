//! Admission reviews at a steady rate against a real operator process, and what it holds in memory before and after.
//!
//! Inputs: the operator's binary and for how long; outputs: figures. Reviews are posted as the API server posts them,
//! when they are due and not when the one before was answered. Every answer must be a patch. What it does not do:
//! create pods.

use super::drive;
use super::operator::Operator;
use super::process;
use super::{Figure, Plan, Quantity, Report};
use crate::envtest::pods::asking;
use anyhow::{Result, ensure};
use http::Method;
use kube::api::{Api, PostParams};
use peat_cluster::binaries::{Binary, BinaryCache, BinaryError};
use peat_cluster::{Cluster, EnvtestOptions, wait_for};
use peat_crds::PeatMesh;
use serde_json::{Value, json};
use std::time::Duration;

/// The rate of the budget.
const PER_SECOND: u32 = 200;
/// Reviews that do not count: connections are opened, caches are warm.
const WARM_UP: Duration = Duration::from_secs(2);
/// The bare server is measured for a shorter time.
const BARE: Duration = Duration::from_secs(5);
/// Time for the operator to come to rest before its memory is read.
const SETTLE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);
const MESH: &str = "harbour";

pub(super) async fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    match BinaryCache::from_env()?.ensure(Binary::CONTROL_PLANE).await {
        Ok(_) => {}
        Err(error @ (BinaryError::NoGo { .. } | BinaryError::NoCache)) => {
            report.leave_out("webhook and operator", error.to_string());
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    }
    let cluster = Cluster::envtest(EnvtestOptions::default()).await?;
    let operator = Operator::start(&plan.operator, &cluster).await?;
    let client = cluster.client().await?;
    let namespace = cluster.namespace("bench").await?;
    mesh(&client, namespace.name()).await?;
    tokio::time::sleep(SETTLE).await;
    let idle = operator.resident()?;
    let pool = operator.connections(&client).await?;
    let name = namespace.name().to_owned();
    let post = |n: usize| {
        let (pool, body) = (pool.clone(), review(&name, n));
        async move {
            let (status, answer) = pool.call(Method::POST, "/mutate", serde_json::to_vec(&body)?).await?;
            is_patch(status, &answer)
        }
    };
    drive::open(PER_SECOND, WARM_UP, &post).await?;
    let reviews = drive::open(PER_SECOND, Duration::from_secs(plan.sizes.review_seconds.into()), &post).await?;
    let after = operator.resident()?;
    let bare = drive::open(PER_SECOND, BARE, |_| {
        let pool = pool.clone();
        async move {
            let (status, _) = pool.call(Method::GET, "/healthz", Vec::new()).await?;
            ensure!(status == 200, "/healthz says {status}");
            Ok(())
        }
    })
    .await?;
    let circumstances = format!("{}, {} connections, counted from when each was due", reviews.text(), pool.opened());
    report.add(
        Figure::new(format!("webhook, {PER_SECOND} AdmissionReviews a second, p99"), reviews.percentile(99))
            .note(circumstances)
            .against("/healthz on the same port", bare.percentile(99))
            .budget("≤ 5 ms", |ms, _| ms <= 5.0),
    );
    let kubeconfig = cluster.kubeconfig();
    let state = kubeconfig.parent().unwrap_or(kubeconfig).display().to_string();
    let beside = process::resident_of("kube-controller-manager", &state)?;
    let memory = |work: &str, mib: f64| {
        let figure = Figure::new(work, Quantity::mebibytes(mib));
        let figure = match beside {
            Some(peer) => figure.against("kube-controller-manager", Quantity::mebibytes(peer)),
            None => figure,
        };
        figure.budget("≤ 80 MiB", |mib, _| mib <= 80.0)
    };
    report.add(memory("memory of the operator, idle", idle));
    report.add(memory("memory of the operator after the reviews", after));
    drop(operator);
    Ok(())
}

async fn mesh(client: &kube::Client, namespace: &str) -> Result<()> {
    let mesh =
        json!({ "apiVersion": "peat.mesh/v1alpha1", "kind": "PeatMesh", "metadata": { "name": MESH }, "spec": {} });
    let meshes: Api<PeatMesh> = Api::namespaced(client.clone(), namespace);
    meshes.create(&PostParams::default(), &serde_json::from_value(mesh)?).await?;
    let ready = wait_for(PATIENCE, "the mesh to be ready", async || {
        let mesh = meshes.get(MESH).await.map_err(|error| error.to_string())?;
        if crate::envtest::condition(&mesh, "Ready") == Some("True") { Ok(()) } else { Err("not yet") }
            .map_err(str::to_owned)
    });
    Ok(ready.await?)
}

/// A review of one pod that asks for the mesh, as the API server writes it.
fn review(namespace: &str, n: usize) -> Value {
    let mut pod = asking(&format!("ferry-{n}"), MESH);
    pod["metadata"]["namespace"] = namespace.into();
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": format!("00000000-0000-4000-8000-{n:012}"),
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "requestResource": { "group": "", "version": "v1", "resource": "pods" },
            "name": format!("ferry-{n}"),
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["system:authenticated"] },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    })
}

/// Fails unless the pod is allowed with a sidecar.
fn is_patch(status: u16, answer: &[u8]) -> Result<()> {
    ensure!(status == 200, "the webhook says {status}: {}", String::from_utf8_lossy(answer));
    let answer: Value = serde_json::from_slice(answer)?;
    let response = &answer["response"];
    // Bytes as the API server reads them: base64, or an array of numbers.
    let patched = response["patch"].is_string() || response["patch"].is_array();
    ensure!(response["allowed"] == true && patched, "not injected: {} {}", response["warnings"], response["status"]);
    Ok(())
}
