//! Wrong inputs: the right class of error with words that name the field, through every protocol, and the node lives.

use super::Api;
use super::caller::Caller;
use super::raw::Raw;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Not a public key, which zeros are.
const TWOS: &str = "0202020202020202020202020202020202020202020202020202020202020202";

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
        ("PutTrack", json!({"track": {"id": "x", "classification": long(4096)}}), "resource_exhausted", "track has "),
        ("PutCommand", json!({"command": {}}), "invalid_argument", "command.id"),
        ("ConnectPeer", json!({"endpointId": "xyz", "addresses": ["127.0.0.1:1"]}), "invalid_argument", "endpoint_id"),
        ("ConnectPeer", json!({"endpointId": TWOS, "addresses": ["127.0.0.1:1"]}), "invalid_argument", "endpoint_id"),
        ("ConnectPeer", json!({"endpointId": ZEROS}), "invalid_argument", "addresses"),
        ("ConnectPeer", json!({"endpointId": ZEROS, "addresses": ["nowhere"]}), "invalid_argument", "addresses[0]"),
        ("ConnectPeer", json!({"endpointId": ZEROS, "relayUrl": "https://relay"}), "invalid_argument", "addresses"),
        ("ConnectPeer", json!({"endpointId": ZEROS, "relayUrl": "a relay"}), "invalid_argument", "relay_url"),
        (
            "ConnectPeer",
            json!({"endpointId": ZEROS, "addresses": vec!["127.0.0.1:1"; 17]}),
            "invalid_argument",
            "addresses has 17 of them, over the limit of 16",
        ),
        ("DisconnectPeer", json!({"endpointId": ""}), "invalid_argument", "endpoint_id"),
        ("SetCollectionConfig", json!({}), "invalid_argument", "config"),
        ("SetCollectionConfig", json!({"config": {"collection": ""}}), "invalid_argument", "collection"),
        (
            "SetCollectionConfig",
            json!({"config": {"collection": "peat.collections"}}),
            "invalid_argument",
            "peat.collections",
        ),
        (
            "SetCollectionConfig",
            json!({"config": {"collection": "a", "deletionPolicy": 9}}),
            "invalid_argument",
            "config.deletion_policy",
        ),
        ("GetCollectionConfig", json!({"collection": "a:b"}), "invalid_argument", "collection"),
        (
            "PutDocument",
            json!({"collection": "peat.collections", "docId": "a", "jsonData": "{}"}),
            "invalid_argument",
            "SetCollectionConfig",
        ),
        (
            "DeleteDocument",
            json!({"collection": "peat.collections", "docId": "a"}),
            "invalid_argument",
            "SetCollectionConfig",
        ),
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

#[tokio::test(flavor = "multi_thread")]
async fn a_colon_belongs_to_the_id_and_never_to_the_collection() {
    let api = Api::start(&[]).await;
    let mut raw = Raw::tcp(&api).await;
    let put = |collection: &str, id: &str| json!({"collection": collection, "docId": id, "jsonData": "{}"});
    assert_eq!(raw.call("PutDocument", &put("a:b", "c")).await.1["code"], "invalid_argument");
    assert_eq!(raw.call("PutDocument", &put("a", "b:c")).await.0, 200);
    let list = |collection: &str| json!({"collection": collection});
    assert_eq!(raw.call("ListDocuments", &list("a")).await.1, json!({"docIds": ["b:c"]}));
    assert_eq!(raw.call("GetDocument", &json!({"collection": "a", "docId": "b"})).await, (200, json!({})));
}

/// A printed seed replays a failure.
#[tokio::test(flavor = "multi_thread")]
async fn random_names_and_bodies_are_answered_in_kind_and_the_node_lives() {
    const PIECES: [&str; 24] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\\",
        "\\u0000",
        "\\ud800",
        "null",
        "true",
        "-",
        "1e999",
        "0",
        ".5",
        "18446744073709551616",
        "\"collection\"",
        "\"docId\"",
        "\"jsonData\"",
        "\u{0}",
        "\u{202e}",
        " ",
        "/",
    ];
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = |longest: usize| {
        let count = random.random_range(0..=longest);
        (0..count).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect::<String>()
    };
    let mut requests: Vec<String> = (0..400).map(|_| text(24)).collect();
    requests.extend((0..400).map(|_| {
        let document = format!("{{\"a\":{}}}", text(6));
        json!({"collection": text(4), "docId": text(4), "jsonData": document}).to_string()
    }));
    let api = Api::start(&[]).await;
    let mut raw = Raw::tcp(&api).await;
    for method in ["PutDocument", "GetDocument", "Subscribe", "SetCollectionConfig"] {
        let path = format!("/peat.sidecar.v1.PeatSidecar/{method}");
        for request in requests.iter().filter(|_| method != "Subscribe") {
            let (status, answer) = raw.json(&path, &[], request.as_bytes()).await;
            assert!(matches!(status, 200 | 400 | 501), "seed {seed}: {method} {request}: {status} {answer}");
        }
        for request in requests.iter().take(50) {
            let mut raw = Raw::tcp(&api).await;
            let kind = if method == "Subscribe" { "application/connect+proto" } else { "application/proto" };
            let status = raw.post(&path, &[("content-type", kind)], request.as_bytes()).await.status();
            assert!(!status.is_server_error() || status == 501, "seed {seed}: {method} {request}: {status}");
        }
    }
    assert_eq!(raw.call("GetStatus", &json!({})).await.0, 200, "seed {seed}");
}
