//! Who may call: tokens, certificates, and what becomes of callers when these change under a running node.

use super::Api;
use super::caller::{Caller, Failure};
use super::pki::{Authority, Files, Pair, client, connect};
use super::process::{Node, PATIENCE, wait_for};
use super::raw::{Frames, Raw};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connectrpc::Protocol;
use connectrpc::client::{ClientConfig, Http2Connection};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use peat_proto::sidecar::peat::sidecar::v1::{GetStatusRequest, PeatSidecarClient};
use serde_json::{Value, json};
use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ONE: &str = "token-one-0123456789abcdef";
const TWO: &str = "token-two-0123456789abcdef";
const SUBSCRIBE: &str = "/peat.sidecar.v1.PeatSidecar/Subscribe";
const STATUS: &str = "/peat.sidecar.v1.PeatSidecar/GetStatus";

/// A node that listens beyond loopback, which is called on loopback, and on a socket.
async fn start(args: &[String]) -> Api {
    let args: Vec<&str> = ["--listen", "tcp://0.0.0.0:0"].into_iter().chain(args.iter().map(String::as_str)).collect();
    let mut node = Node::prepare(&args);
    node.start(&[]).await;
    let log = node.log();
    let port = log.split("Tcp(0.0.0.0:").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    let tcp = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    Api { node, tcp }
}

fn flag(name: &str, value: &str) -> Vec<String> {
    [name, value].map(str::to_owned).into()
}

/// Flags for a health and metrics port that is free now, and its address.
pub(super) fn admin() -> (Vec<String>, SocketAddr) {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    (flag("--admin-listen", &address.to_string()), address)
}

pub(super) async fn scrape(admin: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(admin).await.ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    Some(text)
}

pub(super) async fn wait_for_metric(admin: SocketAddr, line: &str) {
    wait_for(line, || async { scrape(admin).await.filter(|text| text.lines().any(|have| have == line)) }).await;
}

