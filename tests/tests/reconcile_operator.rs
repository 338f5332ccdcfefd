//! The operator's own life: starting, stopping, and what it finds when it comes back.
//!
//! Each test has a control plane and an operator of its own, because it stops the operator or breaks what all share.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use peat_cluster::{Cluster, EnvtestOptions, TestNamespace, wait_for};
use peat_crds::names::{annotation, label, mesh_config_map, secret};
use peat_crds::{PeatMesh, PeatPeer, PeatPeerSpec};
use peat_operator::check::{self, CheckArgs, CheckError};
use peat_operator::cleanup::{self, CleanupArgs};
use peat_operator_core::names::peer_name;
use peat_tests::envtest::operator::{CONFIGURATION, NAMESPACE, RunningOperator, bundle_is_set};
use peat_tests::envtest::pods::asking;
use peat_tests::envtest::{PATIENCE, condition, uid};
use serde_json::json;
use tokio::sync::{Mutex, MutexGuard};

/// One control plane at a time: each is three processes that would starve the others while they start.
static ALONE: Mutex<()> = Mutex::const_new(());

struct Stage {
    cluster: Cluster,
    operator: RunningOperator,
    client: kube::Client,
    namespace: TestNamespace,
    /// Last, so that the next test waits for the end of this one's processes.
    _alone: MutexGuard<'static, ()>,
}

