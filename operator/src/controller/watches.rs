//! The table of watches: which objects are followed, and whom a change concerns.
//!
//! Inputs: the API server. Outputs: filled caches, and keys in queues. What it does not do: act on a change.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, watcher};
use kube::{Api, Client, Resource};
use peat_crds::names::label;
use peat_operator_core::names::MeshKey;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Caches, Queues};
use crate::authority::meshes::selector;
use crate::cache::{Cache, Change, Grouped, Readiness, Uid, follow};
use crate::records::{self, AskingRecord, MeshRecord, NamespaceRecord, PeerRecord, PodRecord, SecretRecord};

/// The caches, as readiness names them.
pub const PARTS: [&str; 7] =
    ["meshes", "namespaces", "nodes", "pods", "pods without a sidecar", "peers", "authorities"];
/// Changes of pods and peers reach the status of their mesh after this, many at once.
const SETTLE: Duration = Duration::from_secs(1);

/// Where watches run and what they feed.
#[derive(Clone)]
pub struct Feeds {
    /// Client of the API server.
    pub client: Client,
    /// Namespace of the operator, where the authorities are.
    pub namespace: String,
    /// What they fill.
    pub caches: Arc<Caches>,
    /// Whom they tell.
    pub queues: Arc<Queues>,
    /// Told when each of [`PARTS`] was filled once.
    pub readiness: Readiness,
    /// Where they run.
    pub tasks: TaskTracker,
    /// Ends them.
    pub stop: CancellationToken,
}

impl std::fmt::Debug for Feeds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feeds").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Starts every watch.
pub fn watch_all(feeds: &Feeds) {
    let caches = &feeds.caches;
    let all = Config::default;
    let labelled = all().labels(label::MESH_UID);
    let unlabelled = all().labels(&format!("!{}", label::MESH_UID));
    let authorities = all().labels(&selector());
    let own = Api::<PartialObjectMeta<Secret>>::namespaced(feeds.client.clone(), &feeds.namespace);
    let [meshes, namespaces, nodes, pods, asking, peers, secrets] = PARTS;
    feeds.start(feeds.api(), all(), &caches.meshes, records::mesh, mesh_changed, meshes);
    feeds.start(feeds.api(), all(), &caches.namespaces, records::namespace, namespace_changed, namespaces);
    // A zone counts when a pod registers; one that changes later is that pod's until it registers anew.
    feeds.start(feeds.api(), all(), &caches.nodes, records::node, |_, _, _| {}, nodes);
    feeds.start(feeds.api(), labelled, &caches.pods, records::pod, pod_changed, pods);
    feeds.start(feeds.api(), unlabelled, &caches.asking, records::asking, asking_changed, asking);
    feeds.start(feeds.api(), all(), &caches.peers, records::peat_peer, peer_changed, peers);
    feeds.start(own, authorities, &caches.secrets, records::secret, secret_changed, secrets);
}

impl Feeds {
    /// The API of a kind in every namespace.
    fn api<K: Resource<DynamicType = ()>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    fn start<K, R>(
        &self,
        api: Api<K>,
        config: Config,
        cache: &Arc<Cache<R>>,
        parse: fn(K) -> (Uid, Option<R>),
        changed: fn(&Caches, &Queues, Change<R>),
        part: &'static str,
    ) where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
        R: Grouped + PartialEq + Send + Sync + 'static,
    {
        let events = watcher(api, config);
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
    for node in caches.external_of(&change.record().key) {
        queues.external.add(node.uid.clone());
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
        for node in caches.external_of(&mesh.key).into_iter().filter(|node| node.namespace == *name) {
            queues.external.add(node.uid.clone());
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

/// A lost authority is put back at once; one of a mesh that is gone is removed.
fn secret_changed(_: &Caches, queues: &Queues, change: Change<SecretRecord>) {
    queues.meshes.add(change.record().mesh_uid.clone());
}

fn peer_changed(caches: &Caches, queues: &Queues, change: Change<PeerRecord>) {
    let record = change.record();
    if record.is_external() {
        queues.external.add(record.uid.clone());
    }
    if let Some(mesh) = &record.peer.spec.mesh_ref.uid {
        queues.meshes.add_after(mesh.clone(), SETTLE);
    }
    if let Some(pod) = &record.peer.spec.pod_ref {
        queues.pods.add(pod.uid.clone());
    }
    if let Some((mesh, pod, member)) = record.member() {
        match &change {
            Change::Upserted(_) => caches.directory.upsert(&mesh, pod, member),
            Change::Removed(_) => {
                caches.directory.remove(&mesh, &member.id);
                caches.sessions.end_key(&pod, &member.id);
            }
        }
    }
    same_key(caches, queues, record);
}

/// Nodes outside with the key of a peer that came or went: the key may be taken now, or free.
fn same_key(caches: &Caches, queues: &Queues, record: &PeerRecord) {
    let spec = &record.peer.spec;
    let proved = record.peer.status.as_ref().and_then(|status| status.endpoint_id.as_ref());
    let Some(key) = spec.external.as_ref().map(|node| &node.endpoint_id).or(proved) else { return };
    for node in caches.external_of(&MeshKey::new(&spec.mesh_ref.namespace, &spec.mesh_ref.name)) {
        if node.peer.spec.external.as_ref().is_some_and(|external| external.endpoint_id == *key) {
            queues.external.add(node.uid.clone());
        }
    }
}
