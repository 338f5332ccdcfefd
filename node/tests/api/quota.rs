//! Quotas: what a full node refuses, with which words, and what goes on.

use super::Api;
use super::caller::Caller;
use super::process::{KEY, Node, wait_for};
use super::raw::Raw;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn put(id: &str, json: &str) -> Value {
    json!({"collection": "c", "docId": id, "jsonData": json})
}

/// Puts over plain HTTP; the error's text, if it is refused for want of room.
async fn refused(raw: &mut Raw, id: &str, json: &str) -> Option<String> {
    let (status, answer) = raw.call("PutDocument", &put(id, json)).await;
    if status == 200 {
        return None;
    }
    assert_eq!((status, &answer["code"]), (429, &json!("resource_exhausted")), "{answer}");
    Some(answer["message"].as_str().unwrap().to_owned())
}

/// The value of a metric, by its name and label.
async fn metric(admin: SocketAddr, name: &str) -> Option<f64> {
    let mut stream = TcpStream::connect(admin).await.ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn admin() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_documents_beyond_the_quota_are_refused_by_every_protocol_while_edits_reads_and_deletes_go_on() {
    let admin = admin();
    let api = Api::start(&["--quota-documents", "10", "--admin-listen", &admin.to_string()]).await;
    let near = r#"peat_node_quota_near{quota="documents"}"#;
    for id in 0..7 {
        api.node.put("c", &id.to_string(), "{}").await;
    }
    assert_eq!(metric(admin, near).await, Some(0.0));
    assert!(!api.node.log().contains("a quota is nearly used up"));
    // All at once: exactly three of them have room.
    let mut many = Vec::new();
    for id in 7..27 {
        let client = api.node.client();
        many.push(tokio::spawn(async move { super::process::put(&client, "c", &id.to_string(), "{}").await.is_ok() }));
    }
    let mut made = 0;
    for one in many {
        made += u32::from(one.await.unwrap());
    }
    assert_eq!((made, api.node.list("c").await.len()), (3, 10));
    for (way, mut caller) in Caller::all(&api).await {
        let failure = caller.call("PutDocument", put("more", "{}")).await.unwrap_err();
        assert_eq!(failure.code, "resource_exhausted", "{way}");
        let text = "--quota-documents: 10 of 10 documents are stored: delete some, or raise the quota";
        assert_eq!(failure.message, text, "{way}");
    }
    let mut raw = Raw::tcp(&api).await;
    assert_eq!(refused(&mut raw, "3", r#"{"edited":true}"#).await, None);
    assert_eq!(api.node.get("c", "3").await.as_deref(), Some(r#"{"edited":true}"#));
    let policy = json!({"config": {"collection": "c", "deletionPolicy": "DELETION_POLICY_SOFT_DELETE"}});
    assert_eq!(raw.call("SetCollectionConfig", &policy).await.0, 200, "a policy may be what makes room");
    api.node.delete("c", "3").await;
    api.node.delete("c", "4").await;
    assert_eq!(refused(&mut raw, "more", "{}").await, None, "a delete makes room");
    assert_eq!(api.node.log().matches("a quota is nearly used up").count(), 1);
    wait_for("the metrics", || async {
        let used = metric(admin, r#"peat_node_quota_used{quota="documents"}"#).await;
        let limit = metric(admin, r#"peat_node_quota_limit{quota="documents"}"#).await;
        let refused = metric(admin, r#"peat_node_quota_refused_total{quota="documents"}"#).await;
        let refused = refused.is_some_and(|refused| refused > 17.0);
        (used == Some(10.0) && limit == used && metric(admin, near).await == Some(1.0) && refused).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_beyond_the_quota_are_refused_and_count_the_same_after_a_restart() {
    let admin = admin();
    let flags = ["--quota-bytes", "100000", "--admin-listen", &admin.to_string()];
    let mut api = Api::start(&flags).await;
    let mut raw = Raw::unix(&api).await;
    let json = json!({"text": "x".repeat(2_000)}).to_string();
    let mut ids = (0..).map(|id: u32| id.to_string());
    let text = loop {
        if let Some(text) = refused(&mut raw, &ids.next().unwrap(), &json).await {
            break text;
        }
    };
    let stored = api.node.list("c").await.len();
    assert!((10..50).contains(&stored), "{stored} documents of 2,000 bytes and their histories");
    assert!(text.starts_with("--quota-bytes: 10") && text.contains(" of 100000 bytes are used: delete"), "{text}");
    let used = r#"peat_node_quota_used{quota="bytes"}"#;
    for edits in 0..60 {
        // Histories count, and give back what they drop when they are begun anew.
        let edit = json!({"text": "x".repeat(2_000), "n": edits}).to_string();
        if edits == 0 {
            assert!(refused(&mut raw, "0", &edit).await.is_some(), "a larger document as well");
            for id in 1..stored - 2 {
                api.node.delete("c", &id.to_string()).await;
            }
        }
        assert_eq!(refused(&mut raw, "0", &edit).await, None, "edit {edits}");
    }
    api.node.put("c", "1", "{}").await;
    let before = metric(admin, used).await.unwrap();
    assert!(before < 100_000.0 && before > 4_000.0, "{before}");
    api.node.kill();
    api.node.start(&[]).await;
    wait_for("the same count", || async { (metric(admin, used).await == Some(before)).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_beyond_the_rate_are_refused_and_a_second_later_taken() {
    let api = Api::start(&["--quota-put-rate", "20"]).await;
    let mut raw = Raw::tcp(&api).await;
    let edits: Vec<Value> =
        (0..100).map(|id| json!({"collection": "c", "docId": id.to_string(), "putJson": "{}"})).collect();
    let (_, answer) = raw.call("Write", &json!({"edits": edits})).await;
    let errors: Vec<&Value> = answer["results"].as_array().unwrap().iter().filter_map(|one| one.get("error")).collect();
    assert!((60..=80).contains(&errors.len()), "{}", errors.len());
    let text = "--quota-put-rate: more than 20 puts a second: try again in a second, or raise the quota";
    assert!(errors.iter().all(|error| error["message"] == text), "{errors:?}");
    for id in 0..100 {
        api.node.delete("c", &id.to_string()).await;
    }
    wait_for("a put", || async {
        let mut raw = Raw::tcp(&api).await;
        refused(&mut raw, "again", "{}").await.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_a_peer_is_taken_whatever_the_quota() {
    let flags = ["--shared-key", KEY, "--quota-documents", "2", "--quota-bytes", "600"];
    let full = Api::start(&flags).await;
    let mut peer = Node::prepare(&["--shared-key", KEY]);
    peer.start(&["--peer", &full.node.address()]).await;
    for id in 0..20 {
        peer.put("c", &id.to_string(), r#"{"from":"the peer"}"#).await;
    }
    wait_for("every document of the peer", || async { (full.node.list("c").await.len() == 20).then_some(()) }).await;
    let mut raw = Raw::tcp(&full).await;
    assert!(refused(&mut raw, "own", "{}").await.is_some());
    full.node.delete("c", "7").await;
    wait_for("the delete at the peer", || async { (peer.list("c").await.len() == 19).then_some(()) }).await;
}

#[test]
fn a_quota_that_is_no_number_is_refused_in_one_line() {
    for (flag, wrong) in [("--quota-bytes", "5GB"), ("--quota-documents", "0"), ("--quota-put-rate", "1.5")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
        let output = command.env_clear().args([flag, wrong]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(64));
        let line = format!("peat-node: {flag}: `{wrong}` is not a number from 1 on (no limit: leave it out)\n");
        assert_eq!(String::from_utf8_lossy(&output.stderr), line);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    command.env_clear().env("PEAT_NODE_QUOTA_PUT_RATE", "7").arg("--print-config");
    let shown = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert!(
        shown.contains("quota-put-rate: 7 # PEAT_NODE_QUOTA_PUT_RATE\n")
            && shown.contains("# quota-bytes: no limit (default)\n"),
        "{shown}"
    );
}