impl Stage {
    async fn new() -> Result<Self> {
        let alone = ALONE.lock().await;
        let cluster = Cluster::envtest(EnvtestOptions::default()).await?;
        let operator = RunningOperator::start(&cluster).await?;
        let client = cluster.client().await?;
        let namespace = cluster.namespace("life").await?;
        Ok(Self { _alone: alone, cluster, operator, client, namespace })
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    async fn mesh(&self, name: &str) -> Result<PeatMesh> {
        let mesh = PeatMesh::new(name, peat_crds::PeatMeshSpec::default());
        self.api::<PeatMesh>().create(&PostParams::default(), &mesh).await?;
        self.is_ready(name).await
    }

    async fn is_ready(&self, name: &str) -> Result<PeatMesh> {
        let meshes = self.api::<PeatMesh>();
        let ready = wait_for(PATIENCE, "the mesh to be ready", async || {
            let mesh = meshes.get(name).await.map_err(|error| error.to_string())?;
            if condition(&mesh, "Ready") == Some("True") { Ok(mesh) } else { Err(format!("{:?}", mesh.status)) }
        });
        Ok(ready.await?)
    }

    async fn pod(&self, name: &str, mesh: &str) -> Result<Pod> {
        let pod: Pod = serde_json::from_value(asking(name, mesh))?;
        Ok(self.api().create(&PostParams::default(), &pod).await?)
    }

    async fn peer_count(&self, wanted: usize) -> Result<Vec<PeatPeer>> {
        let peers = self.api::<PeatPeer>();
        let found = wait_for(PATIENCE, "the PeatPeers", async || {
            let found = peers.list(&Default::default()).await.map_err(|error| error.to_string())?.items;
            let names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
            if found.len() == wanted { Ok(found) } else { Err(format!("{names:?}")) }
        });
        Ok(found.await?)
    }

    async fn end(self) -> Result<()> {
        self.operator.stop().await?;
        self.namespace.delete().await?;
        Ok(())
    }
}

#[tokio::test]
async fn an_operator_that_was_away_finds_what_changed_meanwhile() -> Result<()> {
    let mut stage = Stage::new().await?;
    let (kept, gone) = (stage.mesh("kept").await?, stage.mesh("gone").await?);
    let leaving = stage.pod("leaving", "kept").await?;
    let staying = stage.pod("staying", "kept").await?;
    stage.peer_count(2).await?;
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let authority = format!("{}{}", secret::AUTHORITY_PREFIX, uid(&kept));
    let before = secrets.get(&authority).await?.data;

    stage.operator.stop().await?;
    let now = DeleteParams::default().grace_period(0);
    stage.api::<Pod>().delete(&leaving.name_any(), &now).await?;
    stage.api::<PeatMesh>().delete("gone", &DeleteParams::default()).await?;
    // A record whose pod has been gone for so long that garbage collection has no owner to follow.
    let orphan: PeatPeerSpec = serde_json::from_value(json!({
        "type": "Pod",
        "meshRef": { "namespace": stage.namespace.name(), "name": "kept", "uid": uid(&kept) },
        "podRef": { "name": "old", "uid": "uid-of-long-ago" },
    }))?;
    stage.api::<PeatPeer>().create(&PostParams::default(), &PeatPeer::new("old-uid", orphan)).await?;

    stage.operator = RunningOperator::start(&stage.cluster).await?;
    let left = stage.peer_count(1).await?;
    assert_eq!(left[0].name_any(), peer_name("staying", &uid(&staying), 1));
    let lost = format!("{}{}", secret::AUTHORITY_PREFIX, uid(&gone));
    wait_for(PATIENCE, "the authority of the lost mesh to be gone", async || match secrets.get_opt(&lost).await {
        Ok(None) => Ok(()),
        other => Err(format!("{:?}", other.map(|found| found.is_some()))),
    })
    .await?;
    assert_eq!(stage.api::<ConfigMap>().get_opt(&mesh_config_map("gone", &uid(&gone))).await?, None);
    // Created once, never made anew: nodes trust the authority they know.
    assert_eq!(secrets.get(&authority).await?.data, before);
    stage.end().await
}

#[tokio::test]
async fn an_authority_that_is_lost_for_good_is_not_silently_replaced() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mesh = stage.mesh("harbour").await?;
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let name = format!("{}{}", secret::AUTHORITY_PREFIX, uid(&mesh));
    stage.operator.stop().await?;
    let backup = secrets.get(&name).await?.data;
    secrets.delete(&name, &DeleteParams::default()).await?;
    stage.operator = RunningOperator::start(&stage.cluster).await?;
    let meshes = stage.api::<PeatMesh>();
    let lost = wait_for(PATIENCE, "the mesh to say that its authority is lost", async || {
        let mesh = meshes.get("harbour").await.map_err(|error| error.to_string())?;
        let ready = mesh.status.iter().flat_map(|status| &status.conditions).find(|c| c.type_ == "Ready");
        if ready.is_some_and(|ready| ready.reason == "AuthorityLost") { Ok(mesh) } else { Err(format!("{ready:?}")) }
    })
    .await?;
    let key =
        |mesh: &PeatMesh| Some(mesh.status.as_ref()?.authority.as_ref()?.certificates.first()?.public_key.clone());
    let first = key(&mesh).context("an authority")?;
    assert_eq!(key(&lost), Some(first.clone()));
    assert_eq!(secrets.get_opt(&name).await?, None);

    // A backup serves again, and so does the owner's word that there is none.
    let mut restored = Secret { data: backup, ..Secret::default() };
    restored.metadata.name = Some(name.clone());
    restored.metadata.labels = Some(BTreeMap::from([
        (label::COMPONENT.to_owned(), "authority".to_owned()),
        (label::MESH_UID.to_owned(), uid(&mesh)),
    ]));
    secrets.create(&PostParams::default(), &restored).await?;
    assert_eq!(key(&stage.is_ready("harbour").await?), Some(first.clone()));

    stage.operator.stop().await?;
    secrets.delete(&name, &DeleteParams::default()).await?;
    let given_up = json!({ "metadata": { "annotations": { annotation::REPLACE_AUTHORITY: first } } });
    meshes.patch("harbour", &PatchParams::default(), &Patch::Merge(given_up)).await?;
    stage.operator = RunningOperator::start(&stage.cluster).await?;
    wait_for(PATIENCE, "another authority", async || match meshes.get("harbour").await {
        Ok(mesh) if key(&mesh).is_some_and(|key| key != first) => Ok(()),
        other => Err(format!("{:?}", other.map(|mesh| mesh.status))),
    })
    .await?;
    stage.is_ready("harbour").await?;
    stage.end().await
}

