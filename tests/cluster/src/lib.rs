//! A real Kubernetes on demand: for tests, for the demo, for work by hand.
//!
//! Input: which flavour is wanted. Output: a [`Cluster`] with a kubeconfig, clients, kubectl and helm. Everything is
//! built from pinned sources ([`binaries`]); nothing imitates an API server. Does not know Peat.
//!
//! | flavour | what runs | needs |
//! |---|---|---|
//! | `envtest` | etcd, kube-apiserver, kube-controller-manager on loopback; no nodes | a Go toolchain or `KUBEBUILDER_ASSETS` |
//! | `local` | the same, a scheduler and one node with real pods, Services and DNS | root on Linux |
//! | `kind` | nodes in containers | kind and a Docker engine |
//! | `kubeconfig` | the user's own cluster, only when `PEAT_CLUSTER` names it | a kubeconfig |
//!
//! A test that needs no pods shares one control plane with the others of its process, and works in a namespace of its
//! own:
//!
//! ```no_run
//! # async fn test() -> Result<(), peat_cluster::Error> {
//! use peat_cluster::{Cluster, wait_for};
//! use std::time::Duration;
//!
//! let cluster = Cluster::shared_envtest().await?; // about 5 s the first time
//! let client = cluster.client().await?; // one per test: a client belongs to its runtime
//! let namespace = cluster.namespace("inject").await?; // its default ServiceAccount exists; deleted on drop
//! cluster.kubectl(["-n", namespace.name(), "create", "configmap", "a"]).await?;
//! let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(client, namespace.name());
//! // `Err` means "not yet"; its text is in the error when the deadline passes.
//! wait_for(Duration::from_secs(10), "the config map", async || maps.get("a").await).await.ok();
//! # Ok(()) }
//! ```
//!
//! A test with real pods takes [`Cluster::for_pods`]; images come from [`image::Image`] and [`Cluster::load_image`].
//! Clusters that outlive a process are brought up and taken down by name with [`ClusterId`].

pub mod binaries;
mod client;
mod cluster;
mod command;
mod control_plane;
pub mod debian;
mod envtest;
mod error;
mod files;
pub mod image;
mod kind;
mod kubeconfig;
mod launcher;
mod lifecycle;
pub mod local;
mod namespace;
pub mod packages;
mod pki;
mod process;
mod progress;
mod state;
mod wait;

pub use client::ClientError;
pub use cluster::Cluster;
pub use command::CommandError;
pub use control_plane::ControlPlaneError;
pub use envtest::{EnvtestError, EnvtestOptions};
pub use error::Error;
pub use files::FileError;
pub use kind::KindError;
pub use lifecycle::{ClusterId, DEFAULT_NAME, Flavor, NameError, Status, publish_kubeconfig};
pub use namespace::{NamespaceError, TestNamespace};
pub use pki::PkiError;
pub use process::ProcessError;
pub use state::{StateError, default_root};
pub use wait::{WaitError, wait_for};
