//! What a newcomer applies is accepted by a real API server, without a warning: the definitions, and each sample.
//!
//! Inputs: `crds/yaml`, `config/samples`. What it does not do: start the operator; the samples are data here.

use std::time::Duration;

use anyhow::Result;
use peat_cluster::{Cluster, wait_for};

const DEFINITIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/yaml");
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/samples");

#[tokio::test]
async fn definitions_and_samples_are_accepted_as_they_are() -> Result<()> {
    let cluster = Cluster::shared_envtest().await?;
    // A warning would be about a format the server does not know, or a rule that never runs.
    cluster.kubectl(["apply", "--server-side", "--warnings-as-errors", "-f", DEFINITIONS]).await?;
    let namespace = cluster.namespace("samples").await?;
    let here = ["-n", namespace.name()];
    // A definition is served a moment after it is established.
    wait_for(Duration::from_secs(60), "the served definitions", async || {
        cluster.kubectl(here.into_iter().chain(["get", "peatmeshes,peatpeers"])).await
    })
    .await?;
    let apply = ["apply", "--warnings-as-errors", "-f", SAMPLES];
    let applied = cluster.kubectl(here.into_iter().chain(apply)).await?;
    assert_eq!(applied.lines().count(), 3, "{applied}");
    // Applying again changes nothing: what the server filled in does not fight with what is written.
    let again = cluster.kubectl(here.into_iter().chain(apply)).await?;
    assert!(again.lines().all(|line| line.ends_with("unchanged")), "{again}");
    Ok(())
}