#[tokio::test]
async fn without_the_operator_annotated_pods_wait_and_others_do_not() -> Result<()> {
    let stage = Stage::new().await?;
    stage.mesh("harbour").await?;
    stage.operator.stop().await?;
    let error = stage.pod("asks", "harbour").await.expect_err("nobody answers").to_string();
    assert!(error.contains("failed calling webhook"), "{error}");
    let mut silent = asking("silent", "harbour");
    silent["metadata"]["annotations"] = json!({});
    let silent: Pod = serde_json::from_value(silent)?;
    let silent = stage.api::<Pod>().create(&PostParams::default(), &silent).await?;
    assert!(!silent.annotations().contains_key(annotation::INJECTED));
    stage.end().await
}

#[tokio::test]
async fn a_wiped_ca_bundle_comes_back() -> Result<()> {
    let stage = Stage::new().await?;
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(stage.client.clone());
    let mut wiped = configurations.get(CONFIGURATION).await?;
    let first = |c: &MutatingWebhookConfiguration| c.webhooks.as_ref()?.first()?.client_config.ca_bundle.clone();
    let before = first(&wiped).context("a bundle")?;
    for webhook in wiped.webhooks.iter_mut().flatten() {
        webhook.client_config.ca_bundle = None;
    }
    let wiped = configurations.replace(CONFIGURATION, &PostParams::default(), &wiped).await?;
    assert_eq!(first(&wiped), None);
    bundle_is_set(&stage.client, CONFIGURATION).await?;
    assert_eq!(first(&configurations.get(CONFIGURATION).await?), Some(before));
    stage.end().await
}

#[tokio::test]
async fn after_a_clean_up_meshes_say_that_nobody_serves_them_and_a_later_operator_does_again() -> Result<()> {
    let mut stage = Stage::new().await?;
    let mesh = stage.mesh("harbour").await?;
    stage.pod("ferry", "harbour").await?;
    stage.peer_count(1).await?;
    stage.operator.stop().await?;
    let args = CleanupArgs {
        namespace: NAMESPACE.to_owned(),
        deployment: "peat-operator".to_owned(),
        webhook_configuration: CONFIGURATION.to_owned(),
        timeout: PATIENCE.as_secs(),
    };
    cleanup::run(args, stage.client.clone()).await?;
    let left = stage.api::<PeatMesh>().get("harbour").await?;
    assert_eq!(condition(&left, "Ready"), Some("False"));
    let status = left.status.context("a status")?;
    assert_eq!((status.summary.map(|summary| summary.ready), status.authority), (Some("NoOperator".to_owned()), None));
    stage.peer_count(0).await?;
    let name = mesh_config_map("harbour", &uid(&mesh));
    assert_eq!(stage.api::<ConfigMap>().get_opt(&name).await?, None);
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), NAMESPACE);
    assert_eq!(secrets.list(&Default::default()).await?.items, []);

    stage.operator = RunningOperator::start(&stage.cluster).await?;
    let again = stage.is_ready("harbour").await?;
    assert_ne!(again.status.and_then(|status| status.authority), mesh.status.and_then(|status| status.authority));
    stage.end().await
}

#[tokio::test]
async fn the_check_of_an_installation_tells_a_working_operator_from_a_stopped_one() -> Result<()> {
    let stage = Stage::new().await?;
    let args = CheckArgs {
        membership_url: stage.operator.membership_url.clone(),
        webhook_configuration: CONFIGURATION.to_owned(),
        pod_namespace: stage.namespace.name().to_owned(),
        timeout: PATIENCE.as_secs(),
    };
    check::run(args.clone(), stage.client.clone()).await?;
    assert_eq!(stage.api::<Pod>().list(&Default::default()).await?.items, []);
    let own = CheckArgs { pod_namespace: NAMESPACE.to_owned(), ..args.clone() };
    let error =
        check::run(own, stage.client.clone()).await.expect_err("pods of the operator's namespace are never sent");
    assert!(matches!(error, CheckError::NotAsked(_)), "{error:?}");
    stage.operator.stop().await?;
    let error = check::run(args, stage.client.clone()).await.expect_err("nobody answers");
    assert!(matches!(error, CheckError::Membership { .. }), "{error:?}");
    stage.end().await
}

