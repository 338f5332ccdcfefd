//! The error of this library's public functions: one variant per part.

use crate::binaries::BinaryError;
use crate::client::ClientError;
use crate::command::CommandError;
use crate::envtest::EnvtestError;
use crate::files::FileError;
use crate::namespace::NamespaceError;

/// What went wrong with a cluster. The cause is in `source`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Binaries could not be provided.
    #[error("provide the binaries of the cluster")]
    Binaries(#[from] BinaryError),
    /// The control plane without nodes.
    #[error("start an envtest cluster")]
    Envtest(#[from] EnvtestError),
    /// No client.
    #[error("reach the cluster")]
    Client(#[from] ClientError),
    /// kubectl, helm or another tool failed.
    #[error("run a tool on the cluster")]
    Tool(#[from] CommandError),
    /// A namespace for a test.
    #[error("provide a namespace")]
    Namespace(#[from] NamespaceError),
    /// Files.
    #[error("keep the state of the cluster")]
    Files(#[from] FileError),
}
