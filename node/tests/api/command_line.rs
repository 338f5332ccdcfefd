//! `peat-node` as a client: what people and scripts see.

use super::Api;
use super::process::{KEY, wait_for};
use super::raw::Raw;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};

fn peat_node(api: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    command.env_clear().env("PEAT_NODE_API", api).args(args);
    command
}

fn run(api: &str, args: &[&str]) -> Output {
    peat_node(api, args).stdin(Stdio::null()).output().unwrap()
}

/// Standard output of a run that must succeed.
fn ok(api: &str, args: &[&str]) -> String {
    let output = run(api, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_put_read_listed_and_deleted_over_tcp_and_unix() {
    let server = Api::start(&[]).await;
    let file = server.node.dir().join("doc.json");
    std::fs::write(&file, r#"{"from":"file"}"#).unwrap();
    for api in [format!("http://{}", server.tcp), format!("unix://{}", server.socket().display())] {
        assert_eq!(ok(&api, &["doc", "put", "f", "b", r#"{ "n": 1 }"#]), "stored f/b\n");
        assert_eq!(ok(&api, &["doc", "put", "f", "a", &format!("@{}", file.display())]), "stored f/a\n");
        let mut command = peat_node(&api, &["doc", "put", "f", "c", "-", "-o", "json"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"{\"from\":\"stdin\"}").unwrap();
        let stored = child.wait_with_output().unwrap();
        assert_eq!(stored.stdout, b"{\"collection\":\"f\",\"docId\":\"c\"}\n");
        assert_eq!(ok(&api, &["doc", "get", "f", "b"]), "{\"n\":1}\n");
        assert_eq!(ok(&api, &["doc", "get", "f", "c"]), "{\"from\":\"stdin\"}\n");
        assert_eq!(ok(&api, &["doc", "list", "f"]), "a\nb\nc\n");
        assert_eq!(ok(&api, &["doc", "list", "f", "-o", "json"]), "\"a\"\n\"b\"\n\"c\"\n");
        for id in ["a", "b", "c"] {
            assert_eq!(ok(&api, &["doc", "delete", "f", id]), format!("deleted f/{id}\n"));
        }
        let missing = run(&api, &["doc", "get", "f", "a"]);
        assert_eq!(missing.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&missing.stderr), "peat-node: no document f/a\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_of_several_pages_is_listed_whole_and_counted() {
    let server = Api::start(&[]).await;
    let api = format!("http://{}", server.tcp);
    let mut raw = Raw::tcp(&server).await;
    for chunk in 0..3 {
        let ids = (chunk * 700)..(chunk * 700 + 700);
        let edits: Vec<Value> =
            ids.map(|id| json!({"collection": "f", "docId": format!("{id:04}"), "putJson": "{}"})).collect();
        assert_eq!(raw.call("Write", &json!({"edits": edits})).await.0, 200);
    }
    let expected: String = (0..2100).map(|id| format!("{id:04}\n")).collect();
    assert_eq!(ok(&api, &["doc", "list", "f"]), expected);
    let digest: Value = serde_json::from_str(&ok(&api, &["doc", "digest", "f", "-o", "json"])).unwrap();
    assert_eq!((&digest["documents"], &digest["jsonBytes"]), (&json!(2100), &json!(4200)));
    assert_eq!(digest["digest"].as_str().unwrap().len(), 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_peers_are_told_to_people_and_scripts() {
    let server = Api::start(&[]).await;
    let api = format!("http://{}", server.tcp);
    let text = ok(&api, &["status"]);
    assert!(text.contains("aurora") && text.contains(&server.node.id) && text.contains("syncing"), "{text}");
    let status: Value = serde_json::from_str(&ok(&api, &["status", "--output", "json"])).unwrap();
    assert_eq!((&status["endpoint"], &status["peers"]), (&json!(server.node.id), &json!(0)));
    assert_eq!(ok(&api, &["peers"]), "");
    assert!(!text.contains("ADDRESS"), "no table without peers: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_has_a_row_for_each_peer_with_its_address_or_its_failure() {
    let live = Api::start(&["--shared-key", KEY]).await;
    let dead = format!("{}@127.0.0.1:1", "cd".repeat(32));
    let peers = ["--shared-key", KEY, "--peer", &live.node.address(), "--peer", &dead];
    let server = Api::start(&peers).await;
    let api = format!("unix://{}", server.socket().display());
    let text = wait_for("both peers", || async {
        let text = ok(&api, &["status"]);
        (text.contains("connected out") && text.contains("next dial")).then_some(text)
    })
    .await;
    let row = |id: &str| text.lines().find(|line| line.starts_with(&id[..10])).unwrap().to_owned();
    let live_row = row(&live.node.id);
    assert!(live_row.contains(&format!("127.0.0.1:{}", live.node.port)) && live_row.contains(" ms "), "{text}");
    assert!(row(&"cd".repeat(32)).contains("waiting"), "{text}");
    let status: Value = serde_json::from_str(&ok(&api, &["status", "--output", "json"])).unwrap();
    assert_eq!((&status["peers"], status["peerDetails"].as_array().unwrap().len()), (&json!(1), 2));
    let listed: Value = serde_json::from_str(&ok(&api, &["peers", "--output", "json"])).unwrap();
    assert_eq!(listed["addresses"], json!([format!("127.0.0.1:{}", live.node.port)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_prints_each_line_as_it_comes_and_says_by_its_code_that_the_node_was_killed() {
    let mut server = Api::start(&[]).await;
    let api = format!("unix://{}", server.socket().display());
    server.node.put("f", "stored", r#"{"kind":"ferry"}"#).await;
    server.node.put("f", "other", r#"{"kind":"tug"}"#).await;
    let args = ["doc", "watch", "--collection", "f", "--query-eq", "kind=ferry", "-o", "json"];
    let mut child = peat_node(&api, &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let stored = json!({"change": "upsert", "collection": "f", "docId": "stored", "document": {"kind": "ferry"}});
    assert_eq!(next(), stored);
    server.node.put("f", "new", r#"{"kind":"ferry","n":1}"#).await;
    assert_eq!(next()["document"], json!({"kind": "ferry", "n": 1}));
    server.node.delete("f", "new").await;
    assert_eq!(next(), json!({"change": "delete", "collection": "f", "docId": "new", "document": null}));
    server.node.kill();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(69), "the node is gone, which is no fault of the call: {ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).starts_with("peat-node: unavailable: "), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_usage_from_refusal_from_absence() {
    let server = Api::start(&[]).await;
    let api = format!("http://{}", server.tcp);
    let nobody = server.node.dir().join("nobody.sock");
    let code = |api: &str, args: &[&str]| run(api, args).status.code();
    assert_eq!(code(&api, &["doc", "put", "f", "a", "{"]), Some(1), "the node refuses");
    assert_eq!(code(&api, &["doc", "put", "a:b", "a", "{}"]), Some(1));
    assert_eq!(code(&api, &["doc", "put", "f", "a", "@/no/such/file"]), Some(1));
    assert_eq!(code(&api, &["doc", "watch", "--query-eq", "nothing"]), Some(64));
    assert_eq!(code(&api, &["doc", "frobnicate"]), Some(64));
    assert_eq!(code("ftp://x", &["status"]), Some(64));
    assert_eq!(code(&format!("unix://{}", nobody.display()), &["status", "--timeout", "2"]), Some(69));
    assert_eq!(code(&format!("unix://{}", nobody.display()), &["doc", "watch", "--timeout", "2"]), Some(69));
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(code(&format!("http://{gone}"), &["doc", "get", "f", "a"]), Some(69));
}

#[test]
fn a_key_is_made_once_and_its_id_stays() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let id = ok("", &["keygen", "--data-dir", dir]);
    assert_eq!(id.trim().len(), 64);
    assert_eq!(ok("", &["id", "--data-dir", dir]), id);
    assert_eq!(ok("", &["id", "--data-dir", "/nowhere", "--key-dir", dir]), id);
    let again = run("", &["keygen", "--data-dir", dir]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("already"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_derived_id_is_told_without_a_node_and_is_that_of_the_node() {
    let stars = "KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=";
    let derive = |key: &str| run("", &["derive-id", "--shared-key", key, "--node-id", "node-a"]);
    let derived = derive(stars);
    assert!(derived.status.success() && derived.stderr.is_empty(), "{derived:?}");
    let text = String::from_utf8(derived.stdout).unwrap();
    assert_eq!(text, "4229afe8d9c12d0acfd98cb56d4e2edd0e844442651a70a6995c2ed7ef100684\n");
    for wrong in ["", "not base64", "c2hvcnQ="] {
        let refused = derive(wrong);
        assert_eq!((refused.status.code(), refused.stdout.len()), (Some(64), 0));
        assert_eq!(refused.stderr, b"peat-node: --shared-key: is not 32 bytes in base64\n");
    }
    let node = Api::start(&["--identity", "derived", "--shared-key", stars]).await;
    let of_the_node = ok("", &["derive-id", "--shared-key", stars, "--node-id", "aurora"]);
    let status = ok(&format!("http://{}", node.tcp), &["status", "-o", "json"]);
    assert!(status.contains(of_the_node.trim()) && !status.contains(&node.node.id), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_enough_ends_a_watch_without_a_complaint() {
    let server = Api::start(&[]).await;
    let api = format!("http://{}", server.tcp);
    let mut child = peat_node(&api, &["doc", "watch"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut n = 0;
    let child = std::sync::Mutex::new(child);
    let status = loop {
        n += 1;
        server.node.put("f", "a", &format!("{{\"n\":{n}}}")).await;
        let ended =
            wait_for("the client to be asked", || async { Some(child.lock().unwrap().try_wait().unwrap()) }).await;
        if let Some(status) = ended {
            break status;
        }
        assert!(n < 100_000, "the watch goes on without a reader");
    };
    assert!(status.success(), "{status:?}");
}
