//! Time, connections and the environment: what the flags promise.

use super::Api;
use super::documented;
use super::process::{Node, PATIENCE, wait_for};
use super::raw::Raw;
use connectrpc::Protocol;
use connectrpc::client::{ClientConfig, Http2Connection};
use peat_proto::sidecar::peat::sidecar::v1::{ConnectPeerRequest, PeatSidecarClient};
use serde_json::json;
use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

const SHORT: [&str; 8] = [
    "--http-header-read-timeout-secs",
    "1",
    "--http-max-connection-idle-secs",
    "1",
    "--rpc-default-timeout-secs",
    "2",
    "--rpc-max-timeout-secs",
    "3",
];

/// How a client begins to speak HTTP/2 that has nothing to say about it: the preface, and settings that are empty.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

async fn closed(mut stream: impl AsyncRead + Unpin) {
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_send_no_header_are_closed_while_calls_go_on() {
    let api = Api::start(&SHORT).await;
    let began = Instant::now();
    let mut silent = Vec::new();
    for beginning in [&b""[..], b"P", b"PRI * HT", b"POST / HTTP/1.1\r\nhost: a"] {
        for _ in 0..8 {
            let mut stream = TcpStream::connect(api.tcp).await.unwrap();
            stream.write_all(beginning).await.unwrap();
            silent.push(tokio::spawn(closed(stream)));
            let mut stream = UnixStream::connect(api.socket()).await.unwrap();
            stream.write_all(beginning).await.unwrap();
            silent.push(tokio::spawn(closed(stream)));
        }
    }
    let mut raw = Raw::tcp(&api).await;
    for n in 0..41 {
        let put = json!({"collection": "c", "docId": n.to_string(), "jsonData": "{}"});
        assert_eq!(raw.call("PutDocument", &put).await, (200, json!({})));
    }
    for connection in silent {
        connection.await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_call_is_retired_and_a_quiet_stream_is_not() {
    let api = Api::start(&SHORT).await;
    let mut raw = Raw::unix(&api).await;
    let mut frames = raw.subscribe(&json!({"collections": ["quiet"]})).await;
    // HTTP/2 that says hello and then nothing.
    let mut idle = TcpStream::connect(api.tcp).await.unwrap();
    idle.write_all(HELLO).await.unwrap();
    closed(idle).await;
    api.node.put("quiet", "at-last", "{}").await;
    let (flags, event) = tokio::time::timeout(PATIENCE, frames.next()).await.unwrap().unwrap();
    assert_eq!((flags, &event["docId"]), (0, &json!("at-last")), "neither idle time nor deadline ends a stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_alive_connection_outlives_the_time_for_a_header_and_a_begun_header_does_not() {
    let api = Api::start(&["--http-header-read-timeout-secs", "1"]).await;
    let (mut tcp, mut unix) = (Raw::tcp(&api).await, Raw::unix(&api).await);
    let call = b"POST /peat.sidecar.v1.PeatSidecar/GetStatus HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    for _ in 0..2 {
        assert_eq!(tcp.call("GetStatus", &json!({})).await.0, 200);
        assert_eq!(unix.call("GetStatus", &json!({})).await.0, 200);
        // A connection that dawdles ends after the time for a header: the others were quiet for longer than that.
        let mut dawdling = TcpStream::connect(api.tcp).await.unwrap();
        dawdling.write_all(b"POST / HTTP/1.1\r\nhost: a").await.unwrap();
        closed(dawdling).await;
    }
    assert_eq!(tcp.call("GetStatus", &json!({})).await.0, 200);
    assert_eq!(unix.call("GetStatus", &json!({})).await.0, 200);
    let mut begun = TcpStream::connect(api.tcp).await.unwrap();
    begun.write_all(call).await.unwrap();
    let mut answer = [0; 12];
    begun.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    begun.write_all(b"POST /peat").await.unwrap();
    closed(begun).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_the_deadline_of_its_caller_or_of_the_node() {
    let api = Api::start(&["--rpc-default-timeout-secs", "1", "--shared-key", super::process::KEY]).await;
    // A peer that never answers.
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    let stranger = "4229afe8d9c12d0acfd98cb56d4e2edd0e844442651a70a6995c2ed7ef100684";
    let body = json!({"endpointId": stranger, "addresses": [hole.local_addr().unwrap().to_string()]}).to_string();
    let mut raw = Raw::tcp(&api).await;
    for headers in [&[][..], &[("connect-timeout-ms", "100")]] {
        let (status, answer) = raw.json("/peat.sidecar.v1.PeatSidecar/ConnectPeer", headers, body.as_bytes()).await;
        assert_eq!((status, &answer["code"]), (504, &json!("deadline_exceeded")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_of_a_caller_above_the_cap_of_the_node_is_the_cap_in_every_protocol() {
    // More than the deadline of a caller who names none, less than the seconds after which a dial is given up.
    const CAP: Duration = Duration::from_secs(2);
    const ASKED: Duration = Duration::from_secs(60);
    let flags = ["--rpc-default-timeout-secs", "1", "--rpc-max-timeout-secs", "2"];
    let api = Api::start(&[&flags[..], &["--shared-key", super::process::KEY]].concat()).await;
    let uri: http::Uri = format!("http://{}", api.tcp).parse().unwrap();
    // A peer that never answers.
    let hole = UdpSocket::bind("127.0.0.1:0").unwrap();
    for protocol in [Protocol::Connect, Protocol::Grpc, Protocol::GrpcWeb] {
        // `Connect-Timeout-Ms` or `grpc-timeout`.
        let config = ClientConfig::new(uri.clone()).with_protocol(protocol).with_default_timeout(ASKED);
        let client = PeatSidecarClient::new(Http2Connection::lazy_plaintext(uri.clone()).shared(4), config);
        // Each time another one: the dial of one before it would end within this call.
        let request = ConnectPeerRequest {
            endpoint_id: Node::prepare(&[]).id.clone(),
            addresses: vec![hole.local_addr().unwrap().to_string()],
            ..Default::default()
        };
        let began = Instant::now();
        let error = client.connect_peer(request).await.err().unwrap();
        let took = began.elapsed();
        assert_eq!(error.code.as_str(), "deadline_exceeded", "{protocol:?}: {error}");
        assert!((CAP..ASKED / 2).contains(&took), "{protocol:?}: {took:?}");
    }
}

/// How many calls at once the node says a connection may have: `SETTINGS_MAX_CONCURRENT_STREAMS` in its first frame
/// (RFC 9113, 3.4 and 6.5).
async fn most_calls(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<u32> {
    const SETTINGS: u8 = 4;
    const MAX_CONCURRENT_STREAMS: [u8; 2] = [0, 3];
    stream.write_all(HELLO).await.unwrap();
    let mut head = [0; 9];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    let [a, b, c, kind, ..] = head;
    assert_eq!(kind, SETTINGS);
    let mut settings = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut settings)).await.unwrap().unwrap();
    let mut settings = settings.chunks_exact(6).map(|setting| setting.split_at(2));
    let (_, most) = settings.find(|(id, _)| *id == MAX_CONCURRENT_STREAMS)?;
    Some(u32::from_be_bytes(most.try_into().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_told_how_many_calls_it_may_have_at_once() {
    for (flags, most) in [(&["--http2-max-concurrent-streams", "7"][..], 7), (&[], 128)] {
        let api = Api::start(flags).await;
        let tcp = TcpStream::connect(api.tcp).await.unwrap();
        let unix = UnixStream::connect(api.socket()).await.unwrap();
        assert_eq!([most_calls(tcp).await, most_calls(unix).await], [Some(most); 2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_allowed_wait_for_their_turn() {
    let api = Api::start(&["--http-max-connections", "2"]).await;
    let held = [Raw::tcp(&api).await, Raw::tcp(&api).await];
    let mut third = Raw::tcp(&api).await;
    let call = tokio::spawn(async move { third.call("GetStatus", &json!({})).await.0 });
    // The other listener has a cap of its own, so that one crowd does not lock out the other.
    let mut unix = Raw::unix(&api).await;
    assert_eq!(unix.call("GetStatus", &json!({})).await.0, 200);
    assert!(!call.is_finished());
    drop(held);
    assert_eq!(tokio::time::timeout(PATIENCE, call).await.unwrap().unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_method_and_code() {
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let api = Api::start(&["--admin-listen", &admin.to_string()]).await;
    let mut raw = Raw::tcp(&api).await;
    raw.call("ListDocuments", &json!({"collection": "a:b"})).await;
    let scrape = || async {
        let mut stream = TcpStream::connect(admin).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let line = r#"peat_node_api_calls_total{method="/peat.sidecar.v1.PeatSidecar/ListDocuments",code="invalid_argument"} 1"#;
        (text.contains(line) && text.contains("peat_node_api_exposed 0")).then_some(())
    };
    wait_for("the call in the metrics", scrape).await;
}

fn peat_node(data: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    command.env_clear().env("PEAT_NODE_DATA_DIR", data).stdin(Stdio::null());
    command
}

#[test]
fn empty_variables_are_unset_and_booleans_come_bare_or_by_variable() {
    let folder = tempfile::tempdir().unwrap();
    let print = |command: &mut Command| {
        let output = command.arg("--print-config").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let mut empty = peat_node(folder.path());
    for name in ["LISTEN", "NODE_ID", "APP_ID", "SHARED_KEY", "PEERS", "AUTO_SYNC", "ENCRYPTION_KEY", "IROH_UDP_PORT"] {
        empty.env(format!("PEAT_NODE_{name}"), "");
    }
    assert!(print(&mut empty).contains("\n# auto-sync: true (default)\n"));
    let off = print(peat_node(folder.path()).env("PEAT_NODE_AUTO_SYNC", "false"));
    assert!(off.contains("\nauto-sync: false # PEAT_NODE_AUTO_SYNC\n"), "{off}");
    let on = print(peat_node(folder.path()).env("PEAT_NODE_AUTO_SYNC", "0").arg("--auto-sync"));
    assert!(on.contains("\nauto-sync: true # --auto-sync\n"), "{on}");
    let secret = print(peat_node(folder.path()).env("PEAT_NODE_SHARED_KEY", super::process::KEY));
    assert!(secret.contains("\nshared-key: (redacted) # PEAT_NODE_SHARED_KEY\n"), "{secret}");
    assert!(!secret.contains(super::process::KEY), "{secret}");
}

/// Flags that `--help` does not tell, and those of the contract that this version has not: clients set their variables.
const UNTOLD: [&str; 34] = [
    "nats-url",
    "nats-mapping",
    "nats-shutdown-timeout-secs",
    "disable-mdns",
    "agent-addr",
    "agent-poll-interval",
    "agent-tls-cert",
    "agent-tls-key",
    "agent-tls-ca",
    "allocator-stats-interval-secs",
    "blob-stall-timeout-secs",
    "attachment-root",
    "attachment-max-file-bytes",
    "attachment-max-bundle-bytes",
    "attachment-max-files-per-bundle",
    "attachment-max-node-list-len",
    "attachment-max-concurrent-distributions",
    "attachment-queue-when-full",
    "attachment-default-priority",
    "attachment-discovery-grace-secs",
    "attachment-handle-retention-secs",
    "attachment-max-known-bundles",
    "attachment-inbox",
    "attachment-inbox-poll-secs",
    "attachment-outbox-watch",
    "attachment-outbox-poll-secs",
    "enable-kubernetes-discovery",
    "discovery-namespace",
    "discovery-label-selector",
    "discovery-annotation-prefix",
    "discovery-interval",
    "discovery-interval-secs",
    "discovery-mode",
    "discovery-service",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_and_works_with_the_variable_of_every_flag_set_to_nothing() {
    let told = documented::flags();
    let flags = told.keys().map(String::as_str).chain(UNTOLD);
    let variables = flags.flat_map(|flag| {
        // A list in the environment has a plural name.
        let name = if flag == "peer" { "PEERS".to_owned() } else { flag.to_uppercase().replace('-', "_") };
        ["PEAT_NODE", "PEAT_SIDECAR"].map(|prefix| format!("{prefix}_{name}"))
    });
    let variables: Vec<String> = variables.collect();
    assert!(variables.iter().any(|name| name == "PEAT_NODE_AUTO_SYNC"), "{variables:?}");
    // The harness says by flags where its data, its socket and its port are; the rest is as nobody set it.
    let mut node = Node::prepare(&[]);
    node.with_empty(variables);
    node.start(&[]).await;
    node.put("c", "d", r#"{"n":1}"#).await;
    assert_eq!(node.get("c", "d").await.as_deref(), Some(r#"{"n":1}"#));
    let stats = node.client().get_sync_stats(Default::default()).await.unwrap().into_owned();
    assert!(stats.sync_active, "an empty variable is no `false`");
}

/// A peer whose id is no public key.
const NO_KEY: &str = "0202020202020202020202020202020202020202020202020202020202020202@127.0.0.1:1";

#[test]
fn a_bad_configuration_is_one_line_and_code_64_and_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for (args, word) in [
        (&["--listen", "localhost:1"][..], "--listen"),
        (&["--auto-sync=perhaps"], "--auto-sync"),
        (&["--shared-key", "short"], "--shared-key"),
        (&["--api-auth", "required", "--listen", "tcp://0.0.0.0:1"], "--api-auth"),
        (&["--mesh-uid", "u"], "--membership-url"),
        (&["--allow-empty-key", "--peer", NO_KEY], "--peer"),
        (&["--rpc-default-timeout-secs", "400"], "--rpc-default-timeout-secs"),
    ] {
        let output = peat_node(&data).args(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{text}");
        assert!(text.contains(word) && text.trim_end().lines().count() == 1, "{text}");
    }
    let file = folder.path().join("peat.yaml");
    let path = file.to_str().unwrap();
    for (text, word) in [("auto-sync: perhaps", "--auto-sync"), ("auto-sink: true", "auto-sync"), ("peer: {}", "peer")]
    {
        std::fs::write(&file, text).unwrap();
        let output = peat_node(&data).args(["--config", path]).output().unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), line.lines().count()), (Some(64), 1), "{line}");
        assert!(line.starts_with(&format!("peat-node: in {path}: ")) && line.contains(word), "{line}");
    }
    let output = peat_node(&data).env("RUST_LOG", "peat=loud=very").output().unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), line.lines().count()), (Some(64), 1), "{line}");
    assert!(line.starts_with("peat-node: in RUST_LOG: --log-level: "), "{line}");
    for (args, word) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["--config", "/no/such/file"], "/no/such/file"),
        (&["--lisen", "x"], "did you mean `--listen`?"),
        (&["doc"], "subcommand"),
        (&["doc", "put", "a"], "<ID>"),
        (&["status", "--timeout", "soon"], "--timeout"),
    ] {
        let output = peat_node(&data).args(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text.lines().count()), (Some(64), 1), "{text}");
        assert!(text.starts_with("peat-node: ") && text.contains(word), "{text}");
        assert!(text.contains("--help") || args[0] == "--config", "{text}");
        assert!(output.stdout.is_empty());
    }
    assert!(!data.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_path_held_by_a_file_keeps_the_node_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peat.sock");
    std::fs::write(&path, "somebody's").unwrap();
    let mut command = peat_node(&folder.path().join("data"));
    let output = command.arg("--listen").arg(format!("unix://{}", path.display())).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("is not a socket"), "{text}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's");
}
