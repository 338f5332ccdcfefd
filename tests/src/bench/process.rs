//! A real node process and a client of it.
//!
//! Inputs: the binary and flags; outputs: a process that ends with the value. What it does not do: measure.

use anyhow::{Context as _, Result, bail};
use connectrpc::Protocol;
use connectrpc::client::{ClientConfig, Http2Connection, SharedHttp2Connection};
use peat_proto::sidecar::peat::sidecar::v1::{GetStatusRequest, NodePhase, PeatSidecarClient, PutDocumentRequest};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(super) type Client = PeatSidecarClient<SharedHttp2Connection>;

/// The key of the benchmark's mesh: 32 bytes, base64.
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const START: Duration = Duration::from_secs(20);

pub(super) struct Node {
    // Dropped after the process is gone.
    child: Child,
    _dir: TempDir,
    id: String,
    api: u16,
    mesh: u16,
    pub(super) started_in: Duration,
}

impl Node {
    pub(super) async fn start(binary: &Path, peer: Option<&Self>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let data = dir.path().join("data");
        let id = Command::new(binary).arg("id").arg("--data-dir").arg(&data).output().context("run peat-node id")?;
        let id = String::from_utf8(id.stdout)?.trim().to_owned();
        let api = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mesh = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new(binary);
        command.args(["--shared-key", KEY, "--listen", &format!("tcp://127.0.0.1:{api}")]);
        command.arg("--data-dir").arg(&data).args(["--iroh-udp-port", &mesh.to_string()]);
        if let Some(peer) = peer {
            command.args(["--peer", &format!("{}@127.0.0.1:{}", peer.id, peer.mesh)]);
        }
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut node = Self { child, _dir: dir, id, api, mesh, started_in: Duration::ZERO };
        let client = node.client()?;
        // The API opens first; documents are taken once the store is open, which the phase tells.
        let open = async || {
            let status = client.get_status(GetStatusRequest::default()).await.ok()?;
            (status.view().phase.to_i32() > NodePhase::NODE_PHASE_INITIALIZING as i32).then_some(())
        };
        while open().await.is_none() {
            if began.elapsed() > START {
                bail!("the node did not answer within {START:?}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        node.started_in = began.elapsed();
        Ok(node)
    }

    pub(super) fn client(&self) -> Result<Client> {
        let uri: http::Uri = format!("http://127.0.0.1:{}", self.api).parse()?;
        let connection = Http2Connection::lazy_plaintext(uri.clone());
        let config = ClientConfig::new(uri).with_protocol(Protocol::Grpc).with_default_max_message_size(256 << 20);
        Ok(PeatSidecarClient::new(connection.shared(1024), config))
    }

    /// Resident memory in MiB, from `/proc`.
    pub(super) fn resident(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
