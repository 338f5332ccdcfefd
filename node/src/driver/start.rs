//! How a driver comes to life.
//!
//! Purpose: the thread of the driver, and what the rest of the node has of it. Inputs: a [`Setup`]. Outputs: a
//! [`Running`] driver, once every stored row is known to the engine. What it does not do: handle anything.

use super::{BATCH, Driver, Message, Network};
use crate::changes::Recent;
use crate::handle::Published;
use crate::metrics::Metrics;
use crate::quota::{Gate, Limits};
use crate::store::{Seq, Store, StoreError};
use arc_swap::ArcSwapOption;
use peat_node_core::Config;
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};

/// What a driver is made of.
pub struct Setup<N> {
    /// The engine's configuration.
    pub config: Config,
    /// How much applications may store.
    pub quotas: Limits,
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Peers.
    pub network: N,
    /// Inputs; their senders are with the transport and the handle.
    pub inputs: mpsc::Receiver<Message>,
    /// Where readers look.
    pub published: Arc<ArcSwapOption<Published>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl<N> std::fmt::Debug for Setup<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A running driver.
#[derive(Debug)]
pub struct Running {
    /// The highest committed number.
    pub committed: watch::Receiver<Seq>,
    /// The last rows before it.
    pub recent: Arc<Recent>,
    /// Resolves when the thread has ended, for whatever reason.
    pub ended: oneshot::Receiver<()>,
}

/// A driver that could not start.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The rows could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread or its timer could not be made.
    #[error("start the driver")]
    Thread(#[from] io::Error),
}

/// Starts the thread and returns when every stored row is known to the engine.
///
/// # Errors
/// [`DriverError`]; nothing runs then.
pub async fn start<N: Network>(setup: Setup<N>) -> Result<Running, DriverError> {
    let (ready, started) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    std::thread::Builder::new().name("driver".to_owned()).spawn(move || {
        // Dropped at the very end, by a panic as well.
        let _end = end;
        let Setup { config, quotas, store, network, inputs, published, metrics } = setup;
        let gate = Gate::new(quotas, BATCH, Instant::now(), Arc::clone(metrics.quotas()));
        match Driver::new(config, store, network, (published, metrics), gate) {
            Ok((driver, committed)) => {
                if ready.send(Ok((committed, Arc::clone(&driver.recent)))).is_ok() {
                    driver.run(inputs);
                }
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    })?;
    let (committed, recent) = started.await.map_err(|_| io::Error::other("the driver's thread ended at once"))??;
    Ok(Running { committed, recent, ended })
}
