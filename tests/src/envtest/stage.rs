//! A pod of a fresh mesh that could join, and what a refusal looks like.
//!
//! Inputs: a [`Harness`]. Outputs: [`Stage`], and the checks that the suites of `Membership.Join` share.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use peat_cluster::wait_for;
use peat_crds::PeatMesh;
use serde_json::json;
use tonic::{Code, Status};

use super::node::{Membership, Node};
use super::{Harness, PATIENCE};

/// A pod of a fresh mesh that could join.
#[derive(Debug)]
pub struct Stage {
    /// Namespace and operator.
    pub harness: Harness,
    /// The mesh `harbour`.
    pub mesh: PeatMesh,
    /// Its pod `ferry`.
    pub pod: Pod,
    /// The node in that pod.
    pub node: Node,
}

impl Stage {
    /// Makes all four.
    pub async fn new() -> Result<Self> {
        let harness = Harness::start("join").await?;
        let mesh = harness.mesh("harbour", json!({})).await?;
        let (pod, ip) = harness.member("ferry", "harbour").await?;
        let node = harness.node(&mesh, &pod, ip).await?;
        Ok(Self { harness, mesh, pod, node })
    }

    /// The operator must refuse this node with `code`, and say something that contains `says`. A moment of UNAVAILABLE
    /// is allowed: its caches may not have the pod's IP yet.
    pub async fn refused(&self, code: Code, says: &str) -> Result<()> {
        let status = settled(async || self.node.join().await).await?;
        is_refusal(&status, code, says)
    }

    /// Leaves nothing behind.
    pub async fn end(self) -> Result<()> {
        Ok(self.harness.namespace.delete().await?)
    }
}

/// Repeats a join until it is refused for a reason that will not pass.
pub async fn settled(mut join: impl AsyncFnMut() -> Result<Membership, Status>) -> Result<Status> {
    let refusal = wait_for(PATIENCE, "a refusal that stays", async || match join().await {
        Ok(_) => Ok(Err(anyhow::anyhow!("the operator let the node in"))),
        Err(status) if status.code() == Code::Unavailable => Err(status.to_string()),
        Err(status) => Ok(Ok(status)),
    });
    refusal.await?
}

/// A refusal must have this code and say this.
pub fn is_refusal(status: &Status, code: Code, says: &str) -> Result<()> {
    ensure!(status.code() == code && status.message().contains(says), "expected {code:?} {says:?}, got {status}");
    Ok(())
}
