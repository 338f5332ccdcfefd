//! `cargo xtask demo`: from nothing to documents that cross between real pods, in one command.
//!
//! Input: this machine. Output: the local cluster `peat` with the chart, a mesh and the pods of `config/demo`, a story
//! on standard output, and the kubeconfig at `target/cluster/kubeconfig`. A second run finds what is up, brings it up
//! to date and tells the story again. Everything shown is read from the cluster. [`down`] takes it all away.

mod pods;
mod story;

use std::{
    io::{self, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use peat_cluster::{Cluster, ClusterId, DEFAULT_NAME, Flavor, publish_kubeconfig, wait_for};
use peat_crds::PeatMesh;

use self::pods::Pods;
use crate::image;

/// Namespace and name of the release.
const SYSTEM: &str = "peat-system";
const RELEASE: &str = "peat-operator";
/// Generous: on two cores a first start can take a minute.
const READY: Duration = Duration::from_secs(180);

/// Brings everything up and tells the story.
pub(crate) async fn run() -> Result<()> {
    let id = ClusterId::new(DEFAULT_NAME)?;
    let begun = Instant::now();
    tokio::select! {
        told = tell(&id) => told?,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("listen for interrupts")?;
            bail!("interrupted; `make demo` goes on from here, `make demo-down` takes down what there is");
        }
    }
    say(&format!("\nThe demo took {:.0} s.", begun.elapsed().as_secs_f64()))
}

/// Takes the cluster down with all that is in it.
pub(crate) async fn down() -> Result<()> {
    ClusterId::new(DEFAULT_NAME)?.down().await?;
    say("The demo's cluster is gone.")
}

async fn tell(id: &ClusterId) -> Result<()> {
    step("a Kubernetes cluster on this machine (the first time, its pinned binaries are compiled: about ten minutes)")?;
    let cluster = id.up(Flavor::Local).await.context("bring up the cluster")?;
    let kubeconfig = publish_kubeconfig(id)?;
    step("images of operator and node, from this work tree")?;
    image::load(&cluster, &image::build().await?).await?;
    let told = async {
        install(&cluster).await?;
        apply(&cluster).await?;
        let pods = Pods::new(&cluster);
        story::tell(&cluster, &pods).await
    };
    if let Err(error) = told.await {
        diagnose(&cluster).await;
        return Err(error);
    }
    farewell(&kubeconfig)
}

/// The chart, by real helm, with the images just built.
async fn install(cluster: &Cluster) -> Result<()> {
    step("helm upgrade --install peat-operator charts/peat-operator")?;
    let chart = crate::root()?.join("charts/peat-operator").display().to_string();
    let there = cluster.kubectl(["get", "deployment", RELEASE, "-n", SYSTEM, "-o=name"]).await.is_ok();
    let images = format!(
        "--set=image.repository={},sidecar.image.repository={}",
        repository(image::OPERATOR),
        repository(image::NODE)
    );
    let flags = [
        "--namespace",
        SYSTEM,
        "--create-namespace",
        &images,
        "--set=image.tag=dev,sidecar.image.tag=dev,logFormat=text",
    ];
    let begun = Instant::now();
    cluster.helm(["upgrade", "--install", RELEASE, &chart].iter().chain(&flags)).await.context("install the chart")?;
    if there {
        // The tag stays `dev`, so only a restart takes the image that was just loaded.
        cluster.kubectl(["rollout", "restart", "deployment", RELEASE, "-n", SYSTEM]).await?;
    }
    rolled_out(cluster, SYSTEM, RELEASE).await?;
    say(&format!("   the operator is ready after {:.1} s", begun.elapsed().as_secs_f64()))
}

/// The mesh, then the pods: who asks for a mesh that does not exist yet starts without a sidecar, and is told so.
async fn apply(cluster: &Cluster) -> Result<()> {
    let folder = crate::root()?.join("config/demo");
    step("kubectl apply -f config/demo: two namespaces, a PeatMesh, two Deployments, one pod that asks for nothing")?;
    apply_file(cluster, &folder.join("1-mesh.yaml")).await?;
    let meshes: kube::Api<PeatMesh> = kube::Api::namespaced(cluster.client().await?, "harbour");
    wait_for(READY, "the mesh to be ready", async || {
        let mesh = meshes.get("coast").await.map_err(|error| error.to_string())?;
        let summary = mesh.status.and_then(|status| status.summary).map_or_else(String::new, |summary| summary.ready);
        if summary == "True" { Ok(()) } else { Err(summary) }
    })
    .await?;
    let there = cluster.kubectl(["get", "deployment", "lighthouse", "-n", "harbour", "-o=name"]).await.is_ok();
    for file in ["2-harbour.yaml", "3-fleet.yaml"] {
        apply_file(cluster, &folder.join(file)).await?;
    }
    for (namespace, deployment) in [("harbour", "lighthouse"), ("fleet", "ferry")] {
        if there {
            cluster.kubectl(["rollout", "restart", "deployment", deployment, "-n", namespace]).await?;
        }
    }
    for (namespace, deployment) in [("harbour", "lighthouse"), ("fleet", "ferry")] {
        rolled_out(cluster, namespace, deployment).await?;
    }
    Ok(())
}

async fn apply_file(cluster: &Cluster, path: &Path) -> Result<()> {
    // With force, because an earlier run scaled a Deployment and so owns its number of replicas.
    let file = path.display().to_string();
    let said = cluster.kubectl(["apply", "--server-side", "--force-conflicts", "-f", &file]).await;
    said.with_context(|| format!("apply {file}"))?.lines().try_for_each(|line| say(&format!("   {line}")))
}

/// Waits for a Deployment, and says so: kubectl's own progress is not passed on by [`Cluster::kubectl`].
async fn rolled_out(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    let timeout = format!("--timeout={}s", READY.as_secs());
    say(&format!("   waiting for deployment {namespace}/{name}"))?;
    let waited = cluster.kubectl(["rollout", "status", "deployment", name, "-n", namespace, &timeout]).await;
    waited.map(drop).with_context(|| format!("deployment {namespace}/{name} does not become ready"))
}

/// What a person would look at first, on standard error.
async fn diagnose(cluster: &Cluster) {
    let looks: [&[&str]; 4] = [
        &["get", "pods", "-A", "-o=wide"],
        &["get", "peatmeshes,peatpeers", "-A", "-o=wide"],
        &["get", "events", "-A", "--sort-by=.lastTimestamp"],
        &["logs", "-n", SYSTEM, "deployment/peat-operator", "--tail=40"],
    ];
    for look in looks {
        let shown = cluster.kubectl(look.iter().copied()).await.unwrap_or_else(|error| format!("{error:#}"));
        eprintln!("\n$ kubectl {}\n{shown}", look.join(" "));
    }
}

fn farewell(kubeconfig: &Path) -> Result<()> {
    let root = crate::root()?;
    let shown = kubeconfig.strip_prefix(&root).unwrap_or(kubeconfig).display();
    say(&format!(
        "\nThe cluster stays up. To go on by hand:\n\n  \
         export KUBECONFIG=$PWD/{shown}\n  \
         kubectl get peatmeshes,peatpeers -A -o wide\n  \
         kubectl -n fleet exec deploy/ferry -c app -- peat-node doc put sightings mine '{{\"hello\":\"harbour\"}}'\n  \
         kubectl -n harbour logs -l app=lighthouse -c app --tail=3\n  \
         kubectl -n harbour exec deploy/lighthouse -c app -- peat-node peers\n  \
         kubectl -n fleet get pod gull -o jsonpath='{{.spec.containers[*].name}}'     # nobody asked, nothing was added\n\n\
         To take it down: make demo-down"
    ))
}

/// The repository of an image reference with a tag.
fn repository(image: &str) -> &str {
    image.rsplit_once(':').map_or(image, |(repository, _)| repository)
}

/// A headline.
fn step(text: &str) -> Result<()> {
    say(&format!("\n== {text}"))
}

/// One line of the story; flushed, so that it is seen while the next thing is awaited.
fn say(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).context("print")
}
