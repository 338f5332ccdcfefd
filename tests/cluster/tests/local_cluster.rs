//! Clusters with a real node on this machine. They need root on Linux, and fail saying so without it.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use peat_cluster::local::BUSYBOX;
use peat_cluster::{Cluster, ClusterId, Flavor, Status, default_root, wait_for};

/// Generous: the machine may be compiling at the same time.
const SOON: Duration = Duration::from_secs(120);

/// A cluster of this test alone, taken down however the test ends.
struct Own(ClusterId);

impl Own {
    fn new(name: &str) -> Self {
        Self(ClusterId::new(&format!("{name}-{}", std::process::id())).unwrap())
    }

    async fn up(&self) -> Cluster {
        self.0.up(Flavor::Local).await.unwrap()
    }

    fn state(&self) -> PathBuf {
        default_root().join(self.0.name())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let id = self.0.clone();
        let down = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(id.down());
        let ended = std::thread::scope(|scope| scope.spawn(down).join());
        assert!(std::thread::panicking() || ended.unwrap().is_ok());
    }
}

/// A pod that serves its own name on port 8080, with a volume in memory and one on disk.
fn pod(name: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}", "labels": {{"app": "{name}"}}}}, "spec": {{
            "terminationGracePeriodSeconds": 1,
            "containers": [{{
                "name": "app", "image": "{BUSYBOX}",
                "args": ["-c", "echo {name} > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"],
                "volumeMounts": [
                    {{"name": "tmp", "mountPath": "/tmp"}}, {{"name": "memory", "mountPath": "/memory"}}, {{"name": "disk", "mountPath": "/disk"}}
                ]
            }}],
            "volumes": [
                {{"name": "tmp", "emptyDir": {{}}}}, {{"name": "memory", "emptyDir": {{"medium": "Memory"}}}}, {{"name": "disk", "emptyDir": {{}}}}
            ]
        }}}}"#
    )
}

/// Applies `manifest` in the namespace `default` or another, and waits until the pod `name` is ready.
async fn run_pod(cluster: &Cluster, namespace: &str, name: &str, manifest: &str) -> Pod {
    let labelled =
        manifest.replacen("\"metadata\": {", &format!("\"metadata\": {{\"namespace\": \"{namespace}\", "), 1);
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> =
        Api::namespaced(cluster.client().await.unwrap(), namespace);
    wait_for(SOON, "the default ServiceAccount", async || accounts.get("default").await).await.unwrap();
    cluster.apply(&labelled).await.unwrap();
    ready(cluster, namespace, name).await
}

async fn ready(cluster: &Cluster, namespace: &str, name: &str) -> Pod {
    let pods: Api<Pod> = Api::namespaced(cluster.client().await.unwrap(), namespace);
    let ready = wait_for(SOON, "a ready pod", async || {
        let pod = pods.get(name).await.map_err(|error| error.to_string())?;
        let status = pod.status.clone().unwrap_or_default();
        let ready = status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True");
        if ready { Ok(pod) } else { Err(format!("{status:?}")) }
    });
    ready.await.unwrap()
}

fn ip(pod: &Pod) -> String {
    pod.status.as_ref().unwrap().pod_ip.clone().unwrap()
}

async fn exec(cluster: &Cluster, namespace: &str, pod: &str, command: &str) -> String {
    cluster.kubectl(["-n", namespace, "exec", pod, "--", "sh", "-c", command]).await.unwrap().trim().to_owned()
}

