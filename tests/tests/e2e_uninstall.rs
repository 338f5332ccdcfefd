//! What `helm uninstall` leaves: running applications, the definitions, and nothing else.
//!
//! Needs a cluster with nodes: `cargo xtask test --only pods` brings one up.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use peat_cluster::wait_for;
use peat_tests::e2e::{
    Installed, PATIENCE, RELEASE, SYSTEM,
    mesh::{self, Mesh},
};

/// The promise to users.
const UNINSTALL: Duration = Duration::from_secs(30);

#[tokio::test]
async fn an_uninstall_is_quick_leaves_pods_running_and_nothing_of_ours_but_the_definitions() -> Result<()> {
    let (installed, _alone) = Installed::alone().await?;
    let mesh = Mesh::create(installed, "farewell").await?;
    let place = mesh.namespace.name();
    let members = mesh.deploy(place, "buoy", 2).await?;
    members[0].is_connected_to(&members.iter().collect::<Vec<_>>()).await?;
    let begun = Instant::now();
    installed.cluster.helm(["uninstall", RELEASE, "--namespace", SYSTEM, "--wait"]).await?;
    let took = begun.elapsed();
    ensure!(took <= UNINSTALL, "the uninstall took {took:?}");
    nothing_is_left(installed).await?;
    // The data path never went through the operator.
    members[0].put("soundings", "after", "{}").await?;
    members[1].reads("soundings", "after").await?;
    for member in &members {
        ensure!(member.restarts().await? == 0, "{} was restarted", member.name);
    }
    ensure!(mesh.read().await.is_ok(), "the mesh went with the release");
    pods_are_no_longer_held_up(installed, place).await?;
    installed.install().await
}

async fn nothing_is_left(installed: &Installed) -> Result<()> {
    let questions: [&[&str]; 6] = [
        &[
            "get",
            "all,serviceaccounts,roles,rolebindings",
            "-n",
            SYSTEM,
            "-l",
            "app.kubernetes.io/part-of=peat",
            "-o=name",
        ],
        &["get", "secrets", "-n", SYSTEM, "-o=name"],
        &[
            "get",
            "clusterroles,clusterrolebindings,mutatingwebhookconfigurations",
            "-l",
            "app.kubernetes.io/part-of=peat",
            "-o=name",
        ],
        &["get", "peatpeers", "-A", "-o=name"],
        &["get", "configmaps", "-A", "-l", "app.kubernetes.io/part-of=peat", "-o=name"],
        &["get", "pods", "-n", SYSTEM, "-o=name"],
    ];
    for question in questions {
        let gone = wait_for(PATIENCE, &question.join(" "), async || {
            match installed.cluster.kubectl(question.iter().copied()).await {
                Ok(left) if left.trim().is_empty() => Ok(()),
                Ok(left) => Err(left),
                Err(error) => Err(format!("{error:#}")),
            }
        })
        .await;
        gone?;
    }
    Ok(())
}

/// A webhook configuration that outlived its server would refuse this pod.
async fn pods_are_no_longer_held_up(installed: &Installed, place: &str) -> Result<()> {
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "late", "namespace": place, "annotations": { "peat.mesh/inject": mesh::NAME } },
        "spec": mesh::once(&["--version"]),
    });
    installed.cluster.apply(&pod.to_string()).await?;
    Ok(())
}
