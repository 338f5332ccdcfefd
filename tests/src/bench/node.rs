//! Node processes and clients of their API.
//!
//! Inputs: the binary and a [`Home`]; outputs: a process that ends with the value. What it does not do: measure more
//! than its start.

use super::http::get;
use super::process::{Process, free_ports, free_udp_port};
use anyhow::{Context as _, Result, ensure};
use connectrpc::Protocol;
use connectrpc::client::{ClientConfig, Http2Connection, SharedHttp2Connection};
use peat_proto::sidecar::peat::sidecar::v1::{GetStatusRequest, NodePhase, PeatSidecarClient, PutDocumentRequest};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A client of the API, over one connection.
pub(super) type Client = PeatSidecarClient<SharedHttp2Connection>;

/// The key of the benchmark's mesh: 32 bytes, base64.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
/// A list of a hundred thousand ids is one answer.
const LARGEST_ANSWER: usize = 256 << 20;

/// What outlives a process: the data folder, the key in it, and where peers find the node.
#[derive(Debug)]
pub(super) struct Home {
    binary: PathBuf,
    dir: TempDir,
    id: String,
    mesh: u16,
}

impl Home {
    /// A new one in `folder`, with an empty store.
    pub(super) fn new(binary: &Path, folder: &Path) -> Result<Self> {
        let dir = tempfile::tempdir_in(folder)?;
        let made =
            Command::new(binary).arg("id").arg("--data-dir").arg(dir.path()).output().context("run peat-node")?;
        ensure!(made.status.success(), "peat-node id: {}", String::from_utf8_lossy(&made.stderr));
        let id = String::from_utf8(made.stdout)?.trim().to_owned();
        Ok(Self { binary: binary.to_owned(), dir, id, mesh: free_udp_port()? })
    }
}

/// A running node.
#[derive(Debug)]
pub(super) struct Node {
    process: Process,
    api: u16,
    admin: SocketAddr,
    /// From the start of the process until it takes documents.
    pub(super) started_in: Duration,
}

impl Node {
    /// Starts a node that dials `peers`, with the defaults of every other flag.
    pub(super) async fn start(home: &Home, peers: &[&Home]) -> Result<Self> {
        let [api, admin] = free_ports()?;
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, admin));
        let mut command = Command::new(&home.binary);
        command.args(["--shared-key", KEY, "--listen", &format!("tcp://127.0.0.1:{api}")]);
        command.args(["--iroh-udp-port", &home.mesh.to_string(), "--admin-listen", &admin.to_string()]);
        command.arg("--data-dir").arg(home.dir.path());
        for peer in peers {
            command.args(["--peer", &format!("{}@127.0.0.1:{}", peer.id, peer.mesh)]);
        }
        let mut process = Process::start("peat-node", &mut command)?;
        let client = client(api)?;
        // The API opens first; documents are taken once the store is open, which the phase tells.
        let open = async || {
            let status = client.get_status(GetStatusRequest::default()).await.ok()?;
            (status.view().phase.to_i32() > NodePhase::NODE_PHASE_INITIALIZING as i32).then_some(())
        };
        let ((), started_in) = process.until(open).await?;
        Ok(Self { process, api, admin, started_in })
    }

    /// A client with a connection of its own.
    pub(super) fn client(&self) -> Result<Client> {
        client(self.api)
    }

    /// Processor time it has used.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        self.process.processor_time()
    }

    /// Resident memory in MiB.
    pub(super) fn resident(&self) -> Result<f64> {
        self.process.resident()
    }

    /// A metric without labels, such as `peat_node_rows`.
    pub(super) async fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = get(self.admin, "/metrics").await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.with_context(|| format!("no metric {name}"))?.trim().parse().context("a metric that is no number")
    }

    /// Waits until a metric has at least this value.
    pub(super) async fn reaches(&self, name: &str, value: f64, patience: Duration) -> Result<()> {
        self.until(name, patience, |now| now >= value).await
    }

    /// Waits until a metric is as `wanted`.
    pub(super) async fn until(&self, name: &str, patience: Duration, wanted: impl Fn(f64) -> bool) -> Result<()> {
        let began = std::time::Instant::now();
        loop {
            let now = self.metric(name).await?;
            if wanted(now) {
                return Ok(());
            }
            ensure!(began.elapsed() < patience, "{name} is {now} after {patience:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it as Kubernetes does.
    pub(super) async fn stop(self) -> Result<()> {
        self.process.stop().await
    }
}

fn client(port: u16) -> Result<Client> {
    let uri: http::Uri = format!("http://127.0.0.1:{port}").parse()?;
    let connection = Http2Connection::lazy_plaintext(uri.clone());
    let config = ClientConfig::new(uri).with_protocol(Protocol::Grpc).with_default_max_message_size(LARGEST_ANSWER);
    Ok(PeatSidecarClient::new(connection.shared(1024), config))
}

/// Writes a document; it is durable when this returns.
pub(super) async fn put(client: &Client, collection: &str, doc_id: &str, json: &str) -> Result<()> {
    let request = PutDocumentRequest {
        collection: collection.to_owned(),
        doc_id: doc_id.to_owned(),
        json_data: json.to_owned(),
        ..Default::default()
    };
    client.put_document(request).await.with_context(|| format!("put {collection}/{doc_id}"))?;
    Ok(())
}
