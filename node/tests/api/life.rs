//! A node's phases as its API tells them: starting, running, shutting down.

use super::Api;
use super::process::{Node, PATIENCE, wait_for};
use super::raw::{Raw, frames_of};
use peat_node::admin::{self, Admin};
use peat_node::api::CallMetrics;
use peat_node::config::{Config, Listen};
use peat_node::handle::NodeHandle;
use peat_node::metrics::Metrics;
use peat_node_core::ids::PeerId;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// The API and the admin listener of a node whose store never opens.
struct Starting {
    api: Option<peat_node::api::Api>,
    tcp: std::net::SocketAddr,
    admin: std::net::SocketAddr,
    _stop: tokio_util::sync::DropGuard,
}

impl Starting {
    async fn new() -> Self {
        let args = ["peat-node", "--listen", "tcp://127.0.0.1:0"].map(Into::into).to_vec();
        let config = Config::read(peat_node::cli::parse(args, |_| None).unwrap()).unwrap();
        let handle = NodeHandle::starting(PeerId([7; 32]));
        let calls = Arc::new(CallMetrics::default());
        let api = peat_node::api::Api::start(&config.api, "aurora".into(), handle.clone(), calls).unwrap();
        let Listen::Tcp(tcp) = api.addresses()[0] else { panic!("no TCP listener") };
        let listener = admin::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let token = tokio_util::sync::CancellationToken::new();
        let admin = Admin { node: handle, metrics: Arc::new(Metrics::default()) };
        tokio::spawn(admin::serve(listener, admin, token.clone()));
        Self { api: Some(api), tcp, admin: address, _stop: token.drop_guard() }
    }
}

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Opens a health watch.
async fn watch(raw: &mut Raw) -> super::raw::Frames {
    frames_of(raw, "/grpc.health.v1.Health/Watch", &json!({"service": "peat.sidecar.v1.PeatSidecar"})).await
}

async fn told(frames: &mut super::raw::Frames) -> Option<(u8, Value)> {
    tokio::time::timeout(PATIENCE, frames.next()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_starting_node_answers_at_once_says_so_and_is_not_ready() {
    let mut node = Starting::new().await;
    let mut raw = Raw::to(node.tcp).await;
    let status = raw.call("GetStatus", &json!({})).await;
    assert_eq!((status.0, &status.1["phase"]), (200, &json!("NODE_PHASE_INITIALIZING")), "{}", status.1);
    let put = json!({"collection": "c", "docId": "d", "jsonData": "{}"});
    for (method, request) in [
        ("PutDocument", put),
        ("GetDocument", json!({"collection": "c", "docId": "d"})),
        ("ListDocuments", json!({"collection": "c"})),
        ("GetNodes", json!({})),
        ("StartSync", json!({})),
    ] {
        let (status, answer) = raw.call(method, &request).await;
        assert_eq!((status, &answer["code"]), (503, &json!("unavailable")), "{method}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains("starting"), "{answer}");
    }
    assert!(get(node.admin, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(get(node.admin, "/readyz").await.starts_with("HTTP/1.1 503"));
    let mut frames = watch(&mut raw).await;
    assert_eq!(told(&mut frames).await, Some((0, json!({"status": "NOT_SERVING"}))));
    // It stops before it ever served: nothing changed, so nothing more is told.
    let stopped = node.api.take().unwrap().stop(PATIENCE);
    let (end, ()) = tokio::join!(told(&mut frames), stopped);
    assert_eq!(end, Some((2, json!({}))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_watch_begun_while_the_node_starts_tells_once_that_it_serves() {
    let mut node = Node::prepare(&[]);
    let socket = node.dir().join("peat.sock");
    let watched = async {
        let stream = wait_for("the socket", || async { UnixStream::connect(&socket).await.ok() }).await;
        let mut raw = Raw::over(stream).await;
        let mut frames = watch(&mut raw).await;
        let mut first = told(&mut frames).await;
        if first == Some((0, json!({"status": "NOT_SERVING"}))) {
            first = told(&mut frames).await;
        }
        assert_eq!(first, Some((0, json!({"status": "SERVING"}))));
        (raw, frames)
    };
    let ((), (_raw, mut frames)) = tokio::join!(node.start(&[]), watched);
    signal_end(&node);
    assert_eq!(told(&mut frames).await, Some((0, json!({"status": "NOT_SERVING"}))));
    assert_eq!(told(&mut frames).await, Some((2, json!({}))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_watch_tells_the_stop_and_does_not_hold_it_up() {
    let mut api = Api::start(&[]).await;
    let (mut tcp, mut unix) = (Raw::tcp(&api).await, Raw::unix(&api).await);
    let mut watches = [watch(&mut tcp).await, watch(&mut unix).await];
    for frames in &mut watches {
        assert_eq!(told(frames).await, Some((0, json!({"status": "SERVING"}))));
    }
    let began = Instant::now();
    signal_end(&api.node);
    for frames in &mut watches {
        assert_eq!(told(frames).await, Some((0, json!({"status": "NOT_SERVING"}))));
        assert_eq!(told(frames).await, Some((2, json!({}))));
    }
    assert_eq!(exited(&mut api.node).await, 0);
    // Calls that do not end by themselves would be given 5 s.
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_under_way_at_the_stop_is_answered_and_told_of_it() {
    let mut api = Api::start(&[]).await;
    let mut stream = TcpStream::connect(api.tcp).await.unwrap();
    let head = "POST /peat.sidecar.v1.PeatSidecar/GetStatus HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                content-length: 2\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut goes_on = [0; 25];
    stream.read_exact(&mut goes_on).await.unwrap();
    assert_eq!(&goes_on, b"HTTP/1.1 100 Continue\r\n\r\n", "the call runs and waits for its body");
    signal_end(&api.node);
    wait_for("the listener to be gone", || async { (!api.socket().exists()).then_some(()) }).await;
    stream.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("NODE_PHASE_SHUTTING_DOWN"), "{answer}");
    assert_eq!(exited(&mut api.node).await, 0);
}

fn signal_end(node: &Node) {
    assert!(std::process::Command::new("kill").arg(node.pid().to_string()).status().unwrap().success());
}

async fn exited(node: &mut Node) -> i32 {
    let node = std::sync::Mutex::new(node);
    wait_for("the process to end", || async { node.lock().unwrap().exited() }).await
}