/// The page that `host` serves, as the pod `from` sees it.
async fn fetch(
    cluster: &Cluster,
    namespace: &str,
    from: &str,
    host: &str,
    port: u16,
) -> Result<String, peat_cluster::Error> {
    let script = format!("exec 3<>/dev/tcp/{host}/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    let answer = cluster.kubectl(["-n", namespace, "exec", from, "--", "bash", "-c", &script]).await?;
    Ok(answer.lines().last().unwrap_or_default().to_owned())
}

/// The number in the API server's address, from which all names on the host follow.
fn slot(cluster: &Cluster) -> String {
    cluster.server().trim_start_matches("https://10.211.").split('.').next().unwrap().to_owned()
}

/// What the host has of the cluster with `slot` and the state folder `state`.
fn traces(slot: &str, state: &Path) -> Vec<String> {
    let mut traces = Vec::new();
    let state = state.display().to_string();
    for path in [
        format!("/run/netns/peat-{slot}"),
        format!("/sys/class/net/peat{slot}"),
        format!("/run/peat-cluster/{slot}"),
        state.clone(),
    ] {
        if Path::new(&path).exists() {
            traces.push(path);
        }
    }
    let groups = ["/sys/fs/cgroup".into()]
        .into_iter()
        .chain(std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path()));
    traces.extend(
        groups
            .map(|group: PathBuf| group.join(format!("peat-{slot}")))
            .filter(|group| group.exists())
            .map(|g| g.display().to_string()),
    );
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    traces.extend(mounts.lines().filter(|line| line.contains(&state)).map(str::to_owned));
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(&format!("{state}/")) {
            traces.push(line);
        }
    }
    traces
}

#[tokio::test]
async fn two_clusters_run_side_by_side_and_leave_nothing() {
    let (left, right) = (Own::new("left"), Own::new("right"));
    let (a, b) = tokio::join!(left.up(), right.up());
    assert_ne!(a.server(), b.server());
    run_pod(&a, "default", "west", &pod("west")).await;
    let east = run_pod(&b, "default", "east", &pod("east")).await;
    assert_eq!(
        fetch(&a, "default", "west", &ip(&east), 8080).await.unwrap(),
        "east",
        "pods reach those of the other cluster"
    );
    let seen = [(slot(&a), left.state()), (slot(&b), right.state())];
    for (slot, state) in &seen {
        assert!(traces(slot, state).len() > 10, "the traces that are looked for exist: {:?}", traces(slot, state));
    }
    left.0.down().await.unwrap();
    assert_eq!(traces(&seen[0].0, &seen[0].1), Vec::<String>::new());
    assert_eq!(exec(&b, "default", "east", "echo on").await, "on", "the other one goes on");
    right.0.down().await.unwrap();
    assert_eq!(traces(&seen[1].0, &seen[1].1), Vec::<String>::new());
    assert_eq!(right.0.status().unwrap(), Status::Down);
    right.0.down().await.unwrap();
}

#[tokio::test]
async fn a_native_sidecar_starts_before_the_app_in_a_restricted_namespace() {
    let own = Own::new("sidecar");
    let cluster = own.up().await;
    let restricted = [("pod-security.kubernetes.io/enforce", "restricted")];
    let namespace = cluster.labelled_namespace("sidecar", &restricted).await.unwrap();
    let manifest = SIDECAR.replace("IMAGE", BUSYBOX);
    let pod = run_pod(&cluster, namespace.name(), "app", &manifest).await;
    let status = pod.status.unwrap();
    let started = |statuses: Option<Vec<k8s_openapi::api::core::v1::ContainerStatus>>| {
        statuses.unwrap()[0].state.clone().unwrap().running.unwrap().started_at.unwrap()
    };
    assert!(started(status.init_container_statuses) <= started(status.container_statuses));
    let seen = exec(&cluster, namespace.name(), "app", "cat /run/app/before; id -u; touch /x 2>&1 || true").await;
    assert!(seen.starts_with("sidecar\n65532"), "{seen}");
    assert!(seen.ends_with("Read-only file system"), "{seen}");
    let sidecar = ["-n", namespace.name(), "exec", "app", "-c", "sidecar", "--", "sh", "-c"];
    let memory = cluster.kubectl(sidecar.into_iter().chain(["grep ' /keys ' /proc/mounts"])).await.unwrap();
    assert!(memory.starts_with("tmpfs"), "{memory}");
    let token = cluster.kubectl(sidecar.into_iter().chain(["cat /token/token"])).await.unwrap();
    assert_eq!(token.split('.').count(), 3, "a projected token is there");
}

