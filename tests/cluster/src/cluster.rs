//! The handle of a cluster: what tests and xtask work with once it is up.
//!
//! Input: a flavour and its options. Output: a [`Cluster`] with clients, kubectl, helm, namespaces and images, the same
//! for every flavour. Does not install Peat.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::binaries::{Binary, BinaryCache};
use crate::client::from_kubeconfig;
use crate::command::Run;
use crate::envtest::{self, EnvtestOptions, TiedControlPlane};
use crate::error::Error;
use crate::lifecycle::{ClusterId, Flavor};
use crate::namespace::TestNamespace;
use crate::state::{StateDir, default_root};
use crate::{files, kind, local};

/// The name of the cluster that real-pod suites bring up when none is named.
const PODS_NAME: &str = "test";

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    server: String,
    cache: BinaryCache,
    origin: Origin,
}

/// Whose cluster it is, which decides what may be done with it.
#[derive(Debug)]
enum Origin {
    /// It ends when this value is dropped.
    Tied(TiedControlPlane),
    /// It was brought up by name and goes on.
    Named(Flavor, StateDir),
    /// It is the user's.
    Foreign,
}

impl Cluster {
    /// Starts a control plane without nodes that ends with this value, and at the latest with this process.
    pub async fn envtest(options: EnvtestOptions) -> Result<Self, Error> {
        let cache = BinaryCache::from_env()?;
        let tied = envtest::start_tied(&cache, &options).await?;
        let kubeconfig = tied.dir.state().kubeconfig();
        Ok(Self { kubeconfig, server: tied.server.clone(), cache, origin: Origin::Tied(tied) })
    }

    /// The one control plane that all tests of this process share; each takes a [`TestNamespace`] in it.
    ///
    /// It ends with the process. Cluster-wide objects (CRDs, webhook configurations) are shared too: apply them with
    /// server-side apply, and give webhook configurations names and selectors of their own.
    pub async fn shared_envtest() -> Result<&'static Self, Error> {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_try_init(|| Self::envtest(EnvtestOptions::default())).await
    }

    /// The cluster on which suites with real pods run, by `PEAT_CLUSTER`: `local` (also when unset), `kind`, or
    /// `kubeconfig` for the user's own. The first two are brought up when they are not, under the name
    /// `PEAT_CLUSTER_NAME` (`test` when unset), and left running. This is the only place that reads these variables.
    pub async fn for_pods() -> Result<Self, Error> {
        let choice = std::env::var("PEAT_CLUSTER").unwrap_or_default();
        let flavor = match choice.as_str() {
            "" | "local" => Flavor::Local,
            "kind" => Flavor::Kind,
            "kubeconfig" => return Self::of_user(),
            _ => return Err(Error::UnknownChoice(choice)),
        };
        let name = std::env::var("PEAT_CLUSTER_NAME").unwrap_or_else(|_| PODS_NAME.to_owned());
        ClusterId::new(&name)?.up(flavor).await
    }

    /// The cluster of the user's kubeconfig: `$KUBECONFIG`, else `~/.kube/config`, with its current context.
    fn of_user() -> Result<Self, Error> {
        let named = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".kube/config"));
        let kubeconfig = named.or_else(home).filter(|path| path.is_file()).ok_or(Error::NoKubeconfig)?;
        Ok(Self { kubeconfig, server: String::new(), cache: BinaryCache::from_env()?, origin: Origin::Foreign })
    }

    /// A cluster that was brought up by name.
    pub(crate) fn named(flavor: Flavor, state: StateDir, server: String, cache: BinaryCache) -> Self {
        Self { kubeconfig: state.kubeconfig(), server, cache, origin: Origin::Named(flavor, state) }
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's URL; empty for the user's own cluster, where the kubeconfig says it.
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
        let labels: BTreeMap<String, String> =
            labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        Ok(TestNamespace::create(self.kubeconfig.clone(), prefix, labels).await?)
    }

    /// Makes the image in the docker-archive `archive` (see [`crate::image`]) available to pods. The user's own cluster
    /// takes none: it needs a registry.
    pub async fn load_image(&self, archive: &Path) -> Result<(), Error> {
        match &self.origin {
            Origin::Named(Flavor::Local, state) => Ok(local::load_image(state, archive).await?),
            Origin::Named(Flavor::Kind, state) => {
                let name = state.path().file_name().unwrap_or_default().to_string_lossy();
                Ok(kind::load_image(&name, archive).await?)
            }
            Origin::Named(Flavor::Envtest, _) | Origin::Tied(_) | Origin::Foreign => {
                Err(Error::Unsupported("load an image"))
            }
        }
    }

    /// Restarts the node of a local cluster as a power cycle would: containers die, memory volumes are emptied, pods
    /// keep their UIDs. Returns when the node is Ready; its pods come back after that.
    pub async fn reboot_node(&self) -> Result<(), Error> {
        match &self.origin {
            Origin::Named(Flavor::Local, state) => Ok(local::reboot_node(&self.cache, state).await?),
            Origin::Named(..) | Origin::Tied(_) | Origin::Foreign => Err(Error::Unsupported("reboot a node")),
        }
    }

    /// Restarts etcd, API server and controllers of a local cluster while its pods run. Returns when the API server is
    /// ready.
    pub async fn restart_control_plane(&self) -> Result<(), Error> {
        match &self.origin {
            Origin::Named(Flavor::Local, state) => Ok(local::restart_control_plane(&self.cache, state).await?),
            Origin::Named(..) | Origin::Tied(_) | Origin::Foreign => {
                Err(Error::Unsupported("restart the control plane"))
            }
        }
    }

    async fn tool<S: AsRef<str>>(
        &self,
        binary: Binary,
        args: impl IntoIterator<Item = S>,
        input: Option<&str>,
    ) -> Result<String, Error> {
        let path = self.cache.ensure(&[binary]).await?.path(binary);
        let homes = self.tool_homes();
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

    /// Where kubectl and helm keep what they remember of this cluster.
    fn tool_homes(&self) -> PathBuf {
        match &self.origin {
            Origin::Tied(tied) => tied.dir.state().path().join("tools"),
            Origin::Named(_, state) => state.path().join("tools"),
            Origin::Foreign => default_root().join("user-tools"),
        }
    }
}
