//! A namespace of one's own for a test.
//!
//! Input: a cluster and a prefix. Output: a [`TestNamespace`] with a unique name whose default ServiceAccount exists
//! (pods created before it are refused). It is deleted on drop, or by [`TestNamespace::delete`], which waits. Does not
//! clean cluster-wide objects.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};

use crate::client::{ClientError, from_kubeconfig};
use crate::wait::{WaitError, wait_for};

/// The controller manager makes it within a second; under load it has been seen to take several.
const SERVICE_ACCOUNT: Duration = Duration::from_secs(60);
/// Pods get 30 s to end, and the namespace controller looks every few seconds.
const DELETED: Duration = Duration::from_secs(120);

/// A namespace could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// No client.
    #[error("reach the cluster")]
    Client(#[from] ClientError),
    /// The API server refused.
    #[error("{action} namespace {name}")]
    Request {
        /// `create` or `delete`.
        action: &'static str,
        /// Its name, or the prefix when it has none yet.
        name: String,
        /// The API server's answer.
        source: kube::Error,
    },
    /// It took too long.
    #[error("wait in namespace {name}")]
    Wait {
        /// Its name.
        name: String,
        /// For what.
        source: WaitError,
    },
}

/// A namespace that is deleted when this value is dropped.
#[derive(Debug)]
pub struct TestNamespace {
    name: String,
    kubeconfig: PathBuf,
    deleted: bool,
}

impl TestNamespace {
    /// Creates `<prefix>-<random>` with `labels` and waits for its default ServiceAccount.
    pub(crate) async fn create(
        kubeconfig: PathBuf,
        prefix: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<Self, NamespaceError> {
        let client = from_kubeconfig(&kubeconfig).await?;
        let wanted = Namespace {
            metadata: ObjectMeta {
                generate_name: Some(format!("{prefix}-")),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let created = Api::all(client.clone()).create(&PostParams::default(), &wanted).await;
        let created: Namespace = created.map_err(|source| request_error("create", prefix, source))?;
        let namespace = Self { name: created.name_any(), kubeconfig, deleted: false };
        let accounts: Api<ServiceAccount> = Api::namespaced(client, &namespace.name);
        let found =
            wait_for(SERVICE_ACCOUNT, "the default ServiceAccount", async || accounts.get("default").await.map(drop));
        found.await.map_err(|source| NamespaceError::Wait { name: namespace.name.clone(), source })?;
        Ok(namespace)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Deletes it and waits until it and all in it are gone.
    pub async fn delete(mut self) -> Result<(), NamespaceError> {
        self.deleted = true;
        let client = from_kubeconfig(&self.kubeconfig).await?;
        request_deletion(client.clone(), &self.name).await?;
        let namespaces: Api<Namespace> = Api::all(client);
        let gone = wait_for(DELETED, "the end of the namespace", async || match namespaces.get_opt(&self.name).await {
            Ok(None) => Ok(()),
            Ok(Some(left)) => Err(format!("{:?}", left.status)),
            Err(error) => Err(error.to_string()),
        });
        gone.await.map_err(|source| NamespaceError::Wait { name: self.name.clone(), source })
    }
}

impl Drop for TestNamespace {
    /// Asks for the deletion and does not wait for it. A failure is ignored: the cluster may be gone already.
    fn drop(&mut self) {
        if self.deleted {
            return;
        }
        let (kubeconfig, name) = (self.kubeconfig.clone(), self.name.clone());
        // A drop cannot await, and a runtime cannot be nested in the test's own.
        let asked = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let ask = async { request_deletion(from_kubeconfig(&kubeconfig).await?, &name).await };
            runtime.map(|runtime| runtime.block_on(bounded(ask)))
        });
        let _ = asked.join();
    }
}

/// Bounds what a drop may wait when the API server is gone.
async fn bounded<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(5), work).await.ok()
}

async fn request_deletion(client: Client, name: &str) -> Result<(), NamespaceError> {
    let namespaces: Api<Namespace> = Api::all(client);
    let deleted = namespaces.delete(name, &DeleteParams::default()).await;
    deleted.map(drop).map_err(|source| request_error("delete", name, source))
}

fn request_error(action: &'static str, name: &str, source: kube::Error) -> NamespaceError {
    NamespaceError::Request { action, name: name.to_owned(), source }
}
