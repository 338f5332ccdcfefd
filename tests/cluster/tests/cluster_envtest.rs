//! The control plane without nodes, on the real binaries.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use peat_cluster::{Cluster, EnvtestOptions, wait_for};

/// Generous: the machine may be compiling at the same time.
const SOON: Duration = Duration::from_secs(60);

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: "example.test/app:1"}]}
"#;

async fn apply(cluster: &Cluster, namespace: &str, manifest: &str) {
    cluster
        .apply(&manifest.replace("metadata: {name: app}", &format!("metadata: {{name: app, namespace: {namespace}}}")))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_deployment_gets_a_replica_set() {
    let cluster = Cluster::shared_envtest().await.unwrap();
    let namespace = cluster.namespace("deployment").await.unwrap();
    apply(cluster, namespace.name(), DEPLOYMENT).await;
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client().await.unwrap(), namespace.name());
    let found = wait_for(SOON, "the ReplicaSet", async || {
        let sets = sets.list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        sets.items.into_iter().next().ok_or_else(|| "none".to_owned())
    });
    assert_eq!(found.await.unwrap().spec.unwrap().replicas, Some(1));
}

#[tokio::test]
async fn the_garbage_collector_removes_what_a_deleted_owner_owned() {
    let cluster = Cluster::shared_envtest().await.unwrap();
    let namespace = cluster.namespace("owner").await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client().await.unwrap(), namespace.name());
    let map = |name: &str, owner: Option<&ConfigMap>| ConfigMap {
        metadata: kube::api::ObjectMeta {
            name: Some(name.to_owned()),
            owner_references: owner.map(|owner| vec![kube::Resource::owner_ref(owner, &()).unwrap()]),
            ..Default::default()
        },
        ..Default::default()
    };
    let owner = maps.create(&Default::default(), &map("owner", None)).await.unwrap();
    maps.create(&Default::default(), &map("owned", Some(&owner))).await.unwrap();
    maps.delete("owner", &DeleteParams::default()).await.unwrap();
    let gone = wait_for(SOON, "the end of the owned", async || match maps.get_opt("owned").await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    gone.await.unwrap();
}

#[tokio::test]
async fn a_deleted_namespace_is_gone_when_the_call_returns() {
    let cluster = Cluster::shared_envtest().await.unwrap();
    let namespace = cluster.namespace("short").await.unwrap();
    let name = namespace.name().to_owned();
    namespace.delete().await.unwrap();
    let error = cluster.kubectl(["get", "namespace", &name]).await.unwrap_err();
    assert!(format!("{:?}", error).contains("NotFound"), "{error:?}");
}

#[tokio::test]
async fn a_dropped_cluster_leaves_no_process_and_no_folder() {
    let root = std::env::temp_dir().join(format!("peat-envtest-{}", std::process::id()));
    let options = EnvtestOptions { root: root.clone(), ..EnvtestOptions::default() };
    let cluster = Cluster::envtest(options).await.unwrap();
    let state = cluster.kubeconfig().parent().unwrap().to_owned();
    assert!(running_in(&state) >= 3, "etcd, API server and controller manager run");
    drop(cluster);
    assert_eq!(running_in(&state), 0);
    assert!(!state.exists());
    std::fs::remove_dir_all(root).unwrap();
}

#[tokio::test]
async fn a_wrong_flag_is_reported_with_the_servers_own_words() {
    let options = EnvtestOptions { api_server_flags: vec!["--no-such-flag".to_owned()], ..EnvtestOptions::default() };
    let error = Cluster::envtest(options).await.unwrap_err();
    assert!(format!("{error:?}").contains("unknown flag: --no-such-flag"), "{error:?}");
}

/// How many processes work in `folder`.
fn running_in(folder: &std::path::Path) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|entry| std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder)).count()
}
