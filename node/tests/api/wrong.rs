//! Wrong inputs: the right class of error with words that name the field, through every protocol, and the node lives.

use super::Api;
use super::caller::Caller;
use super::raw::Raw;
use serde_json::{Value, json};

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

fn cases() -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let put = |collection: &str, id: &str, json: &str| json!({"collection": collection, "docId": id, "jsonData": json});
    let long = |length: usize| "n".repeat(length);
    let deep = format!("{}1{}", "{\"a\":".repeat(200), "}".repeat(200));
    vec![
        ("PutDocument", put("", "a", "{}"), "invalid_argument", "collection"),
        ("PutDocument", put("a:b", "c", "{}"), "invalid_argument", "collection"),
        ("PutDocument", put("a\nb", "c", "{}"), "invalid_argument", "collection"),
        ("PutDocument", put(&long(256), "c", "{}"), "invalid_argument", "collection"),
        ("PutDocument", put("a", "", "{}"), "invalid_argument", "doc_id"),
        ("PutDocument", put("a", "x\0y", "{}"), "invalid_argument", "doc_id"),
        ("PutDocument", put("a", &long(1025), "{}"), "invalid_argument", "doc_id"),
        ("PutDocument", put("a", "b", ""), "invalid_argument", "json_data"),
        ("PutDocument", put("a", "b", "{\"a\":\n tru}"), "invalid_argument", "line 2"),
        ("PutDocument", put("a", "b", "[1]"), "invalid_argument", "an array"),
        ("PutDocument", put("a", "b", "7"), "invalid_argument", "a number"),
        ("PutDocument", put("a", "b", "null"), "invalid_argument", "null"),
        ("PutDocument", put("a", "b", &deep), "invalid_argument", "json_data"),
        ("PutDocument", put("a", "b", &format!("{{\"t\":\"{}\"}}", long(4096))), "resource_exhausted", "4096"),
        ("GetDocument", json!({"collection": "a:b", "docId": "c"}), "invalid_argument", "collection"),
        ("GetDocument", json!({"collection": "a"}), "invalid_argument", "doc_id"),
        ("DeleteDocument", json!({"docId": "c"}), "invalid_argument", "collection"),
        ("ListDocuments", json!({}), "invalid_argument", "collection"),
        ("PutPlatform", json!({}), "invalid_argument", "platform"),
        ("PutNode", json!({"node": {"name": "x"}}), "invalid_argument", "node.id"),
        ("PutCell", json!({"cell": {"id": "x\0"}}), "invalid_argument", "doc_id"),
        ("PutTrack", json!({"track": {"id": "x", "latitude": "NaN"}}), "invalid_argument", "track.latitude"),
        ("PutCommand", json!({"command": {}}), "invalid_argument", "command.id"),
        ("ConnectPeer", json!({"endpointId": "xyz", "addresses": ["127.0.0.1:1"]}), "invalid_argument", "endpoint_id"),
        ("ConnectPeer", json!({"endpointId": ZEROS}), "invalid_argument", "addresses"),
        ("ConnectPeer", json!({"endpointId": ZEROS, "addresses": ["nowhere"]}), "invalid_argument", "addresses[0]"),
        ("ConnectPeer", json!({"endpointId": ZEROS, "relayUrl": "https://relay"}), "unimplemented", "addresses"),
        ("DisconnectPeer", json!({"endpointId": ""}), "invalid_argument", "endpoint_id"),
        ("SetCollectionConfig", json!({"config": {"collection": "a"}}), "unimplemented", "collection configurations"),
        ("GetCollectionConfig", json!({"collection": "a"}), "unimplemented", "collection configurations"),
        ("ListCollectionConfigs", json!({}), "unimplemented", "collection configurations"),
        ("SendAttachments", json!({}), "unimplemented", "attachments"),
        ("GetAttachmentDistribution", json!({}), "unimplemented", "attachments"),
        ("CancelAttachmentDistribution", json!({}), "unimplemented", "attachments"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_input_has_its_class_and_names_its_field() {
    let api = Api::start(&["--max-document-bytes", "4096"]).await;
    for (way, mut caller) in Caller::all(&api).await {
        for (method, request, code, word) in cases() {
            let failure = caller.call(method, request.clone()).await.unwrap_err();
            assert_eq!(failure.code, code, "{way}: {method} {request}: {}", failure.message);
            assert!(failure.message.contains(word), "{way}: {method} {request}: {}", failure.message);
        }
        caller.ok("DisconnectPeer", json!({"endpointId": ZEROS})).await;
        caller.ok("GetStatus", json!({})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_id_is_no_peer() {
    let api = Api::start(&[]).await;
    let request = json!({"endpointId": api.node.id, "addresses": [format!("127.0.0.1:{}", api.node.port)]});
    let (status, body) = Raw::tcp(&api).await.call("ConnectPeer", &request).await;
    assert_eq!((status, &body["code"]), (400, &json!("invalid_argument")), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_no_request_is_refused_and_the_connection_goes_on() {
    let api = Api::start(&[]).await;
    let mut raw = Raw::tcp(&api).await;
    let put = "/peat.sidecar.v1.PeatSidecar/PutDocument";
    for (body, word) in [
        (&b"{"[..], ""),
        (b"not json", ""),
        (b"\xff\xfe", ""),
        (br#"{"collection":7}"#, ""),
        (br#"{"collection":["a"]}"#, ""),
    ] {
        let (status, answer) = raw.json(put, &[], body).await;
        assert_eq!((status, &answer["code"]), (400, &json!("invalid_argument")), "{answer}");
        assert!(answer["message"].as_str().unwrap().contains(word));
    }
    let (status, answer) = raw.json("/peat.sidecar.v1.PeatSidecar/NoSuchMethod", &[], b"{}").await;
    assert_eq!((status, &answer["code"]), (404, &json!("unimplemented")), "{answer}");
    let response = raw.post(put, &[("content-type", "text/plain")], b"{}").await;
    assert_eq!(response.status(), 415);
    let mut raw = Raw::tcp(&api).await;
    let proto = raw.post(put, &[("content-type", "application/proto")], &[0xff; 16]).await;
    assert_eq!(proto.status(), 400, "bytes that are no message");
    let mut raw = Raw::tcp(&api).await;
    let unknown = br#"{"collection":"a","docId":"b","jsonData":"{}","futureField":{"x":1}}"#;
    assert_eq!(raw.json(put, &[], unknown).await, (200, json!({})), "unknown fields are of a newer client");
    assert_eq!(raw.call("GetStatus", &json!({})).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_beyond_every_document_is_refused_unread() {
    let api = Api::start(&["--max-document-bytes", "4096"]).await;
    let body = json!({"collection": "a", "docId": "b", "jsonData": "x".repeat(1 << 20)}).to_string();
    for mut raw in [Raw::tcp(&api).await, Raw::unix(&api).await] {
        let (status, answer) = raw.json("/peat.sidecar.v1.PeatSidecar/PutDocument", &[], body.as_bytes()).await;
        assert_eq!((status, &answer["code"]), (429, &json!("resource_exhausted")), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_at_the_limit_fits_whatever_its_quotes_need() {
    let api = Api::start(&["--max-document-bytes", "65536"]).await;
    let mut raw = Raw::tcp(&api).await;
    let list = vec!["\"\""; 65536 / 3 - 4].join(",");
    let json_data = format!("{{\"q\":[{list}]}}");
    assert!(json_data.len() <= 65536 && json_data.len() > 65500, "{}", json_data.len());
    let put = json!({"collection": "tracks", "docId": "b", "jsonData": json_data});
    assert_eq!(raw.call("PutDocument", &put).await, (200, json!({})));
    let get = raw.call("GetDocument", &json!({"collection": "tracks", "docId": "b"})).await;
    assert_eq!(get.1["jsonData"], json_data);
}
