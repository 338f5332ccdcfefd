//! The node's configuration: every value checked, nothing opened.
//!
//! Purpose: turn the text of [`RawArgs`] into types whose existence proves the check, so that whoever uses them cannot
//! fail on them. Inputs: flags as text, the key file, the files that say who may call the API. Outputs: a [`Config`],
//! or the first [`ConfigError`]. What it does not do: open sockets or the store, talk to anyone. Secrets do not print.

mod access;
mod error;
mod parse;
mod pem;
mod quota;
mod relay;
mod rights;
mod store_key;
mod text;
mod unbuilt;

pub use access::{AccessConfig, AuthRule, TlsFiles};
pub use error::ConfigError;
pub(crate) use parse::{check_address, vault};
pub(crate) use pem::certificates;
pub use relay::Relay;
pub(crate) use relay::{is_relay, is_usable, peer_address, relay_url};
pub(crate) use store_key::store_keys;
pub(crate) use text::short_name;

use crate::cli::{Parsed, RawArgs, Settings};
use crate::quota::Limits;
use crate::store::seal::StoreKeys;
use crate::vault::Vault;
use peat_node_core::docs::Kinds;
use peat_node_core::event::Address;
use peat_node_core::ids::PeerId;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Where data is kept unless told otherwise.
pub const DEFAULT_DATA_DIR: &str = "/data/peat-node";

/// All that a node needs to know before it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// How new documents of a collection merge.
    pub kinds: Kinds,
    /// Name for people. None: random, kept in the data folder.
    pub node_id: Option<String>,
    /// Folder of the store.
    pub data_dir: PathBuf,
    /// Keys that seal the store's values; none: it is clear.
    pub store_keys: StoreKeys,
    /// Folder of the node's key.
    pub key_dir: PathBuf,
    /// Where the node's key comes from.
    pub identity: IdentitySource,
    /// Who decides on members.
    pub mode: Mode,
    /// Sockets of the mesh.
    pub mesh: MeshConfig,
    /// Listener of health and metrics, if any.
    pub admin_listen: Option<SocketAddr>,
    /// Largest document in bytes of JSON.
    pub document_limit: usize,
    /// How much applications may store.
    pub quotas: Limits,
    /// The key of documents.
    pub vault: Vault,
    /// What becomes of old deletes.
    pub gc: GcConfig,
    /// The application API.
    pub api: ApiConfig,
    /// Logging.
    pub log: LogConfig,
    /// Collector of traces, `http://HOST:PORT`, if any.
    pub otlp_endpoint: Option<String>,
    /// Print the configuration and exit.
    pub print: bool,
    /// The flags and where their values came from, to print.
    pub settings: Settings,
    /// What deserves a line in the log once there is one.
    pub warnings: Vec<String>,
}

impl Config {
    /// Checks what the command line, the environment and the file gave.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn read(parsed: Parsed) -> Result<Self, ConfigError> {
        let mut config = Self::try_from(parsed.cli.run).map_err(|error| error.with_origin(&parsed.settings))?;
        config.settings = parsed.settings;
        if !parsed.aliases.is_empty() {
            let names = parsed.aliases.join(", ");
            config.warnings.push(format!("read older variables, please rename them to PEAT_NODE_*: {names}"));
        }
        Ok(config)
    }
}

/// Where the node's key comes from.
#[derive(Debug, Clone)]
pub enum IdentitySource {
    /// Its own file, made at the first start.
    Own,
    /// Computed from the mesh's key, as other implementations do: whoever holds that key can compute it too.
    Derived {
        /// Of the mesh.
        key: SharedKey,
        /// Name of the node.
        node_id: String,
    },
}

/// What `--print-config` shows: a configuration file that means the same, but for secrets.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.settings)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "# {warning}"))
    }
}

/// Who decides on members.
#[derive(Debug, Clone)]
pub enum Mode {
    /// Flags: a shared key and named peers.
    Flags(FlagsMode),
    /// The operator, by certificates.
    Managed(Box<ManagedMode>),
}

/// A mesh by flags.
#[derive(Debug, Clone)]
pub struct FlagsMode {
    /// Name of the mesh.
    pub app_id: String,
    /// What members prove.
    pub key: MeshKey,
    /// Where the keys are, which may change while the node runs.
    pub key_file: Option<PathBuf>,
    /// Peers to stay connected to.
    pub peers: Vec<PeerFlag>,
}