/// The operator of the other tests may do everything, so this one shows that the chart grants what the code calls.
#[tokio::test]
async fn the_rights_of_the_chart_are_enough() -> Result<()> {
    let mut stage = Stage::new().await?;
    stage.operator.stop().await?;
    let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/peat-operator");
    let name = format!("--set=fullnameOverride={CONFIGURATION}");
    let args = ["template", "quay", chart, "--namespace", NAMESPACE, "--show-only", "templates/rbac.yaml", &name];
    let path = std::env::temp_dir().join(format!("{}-rbac.yaml", stage.namespace.name()));
    std::fs::write(&path, stage.cluster.helm(args).await?)?;
    let applied = stage.cluster.kubectl(["apply", "-f", &path.display().to_string()]).await;
    std::fs::remove_file(&path)?;
    applied?;
    let user = format!("system:serviceaccount:{NAMESPACE}:{CONFIGURATION}");
    // The webhook configuration is wiped, so that the bundle must be written with these rights.
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(stage.client.clone());
    configurations.delete(CONFIGURATION, &DeleteParams::default()).await?;
    stage.operator = RunningOperator::start_as(&stage.cluster, Some(user)).await?;

    let mesh = stage.mesh("harbour").await?;
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), NAMESPACE);
    let authority = format!("{}{}", secret::AUTHORITY_PREFIX, uid(&mesh));
    secrets.delete(&authority, &DeleteParams::default()).await?;
    wait_for(PATIENCE, "the authority to be put back", async || secrets.get(&authority).await).await?;
    let pod = stage.pod("ferry", "harbour").await?;
    stage.peer_count(1).await?;
    stage.pod("lost", "nowhere").await?;
    let events: Api<Event> = Api::namespaced(stage.client.clone(), stage.namespace.name());
    let missed = ListParams::default().fields("reason=PeatNotInjected");
    wait_for(PATIENCE, "the event about the pod that has no sidecar", async || {
        let found = events.list(&missed).await.map_err(|error| error.to_string())?.items;
        if found.is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await?;
    stage.api::<Pod>().delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await?;
    let spec: PeatPeerSpec = serde_json::from_value(json!({
        "type": "External",
        "meshRef": { "namespace": stage.namespace.name(), "name": "harbour" },
        "external": { "endpointID": "ab".repeat(32), "addresses": ["192.0.2.9:4433"] },
    }))?;
    stage.api::<PeatPeer>().create(&PostParams::default(), &PeatPeer::new("buoy", spec)).await?;
    let peers = stage.api::<PeatPeer>();
    wait_for(PATIENCE, "the status of the node outside", async || {
        let peer = peers.get("buoy").await.map_err(|error| error.to_string())?;
        peer.status.map(drop).ok_or_else(|| "no status".to_owned())
    })
    .await?;
    stage.peer_count(1).await?;
    stage.api::<PeatMesh>().delete("harbour", &DeleteParams::default()).await?;
    wait_for(PATIENCE, "the authority to go with its mesh", async || match secrets.get_opt(&authority).await {
        Ok(None) => Ok(()),
        other => Err(format!("{:?}", other.map(|found| found.is_some()))),
    })
    .await?;
    stage.end().await
}

#[tokio::test]
async fn health_follows_the_operator() -> Result<()> {
    let stage = Stage::new().await?;
    assert_eq!(stage.operator.get("/livez").await?, (200, "ok".to_owned()));
    assert_eq!(stage.operator.get("/readyz").await?.0, 200);
    let (status, metrics) = stage.operator.get("/metrics").await?;
    assert_eq!(status, 200);
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(!metrics.contains("PRIVATE"));
    stage.operator.stop().await?;
    assert!(stage.operator.get("/livez").await.is_err());
    stage.end().await
}
