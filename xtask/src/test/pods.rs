//! The stage with real pods: which cluster it runs on, and whether it can.
//!
//! Input: `PEAT_CLUSTER` (`local`, also when unset; `kind`; or `kubeconfig` for the user's own) and this machine.
//! Output: the [`Outcome`] of the `e2e_` suites. A cluster of its own is brought up first and taken down after them,
//! also after a failure.

use std::{ffi::OsString, process::Stdio};

use anyhow::{Context as _, Result};
use peat_cluster::{Cluster, ClusterId, Error, Flavor, local};

use super::{Runner, stage::Stage, summary::Outcome};
use crate::image;

/// The cluster of this stage. Not the demo's, which may be up and in use.
const NAME: &str = "e2e";
/// Where suites find the images; the user's own cluster takes them from a registry.
const OPERATOR_IMAGE: &str = "PEAT_TEST_OPERATOR_IMAGE";
const NODE_IMAGE: &str = "PEAT_TEST_NODE_IMAGE";

/// Runs the suites on the chosen cluster, or says why not.
pub(crate) async fn run(runner: &mut Runner) -> Result<Outcome> {
    match std::env::var("PEAT_CLUSTER").unwrap_or_default().as_str() {
        "kubeconfig" => of_user(runner).await,
        "kind" => own(runner, Flavor::Kind).await,
        "" | "local" => match local_is_impossible() {
            Some(reason) => Ok(Outcome::LeftOut(reason)),
            None => own(runner, Flavor::Local).await,
        },
        other => anyhow::bail!("PEAT_CLUSTER is {other:?}, and must be local, kind or kubeconfig"),
    }
}

/// The user's own cluster: nothing is built or loaded, the images must be where its nodes can pull them.
async fn of_user(runner: &mut Runner) -> Result<Outcome> {
    let named = |variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    if !named(OPERATOR_IMAGE) || !named(NODE_IMAGE) {
        let reason = format!(
            "PEAT_CLUSTER=kubeconfig needs {OPERATOR_IMAGE} and {NODE_IMAGE}, images that your cluster can pull"
        );
        return Ok(Outcome::LeftOut(reason));
    }
    runner.programs(Stage::Pods, &[]).await
}

/// A cluster made for this run.
async fn own(runner: &mut Runner, flavor: Flavor) -> Result<Outcome> {
    let id = ClusterId::new(NAME)?;
    let outcome = match prepare(&id, flavor).await {
        Ok(cluster) => {
            let env = [
                ("PEAT_CLUSTER_NAME".to_owned(), OsString::from(NAME)),
                (OPERATOR_IMAGE.to_owned(), image::OPERATOR.into()),
                (NODE_IMAGE.to_owned(), image::NODE.into()),
            ];
            let outcome = runner.programs(Stage::Pods, &env).await;
            keep_logs(runner, &cluster).await;
            outcome
        }
        Err(error) => cannot(error),
    };
    id.down().await.context("take the cluster down")?;
    outcome
}

async fn prepare(id: &ClusterId, flavor: Flavor) -> Result<Cluster> {
    // What a crashed run left could still hold pods of other images.
    id.down().await?;
    let cluster = id.up(flavor).await?;
    image::load(&cluster, &image::build().await?).await?;
    Ok(cluster)
}

/// A machine that lacks something is left out with the reason; anything else is a failure.
fn cannot(error: anyhow::Error) -> Result<Outcome> {
    let lacking = error.chain().find_map(|cause| cause.downcast_ref::<local::HostError>());
    match lacking {
        Some(local::HostError::Install { .. }) | None => Err(error.context("bring up the cluster")),
        Some(lacking) => Ok(Outcome::LeftOut(lacking.to_string())),
    }
}

/// Why this machine cannot have a local cluster, as far as can be told without trying: no root, or a root that may make
/// no namespaces, as in most containers.
pub(super) fn local_is_impossible() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("real pods need root on Linux, or PEAT_CLUSTER=kind, or PEAT_CLUSTER=kubeconfig".to_owned());
    }
    let probe = std::process::Command::new("unshare")
        .args(["--mount", "--net", "--pid", "--fork", "true"])
        .stderr(Stdio::null())
        .status();
    let allowed = probe.is_ok_and(|status| status.success());
    (!allowed).then(|| "this root may not make namespaces; use PEAT_CLUSTER=kind or PEAT_CLUSTER=kubeconfig".to_owned())
}

/// The operator's log and the events, for whoever reads why a suite failed.
async fn keep_logs(runner: &Runner, cluster: &Cluster) {
    let looks: [&[&str]; 3] = [
        &["get", "pods", "-A", "-o=wide"],
        &["get", "events", "-A"],
        &["logs", "-A", "-l", "app.kubernetes.io/component=operator", "--tail=500", "--prefix"],
    ];
    let mut text = String::new();
    for look in looks {
        let shown = cluster.kubectl(look.iter().copied()).await.unwrap_or_else(|error: Error| format!("{error:#}"));
        text.push_str(&format!("$ kubectl {}\n{shown}\n", look.join(" ")));
    }
    runner.logs.keep("pods-cluster", &text);
}
