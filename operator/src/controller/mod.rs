//! The controllers, and what they share with webhook and membership server: caches and queues.
//!
//! Inputs: watches. Outputs: objects, statuses and events, by [`mesh`], [`peer`], [`external`]
//! and [`unserved`]. Each is level-triggered:
//! a key comes out of a queue, the caches say how things are, the core says how they should be.
//! What it does not do: decide; `peat-operator-core` does.

mod apply;
mod caches;
mod external;
pub(crate) mod mesh;
mod peer;
mod unserved;
mod watches;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use caches::Caches;
pub use external::ExternalController;
pub use mesh::MeshController;
pub use peer::PeerController;
pub use unserved::UnservedController;
pub use watches::{Feeds, PARTS, watch_all};

use crate::cache::Uid;
use crate::error::Chain;
use crate::metrics::Metrics;
use crate::queue::{Next, Queue};

/// Workers per controller: requests of different objects overlap, those of one never do.
const WORKERS: usize = 4;

/// What is to be looked at, by controller.
#[derive(Debug, Default)]
pub struct Queues {
    /// UIDs of meshes.
    pub meshes: Queue<Uid>,
    /// UIDs of pods that are, were, or should be peers.
    pub pods: Queue<Uid>,
    /// UIDs of PeatPeers of nodes outside the cluster.
    pub external: Queue<Uid>,
    /// UIDs of pods that ask and have no sidecar.
    pub unserved: Queue<Uid>,
}

/// One controller.
pub trait Reconciler: Send + Sync + 'static {
    /// Why a reconciliation failed.
    type Error: std::error::Error + 'static;
    /// Label of metrics and log lines.
    const NAME: &'static str;
    /// Where its keys come from.
    fn queue(&self) -> &Queue<Uid>;
    /// Brings the world of one key to where it should be, and says when to look again.
    fn reconcile(&self, key: &str) -> impl Future<Output = Result<Next, Self::Error>> + Send;
}

/// Has every mesh looked at again.
pub fn touch_all_meshes(caches: &Caches, queues: &Queues) {
    for mesh in caches.meshes.all() {
        queues.meshes.add(mesh.uid.clone());
    }
}

/// Runs the workers of a controller until `stop`.
pub fn start<R: Reconciler>(controller: R, metrics: &Arc<Metrics>, tasks: &TaskTracker, stop: &CancellationToken) {
    let controller = Arc::new(controller);
    for _ in 0..WORKERS {
        tasks.spawn(work(Arc::clone(&controller), Arc::clone(metrics), stop.clone()));
    }
}

async fn work<R: Reconciler>(controller: Arc<R>, metrics: Arc<Metrics>, stop: CancellationToken) {
    while let Some(key) = stop.run_until_cancelled(controller.queue().next()).await {
        let next = match controller.reconcile(&key).await {
            Ok(next) => {
                metrics.reconcile(R::NAME, "ok");
                next
            }
            Err(error) => {
                metrics.reconcile(R::NAME, "error");
                tracing::warn!(controller = R::NAME, key, error = %Chain(&error), "reconciliation failed, trying again");
                Next::Retry
            }
        };
        controller.queue().done(&key, next);
    }
}
