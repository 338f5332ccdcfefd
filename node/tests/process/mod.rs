//! A real `peat-node` process with a folder of its own, for suites that kill and restart it.
//!
//! Inputs: flags; outputs: a process whose API answers on a Unix socket, and a client of it. The process ends and the
//! folder goes when the value is dropped. What it does not do: look inside the process.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "a test harness; each suite uses a part"
)]

use connectrpc::Protocol;
use connectrpc::client::{ClientConfig, Http2Connection, SharedHttp2Connection};
use peat_proto::sidecar::peat::node::v1::NodeClient;
use peat_proto::sidecar::peat::sidecar::v1::{
    ConnectPeerRequest, DeleteDocumentRequest, GetDocumentRequest, GetStatusRequest, ListDocumentsRequest,
    ListPeersRequest, PeatSidecarClient, PutDocumentRequest,
};
use std::future::Future;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub type Client = PeatSidecarClient<SharedHttp2Connection>;

/// 32 bytes of base64: the key of the meshes in these suites.
pub const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// How long a condition may take on a busy machine before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Node {
    dir: TempDir,
    args: Vec<String>,
    child: Option<Child>,
    /// Size of a disk of its own for the data folder, as `mount` takes it.
    disk: Option<&'static str>,
    /// A process whose network the node shares, instead of ours.
    network: Option<u32>,
    /// A library that gives the process a clock of its own: see [`Node::with_clock`].
    clock: Option<PathBuf>,
    /// Variables of its environment that are set to nothing.
    empty: Vec<String>,
    /// Where the store of the next process ends it: see `store/fail.rs`.
    pub fail_at: Option<&'static str>,
    /// Where the store of the next process waits each time, and for how many milliseconds.
    pub slow_at: Option<&'static str>,
    pub id: String,
    pub port: u16,
}

/// Mounts a memory disk of the size `$0` on `$1`, for itself alone, and becomes the rest.
const ON_DISK: &str = r#"mount -t tmpfs -o size="$0" tmpfs "$1" && shift && exec "$@""#;

impl Node {
    /// Makes a node's folder, key and port; starts nothing.
    pub fn prepare(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let id = Self::binary().arg("id").arg("--data-dir").arg(dir.path().join("data")).output().unwrap();
        assert!(id.status.success(), "{id:?}");
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let id = String::from_utf8(id.stdout).unwrap().trim().to_owned();
        Self {
            dir,
            args: args.iter().map(ToString::to_string).collect(),
            child: None,
            disk: None,
            network: None,
            clock: None,
            empty: Vec::new(),
            fail_at: None,
            slow_at: None,
            id,
            port,
        }
    }

    /// As [`Node::prepare`], with the data on a small disk that goes with the process.
    pub fn prepare_on_disk(args: &[&str], size: &'static str) -> Self {
        let mut node = Self::prepare(args);
        node.disk = Some(size);
        node
    }

    /// Starts it from now on in the network, and with the user, of another process.
    pub fn in_network_of(&mut self, process: u32) {
        self.network = Some(process);
    }

    /// Starts it from now on with a wall clock of its own, set by [`Node::set_clock`] also while it runs; `library` is
    /// libfaketime. What measures time that passes is not touched.
    pub fn with_clock(&mut self, library: &Path) {
        self.clock = Some(library.to_owned());
        self.set_clock("+0");
    }

    /// Starts it from now on with these variables set to nothing, as compose files and charts leave them.
    pub fn with_empty(&mut self, variables: Vec<String>) {
        self.empty = variables;
    }

    /// Sets its wall clock by so much before or after the real one: `-1h`, `+365d`.
    pub fn set_clock(&self, offset: &str) {
        let next = self.dir().join("clock.next");
        std::fs::write(&next, offset).unwrap();
        // In one step: the process reads it whenever it looks at the clock.
        std::fs::rename(next, self.dir().join("clock")).unwrap();
    }

    /// The environment that libfaketime reads.
    fn clock_env(&self) -> Vec<(&'static str, PathBuf)> {
        let Some(library) = &self.clock else { return Vec::new() };
        let on = || PathBuf::from("1");
        vec![
            ("LD_PRELOAD", library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.dir().join("clock")),
            ("FAKETIME_NO_CACHE", on()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", on()),
            ("NO_FAKE_STAT", on()),
        ]
    }

    /// Flags of every later start, which need not be known before.
    pub fn args(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(ToString::to_string));
    }

    /// The data folder as the process sees it.
    pub fn disk(&self) -> PathBuf {
        let data = self.dir.path().join("data");
        Path::new("/proc").join(self.pid().to_string()).join("root").join(data.strip_prefix("/").unwrap())
    }

    /// The program, in a mount namespace of its own if it has a disk of its own. That needs no root, only a kernel that
    /// gives namespaces to users.
    fn launcher(&self) -> Command {
        if let Some(process) = self.network {
            let mut command = within(process);
            command.arg(env!("CARGO_BIN_EXE_peat-node"));
            return command;
        }
        let Some(size) = self.disk else { return Self::binary() };
        let mut command = Command::new("unshare");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("RUST_BACKTRACE", "0");
        command.args(["--mount", "--map-root-user", "--", "sh", "-c", ON_DISK, size]);
        command.arg(self.dir.path().join("data")).arg(env!("CARGO_BIN_EXE_peat-node"));
        command
    }

