//! The error of this library's public functions: one variant per part.

use crate::binaries::BinaryError;
use crate::client::ClientError;
use crate::command::CommandError;
use crate::envtest::EnvtestError;
use crate::files::FileError;
use crate::kind::KindError;
use crate::lifecycle::{Flavor, NameError};
use crate::local::LocalError;
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
    /// The cluster with a node on this machine.
    #[error("run a local cluster")]
    Local(#[from] LocalError),
    /// The cluster in containers.
    #[error("run a kind cluster")]
    Kind(#[from] KindError),
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
    /// A name that cannot be used.
    #[error("name a cluster")]
    Name(#[from] NameError),
    /// A cluster of that name is up and was made otherwise.
    #[error("bring up {name} as {wanted}: it is up as {found}; take it down first or choose another name")]
    OtherFlavor {
        /// Its name.
        name: String,
        /// What was asked for.
        wanted: Flavor,
        /// What is there.
        found: Flavor,
    },
    /// `PEAT_CLUSTER` has a value that means nothing.
    #[error("choose a cluster: PEAT_CLUSTER is {0:?}, and must be local, kind or kubeconfig")]
    UnknownChoice(String),
    /// `PEAT_CLUSTER=kubeconfig` without a kubeconfig.
    #[error("find your kubeconfig: set KUBECONFIG to one file, or write ~/.kube/config")]
    NoKubeconfig,
    /// This flavour cannot do it.
    #[error("{0}: not possible with this kind of cluster")]
    Unsupported(&'static str),
}
