//! `List` and `Digest` of `peat.node.v1.Node`.

use super::Api;
use super::caller::Caller;
use super::raw::Raw;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Writes so many documents `0000`, `0001`, … with their number in them.
pub(super) async fn fill(raw: &mut Raw, collection: &str, ids: impl Iterator<Item = usize>) {
    let put = |id| json!({"collection": collection, "docId": format!("{id:04}"), "putJson": format!("{{\"n\":{id}}}")});
    let edits: Vec<Value> = ids.map(put).collect();
    for edits in edits.chunks(500) {
        let (status, answer) = raw.call("Write", &json!({"edits": edits})).await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer["results"].as_array().unwrap().iter().all(|result| result["version"].is_string()), "{answer}");
    }
}

async fn delete(raw: &mut Raw, collection: &str, id: &str) {
    let request = json!({"collection": collection, "docId": id});
    assert_eq!(raw.call("DeleteDocument", &request).await.0, 200);
}

/// All pages of this size.
async fn pages(caller: &mut Caller, collection: &str, size: usize) -> Vec<Vec<String>> {
    let (mut pages, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut request = json!({"collection": collection, "pageSize": size});
        if token.is_string() {
            request["pageToken"] = token;
        }
        let page = caller.ok("List", request).await;
        let ids = page["documents"].as_array().into_iter().flatten();
        pages.push(ids.map(|listed| listed["docId"].as_str().unwrap().to_owned()).collect());
        token = page["nextPageToken"].clone();
        if token.is_null() {
            return pages;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_listed_in_pages_of_live_documents_by_id_and_nothing_of_its_neighbours() {
    let api = Api::start(&[]).await;
    let mut raw = Raw::tcp(&api).await;
    // More than a page of the store, with deleted documents between and others before and behind.
    fill(&mut raw, "b", (0..1300).rev()).await;
    fill(&mut raw, "a", 0..3).await;
    fill(&mut raw, "ba", 0..3).await;
    for id in ["0000", "0512", "1299"] {
        delete(&mut raw, "b", id).await;
    }
    let expected: Vec<String> =
        (0..1300).filter(|id| ![0, 512, 1299].contains(id)).map(|id| format!("{id:04}")).collect();
    for (way, mut caller) in Caller::all(&api).await {
        let found = pages(&mut caller, "b", 400).await;
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [400, 400, 400, 97], "{way}");
        assert_eq!(found.concat(), expected, "{way}");
        assert_eq!(pages(&mut caller, "none", 10).await, [Vec::<String>::new()], "{way}");
    }
    let mut caller = Caller::Raw(raw);
    assert_eq!(pages(&mut caller, "b", 0).await[0].len(), 100, "a page of a caller who names no size");
    assert_eq!(pages(&mut caller, "b", 5000).await[0].len(), 1000, "the largest page");
    assert_eq!(pages(&mut caller, "a", 3).await.len(), 1, "a full last page has no token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_goes_on_in_its_place_though_documents_come_and_go_and_the_node_is_restarted() {
    let mut api = Api::start(&[]).await;
    let mut raw = Raw::unix(&api).await;
    fill(&mut raw, "c", (0..6).map(|id| id * 10)).await;
    let first = raw.call("List", &json!({"collection": "c", "pageSize": 2})).await.1;
    assert_eq!(first["documents"][1]["docId"], "0010");
    for id in ["0000", "0010", "0030"] {
        delete(&mut raw, "c", id).await;
    }
    fill(&mut raw, "c", [5, 25].into_iter()).await;
    api.node.kill();
    api.node.start(&[]).await;
    let mut raw = Raw::unix(&api).await;
    let request = json!({"collection": "c", "pageToken": first["nextPageToken"]});
    let rest = raw.call("List", &request).await.1;
    let ids: Vec<&Value> = rest["documents"].as_array().unwrap().iter().map(|listed| &listed["docId"]).collect();
    assert_eq!(ids, ["0020", "0025", "0040", "0050"]);
    for wrong in [
        json!({"collection": "d", "pageToken": first["nextPageToken"]}),
        json!({"collection": "c", "pageToken": "AAAA"}),
    ] {
        let (status, error) = raw.call("List", &wrong).await;
        assert_eq!((status, &error["code"]), (400, &json!("invalid_argument")), "{error}");
        assert!(error["message"].as_str().unwrap().contains("page_token"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_documents_has_their_versions_and_ends_where_the_answer_is_full() {
    let api = Api::start(&["--max-document-bytes", "4096"]).await;
    let mut raw = Raw::tcp(&api).await;
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(3000));
    for id in ["a", "b", "c"] {
        api.node.put("papers", id, &large).await;
    }
    for (way, mut caller) in Caller::all(&api).await {
        let page = caller.ok("List", json!({"collection": "papers", "includeDocuments": true})).await;
        let listed = page["documents"].as_array().unwrap();
        assert_eq!(listed.len(), 2, "{way}: twice the largest document has room for two of these");
        assert_eq!(listed[0]["jsonData"], large, "{way}");
        let read = caller.ok("Read", json!({"documents": [{"collection": "papers", "docId": "b"}]})).await;
        assert_eq!(listed[1]["version"], read["results"][0]["version"], "{way}");
        let request = json!({"collection": "papers", "includeDocuments": true, "pageToken": page["nextPageToken"]});
        let rest = caller.ok("List", request).await;
        assert_eq!((&rest["documents"][0]["docId"], &rest["nextPageToken"]), (&json!("c"), &Value::Null), "{way}");
        let ids = caller.ok("List", json!({"collection": "papers"})).await;
        assert_eq!(ids["documents"].as_array().unwrap().len(), 3, "{way}: ids alone have room");
        assert_eq!(ids["documents"][0].get("jsonData"), None, "{way}");
    }
    assert_eq!(raw.call("List", &json!({"collection": "a:b"})).await.0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_is_equal_where_the_documents_are_and_a_reader_of_the_page_can_compute_it() {
    let (one, two) = (Api::start(&[]).await, Api::start(&[]).await);
    let (mut first, mut second) = (Raw::tcp(&one).await, Raw::tcp(&two).await);
    fill(&mut first, "c", 0..700).await;
    fill(&mut second, "c", (0..701).rev()).await;
    fill(&mut second, "d", 0..1).await;
    let digest = async |raw: &mut Raw| raw.call("Digest", &json!({"collection": "c"})).await.1;
    assert_ne!(digest(&mut first).await["digest"], digest(&mut second).await["digest"]);
    delete(&mut second, "c", "0700").await;
    let told = digest(&mut second).await;
    assert_eq!(
        digest(&mut first).await,
        told,
        "other versions, another order and a deleted document make no difference"
    );
    let mut hash = Sha256::new();
    let mut bytes = 0;
    for id in 0..700 {
        for text in [format!("{id:04}"), format!("{{\"n\":{id}}}")] {
            hash.update((text.len() as u32).to_be_bytes());
            hash.update(&text);
        }
        bytes += format!("{{\"n\":{id}}}").len();
    }
    let digest_of = STANDARD.encode(hash.finalize());
    let expected =
        json!({"documentCount": "700", "jsonBytes": bytes.to_string(), "digest": digest_of, "kind": "KIND_FULL"});
    for (way, mut caller) in Caller::all(&one).await {
        assert_eq!(caller.ok("Digest", json!({"collection": "c"})).await, expected, "{way}");
    }
    first.call("PutDocument", &json!({"collection": "c", "docId": "0000", "jsonData": "{\"n\":1}"})).await;
    assert_ne!(digest(&mut first).await["digest"], told["digest"]);
    let none = first.call("Digest", &json!({"collection": "none"})).await.1;
    assert_eq!(none, json!({"digest": STANDARD.encode(Sha256::digest([])), "kind": "KIND_FULL"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kind_of_a_collection_is_told_and_what_is_there_stays_when_it_is_changed() {
    let mut api = Api::start(&[]).await;
    let kind = async |api: &Api, collection: &str| {
        Raw::unix(api).await.call("Digest", &json!({"collection": collection})).await.1["kind"].clone()
    };
    assert_eq!([kind(&api, "notes").await, kind(&api, "tracks").await], ["KIND_FULL", "KIND_LATEST"]);
    api.node.put("notes", "old", r#"{"n":1}"#).await;
    api.node.put("tracks", "old", r#"{"n":1}"#).await;
    api.node.kill();
    api.node.start(&["--latest-collections", "notes"]).await;
    assert_eq!([kind(&api, "notes").await, kind(&api, "tracks").await], ["KIND_LATEST", "KIND_FULL"]);
    for collection in ["notes", "tracks"] {
        assert_eq!(api.node.get(collection, "old").await.as_deref(), Some(r#"{"n":1}"#));
        api.node.put(collection, "old", r#"{"n":2}"#).await;
        assert_eq!(api.node.get(collection, "old").await.as_deref(), Some(r#"{"n":2}"#));
    }
}