const SIDECAR: &str = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "app"}, "spec": {
    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    "terminationGracePeriodSeconds": 1,
    "initContainers": [{
        "name": "sidecar", "image": "IMAGE", "restartPolicy": "Always",
        "args": ["-c", "sleep 1; echo sidecar > /run/app/before; exec sleep 100000"],
        "startupProbe": {"exec": {"command": ["stat", "/run/app/before"]}, "periodSeconds": 1},
        "resources": {"limits": {"cpu": "100m", "memory": "32Mi"}},
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "run", "mountPath": "/run/app"}, {"name": "keys", "mountPath": "/keys"}, {"name": "token", "mountPath": "/token"}
        ]
    }],
    "containers": [{
        "name": "app", "image": "IMAGE", "args": ["-c", "cat /run/app/before && exec sleep 100000"],
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "run", "mountPath": "/run/app"}]
    }],
    "volumes": [
        {"name": "run", "emptyDir": {}},
        {"name": "keys", "emptyDir": {"medium": "Memory"}},
        {"name": "token", "projected": {"sources": [
            {"serviceAccountToken": {"audience": "peat-operator", "path": "token", "expirationSeconds": 3600}}
        ]}}
    ]
}}"#;

#[tokio::test]
async fn a_pod_reaches_a_service_by_name_also_its_own() {
    let own = Own::new("service");
    let cluster = own.up().await;
    let namespace = cluster.namespace("service").await.unwrap();
    run_pod(&cluster, namespace.name(), "web", &pod("web")).await;
    cluster
        .kubectl(["-n", namespace.name(), "expose", "pod", "web", "--name=site", "--port=80", "--target-port=8080"])
        .await
        .unwrap();
    run_pod(&cluster, namespace.name(), "visitor", &pod("visitor")).await;
    for from in ["visitor", "web"] {
        let page = wait_for(SOON, "the page", async || {
            fetch(&cluster, namespace.name(), from, "site", 80).await.map_err(|error| format!("{error:?}"))
        });
        assert_eq!(page.await.unwrap(), "web");
    }
}

#[tokio::test]
async fn a_rebooted_node_keeps_pods_and_disks_and_forgets_memory() {
    let own = Own::new("reboot");
    let cluster = own.up().await;
    let before = run_pod(&cluster, "default", "app", &pod("app")).await;
    exec(&cluster, "default", "app", "echo kept > /disk/file; echo lost > /memory/file").await;
    cluster.reboot_node().await.unwrap();
    let restarted = wait_for(SOON, "the restarted pod", async || {
        let pod = ready(&cluster, "default", "app").await;
        let restarts = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].restart_count;
        if restarts > 0 { Ok(pod) } else { Err(restarts) }
    });
    assert_eq!(restarted.await.unwrap().uid(), before.uid());
    let seen = exec(&cluster, "default", "app", "cat /disk/file; ls /memory").await;
    assert_eq!(seen, "kept");
    let running = exec(&cluster, "default", "app", "stat -c %Y /proc/1").await;
    cluster.restart_control_plane().await.unwrap();
    assert_eq!(exec(&cluster, "default", "app", "stat -c %Y /proc/1").await, running, "pods outlive the control plane");
}

#[tokio::test]
async fn what_a_crashed_run_left_is_taken_down() {
    let own = Own::new("crash");
    let slot = slot(&own.up().await);
    // The records of its processes are lost; the host's own view of the namespace is enough.
    std::fs::remove_file(own.state().join("cluster.json")).unwrap();
    std::fs::remove_dir_all(own.state().join("processes")).unwrap();
    assert_eq!(own.0.status().unwrap(), Status::Broken);
    own.0.down().await.unwrap();
    assert_eq!(traces(&slot, &own.state()), Vec::<String>::new());
}
