//! What the demo shows once everything runs: who is in the mesh, a document crossing, a newcomer catching up.
//!
//! Input: the cluster of [`super::run`]. Output: the story on standard output; every figure in it is read from the
//! cluster.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use peat_cluster::{Cluster, wait_for};
use peat_crds::PeatPeer;

use super::{
    READY,
    pods::{Pod, Pods},
    say, step,
};

/// The demo's pods that ask for the mesh.
const LIGHTHOUSES: usize = 2;
/// A document crosses within milliseconds; this is how long the demo looks before it gives up.
const CROSSING: Duration = Duration::from_secs(30);
const COLLECTION: &str = "sightings";

/// Tells it.
pub(super) async fn tell(cluster: &Cluster, pods: &Pods<'_>) -> Result<()> {
    let members = membership(cluster, pods).await?;
    crossing(pods, &members).await?;
    newcomer(cluster, pods, &members).await?;
    bystander(cluster).await
}

/// Waits until the expected pods are in the mesh and connected, and shows the custom resources.
async fn membership(cluster: &Cluster, pods: &Pods<'_>) -> Result<Vec<Pod>> {
    step("who is in the mesh")?;
    // A second run finds the newcomer of the first.
    cluster.kubectl(["scale", "deployment/lighthouse", "-n", "harbour", &format!("--replicas={LIGHTHOUSES}")]).await?;
    let mut shown = String::new();
    let members = wait_for(READY, "three pods in the mesh", async || {
        let mut members = pods.ready("harbour", "lighthouse").await.map_err(|error| format!("{error:#}"))?;
        members.extend(pods.ready("fleet", "ferry").await.map_err(|error| format!("{error:#}"))?);
        let registered = registered(cluster).await.map_err(|error| format!("{error:#}"))?;
        let progress = format!("{} of 3 pods ready, {registered} registered", members.len());
        if progress != shown {
            say(&format!("   {progress}")).map_err(|error| error.to_string())?;
            progress.clone_into(&mut shown);
        }
        if members.len() == 3 && registered == 3 { Ok(members) } else { Err(progress) }
    })
    .await?;
    for member in &members {
        connected(pods, member, members.len() - 1).await?;
    }
    say("\n$ kubectl get peatmeshes,peatpeers -A -o wide")?;
    say(&cluster.kubectl(["get", "peatmeshes,peatpeers", "-A", "-o=wide"]).await?)?;
    Ok(members)
}

/// How many PeatPeers have an endpoint ID.
async fn registered(cluster: &Cluster) -> Result<usize> {
    let peers: Api<PeatPeer> = Api::all(cluster.client().await?);
    let peers = peers.list(&kube::api::ListParams::default()).await.context("list PeatPeers")?;
    Ok(peers
        .items
        .iter()
        .filter(|peer| peer.status.as_ref().is_some_and(|status| status.endpoint_id.is_some()))
        .count())
}

/// Waits until the node of `pod` has `wanted` connections.
async fn connected(pods: &Pods<'_>, pod: &Pod, wanted: usize) -> Result<()> {
    wait_for(CROSSING, &format!("{pod} to be connected"), async || {
        let peers = pods.peat_node(pod, &["peers", "--output=json"]).await.map_err(|error| format!("{error:#}"))?;
        let connected = peers.lines().filter(|line| !line.trim().is_empty()).count();
        if connected >= wanted { Ok(()) } else { Err(format!("{connected} connections")) }
    })
    .await
    .map_err(Into::into)
}

/// Writes in one pod, reads in the others.
async fn crossing(pods: &Pods<'_>, members: &[Pod]) -> Result<()> {
    let (writer, readers) = members.split_first().context("no pods")?;
    step(&format!("a document, written in {writer} and read in the others"))?;
    // New at each run, so that the log of an earlier one is not taken for this one.
    let id = Timestamp::now().as_second().to_string();
    let document = format!(r#"{{"ship":"Aurora","position":{{"lat":59.9,"lon":10.7}},"run":"{id}"}}"#);
    say(&format!(
        "$ kubectl exec -n {} {} -c app -- peat-node doc put {COLLECTION} {id} '{document}'",
        writer.namespace, writer.name
    ))?;
    let begun = Instant::now();
    say(&format!("   {}", pods.peat_node(writer, &["doc", "put", COLLECTION, &id, &document]).await?))?;
    for reader in readers {
        let read = wait_for(CROSSING, &format!("the document in {reader}"), async || {
            pods.peat_node(reader, &["doc", "get", COLLECTION, &id]).await.map_err(|error| format!("{error:#}"))
        })
        .await?;
        say(&format!("   {reader} reads {read}"))?;
    }
    say(&format!(
        "   all of that, with {} starts of kubectl, took {} ms",
        readers.len() + 1,
        begun.elapsed().as_millis()
    ))?;
    let needle = format!("{COLLECTION}/{id}");
    let written = seen(pods, writer, &needle).await?;
    for reader in readers {
        let late = seen(pods, reader, &needle).await?.duration_since(written);
        say(&format!(
            "   the application in {reader} saw it {:.1} ms after the one in {writer} (time stamps of their logs)",
            late.as_secs_f64() * 1e3
        ))?;
    }
    Ok(())
}

async fn seen(pods: &Pods<'_>, pod: &Pod, needle: &str) -> Result<Timestamp> {
    let found = wait_for(CROSSING, &format!("{needle} in the log of {pod}"), async || {
        match pods.printed_at(pod, needle).await {
            Ok(Some(at)) => Ok(at),
            Ok(None) => Err("not there yet".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await;
    Ok(found?)
}

/// Scales up and shows that the new pod has what was written before it existed.
async fn newcomer(cluster: &Cluster, pods: &Pods<'_>, members: &[Pod]) -> Result<()> {
    let replicas = LIGHTHOUSES + 1;
    step(&format!("kubectl scale deployment/lighthouse -n harbour --replicas={replicas}: a newcomer catches up"))?;
    let begun = Instant::now();
    cluster.kubectl(["scale", "deployment/lighthouse", "-n", "harbour", &format!("--replicas={replicas}")]).await?;
    let newcomer = wait_for(READY, "the new pod", async || {
        let ready = pods.ready("harbour", "lighthouse").await.map_err(|error| format!("{error:#}"))?;
        ready.into_iter().find(|pod| !members.contains(pod)).ok_or_else(|| "not ready yet".to_owned())
    })
    .await?;
    say(&format!("   {newcomer} is ready after {:.1} s", begun.elapsed().as_secs_f64()))?;
    let first = members.first().context("no pods")?;
    let wanted = pods.peat_node(first, &["doc", "list", COLLECTION]).await?;
    wait_for(CROSSING, "the newcomer to catch up", async || {
        let has =
            pods.peat_node(&newcomer, &["doc", "list", COLLECTION]).await.map_err(|error| format!("{error:#}"))?;
        if has == wanted { Ok(()) } else { Err(format!("{} documents", has.lines().count())) }
    })
    .await?;
    let count = wanted.lines().count();
    say(&format!(
        "   and {:.1} s after the command it has every document of {first}: {count}",
        begun.elapsed().as_secs_f64()
    ))
}

/// Shows the pod that asked for nothing.
async fn bystander(cluster: &Cluster) -> Result<()> {
    step("the pod without the annotation is as it was written")?;
    let shown = "-o=jsonpath=containers: {.spec.containers[*].name}, init containers: {.spec.initContainers[*].name}";
    say(&format!("   fleet/gull has {}", cluster.kubectl(["get", "pod", "gull", "-n", "fleet", shown]).await?))
}
