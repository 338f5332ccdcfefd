//! Why a node does not run.
//!
//! Inputs: the errors of its parts. Outputs: one type with all of them. What it does not do: choose exit codes; `main`
//! does.

use crate::api::{AccessError, ApiError};
use crate::driver::DriverError;
use crate::identity::IdentityError;
use crate::store::StoreError;
use crate::telemetry::TraceError;
use crate::transport::TransportError;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A file of the data folder.
    #[error("use {}", path.display())]
    DataDir {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Health and metrics.
    #[error("listen on {address} for health and metrics")]
    Admin {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The driver could not start.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The network.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The key file, or the file of rights, changed since the flags were read.
    #[error(transparent)]
    File(#[from] AccessError),
    /// The collector of traces.
    #[error(transparent)]
    Traces(#[from] TraceError),
    /// The driver ended by itself, which is a fault of this program.
    #[error("the driver ended")]
    DriverEnded,
}

impl RunError {
    /// Whether what the node was told is wrong, and not what happened to it.
    pub const fn is_of_configuration(&self) -> bool {
        matches!(self, Self::Store(StoreError::Key { .. }) | Self::Traces(_))
    }
}
