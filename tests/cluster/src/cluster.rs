//! The handle of a cluster: what tests and xtask work with once it is up.
//!
//! Input: a flavour and its options. Output: a [`Cluster`] with clients, kubectl, helm and namespaces, the same for every flavour.
//! Does not install Peat.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::binaries::{Binary, BinaryCache};
use crate::client::from_kubeconfig;
use crate::command::Run;
use crate::envtest::{self, EnvtestOptions, TiedControlPlane};
use crate::error::Error;
use crate::files;
use crate::namespace::TestNamespace;

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    server: String,
    cache: BinaryCache,
    /// What ends when this value is dropped.
    tied: Option<TiedControlPlane>,
}

impl Cluster {
    /// Starts a control plane without nodes that ends with this value, and at the latest with this process.
    pub async fn envtest(options: EnvtestOptions) -> Result<Self, Error> {
        let cache = BinaryCache::from_env()?;
        let tied = envtest::start_tied(&cache, &options).await?;
        let kubeconfig = tied.dir.state().kubeconfig();
        Ok(Self { kubeconfig, server: tied.server.clone(), cache, tied: Some(tied) })
    }

    /// The one control plane that all tests of this process share; each takes a [`TestNamespace`] in it.
    ///
    /// It ends with the process. Cluster-wide objects (CRDs, webhook configurations) are shared too: apply them with server-side
    /// apply, and give webhook configurations names and selectors of their own.
    pub async fn shared_envtest() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_try_init(|| Self::envtest(EnvtestOptions::default())).await
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's URL.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// A new client with the administrator's rights. It belongs to the runtime it is made on, so each test makes one.
    pub async fn client(&self) -> Result<kube::Client, Error> {
        Ok(from_kubeconfig(&self.kubeconfig).await?)
    }

    /// Runs kubectl and returns its standard output.
    pub async fn kubectl<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Result<String, Error> {
        self.tool(Binary::Kubectl, args, None).await
    }

    /// Runs `kubectl apply --server-side` on `manifests` (YAML or JSON) and returns what it says.
    pub async fn apply(&self, manifests: &str) -> Result<String, Error> {
        let args = ["apply", "--server-side", "--field-manager=peat-cluster", "-f", "-"];
        self.tool(Binary::Kubectl, args, Some(manifests)).await
    }

    /// Runs helm and returns its standard output. Caches and repositories of the user are not touched.
    pub async fn helm<S: AsRef<str>>(&self, args: impl IntoIterator<Item = S>) -> Result<String, Error> {
        self.tool(Binary::Helm, args, None).await
    }

    /// Creates a namespace with a unique name that starts with `prefix`, and waits until pods can be created in it.
    pub async fn namespace(&self, prefix: &str) -> Result<TestNamespace, Error> {
        self.labelled_namespace(prefix, &[]).await
    }

    /// The same with labels, such as `pod-security.kubernetes.io/enforce: restricted`.
    pub async fn labelled_namespace(&self, prefix: &str, labels: &[(&str, &str)]) -> Result<TestNamespace, Error> {
        let labels: BTreeMap<String, String> = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        Ok(TestNamespace::create(self.kubeconfig.clone(), prefix, labels).await?)
    }

    async fn tool<S: AsRef<str>>(
        &self,
        binary: Binary,
        args: impl IntoIterator<Item = S>,
        input: Option<&str>,
    ) -> Result<String, Error> {
        let path = self.cache.ensure(&[binary]).await?.path(binary);
        let homes = self.kubeconfig.with_file_name("tools");
        files::create_dir(&homes)?;
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        let mut run = Run::new(path)
            .args(args)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", homes.join("kubectl"))
            .env("HELM_CACHE_HOME", homes.join("helm/cache"))
            .env("HELM_CONFIG_HOME", homes.join("helm/config"))
            .env("HELM_DATA_HOME", homes.join("helm/data"));
        if let Some(input) = input {
            run = run.input(input);
        }
        Ok(run.output().await?)
    }
}
