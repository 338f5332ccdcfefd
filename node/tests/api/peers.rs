//! Two and more nodes, driven by their APIs alone.

use super::Api;
use super::caller::Caller;
use super::list::fill;
use super::process::{KEY, Node, never_for, wait_every, wait_for};
use super::raw::Raw;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use serde_json::{Value, json};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

pub(super) const SHARED: [&str; 2] = ["--shared-key", KEY];

/// How long nothing may cross before a test believes that nothing will.
const QUIET: Duration = Duration::from_secs(10);

pub(super) async fn pair() -> (Api, Api) {
    tokio::join!(Api::start(&SHARED), Api::start(&SHARED))
}

/// `ConnectPeer` on `from`, by what `to` says of itself.
pub(super) async fn connect(from: &Api, to: &Api) {
    let endpoint = Raw::tcp(to).await.call("GetStatus", &json!({})).await.1["endpointAddr"].clone();
    let request = json!({"endpointId": endpoint, "addresses": [format!("127.0.0.1:{}", to.node.port)]});
    let (status, answer) = Raw::tcp(from).await.call("ConnectPeer", &request).await;
    assert_eq!(status, 200, "{answer}");
}

async fn listed(api: &Api) -> Value {
    Raw::tcp(api).await.call("ListPeers", &json!({})).await.1
}

pub(super) async fn has(node: &Node, collection: &str, ids: &[&str]) {
    wait_for(&format!("{ids:?} in {collection}"), || async { (node.list(collection).await == ids).then_some(()) })
        .await;
}