fn bearer(token: &str) -> [(&'static str, String); 1] {
    [("authorization", format!("Bearer {token}"))]
}

/// One call of a connection of its own, by hand: the status of the answer and what follows its header.
async fn call(mut stream: impl AsyncRead + AsyncWrite + Unpin, token: Option<&str>) -> io::Result<(u16, String)> {
    let token = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
    let request = format!(
        "POST {STATUS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{token}\
         content-length: 2\r\nconnection: close\r\n\r\n{{}}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap()?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

/// The same over TLS.
async fn secure(api: &Api, config: &Arc<rustls::ClientConfig>, token: Option<&str>) -> io::Result<(u16, String)> {
    call(connect(api.tcp, config).await?, token).await
}

/// A gRPC client over TLS.
fn grpc(api: &Api, mut tls: rustls::ClientConfig, token: Option<&str>) -> super::process::Client {
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let (to, tls) = (api.tcp, Arc::new(tls));
    let connector = tower::service_fn(move |_: http::Uri| {
        let tls = Arc::clone(&tls);
        async move { connect(to, &tls).await.map(TokioIo::new) }
    });
    let uri = http::Uri::from_static("https://localhost");
    let mut config = ClientConfig::new(uri.clone()).with_protocol(Protocol::Grpc);
    if let Some(token) = token {
        config = config.with_default_header("authorization", format!("Bearer {token}"));
    }
    PeatSidecarClient::new(Http2Connection::lazy_with_connector(connector, uri).shared(4), config)
}

async fn code(client: &super::process::Client) -> &'static str {
    client.get_status(GetStatusRequest::default()).await.map_or_else(|error| error.code.as_str(), |_| "ok")
}

/// A stream of changes over Connect JSON; the headers are there when this returns.
async fn subscribe(raw: &mut Raw, token: Option<&str>) -> Frames {
    let token = token.map(bearer);
    let headers: Vec<(&str, &str)> = token.iter().flatten().map(|(name, value)| (*name, value.as_str())).collect();
    let headers = [&[("content-type", "application/connect+json")], headers.as_slice()].concat();
    let response = raw.post(SUBSCRIBE, &headers, b"\0\0\0\0\x02{}").await;
    assert_eq!(response.status(), 200);
    Frames::of(response)
}

/// The code with which a stream ends.
async fn end(frames: &mut Frames) -> Value {
    let (flags, end) = tokio::time::timeout(PATIENCE, frames.next()).await.unwrap().unwrap();
    assert_eq!(flags, 2, "{end}");
    end["error"]["code"].clone()
}

async fn closed(mut stream: impl AsyncRead + Unpin) {
    // A reset is an end too.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_a_token_is_unauthenticated_in_every_protocol_and_the_socket_stays_open() {
    let files = Files::new();
    let (admin_flags, admin) = admin();
    let tokens = files.write("tokens", &format!("# who may call\n{ONE}\n{TWO}\n"));
    let api = start(&[flag("--api-token-file", &tokens), admin_flags].concat()).await;
    for (way, mut caller) in Caller::all(&api).await {
        let answer = caller.call("GetStatus", json!({})).await;
        match answer {
            Ok(_) => assert!(way.contains("Unix"), "{way}"),
            Err(Failure { code, message }) => {
                assert_eq!(code, "unauthenticated", "{way}: {message}");
                assert!(!way.contains("Unix") && message.contains("authorization: Bearer"), "{way}: {message}");
            }
        }
    }
    let body = json!({}).to_string();
    let mut raw = Raw::tcp(&api).await;
    for (authorization, status) in [
        (format!("Bearer {ONE}"), 200),
        (format!("bearer {TWO}"), 200),
        (format!("Bearer {ONE}0"), 401),
        (format!("Basic {}", STANDARD.encode(ONE)), 401),
        (ONE.to_owned(), 401),
    ] {
        let (got, answer) = raw.json(STATUS, &[("authorization", &authorization)], body.as_bytes()).await;
        assert_eq!(got, status, "{authorization}: {answer}");
        assert!(status == 200 || answer["code"] == "unauthenticated", "{answer}");
    }
    let response = raw.post(STATUS, &[("content-type", "application/json")], b"{}").await;
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    drop(response.into_body().collect().await);
    assert_eq!(end(&mut subscribe(&mut raw, None).await).await, "unauthenticated");
    let text = Raw::tcp(&api).await.post(STATUS, &[("content-type", "application/grpc-web-text")], b"AAAAAAA=").await;
    let text = text.into_body().collect().await.unwrap().to_bytes();
    let trailers = STANDARD.decode(&text).unwrap();
    let trailers = String::from_utf8_lossy(&trailers);
    assert!(trailers.contains("grpc-status: 16") || trailers.contains("grpc-status:16"), "{trailers}");
    let health = "/grpc.health.v1.Health/Check";
    assert_eq!(Raw::tcp(&api).await.json(health, &[], b"{}").await.0, 401, "health is no exception");
    assert_eq!(Raw::unix(&api).await.json(health, &[], b"{}").await.0, 200);
    wait_for_metric(admin, r#"peat_node_api_refusals_total{reason="token_wrong"} 3"#).await;
    wait_for_metric(admin, "peat_node_api_exposed 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_token_file_locks_the_old_token_out_without_a_restart() {
    let files = Files::new();
    let (admin_flags, admin) = admin();
    files.mount(1, &[("tokens", &format!("{ONE}\n{TWO}\n"))]);
    let api = start(&[flag("--api-token-file", &files.path("tokens")), admin_flags].concat()).await;
    let (mut first, mut second) = (Raw::tcp(&api).await, Raw::tcp(&api).await);
    let mut ended = subscribe(&mut first, Some(ONE)).await;
    let mut kept = subscribe(&mut second, Some(TWO)).await;
    // Not a token in it: nobody is locked out, and it is told.
    files.mount(2, &[("tokens", "# all tokens were here\n")]);
    wait_for_metric(admin, r#"peat_node_api_access_stale{files="tokens"} 1"#).await;
    for token in [ONE, TWO] {
        assert_eq!(call(TcpStream::connect(api.tcp).await.unwrap(), Some(token)).await.unwrap().0, 200);
    }
    files.mount(3, &[("tokens", &format!("{TWO}\n"))]);
    assert_eq!(end(&mut ended).await, "unauthenticated", "a stream of the old token ends");
    for (token, status) in [(ONE, 401), (TWO, 200)] {
        assert_eq!(call(TcpStream::connect(api.tcp).await.unwrap(), Some(token)).await.unwrap().0, status);
    }
    let mut same_connection = first;
    let (name, value) = &bearer(ONE)[0];
    assert_eq!(same_connection.json(STATUS, &[(name, value)], b"{}").await.0, 401);
    api.node.put("ferries", "one", "{}").await;
    let (flags, event) = tokio::time::timeout(PATIENCE, kept.next()).await.unwrap().unwrap();
    assert_eq!((flags, &event["docId"]), (0, &json!("one")), "a stream of a token that stayed goes on");
    wait_for_metric(admin, r#"peat_node_api_access_stale{files="tokens"} 0"#).await;
    let log = api.node.log();
    assert!(log.contains("has no token") && !log.contains(ONE) && !log.contains(TWO), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_the_authority_let_in_and_all_others_are_refused_at_the_door() {
    let (files, ours, theirs) = (Files::new(), Authority::new("ours"), Authority::new("theirs"));
    let (admin_flags, admin) = admin();
    let ca = flag("--api-tls-client-ca", &files.write("ca.crt", &ours.pem()));
    let required = flag("--api-auth", "required");
    let api = start(&[files.server(&ours), ca, required, admin_flags].concat()).await;
    let hour = Some(Duration::from_secs(3600));
    let good = client(&ours, Some(&ours.client(hour)));
    assert_eq!(code(&grpc(&api, good.clone(), None)).await, "ok");
    let (status, answer) = secure(&api, &Arc::new(good), None).await.unwrap();
    assert!(status == 200 && answer.contains(&api.node.id), "{answer}");
    for (who, pair) in [
        ("nobody", None),
        ("a stranger", Some(theirs.client(hour))),
        ("yesterday's caller", Some(ours.client(None))),
        ("a server", Some(ours.server())),
    ] {
        let config = client(&ours, pair.as_ref());
        assert_eq!(code(&grpc(&api, config.clone(), Some(ONE))).await, "unavailable", "{who}");
        assert!(secure(&api, &Arc::new(config), Some(ONE)).await.is_err(), "{who}");
    }
    wait_for_metric(admin, r#"peat_node_api_refusals_total{reason="certificate"} 8"#).await;
    assert_eq!(Raw::unix(&api).await.call("GetStatus", &json!({})).await.0, 200, "the socket is open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_or_a_certificate_lets_in_where_both_are_known() {
    let (files, ours, theirs) = (Files::new(), Authority::new("ours"), Authority::new("theirs"));
    let ca = flag("--api-tls-client-ca", &files.write("ca.crt", &ours.pem()));
    let tokens = flag("--api-token-file", &files.write("tokens", ONE));
    let api = start(&[files.server(&ours), ca, tokens].concat()).await;
    let hour = Some(Duration::from_secs(3600));
    let (bare, known) = (client(&ours, None), client(&ours, Some(&ours.client(hour))));
    assert_eq!(code(&grpc(&api, bare.clone(), None)).await, "unauthenticated");
    assert_eq!(code(&grpc(&api, bare.clone(), Some(TWO))).await, "unauthenticated");
    assert_eq!(code(&grpc(&api, bare.clone(), Some(ONE))).await, "ok");
    assert_eq!(code(&grpc(&api, known.clone(), None)).await, "ok");
    assert_eq!(secure(&api, &Arc::new(bare.clone()), None).await.unwrap().0, 401);
    assert_eq!(secure(&api, &Arc::new(bare), Some(ONE)).await.unwrap().0, 200);
    assert_eq!(secure(&api, &Arc::new(known), Some(TWO)).await.unwrap().0, 200, "the certificate is enough");
    let stranger = client(&ours, Some(&theirs.client(hour)));
    assert!(secure(&api, &Arc::new(stranger), Some(ONE)).await.is_err(), "a wrong certificate is no missing one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_authority_closes_its_clients_and_a_resumed_session_does_not_get_past() {
    let (files, old, new) = (Files::new(), Authority::new("old"), Authority::new("new"));
    let Pair { chain, key } = old.server();
    let mounted = |generation, ca: &str| {
        files.mount(generation, &[("tls.crt", &chain), ("tls.key", &key), ("ca.crt", ca)]);
    };
    mounted(1, &old.pem());
    let flags = [
        flag("--api-tls-cert", &files.path("tls.crt")),
        flag("--api-tls-key", &files.path("tls.key")),
        flag("--api-tls-client-ca", &files.path("ca.crt")),
    ];
    let api = start(&flags.concat()).await;
    let hour = Some(Duration::from_secs(3600));
    // One configuration, and so one memory of sessions, for all connections of the old client.
    let config = Arc::new(client(&old, Some(&old.client(hour))));
    let mut watching = Raw::over(connect(api.tcp, &config).await.unwrap()).await;
    let mut stream = subscribe(&mut watching, None).await;
    let idle = connect(api.tcp, &config).await.unwrap();
    assert_eq!(secure(&api, &config, None).await.unwrap().0, 200);
    let again = connect(api.tcp, &config).await.unwrap();
    assert_eq!(again.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full), "there is nothing to resume");
    assert_eq!(call(again, None).await.unwrap().0, 200);
    mounted(2, &format!("{}{}", old.pem(), new.pem()));
    let newcomer = Arc::new(client(&old, Some(&new.client(hour))));
    wait_for("the new authority beside the old one", || async { secure(&api, &newcomer, None).await.ok() }).await;
    assert_eq!(secure(&api, &config, None).await.unwrap().0, 200, "both overlap");
    mounted(3, &new.pem());
    assert_eq!(end(&mut stream).await, "unauthenticated");
    closed(idle).await;
    assert!(secure(&api, &config, None).await.is_err());
    assert_eq!(secure(&api, &newcomer, None).await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_to_new_connections_and_a_broken_one_to_nobody() {
    let (files, old, new) = (Files::new(), Authority::new("old"), Authority::new("new"));
    let (admin_flags, admin) = admin();
    let api =
        start(&[files.server(&old), flag("--api-token-file", &files.write("tokens", ONE)), admin_flags].concat()).await;
    let (before, after) = (Arc::new(client(&old, None)), Arc::new(client(&new, None)));
    let mut open = Raw::over(connect(api.tcp, &before).await.unwrap()).await;
    files.write("tls.crt", &new.server().chain);
    wait_for_metric(admin, r#"peat_node_api_access_stale{files="certificate"} 1"#).await;
    assert_eq!(secure(&api, &before, Some(ONE)).await.unwrap().0, 200, "a certificate without its key changes nothing");
    // While it is broken, a token can still be taken away.
    files.write("tokens", TWO);
    wait_for("the old token to be refused", || async {
        (secure(&api, &before, Some(ONE)).await.unwrap().0 == 401).then_some(())
    })
    .await;
    files.server(&new);
    wait_for("the new certificate", || async { secure(&api, &after, Some(TWO)).await.ok() }).await;
    assert!(connect(api.tcp, &before).await.is_err());
    let (name, value) = &bearer(TWO)[0];
    assert_eq!(open.json(STATUS, &[(name, value)], b"{}").await.0, 200, "an open connection stays");
    wait_for_metric(admin, r#"peat_node_api_access_reloads_total{files="certificate",outcome="used"} 1"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_the_certificate_that_let_it_in() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    let ca = flag("--api-tls-client-ca", &files.write("ca.crt", &ours.pem()));
    let api = start(&[files.server(&ours), ca].concat()).await;
    let began = Instant::now();
    let left = Duration::from_secs(4);
    let config = Arc::new(client(&ours, Some(&ours.client(Some(left)))));
    let mut watching = Raw::over(connect(api.tcp, &config).await.unwrap()).await;
    let mut stream = subscribe(&mut watching, None).await;
    let idle = connect(api.tcp, &config).await.unwrap();
    assert_eq!(end(&mut stream).await, "unauthenticated");
    // Dates have whole seconds.
    assert!(began.elapsed() > left - Duration::from_secs(1), "{:?}", began.elapsed());
    closed(idle).await;
    assert!(secure(&api, &config, None).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_without_tls_is_told_so_and_the_node_lives() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    let tokens = flag("--api-token-file", &files.write("tokens", ONE));
    let (admin_flags, admin) = admin();
    let api = start(&[files.server(&ours), tokens, admin_flags].concat()).await;
    let (status, text) = call(TcpStream::connect(api.tcp).await.unwrap(), Some(ONE)).await.unwrap();
    assert!(status == 400 && text.contains("https"), "{text}");
    for bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"\0\0\0\0", &[22, 3, 1, 0xff, 0xff, 0, 0, 0], &[22; 4096]]
    {
        let mut stream = TcpStream::connect(api.tcp).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        closed(stream).await;
    }
    drop(TcpStream::connect(api.tcp).await.unwrap());
    assert_eq!(code(&grpc(&api, client(&ours, None), Some(ONE))).await, "ok");
    wait_for_metric(admin, r#"peat_node_api_refusals_total{reason="plain_text"} 3"#).await;
    wait_for_metric(admin, r#"peat_node_api_refusals_total{reason="handshake"} 2"#).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_handshakes_are_given_up_and_stop_nobody() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    let tokens = flag("--api-token-file", &files.write("tokens", ONE));
    let (admin_flags, admin) = admin();
    let bounds = [flag("--http-max-connections", "8"), flag("--http-header-read-timeout-secs", "5")].concat();
    let api = start(&[files.server(&ours), tokens, admin_flags, bounds].concat()).await;
    let began = Instant::now();
    let mut silent = Vec::new();
    // Some say nothing, some begin a handshake and stop: many more than there is room for connections.
    for n in 0..24 {
        let mut stream = TcpStream::connect(api.tcp).await.unwrap();
        if n % 2 == 0 {
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.unwrap();
        }
        silent.push(stream);
    }
    let config = Arc::new(client(&ours, None));
    for _ in 0..5 {
        assert_eq!(secure(&api, &config, Some(ONE)).await.unwrap().0, 200);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "calls waited for handshakes: {:?}", began.elapsed());
    for stream in silent {
        closed(stream).await;
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let count = |text: &str, reason: &str| -> u32 {
        let start = format!("peat_node_api_refusals_total{{reason=\"{reason}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).map_or(0, |count| count.parse().unwrap())
    };
    wait_for("all of them to be counted", || async {
        let text = scrape(admin).await?;
        let (crowded, slow) = (count(&text, "handshake_crowded"), count(&text, "handshake_slow"));
        (crowded >= 22 && crowded + slow == 24).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_listener_beyond_loopback_is_told_by_the_log_and_a_metric() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    let (admin_flags, admin) = admin();
    // TLS alone keeps nobody out.
    let api = start(&[files.server(&ours), admin_flags].concat()).await;
    assert_eq!(secure(&api, &Arc::new(client(&ours, None)), None).await.unwrap().0, 200);
    wait_for_metric(admin, "peat_node_api_exposed 1").await;
    assert!(api.node.log().contains("beyond loopback without authentication"), "{}", api.node.log());
}

fn peat_node(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    command.env_clear().args(args).stdin(Stdio::null());
    command
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rule_all_guards_loopback_and_the_socket_too() {
    let files = Files::new();
    let (tokens, socket) = (files.write("tokens", ONE), files.path("peat.sock"));
    let listen = format!("unix://{socket}");
    let args =
        ["--data-dir", &files.path("data"), "--listen", &listen, "--api-auth", "all", "--api-token-file", &tokens];
    let log = std::fs::File::create(files.path("log")).unwrap();
    let _node = Running(peat_node(&args).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    let status =
        |more: &[&str]| peat_node(&["status", "--api", &listen, "--timeout", "5"]).args(more).output().unwrap();
    wait_for("the node to answer a token", || async {
        status(&["--api-token-file", &tokens]).status.success().then_some(())
    })
    .await;
    let refused = status(&[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("unauthenticated"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn people_reach_a_guarded_node_by_flags_and_by_variables() {
    let (files, ours, theirs) = (Files::new(), Authority::new("ours"), Authority::new("theirs"));
    let ca = files.write("ca.crt", &ours.pem());
    let tokens = files.write("tokens", &format!("# mine\n{ONE}\n"));
    let api =
        start(&[files.server(&ours), flag("--api-tls-client-ca", &ca), flag("--api-token-file", &tokens)].concat())
            .await;
    let Pair { chain, key } = ours.client(Some(Duration::from_secs(3600)));
    let (chain, key) = (files.write("me.crt", &chain), files.write("me.key", &key));
    let other = files.write("other.crt", &theirs.pem());
    let url = format!("https://localhost:{}", api.tcp.port());
    let by_ip = format!("https://{}", api.tcp);
    let run = |args: &[&str]| peat_node(&[&["doc", "put", "f", "a", "{}", "--timeout", "20"], args].concat()).output();
    let run = |args: &[&str]| run(args).unwrap();
    let ended = |output: &Output| (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned());
    for good in [
        &["--api", &url, "--api-ca", &ca, "--api-token-file", &tokens][..],
        &["--api", &url, "--api-ca", &ca, "--api-cert", &chain, "--api-key", &key],
        &["--api", &by_ip, "--api-ca", &ca, "--api-token-file", &tokens],
    ] {
        assert_eq!(ended(&run(good)), (Some(0), String::new()), "{good:?}");
    }
    for (args, code, words) in [
        (&["--api", &url, "--api-ca", &ca][..], 1, "unauthenticated"),
        (&["--api", &url, "--api-ca", &other, "--api-token-file", &tokens], 69, "certificate"),
        (&["--api", &url], 64, "--api-ca"),
        (&["--api", &url, "--api-ca", "/no/such"], 64, "--api-ca"),
        (&["--api", &url, "--api-ca", &ca, "--api-cert", &chain], 64, "--api-key"),
        (&["--api", &url, "--api-ca", &ca, "--api-cert", &chain, "--api-key", &tokens], 64, "--api-key"),
        (&["--api", &url, "--api-ca", &ca, "--api-token-file", &ca], 64, "--api-token-file"),
        (&["--api", "http://192.0.2.1:50051", "--api-token-file", &tokens], 64, "--api-token-file"),
    ] {
        let (got, text) = ended(&run(args));
        assert_eq!(got, Some(code), "{args:?}: {text}");
        assert!(text.contains(words) && text.lines().count() == 1 && !text.contains(ONE), "{args:?}: {text}");
    }
    let mut by_variables = peat_node(&["doc", "list", "f"]);
    by_variables.env("PEAT_NODE_API", &url).env("PEAT_NODE_API_CA", &ca).env("PEAT_NODE_API_TOKEN_FILE", &tokens);
    let output = by_variables.output().unwrap();
    assert_eq!(output.stdout, b"a\n", "{}", String::from_utf8_lossy(&output.stderr));
    let mut by_variables = peat_node(&["doc", "list", "f"]);
    by_variables.env("PEAT_NODE_API", &url).env("PEAT_NODE_API_CA", &ca);
    by_variables.env("PEAT_NODE_API_CERT", &chain).env("PEAT_NODE_API_KEY", &key);
    assert_eq!(by_variables.output().unwrap().stdout, b"a\n");
}

#[test]
fn files_that_cannot_be_used_keep_a_node_from_starting_with_one_line_and_code_64() {
    let (files, ours) = (Files::new(), Authority::new("ours"));
    let [Pair { chain, key }, Pair { key: other, .. }] = [ours.server(), ours.server()];
    let leaf = files.write("leaf.crt", &chain);
    let (chain, key, other) =
        (files.write("tls.crt", &chain), files.write("tls.key", &key), files.write("o.key", &other));
    let (tokens, short) = (files.write("tokens", ONE), files.write("short", "secret\n"));
    let beyond = "tcp://0.0.0.0:0";
    let tls = ["--api-tls-cert", &chain, "--api-tls-key", &key];
    let data = files.path("data");
    for (args, start) in [
        (&["--api-tls-cert", &chain][..], "--api-tls-key: "),
        (&["--api-tls-cert", "/no/such", "--api-tls-key", &key], "--api-tls-cert: read /no/such: "),
        (&["--api-tls-cert", &chain, "--api-tls-key", &other], "--api-tls-key: "),
        (&["--api-tls-cert", &key, "--api-tls-key", &key], "--api-tls-cert: "),
        (&[&tls[..], &["--api-tls-client-ca", &leaf]].concat(), "--api-tls-client-ca: "),
        (&["--api-tls-client-ca", &leaf], "--api-tls-client-ca: "),
        (&["--api-token-file", &short], "--api-token-file: "),
        (&["--api-token-file", "/no/such"], "--api-token-file: "),
        (&["--api-auth", "required", "--listen", beyond], "--api-auth: "),
        (&[&tls[..], &["--api-auth", "required", "--listen", beyond]].concat(), "--api-auth: "),
        (&["--api-auth", "required", "--listen", beyond, "--api-token-file", &tokens], "--api-auth: "),
        (&["--api-auth", "all"], "--api-auth: "),
        (&["--api-auth", "some"], "--api-auth: "),
    ] {
        let output = peat_node(args).env("PEAT_NODE_DATA_DIR", &data).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), text.lines().count()), (Some(64), 1), "{args:?}: {text}");
        assert!(text.starts_with(&format!("peat-node: {start}")) && !text.contains("secret"), "{args:?}: {text}");
    }
    assert!(!std::fs::exists(&data).unwrap());
    let args = [&tls[..], &["--api-token-file", &tokens, "--api-auth", "all", "--print-config"]].concat();
    let printed = peat_node(&args).output().unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    assert!(
        printed.status.success() && text.contains(&format!("api-token-file: {tokens} # --api-token-file")),
        "{text}"
    );
    assert!(text.contains("api-auth: all # --api-auth") && !text.contains(ONE), "{text}");
}