/// What members of a mesh by flags prove to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MeshKey {
    /// That they hold one of these keys.
    Shared(SharedKeys),
    /// Nothing but the mesh's name (`--allow-empty-key`).
    Empty,
    /// No key is set: the node peers with nobody.
    Absent,
}

/// The keys of a mesh by flags: more than one while a new one takes the place of an old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedKeys {
    /// Shown to whom this node dials.
    pub first: SharedKey,
    /// Accepted too.
    pub others: Vec<SharedKey>,
}

impl SharedKeys {
    /// All, the first one first.
    pub fn all(&self) -> impl Iterator<Item = &SharedKey> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// A key of a mesh by flags. Does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedKey([u8; 32]);

impl SharedKey {
    /// The bytes.
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for SharedKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

/// One `--peer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerFlag {
    /// The peer.
    pub id: PeerId,
    /// `host:port`. None for a bare id, which only an already known address can complete.
    pub address: Option<Address>,
}

/// A mesh run by the operator, as the injector describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedMode {
    /// Name of the pod.
    pub pod_name: String,
    /// Namespace of the pod.
    pub pod_namespace: String,
    /// UID of the pod.
    pub pod_uid: String,
    /// IP of the pod, where the kubelet knew it.
    pub pod_ip: Option<IpAddr>,
    /// Name of the Kubernetes node.
    pub kube_node: Option<String>,
    /// Identity of the mesh, the trust domain of its certificates.
    pub mesh_uid: String,
    /// `namespace/name` of the mesh, for people.
    pub mesh_name: String,
    /// `https://host:port` of the membership server.
    pub membership_url: String,
    /// PEM of the certificates that vouch for it.
    pub membership_ca: String,
    /// The service account token.
    pub token_file: PathBuf,
    /// The mounted ConfigMap of the mesh, which supersedes URL and certificates when it is there.
    pub mesh_dir: Option<PathBuf>,
}

/// Sockets of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshConfig {
    /// UDP port; 0 lets the system choose.
    pub udp_port: u16,
    /// Address to bind; none means all, IPv4 and IPv6.
    pub bind: Option<IpAddr>,
    /// Whether documents are exchanged from the start.
    pub auto_sync: bool,
    /// What each peer may read and write; none: everything.
    pub rights_file: Option<PathBuf>,
    /// Where it meets those who cannot reach its sockets.
    pub relay: Option<Relay>,
}

/// The application API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiConfig {
    /// At least one.
    pub listen: Vec<Listen>,
    /// Permission bits of Unix sockets.
    pub socket_mode: u32,
    /// Whether somebody beyond loopback may call without proving who he is.
    pub exposed: bool,
    /// Who may call.
    pub access: AccessConfig,
    /// Largest document in bytes of JSON.
    pub document_limit: usize,
    /// Deadline of a call whose caller sets none.
    pub default_timeout: Duration,
    /// Longest deadline of a call.
    pub max_timeout: Duration,
    /// Time to send a request's header.
    pub header_read_timeout: Duration,
    /// Time without a running call after which a connection is retired.
    pub max_idle: Duration,
    /// Open connections; more wait in the listener's backlog.
    pub max_connections: usize,
    /// Time between HTTP/2 pings.
    pub keepalive_interval: Duration,
    /// Time to answer an HTTP/2 ping.
    pub keepalive_timeout: Duration,
    /// Calls at once on one HTTP/2 connection.
    pub max_streams: u32,
}

/// One listener of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// `tcp://IP:PORT`; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// `unix:///PATH`.
    Unix(PathBuf),
}

impl Listen {
    /// Whether nobody beyond this machine (in a pod: beyond the pod) reaches it.
    pub const fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// What becomes of deletes that everybody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcConfig {
    /// How long neighbours are told of a delete where no policy says it.
    pub tombstone_ttl: Duration,
    /// How often the store is read for deletes that are older.
    pub every: Duration,
    /// Documents that are named to the engine at once.
    pub batch: usize,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter that was checked.
    pub filter: String,
    /// JSON lines in place of text.
    pub json: bool,
}

impl TryFrom<RawArgs> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawArgs) -> Result<Self, ConfigError> {
        parse::config(raw)
    }
}