fn signal(name: &str, node: &Node) {
    let sent = std::process::Command::new("kill").args([name, &node.pid().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_on_one_side_is_enough_for_both_and_a_peer_sent_away_is_gone_at_once_over_every_protocol() {
    let (a, b) = pair().await;
    let callers = std::iter::zip(Caller::all(&a).await, Caller::all(&b).await);
    for (n, ((way, mut on_a), (_, mut on_b))) in callers.enumerate() {
        let endpoint = on_b.ok("GetStatus", json!({})).await["endpointAddr"].clone();
        let to_b = json!({"endpointId": endpoint, "addresses": [format!("127.0.0.1:{}", b.node.port)]});
        // From the second time on it is asked back.
        assert_eq!(on_a.ok("ConnectPeer", to_b).await, json!({}), "{way}");
        for (from, caller, to) in [("a", &mut on_a, &b.node), ("b", &mut on_b, &a.node)] {
            let id = format!("{n}-from-{from}");
            caller.ok("PutDocument", json!({"collection": "ferries", "docId": id, "jsonData": "{}"})).await;
            wait_for(&format!("{id}, {way}"), || async { to.get("ferries", &id).await }).await;
        }
        for (caller, other) in [(&mut on_a, &b.node), (&mut on_b, &a.node)] {
            let stats = caller.ok("GetSyncStats", json!({})).await;
            let bytes = |name: &str| stats[name].as_str().unwrap().parse::<u64>().unwrap();
            assert!(bytes("bytesSent") > 0 && bytes("bytesReceived") > 0, "{way}: {stats}");
            assert_eq!(stats["connectedPeers"], 1, "{way}");
            let peers = caller.ok("ListPeers", json!({})).await;
            assert_eq!(peers["peers"][0]["endpointId"], json!(other.id), "{way}: {peers}");
        }
        assert_eq!(on_a.ok("DisconnectPeer", json!({"endpointId": b.node.id})).await, json!({}), "{way}");
        assert_eq!(on_a.ok("ListPeers", json!({})).await, json!({}), "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_peer_is_listed_on_both_sides_with_the_socket_of_the_connection() {
    let (a, b) = pair().await;
    let named = json!({"endpointId": b.node.id, "addresses": [format!("localhost:{}", b.node.port)]});
    assert_eq!(Raw::tcp(&a).await.call("ConnectPeer", &named).await.0, 200);
    wait_for("the other side", || async { listed(&b).await["peers"].is_array().then_some(()) }).await;
    let given = format!("localhost:{}", b.node.port);
    for (side, other, told) in [(&a, &b, vec![given]), (&b, &a, vec![])] {
        let peers = listed(side).await;
        assert_eq!(peers["peers"].as_array().unwrap().len(), 1, "{peers}");
        let peer = &peers["peers"][0];
        assert_eq!((&peer["endpointId"], &peer["connected"]), (&json!(other.node.id), &json!(true)));
        let addresses: Vec<&str> = peer["addresses"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
        let (live, rest) = addresses.split_first().unwrap();
        let live: std::net::SocketAddr = live.parse().unwrap();
        assert!(live.ip().is_loopback() && live.port() == other.node.port, "{peers}");
        assert_eq!(rest, told, "behind it what was given");
    }
}

/// What `api` tells of its only peer.
async fn detail(api: &Api) -> Value {
    Raw::tcp(api).await.call("Peers", &json!({})).await.1["peers"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_told_in_detail_on_both_sides_over_every_transport() {
    let (a, b) = pair().await;
    connect(&a, &b).await;
    a.node.put("c", "d", "{}").await;
    has(&b.node, "c", &["d"]).await;
    let (both, sources) = (json!("PEER_STATE_CONNECTED"), json!(["PEER_SOURCE_API"]));
    for (side, other, direction, sources) in [(&a, &b, "DIRECTION_OUT", sources), (&b, &a, "DIRECTION_IN", Value::Null)]
    {
        for (way, mut caller) in Caller::all(side).await {
            let peers = caller.ok("Peers", json!({})).await;
            assert_eq!(peers["peers"].as_array().unwrap().len(), 1, "{way}: {peers}");
            let peer = &peers["peers"][0];
            assert_eq!((&peer["endpointId"], &peer["state"]), (&json!(other.node.id), &both), "{way}");
            assert_eq!((&peer["sources"], peer.get("lastFailure")), (&sources, None), "{way}: {peer}");
            let connection = &peer["connection"];
            assert_eq!(connection["remoteAddress"], format!("127.0.0.1:{}", other.node.port), "{way}");
            assert_eq!(
                (&connection["direction"], &connection["protocolVersion"]),
                (&json!(direction), &json!(peat_node::transport::VERSIONS.1))
            );
            assert_eq!(connection.get("certificate"), None, "{way}: a mesh of a shared key has none");
            let bytes = |name: &str| connection[name].as_str().unwrap().parse::<u64>().unwrap();
            assert!(bytes("bytesSent") > 0 && bytes("bytesReceived") > 0, "{way}: {peer}");
            let round_trip: f64 = connection["roundTrip"].as_str().unwrap().trim_end_matches('s').parse().unwrap();
            assert!(round_trip > 0.0 && round_trip < 10.0, "{way}: {peer}");
            assert!(connection["connectedSince"].as_str().unwrap().ends_with('Z'), "{way}: {peer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_down_is_told_with_the_reason_and_the_next_dial_and_one_that_is_kept_away_as_such() {
    let a = Api::start(&[&SHARED[..], &["--peer"], &[&format!("{}@127.0.0.1:1", "cd".repeat(32))]].concat()).await;
    let down = wait_for("a dial that failed", || async {
        let peer = detail(&a).await;
        (peer["state"] == "PEER_STATE_WAITING" && peer["lastFailure"].is_string()).then_some(peer)
    })
    .await;
    assert_eq!(down["endpointId"], "cd".repeat(32));
    assert_eq!((&down["sources"], &down["addresses"]), (&json!(["PEER_SOURCE_FLAG"]), &json!(["127.0.0.1:1"])));
    assert!(down["failures"].as_u64().unwrap() >= 1 && down["nextDial"].as_str().unwrap().ends_with('Z'), "{down}");
    assert_eq!(down.get("connection"), None);
    assert_eq!(listed(&a).await, json!({}), "only live peers are listed there");
    let id = json!({"endpointId": "cd".repeat(32)});
    assert_eq!(Raw::tcp(&a).await.call("DisconnectPeer", &id).await.0, 200);
    let banned = detail(&a).await;
    assert_eq!((&banned["state"], banned.get("nextDial")), (&json!("PEER_STATE_BANNED"), None), "{banned}");
}

/// How long a peer that was sent away is watched: as long as the contract says, since other tests run beside this one.
const AWAY: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_disconnected_peer_is_gone_at_once_stays_away_while_it_dials_and_both_write_and_comes_when_asked() {
    let a = Api::start(&SHARED).await;
    // It wishes the other one by itself, and so tries to come back all the time.
    let b = Api::start(&[&SHARED[..], &["--peer", &a.node.address()]].concat()).await;
    connect(&a, &b).await;
    let mut raw = Raw::tcp(&a).await;
    let id = json!({"endpointId": b.node.id});
    assert_eq!(raw.call("DisconnectPeer", &id).await, (200, json!({})));
    assert_eq!(listed(&a).await, json!({}));
    let written = std::sync::atomic::AtomicUsize::new(0);
    never_for(AWAY, "the peer came back", async || {
        let n = written.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        a.node.put("apart", &format!("{n}"), "{}").await;
        b.node.put("apart-too", &format!("{n}"), "{}").await;
        a.node.peers().await > 0 || !b.node.list("apart").await.is_empty()
    })
    .await;
    // The end of the connection itself may count as one.
    assert!(detail(&b).await["failures"].as_u64().unwrap() > 1, "it tried");
    // A relay is no way here, and none is needed: the address is still known.
    let again = json!({"endpointId": b.node.id, "relayUrl": "https://relay.example"});
    assert_eq!(raw.call("ConnectPeer", &again).await, (200, json!({})));
    let count = written.into_inner();
    for (node, collection) in [(&b.node, "apart"), (&a.node, "apart-too")] {
        wait_for("what was written apart", || async { (node.list(collection).await.len() == count).then_some(()) })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_stop_sync_nothing_crosses_until_start_sync() {
    let (a, b) = pair().await;
    connect(&a, &b).await;
    a.node.put("c", "before", "{}").await;
    has(&b.node, "c", &["before"]).await;
    assert_eq!(Raw::tcp(&a).await.call("StopSync", &json!({})).await.0, 200);
    a.node.put("c", "out", "{}").await;
    b.node.put("c", "in", "{}").await;
    let crossed = async || a.node.list("c").await.len() > 2 || b.node.list("c").await.len() > 2;
    never_for(QUIET, "a document crossed", crossed).await;
    assert_eq!(Raw::tcp(&a).await.call("StartSync", &json!({})).await.0, 200);
    for node in [&a.node, &b.node] {
        has(node, "c", &["before", "in", "out"]).await;
    }
}

/// Waits for so many documents of `many`, with a pause between two looks at so long a list.
async fn has_many(node: &Node, count: usize) {
    let all = || async { (node.list("many").await.len() == count).then_some(()) };
    wait_every(Duration::from_millis(200), &format!("{count} documents"), all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn start_sync_returns_at_once_however_much_there_is_and_whoever_stalls() {
    const MANY: usize = 10_000;
    let ((a, b), (c, stalled)) = tokio::join!(pair(), pair());
    Raw::tcp(&a).await.call("StopSync", &json!({})).await;
    fill(&mut Raw::tcp(&a).await, "many", 0..MANY).await;
    for peer in [&b, &c, &stalled] {
        connect(&a, peer).await;
    }
    signal("-STOP", &stalled.node);
    let began = Instant::now();
    assert_eq!(Raw::tcp(&a).await.call("StartSync", &json!({})).await.0, 200);
    let took = began.elapsed();
    tokio::join!(has_many(&b.node, MANY), has_many(&c.node, MANY));
    signal("-CONT", &stalled.node);
    assert!(took < Duration::from_secs(2), "{took:?}");
    has_many(&stalled.node, MANY).await;
}

/// What hardly shrinks on its way, half a MiB of it, the same for the same number.
fn noise(number: usize) -> String {
    let mut bytes = vec![0_u8; 384 * 1024];
    StdRng::seed_from_u64(number as u64).fill_bytes(&mut bytes);
    STANDARD.encode(bytes)
}

/// How many documents wait to be sent to the only peer of `api`; none while it is not connected.
async fn backlog(api: &Api) -> Option<u64> {
    let peer = detail(api).await;
    let waiting = peer["backlog"].as_str().map_or(0, |count| count.parse().unwrap());
    (peer["state"] == "PEER_STATE_CONNECTED").then_some(waiting)
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_wait_for_a_peer_that_does_not_read_and_none_does_once_it_has_them() {
    let (a, b) = pair().await;
    connect(&a, &b).await;
    let written = std::sync::atomic::AtomicUsize::new(0);
    b.node.signal("STOP");
    wait_for("documents that wait", || async {
        let n = written.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // What is in flight to one peer is some MiB at most; and who does not answer is a peer for some seconds only.
        assert!(n < 64, "none of {n} documents waits");
        a.node.put("tracks", &n.to_string(), &format!("{{\"noise\":\"{}\"}}", noise(n))).await;
        backlog(&a).await.filter(|waiting| *waiting > 0)
    })
    .await;
    b.node.signal("CONT");
    wait_for("no document to wait", || async { backlog(&a).await.filter(|waiting| *waiting == 0) }).await;
    let count = written.into_inner();
    wait_for("all of them", || async { (b.node.list("tracks").await.len() == count).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_while_every_peer_at_boot_is_a_black_hole() {
    let holes = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    // Ids of real keys: the endpoints of nodes that are not running.
    let absent = [(); 3].map(|()| Node::prepare(&[]));
    let peers: Vec<String> = std::iter::zip(&absent, &holes)
        .map(|(node, hole)| format!("{}@{}", node.id, hole.local_addr().unwrap()))
        .collect();
    let began = Instant::now();
    let api = Api::start(&["--shared-key", KEY, "--peer", &peers.join(",")]).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    api.node.put("c", "d", "{}").await;
    assert_eq!(listed(&api).await, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_key_peers_only_when_both_sides_ask_for_it() {
    let open = ["--allow-empty-key"];
    let (a, (b, closed)) = tokio::join!(Api::start(&open), async { tokio::join!(Api::start(&open), Api::start(&[])) });
    let refused = closed.node.connect(&a.node).await.unwrap_err();
    assert!(a.node.connect(&closed.node).await.is_err(), "{refused}");
    assert_eq!((a.node.peers().await, closed.node.peers().await), (0, 0));
    connect(&a, &b).await;
    a.node.put("c", "d", "{}").await;
    has(&b.node, "c", &["d"]).await;
    assert!(closed.node.list("c").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_endpoint_id_the_name_and_the_documents() {
    let mut node = Node::prepare(&["--listen", "tcp://127.0.0.1:0"]);
    node.start(&[]).await;
    node.put("c", "d", r#"{"n":1}"#).await;
    let told = async |node: &Node| {
        let status = node.client().get_status(Default::default()).await.unwrap().into_owned();
        (status.node_id, status.endpoint_addr)
    };
    let before = told(&node).await;
    node.kill();
    node.start(&[]).await;
    assert_eq!(told(&node).await, before);
    assert_eq!(before.1, node.id);
    assert_eq!(node.get("c", "d").await.as_deref(), Some(r#"{"n":1}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_comes_back_by_itself() {
    let (a, mut b) = pair().await;
    connect(&a, &b).await;
    b.node.kill();
    a.node.put("c", "while-away", "{}").await;
    b.node.start(&[]).await;
    has(&b.node, "c", &["while-away"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_name_so_many_peers_and_a_further_one_is_refused() {
    let (a, b) = pair().await;
    connect(&a, &b).await;
    let mut raw = Raw::tcp(&a).await;
    let id = |n: usize| json!({"endpointId": format!("{n:064x}"), "addresses": ["127.0.0.1:1"]});
    // One is named already.
    for n in 1..1_024 {
        assert_eq!(raw.call("DisconnectPeer", &id(n)).await, (200, json!({})), "{n}");
    }
    for method in ["DisconnectPeer", "ConnectPeer"] {
        let (status, error) = raw.call(method, &id(1_024)).await;
        assert_eq!((status, &error["code"]), (429, &json!("resource_exhausted")), "{method}: {error}");
        assert!(error["message"].as_str().unwrap().contains("1024 peers"), "{method}: {error}");
    }
    assert_eq!(raw.call("DisconnectPeer", &id(7)).await.0, 200, "one that was named before");
    assert_eq!(raw.call("DisconnectPeer", &json!({"endpointId": b.node.id})).await.0, 200);
    assert_eq!(listed(&a).await, json!({}));
}
