//! What happens to real pods while the operator is stopped, and when it comes back.
//!
//! Needs a cluster with nodes: `cargo xtask test --only pods` brings one up.

use anyhow::{Result, ensure};
use peat_cluster::wait_for;
use peat_tests::e2e::{Installed, PATIENCE, mesh::Mesh};

#[tokio::test]
async fn without_the_operator_documents_cross_and_a_killed_container_rejoins() -> Result<()> {
    let (installed, _alone) = Installed::alone().await?;
    let mesh = Mesh::create(installed, "away").await?;
    let members = mesh.deploy(mesh.namespace.name(), "buoy", 2).await?;
    let all: Vec<_> = members.iter().collect();
    members[0].is_connected_to(&all).await?;
    installed.scale_operator(0).await?;
    let story = async {
        members[0].put("soundings", "running", "{}").await?;
        members[1].reads("soundings", "running").await?;
        members[1].kill_sidecar().await?;
        assert_eq!(members[1].told_endpoint().await?, members[1].endpoint);
        members[0].put("soundings", "rejoined", "{}").await?;
        members[1].reads("soundings", "rejoined").await?;
        members[1].put("soundings", "back", "{}").await?;
        members[0].reads("soundings", "back").await
    };
    let told = story.await;
    // Whatever came of it: the next test finds an operator.
    installed.scale_operator(1).await?;
    told.map(drop)
}

#[tokio::test]
async fn a_restarted_operator_has_every_node_back_and_lets_new_ones_in() -> Result<()> {
    let (installed, _alone) = Installed::alone().await?;
    let mesh = Mesh::create(installed, "back").await?;
    let place = mesh.namespace.name();
    let members = mesh.deploy(place, "buoy", 2).await?;
    members[0].put("soundings", "before", "{}").await?;
    installed.restart_operator().await?;
    wait_for(PATIENCE, "the streams of both nodes", async || {
        match installed.operator_metric("peat_operator_streams").await {
            // Nodes of tests that ended a moment ago may still be leaving.
            Ok(streams) if streams >= 2.0 => Ok(()),
            Ok(streams) => Err(format!("{streams} streams")),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await?;
    let now = mesh.scale(place, "buoy", 3).await?;
    for member in &members {
        ensure!(now.iter().any(|found| found.endpoint == member.endpoint), "{} changed its endpoint ID", member.name);
        ensure!(member.restarts().await? == 0, "{} was restarted", member.name);
    }
    for member in &now {
        member.reads("soundings", "before").await?;
    }
    Ok(())
}
