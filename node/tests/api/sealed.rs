//! `--encryption-key`: open to whoever has the key, ciphertext to everybody else.

use super::Api;
use super::access::{admin, wait_for_metric};
use super::caller::Caller;
use super::process::{KEY, wait_for};
use super::raw::{Raw, frames_of};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// 32 bytes of `*`.
pub(super) const STARS: &str = "KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=";

const SECRET: &str = r#"{"classified":"top-secret","n":1}"#;

async fn under_key(key: &str, args: &[&str]) -> Api {
    Api::start(&[&["--encryption-key", key, "--shared-key", KEY], args].concat()).await
}

/// Makes one edit of `papers/<id>`; its result.
async fn write(raw: &mut Raw, id: &str, members: Value) -> Value {
    let mut edit = json!({"collection": "papers", "docId": id});
    edit.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let (status, answer) = raw.call("Write", &json!({"edits": [edit]})).await;
    assert_eq!(status, 200, "{answer}");
    answer["results"][0].clone()
}

async fn version(raw: &mut Raw, id: &str) -> Value {
    let documents = json!({"documents": [{"collection": "papers", "docId": id}]});
    raw.call("Read", &documents).await.1["results"][0]["version"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_under_a_key_is_read_typed_listed_and_watched_as_it_was_put() {
    let api = under_key(STARS, &[]).await;
    let envelope = r#"{"value":"ENC:v1:AAECAwQFBgcICQoLfvzysdBfgWL7byF38+d5T13t4xnFKpCMZ7td7L8VGucgMnH9kKrjJxUkYw=="}"#;
    for (n, (way, mut caller)) in Caller::all(&api).await.into_iter().enumerate() {
        let collection = format!("papers-{n}");
        let of = |json: &Value| json!({"collection": collection, "docId": "doc-1", "jsonData": json});
        for text in [r#"{"hello":"world"}"#, envelope, r#"{"a":{"value":"x"},"value":"y"}"#, SECRET] {
            caller.ok("PutDocument", of(&json!(text))).await;
            assert_eq!(caller.ok("GetDocument", of(&json!(""))).await, json!({"jsonData": text}), "{way}");
        }
        assert_eq!(caller.ok("ListDocuments", of(&json!(""))).await, json!({"docIds": ["doc-1"]}), "{way}");
        let node = json!({"id": way, "nodeType": "ferry", "status": "NODE_STATUS_READY"});
        caller.ok("PutNode", json!({"node": node})).await;
        let nodes = caller.ok("GetNodes", json!({})).await;
        assert!(nodes["nodes"].as_array().unwrap().contains(&node), "{way}: {nodes}");
        let listed = caller.ok("List", json!({"collection": collection, "includeDocuments": true})).await;
        assert_eq!(listed["documents"][0]["jsonData"], SECRET, "{way}");
        let policy = json!({"config": {"collection": collection, "deletionPolicy": "DELETION_POLICY_TOMBSTONE"}});
        caller.ok("SetCollectionConfig", policy.clone()).await;
        assert_eq!(caller.ok("GetCollectionConfig", of(&json!(""))).await, policy, "{way}");
        let query = |n: &str| json!({"collections": [collection], "query": {"eq": {"field": "n", "value": n}}});
        let mut watched = Raw::tcp(&api).await.subscribe(&query("1")).await;
        assert_eq!(watched.next().await.unwrap().1["jsonData"], SECRET, "{way}");
        caller.ok("DeleteDocument", of(&json!(""))).await;
        assert_eq!(watched.next().await.unwrap().1["changeType"], "CHANGE_TYPE_DELETE", "{way}");
        assert_eq!(caller.ok("GetDocument", of(&json!(""))).await, json!({}), "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_put_under_a_key_changes_nothing_and_patches_and_conditions_hold() {
    let api = under_key(STARS, &[]).await;
    let mut raw = Raw::tcp(&api).await;
    let first = write(&mut raw, "a", json!({"putJson": SECRET})).await["version"].clone();
    assert_eq!(write(&mut raw, "a", json!({"putJson": SECRET})).await["version"], first, "equal text is no change");
    let same = json!({"mergeJson": r#"{"n":1}"#});
    assert_eq!(write(&mut raw, "a", same).await["version"], first, "nor is a patch that changes nothing");
    let patched = write(&mut raw, "a", json!({"mergeJson": r#"{"n":null,"m":2}"#, "ifVersion": first})).await;
    assert_eq!(api.node.get("papers", "a").await.as_deref(), Some(r#"{"classified":"top-secret","m":2}"#));
    assert_eq!(version(&mut raw, "a").await, patched["version"]);
    for stale in [json!({"mergeJson": "{}", "ifVersion": first}), json!({"putJson": "{}", "ifAbsent": {}})] {
        let refused = write(&mut raw, "a", stale).await;
        assert_eq!(refused["error"]["code"], "ABORTED", "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains("its version is "), "{refused}");
    }
    // Patches of several callers at once: none undoes another.
    let patches = (0..8).map(|n| {
        let api = &api;
        async move {
            let mut raw = Raw::tcp(api).await;
            write(&mut raw, "b", json!({"mergeJson": format!("{{\"f{n}\":{n}}}")})).await
        }
    });
    let results = futures::future::join_all(patches).await;
    assert!(results.iter().all(|result| result.get("error").is_none()), "{results:?}");
    let merged: Value = serde_json::from_str(&api.node.get("papers", "b").await.unwrap()).unwrap();
    assert_eq!(merged.as_object().unwrap().len(), 8, "{merged}");
}

/// Whether any file below `folder` has these bytes.
fn has(folder: &Path, text: &str) -> bool {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let in_file = |path: &Path| std::fs::read(path).unwrap().windows(text.len()).any(|bytes| bytes == text.as_bytes());
    // Not the socket.
    entries.into_iter().any(|path| if path.is_dir() { has(&path, text) } else { path.is_file() && in_file(&path) })
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_without_the_key_see_ciphertext_and_no_plaintext_is_stored_sent_or_printed() {
    let mut keeper = under_key(STARS, &[]).await;
    let clear = Api::start(&["--shared-key", KEY, "--peer", &keeper.node.address()]).await;
    let other = under_key(KEY, &["--peer", &keeper.node.address()]).await;
    keeper.node.put("papers", "a", SECRET).await;
    clear.node.put("papers", "visible", r#"{"text":"in-the-clear"}"#).await;
    for node in [&clear.node, &other.node] {
        let sealed = wait_for("the ciphertext", || node.get("papers", "a")).await;
        assert!(sealed.starts_with("ENC:v1:") && !sealed.contains('{'), "{sealed}");
    }
    assert_eq!(wait_for("it", || keeper.node.get("papers", "visible")).await, r#"{"text":"in-the-clear"}"#);
    let mut raw = Raw::tcp(&clear).await;
    let refused = write(&mut raw, "a", json!({"mergeJson": "{}"})).await;
    assert_eq!(refused["error"]["code"], "FAILED_PRECONDITION", "{refused}");
    let refused = write(&mut Raw::tcp(&other).await, "a", json!({"mergeJson": "{}"})).await;
    assert_eq!(refused["error"]["code"], "FAILED_PRECONDITION", "{refused}");
    // What an application writes is never taken for ciphertext, however it looks.
    let alike = r#"{"value":"ENC:v1:AAAA"}"#;
    clear.node.put("papers", "alike", alike).await;
    assert_eq!(clear.node.get("papers", "alike").await.as_deref(), Some(alike));
    let mut events = frames_of(&mut raw, "/peat.sidecar.v1.PeatSidecar/Subscribe", &json!({})).await;
    let first = events.next().await.unwrap().1;
    assert!(first["jsonData"].as_str().unwrap().starts_with("ENC:v1:"), "{first}");
    let mut export = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    let export = export.env_clear().args(["export", "--api", &format!("http://{}", clear.tcp)]).output().unwrap();
    assert!(String::from_utf8_lossy(&export.stdout).contains(r#""docId":"a","document":"ENC:v1:"#), "{export:?}");
    for node in [&keeper.node, &clear.node, &other.node] {
        assert!(has(node.dir(), "in-the-clear"), "the search finds what is there");
        assert!(!has(node.dir(), "top-secret"));
        assert!(!has(node.dir(), STARS), "the key is not kept");
    }
    keeper.node.kill();
    keeper.node.start(&["--log-level", "debug"]).await;
    assert_eq!(keeper.node.get("papers", "a").await.as_deref(), Some(SECRET));
    assert!(!keeper.node.log().contains("top-secret") && !keeper.node.log().contains(STARS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_list_leaves_out_what_the_node_has_no_key_for_and_counts_it() {
    let keeper = under_key(STARS, &[]).await;
    let (address, (flags, metrics)) = (keeper.node.address(), admin());
    let flags = ["--shared-key", KEY, "--peer", address.as_str()].into_iter().chain(flags.iter().map(String::as_str));
    let clear = Api::start(&flags.collect::<Vec<_>>()).await;
    keeper.node.put("nodes", "aurora", SECRET).await;
    wait_for("the ciphertext", || clear.node.get("nodes", "aurora")).await;
    clear.node.put("nodes", "borealis", "{}").await;
    let (_, answer) = Raw::tcp(&clear).await.call("GetNodes", &json!({})).await;
    assert_eq!(answer, json!({"nodes": [{"id": "borealis"}]}));
    wait_for_metric(metrics, "peat_node_documents_unreadable_total 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_from_before_the_key_stay_readable_and_are_sealed_when_they_are_put_again() {
    let mut api = Api::start(&["--shared-key", KEY]).await;
    let mut node = super::process::Node::prepare(&["--shared-key", KEY, "--peer", &api.node.address()]);
    node.start(&[]).await;
    api.node.put("papers", "old", r#"{"n":1}"#).await;
    wait_for("the document", || node.get("papers", "old")).await;
    api.node.kill();
    api.node.start(&["--encryption-key", STARS]).await;
    assert_eq!(api.node.get("papers", "old").await.as_deref(), Some(r#"{"n":1}"#));
    api.node.put("papers", "old", r#"{"n":1}"#).await;
    let sealed = || async { node.get("papers", "old").await.filter(|text| text.starts_with("ENC:v1:")) };
    wait_for("the ciphertext", sealed).await;
    assert_eq!(api.node.get("papers", "old").await.as_deref(), Some(r#"{"n":1}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_documents_changes_and_no_document_is_lost_on_the_way() {
    let mut api = Api::start(&["--shared-key", KEY]).await;
    let file = api.node.dir().join("keys-of-documents");
    for (keys, has_old) in
        [(format!("{STARS}\n"), true), (format!("{KEY}\n{STARS}\n"), true), (format!("{KEY}\n"), false)]
    {
        api.node.kill();
        std::fs::write(&file, &keys).unwrap();
        api.node.start(&["--encryption-key-file", file.to_str().unwrap()]).await;
        if keys.starts_with(STARS) {
            api.node.put("papers", "stays", SECRET).await;
            api.node.put("papers", "again", SECRET).await;
        }
        assert_eq!(api.node.get("papers", "again").await.as_deref(), Some(SECRET));
        let is_open = api.node.get("papers", "stays").await.as_deref() == Some(SECRET);
        assert_eq!(is_open, has_old, "what was not put again needs the key that it was put under");
        // Equal text, and yet under the first key from now on.
        api.node.put("papers", "again", SECRET).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_set_aside_is_printed_open_to_whoever_has_the_key_and_as_ciphertext_to_others() {
    let mut api = under_key(STARS, &[]).await;
    api.node.put("papers", "one", SECRET).await;
    api.node.kill();
    std::fs::rename(api.node.data().join("store"), api.node.data().join("store.set-aside-1")).unwrap();
    let key = api.node.dir().join("key-of-documents");
    std::fs::write(&key, format!("{STARS}\n")).unwrap();
    let salvage = |key: Option<&Path>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
        command.env_clear().arg("salvage").arg("--data-dir").arg(api.node.data());
        if let Some(key) = key {
            command.arg("--encryption-key-file").arg(key);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["document"].clone()
    };
    assert_eq!(salvage(Some(&key)), serde_json::from_str::<Value>(SECRET).unwrap());
    let closed = salvage(None).to_string();
    assert!(closed.contains("ENC:v1:") && !closed.contains("top-secret"), "{closed}");
}
