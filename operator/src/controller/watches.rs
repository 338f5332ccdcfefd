//! The table of watches: which objects are followed, and whom a change concerns.
//!
//! Inputs: the API server. Outputs: filled caches, and keys in queues. What it does not do: act on a change.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher::{Config, watcher};
use kube::{Api, Client, Resource};
use peat_crds::names::label;
use peat_crds::{PeatMesh, PeatPeer};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Caches, Queues};
use crate::cache::{Cache, Change, Grouped, Readiness, Uid, follow};
use crate::records::{self, AskingRecord, MeshRecord, NamespaceRecord, PeerRecord, PodRecord};

/// The caches, as readiness names them.
pub const PARTS: [&str; 5] = ["meshes", "namespaces", "pods", "pods without a sidecar", "peers"];
/// Changes of pods and peers reach the status of their mesh after this, many at once.
const SETTLE: Duration = Duration::from_secs(1);

/// Where watches run and what they feed.
#[derive(Clone)]
struct Feeds {
    client: Client,
    caches: Arc<Caches>,
    queues: Arc<Queues>,
    readiness: Readiness,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Starts every watch.
pub fn watch_all(
    client: &Client,
    caches: &Arc<Caches>,
    queues: &Arc<Queues>,
    readiness: &Readiness,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let feeds = Feeds {
        client: client.clone(),
        caches: Arc::clone(caches),
        queues: Arc::clone(queues),
        readiness: readiness.clone(),
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    let all = Config::default;
    let labelled = all().labels(label::MESH_UID);
    let unlabelled = all().labels(&format!("!{}", label::MESH_UID));
    let [meshes, namespaces, pods, asking, peers] = PARTS;
    feeds.start::<DeserializeGuard<PeatMesh>, _>(all(), &caches.meshes, records::mesh, mesh_changed, meshes);
    feeds.start::<PartialObjectMeta<Namespace>, _>(
        all(),
        &caches.namespaces,
        records::namespace,
        namespace_changed,
        namespaces,
    );
    feeds.start::<Pod, _>(labelled, &caches.pods, records::pod, pod_changed, pods);
    feeds.start::<PartialObjectMeta<Pod>, _>(unlabelled, &caches.asking, records::asking, asking_changed, asking);
    feeds.start::<DeserializeGuard<PeatPeer>, _>(all(), &caches.peers, records::peat_peer, peer_changed, peers);
}

impl Feeds {
    fn start<K, R>(
        &self,
        config: Config,
        cache: &Arc<Cache<R>>,
        parse: fn(K) -> (Uid, Option<R>),
        changed: fn(&Caches, &Queues, Change<R>),
        part: &'static str,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        R: Grouped + PartialEq + Send + Sync + 'static,
    {
        let events = watcher(Api::<K>::all(self.client.clone()), config);
        let feeds = self.clone();
        let readiness = self.readiness.clone();
        let cache = Arc::clone(cache);
        self.tasks.spawn(async move {
            let notify = |change| changed(&feeds.caches, &feeds.queues, change);
            follow(events, cache, parse, notify, move || readiness.reached(part), feeds.stop.clone()).await;
        });
    }
}

fn mesh_changed(caches: &Caches, queues: &Queues, change: Change<MeshRecord>) {
    caches.reindex();
    let uid = &change.record().uid;
    queues.meshes.add(uid.clone());
    for pod in caches.pods.group(uid) {
        queues.pods.add(pod.uid.clone());
    }
}

/// Labels of a namespace decide who is admitted.
fn namespace_changed(caches: &Caches, queues: &Queues, change: Change<NamespaceRecord>) {
    let name = &change.record().name;
    for mesh in caches.meshes.all() {
        queues.meshes.add_after(mesh.uid.clone(), SETTLE);
        for pod in caches.pods.group(&mesh.uid).into_iter().filter(|pod| pod.namespace == *name) {
            queues.pods.add(pod.uid.clone());
        }
    }
}

fn pod_changed(caches: &Caches, queues: &Queues, change: Change<PodRecord>) {
    let pod = change.record();
    queues.pods.add(pod.uid.clone());
    queues.meshes.add_after(pod.mesh_uid.clone(), SETTLE);
    if let Change::Removed(pod) = &change {
        caches.sessions.end(&pod.uid);
    }
}

/// Which mesh is meant depends on annotations of pod and namespace, so every mesh counts anew; there are few.
fn asking_changed(caches: &Caches, queues: &Queues, change: Change<AskingRecord>) {
    queues.unserved.add(change.record().uid.clone());
    for mesh in caches.meshes.all() {
        queues.meshes.add_after(mesh.uid.clone(), SETTLE);
    }
}

fn peer_changed(caches: &Caches, queues: &Queues, change: Change<PeerRecord>) {
    let record = change.record();
    let spec = &record.peer.spec;
    if let Some(mesh) = &spec.mesh_ref.uid {
        queues.meshes.add_after(mesh.clone(), SETTLE);
    }
    let Some(pod) = &spec.pod_ref else { return };
    queues.pods.add(pod.uid.clone());
    let Some((mesh, pod, member)) = record.member() else { return };
    match &change {
        Change::Upserted(_) => caches.directory.upsert(&mesh, pod, member),
        Change::Removed(_) => {
            caches.directory.remove(&mesh, &member.id);
            caches.sessions.end_key(&pod, &member.id);
        }
    }
}
