//! Writes that return when peers have stored them.

use super::Api;
use super::caller::Caller;
use super::process::KEY;
use super::raw::Raw;
use serde_json::{Value, json};
use std::process::{Command, Output};

fn request(id: &str, concern: Value) -> Value {
    json!({"edits": [{"collection": "papers", "docId": id, "putJson": "{\"n\":1}"}], "concern": concern})
}

fn put(api: &Api, id: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    command.env_clear().env("PEAT_NODE_API", format!("http://{}", api.tcp));
    command.args(["doc", "put", "papers", id, "{}"]).args(args).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_peer_has_stored_survives_the_end_of_both() {
    let api = Api::start(&["--shared-key", KEY]).await;
    let mut peer = Api::start(&["--shared-key", KEY, "--peer", &api.node.address()]).await;
    for (n, (way, mut caller)) in Caller::all(&api).await.into_iter().enumerate() {
        let id = n.to_string();
        let answer = caller.ok("Write", request(&id, json!({"peers": 1}))).await;
        let result = &answer["results"][0];
        assert_eq!((&result["storedBy"], &result["concernMet"]), (&json!(1), &json!(true)), "{way}: {answer}");
        peer.node.kill();
        peer.node.start(&[]).await;
        assert_eq!(peer.node.get("papers", &id).await.as_deref(), Some("{\"n\":1}"), "{way}");
        if n == 2 {
            break;
        }
    }
    let printed = put(&api, "cli", &["--stored-by", "1", "--stored-by", &peer.node.id, "--timeout", "60"]);
    assert_eq!(String::from_utf8_lossy(&printed.stdout), "stored papers/cli\n", "{printed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concern_that_is_not_met_in_time_says_how_many_have_stored_it_and_the_write_stays() {
    let api = Api::start(&["--shared-key", KEY]).await;
    let peer = Api::start(&["--shared-key", KEY, "--peer", &api.node.address()]).await;
    let mut raw = Raw::tcp(&api).await;
    let (status, met) = raw.call("Write", &request("first", json!({"peers": 1}))).await;
    assert_eq!((status, &met["results"][0]["concernMet"]), (200, &json!(true)), "{met}");
    let absent = json!({"endpointIds": ["ab".repeat(32)], "wait": "0.3s"});
    for (id, concern, stored) in [("two", json!({"peers": 2, "wait": "1s"}), json!(1)), ("absent", absent, json!(1))] {
        let (_, answer) = raw.call("Write", &request(id, concern)).await;
        let result = &answer["results"][0];
        assert_eq!((&result["storedBy"], result.get("concernMet")), (&stored, None), "{answer}");
        assert!(result["version"].is_string(), "{answer}");
    }
    peer.node.signal("STOP");
    let (_, answer) = raw.call("Write", &request("asleep", json!({"peers": 1, "wait": "0.3s"}))).await;
    assert!(answer["results"][0].get("storedBy").is_none(), "a peer that sleeps has stored nothing: {answer}");
    let late = put(&api, "late", &["--stored-by", "1", "--timeout", "1"]);
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    assert!(String::from_utf8_lossy(&late.stderr).contains("is written, but only 0 of the peers"), "{late:?}");
    peer.node.signal("CONT");
    assert_eq!(api.node.list("papers").await, ["absent", "asleep", "first", "late", "two"]);
    let nothing = json!({"collection": "papers", "docId": "none", "delete": {}});
    let request = json!({"edits": [nothing], "concern": {"peers": 9}});
    let (_, answer) = raw.call("Write", &request).await;
    assert_eq!(answer, json!({"results": [{"concernMet": true}]}), "there is nothing to store");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concern_that_cannot_be_is_refused_before_anything_is_written() {
    let api = Api::start(&[]).await;
    let mut raw = Raw::tcp(&api).await;
    let ids = |count: u8| (0..count).map(|n| format!("{n:02x}").repeat(32)).collect::<Vec<_>>();
    for (concern, word) in [
        (json!({}), "concern"),
        (json!({"endpointIds": ["x"]}), "endpoint_id"),
        (json!({"peers": 1, "wait": "-1s"}), "concern.wait"),
        (json!({"endpointIds": ids(65)}), "concern.endpoint_ids has 65 ids, over the limit of 64"),
    ] {
        let (status, error) = raw.call("Write", &request("wrong", concern)).await;
        assert_eq!((status, &error["code"]), (400, &json!("invalid_argument")), "{error}");
        assert!(error["message"].as_str().unwrap().contains(word), "{error}");
    }
    assert!(api.node.list("papers").await.is_empty());
    let (status, answer) = raw.call("Write", &request("most", json!({"endpointIds": ids(64), "wait": "0.1s"}))).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["results"][0]["version"].is_string(), "{answer}");
    assert_eq!(put(&api, "wrong", &["--stored-by", "some"]).status.code(), Some(64));
}