    fn binary() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
        command.env_clear().env("RUST_BACKTRACE", "0");
        command
    }

    /// `id@host:port`, for another node's `--peer`.
    pub fn address(&self) -> String {
        format!("{}@127.0.0.1:{}", self.id, self.port)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the node keeps its key and its store.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Starts the process and returns at once.
    pub fn spawn(&mut self, more: &[&str]) {
        assert!(self.child.is_none(), "already running");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let child = self
            .launcher()
            .envs(self.fail_at.map(|place| ("PEAT_FAIL_AT", place)))
            .envs(self.slow_at.map(|place| ("PEAT_SLOW_AT", place)))
            .envs(self.clock_env())
            .envs(self.empty.iter().map(|name| (name, "")))
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .arg("--listen")
            .arg(format!("unix://{}", self.socket()))
            .arg("--iroh-udp-port")
            .arg(self.port.to_string())
            .args(&self.args)
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Starts the process and returns when its API answers.
    pub async fn start(&mut self, more: &[&str]) {
        self.spawn(more);
        wait_for("the API to answer", || async {
            match self.client().get_status(GetStatusRequest::default()).await {
                Ok(status) => (status.view().phase.to_i32() > 1).then_some(()),
                Err(_) => None,
            }
        })
        .await;
    }

    /// SIGKILL: nothing is flushed.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            self.forget_clock(child.id());
        }
    }

    /// Removes what libfaketime leaves of a process that it could not tidy up after.
    fn forget_clock(&self, process: u32) {
        for name in self.clock.iter().flat_map(|_| ["faketime_shm_", "sem.faketime_sem_"]) {
            // Not there if the process ended by itself.
            let _ = std::fs::remove_file(format!("/dev/shm/{name}{process}"));
        }
    }

    /// Sends `TERM`, `STOP`, `CONT` or another signal, as `kill` names them.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success(), "kill -s {name}: {sent}");
    }

    /// SIGTERM: the node leaves in its own time.
    pub async fn leave(&mut self) {
        self.signal("TERM");
        let child = std::sync::Mutex::new(self.child.take().unwrap());
        let gone = || async { child.lock().unwrap().try_wait().unwrap() };
        let status = wait_for("the node to leave", gone).await;
        assert!(status.success(), "{status}");
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn exited(&mut self) -> Option<i32> {
        self.child.as_mut()?.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn socket(&self) -> String {
        self.dir.path().join("peat.sock").display().to_string()
    }

    pub fn client(&self) -> Client {
        let (connection, config) = self.connection();
        PeatSidecarClient::new(connection, config)
    }

    /// A client of the service for versions and batches.
    pub fn batches(&self) -> NodeClient<SharedHttp2Connection> {
        let (connection, config) = self.connection();
        NodeClient::new(connection, config)
    }

    fn connection(&self) -> (SharedHttp2Connection, ClientConfig) {
        let authority = http::Uri::from_static("http://localhost");
        // A client that drops many streams would else end its own connection: hyperium/h2#856.
        let builder = Http2Connection::builder().h2_settings(|h2| {
            h2.max_local_error_reset_streams(None::<usize>);
        });
        let connection = builder.lazy_unix(self.socket(), authority.clone());
        (connection.shared(1024), ClientConfig::new(authority).with_protocol(Protocol::Grpc))
    }

    pub async fn put(&self, collection: &str, doc_id: &str, json: &str) {
        put(&self.client(), collection, doc_id, json).await.unwrap();
    }

    pub async fn get(&self, collection: &str, doc_id: &str) -> Option<String> {
        let request = GetDocumentRequest { collection: collection.into(), doc_id: doc_id.into(), ..Default::default() };
        self.client().get_document(request).await.unwrap().into_owned().json_data
    }

    pub async fn delete(&self, collection: &str, doc_id: &str) {
        let request =
            DeleteDocumentRequest { collection: collection.into(), doc_id: doc_id.into(), ..Default::default() };
        self.client().delete_document(request).await.unwrap();
    }

    pub async fn list(&self, collection: &str) -> Vec<String> {
        let request = ListDocumentsRequest { collection: collection.into(), ..Default::default() };
        self.client().list_documents(request).await.unwrap().into_owned().doc_ids
    }

    pub async fn peers(&self) -> usize {
        self.client().list_peers(ListPeersRequest::default()).await.unwrap().into_owned().peers.len()
    }

    pub async fn connect(&self, other: &Self) -> Result<(), connectrpc::ConnectError> {
        let request = ConnectPeerRequest {
            endpoint_id: other.id.clone(),
            addresses: vec![format!("127.0.0.1:{}", other.port)],
            ..Default::default()
        };
        self.client().connect_peer(request).await.map(drop)
    }
}

/// A command that runs what follows in the network, and with the user, of a process.
pub fn within(process: u32) -> Command {
    let mut command = Command::new("nsenter");
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("RUST_BACKTRACE", "0");
    command.args(["--target", &process.to_string(), "--user", "--net", "--preserve-credentials", "--"]);
    command
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("last lines of node {}:", &self.id[..10]);
            tail.into_iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

pub async fn put(client: &Client, collection: &str, doc_id: &str, json: &str) -> Result<(), connectrpc::ConnectError> {
    let request = PutDocumentRequest {
        collection: collection.into(),
        doc_id: doc_id.into(),
        json_data: json.into(),
        ..Default::default()
    };
    client.put_document(request).await.map(drop)
}

/// Asks again and again until there is an answer, for at most [`PATIENCE`].
pub async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    wait_every(Duration::from_millis(20), what, ask).await
}

/// As [`wait_for`], with this pause between two questions: for those that cost the nodes something.
pub async fn wait_every<T, F: Future<Output = Option<T>>>(pause: Duration, what: &str, ask: impl Fn() -> F) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        tokio::time::sleep(pause).await;
    }
}

/// Waits for so long for what must not happen.
pub async fn never_for(time: Duration, what: &str, happened: impl AsyncFn() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(!happened().await, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
