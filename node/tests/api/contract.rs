//! What existing clients rely on, the same through every protocol.

use super::Api;
use super::caller::Caller;
use super::raw::Raw;
use super::sealed::STARS;
use serde_json::{Value, json};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

#[tokio::test(flavor = "multi_thread")]
async fn status_names_the_node_and_an_endpoint_that_can_be_passed_on() {
    let api = Api::start(&[]).await;
    for (way, mut caller) in Caller::all(&api).await {
        let status = caller.ok("GetStatus", json!({})).await;
        assert_eq!(status["nodeId"], "aurora", "{way}");
        assert_eq!(status["endpointAddr"], json!(api.node.id), "{way}");
        assert_eq!(status["phase"], "NODE_PHASE_SYNCING", "{way}");
        let peers = caller.ok("ListPeers", json!({})).await;
        assert_eq!(peers, json!({}), "{way}: a lone node has no peers");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_comes_back_as_it_was_written_and_goes_when_it_is_deleted() {
    let api = Api::start(&[]).await;
    for (way, mut caller) in Caller::all(&api).await {
        let at = |id: &str| json!({"collection": "papers", "docId": id});
        for json in [
            r#"{"hello":"world"}"#,
            r#"{"value":"plain"}"#,
            r#"{"inner":{"list":[1,2.5,null,{"a":true}],"value":"text"}}"#,
            r#"{"max":18446744073709551615,"min":-9223372036854775808,"one":1.0}"#,
            "{}",
        ] {
            let put = json!({"collection": "papers", "docId": "doc-1", "jsonData": json});
            caller.ok("PutDocument", put).await;
            assert_eq!(caller.ok("GetDocument", at("doc-1")).await, json!({"jsonData": json}), "{way}");
        }
        let put = json!({"collection": "papers", "docId": "agent:a/b", "jsonData": r#"{ "b": [ 1 ], "a": 2 }"#});
        caller.ok("PutDocument", put).await;
        assert_eq!(caller.ok("GetDocument", at("agent:a/b")).await["jsonData"], r#"{"a":2,"b":[1]}"#, "{way}");
        let list = caller.ok("ListDocuments", json!({"collection": "papers"})).await;
        assert_eq!(list, json!({"docIds": ["agent:a/b", "doc-1"]}), "{way}");
        for id in ["doc-1", "agent:a/b", "never-there"] {
            caller.ok("DeleteDocument", at(id)).await;
            assert_eq!(caller.ok("GetDocument", at(id)).await, json!({}), "{way}");
        }
        assert_eq!(caller.ok("ListDocuments", json!({"collection": "papers"})).await, json!({}), "{way}");
    }
}

/// Numbers as they are written, and what is read.
const NUMBERS: [(&str, &str); 11] = [
    ("9223372036854775807", "9223372036854775807"),
    ("-9223372036854775808", "-9223372036854775808"),
    ("9223372036854775808", "9223372036854775808"),
    ("18446744073709551615", "18446744073709551615"),
    ("18446744073709551616", "18446744073709552000.0"),
    ("1.0", "1.0"),
    ("1", "1"),
    ("0.1", "0.1"),
    ("1e2", "100.0"),
    ("-0.0", "-0.0"),
    ("5e-324", "5e-324"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_number_keeps_its_value_and_its_kind_and_a_root_is_an_object_with_and_without_a_key() {
    for flags in [&[][..], &["--encryption-key", STARS]] {
        let api = Api::start(flags).await;
        let mut raw = Raw::tcp(&api).await;
        // Both kinds of collection store the same values.
        for collection in ["papers", "tracks"] {
            let at = json!({"collection": collection, "docId": "n"});
            let of = |json: &str| json!({"collection": collection, "docId": "n", "jsonData": json});
            for (written, read) in NUMBERS {
                let put = raw.call("PutDocument", &of(&format!("{{\"n\":{written}}}"))).await;
                assert_eq!(put, (200, json!({})), "{written} under {flags:?}");
                let stored = raw.call("GetDocument", &at).await.1;
                assert_same_number(stored["jsonData"].as_str().unwrap(), read, &format!("{written} in {collection}"));
            }
            assert_eq!(raw.call("PutDocument", &of(r#"{"a":1,"a":{"b":2}}"#)).await, (200, json!({})));
            let stored = (200, json!({"jsonData": r#"{"a":{"b":2}}"#}));
            assert_eq!(raw.call("GetDocument", &at).await, stored, "the last one of two equal keys counts");
            for root in ["[1]", "7", "null", "true", r#""x""#] {
                let (status, answer) = raw.call("PutDocument", &of(root)).await;
                assert_eq!((status, &answer["code"]), (400, &json!("invalid_argument")), "{root} under {flags:?}");
            }
            assert_eq!(raw.call("GetDocument", &at).await, stored, "what was refused changed nothing");
        }
    }
}

/// `text` is a document whose `n` has the value of `read`, and is whole if that is.
fn assert_same_number(text: &str, read: &str, of: &str) {
    let number = text.strip_prefix("{\"n\":").and_then(|rest| rest.strip_suffix('}')).unwrap();
    let value = |text: &str| text.parse::<f64>().unwrap().to_bits();
    assert_eq!(value(number), value(read), "{of} became {text}");
    let whole = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    assert_eq!(whole(number), whole(read), "{of} became {number}");
    if whole(read) {
        assert_eq!(number, read, "{of}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sync_stops_and_starts_and_says_so() {
    let api = Api::start(&[]).await;
    for (way, mut caller) in Caller::all(&api).await {
        caller.ok("StopSync", json!({})).await;
        let stats = caller.ok("GetSyncStats", json!({})).await;
        assert!(stats.get("syncActive").is_none() && stats.get("connectedPeers").is_none(), "{way}: {stats}");
        assert_eq!(caller.ok("GetStatus", json!({})).await["phase"], "NODE_PHASE_READY", "{way}");
        for _ in 0..2 {
            caller.ok("StartSync", json!({})).await;
            assert_eq!(caller.ok("GetSyncStats", json!({})).await["syncActive"], true, "{way}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_message_reads_back_with_every_field() {
    let api = Api::start(&[]).await;
    let node = json!({
        "id": "n", "nodeType": "ferry", "name": "Aurora", "status": "NODE_STATUS_READY", "latitude": 59.5,
        "longitude": -18.25, "altitudeM": 4.0, "readiness": 0.5, "capabilities": ["tow", "pump"], "unitId": "",
        "callsign": "AUR",
    });
    let cell = json!({
        "id": "c", "name": "north", "status": "CELL_STATUS_ACTIVE", "nodeCount": 4294967295_u32, "centerLatitude": 1.5,
        "centerLongitude": 2.5, "capabilities": ["tow"], "formationId": "f", "leaderId": "n",
    });
    let track = json!({
        "id": "t", "sourceNode": "n", "cellId": "c", "formationId": "f", "latitude": 0.125, "longitude": 1e-9,
        "altitudeM": 0.0, "cepM": 3.5, "headingDeg": 90.0, "speedMps": 7.25, "classification": "vehicle",
        "confidence": 0.75, "category": "TRACK_CATEGORY_VEHICLE",
    });
    let command = json!({
        "id": "k", "targetId": "n", "commandType": "return", "status": "COMMAND_STATUS_PENDING",
        "createdAt": "1700000000", "expiresAt": "9223372036854775807", "payloadJson": "{\"a\":1}",
    });
    for (way, mut caller) in Caller::all(&api).await {
        for (put, field, get, list, message) in [
            ("PutNode", "node", "GetNodes", "nodes", &node),
            ("PutCell", "cell", "GetCells", "cells", &cell),
            ("PutTrack", "track", "GetTracks", "tracks", &track),
            ("PutCommand", "command", "GetCommands", "commands", &command),
        ] {
            caller.ok(put, json!({field: message})).await;
            assert_eq!(caller.ok(get, json!({})).await, json!({list: [message]}), "{way}");
        }
    }
    let stored = Raw::tcp(&api).await.call("GetDocument", &json!({"collection": "commands", "docId": "k"})).await;
    assert_eq!(
        stored.1["jsonData"],
        r#"{"command_type":"return","created_at":1700000000,"expires_at":9223372036854775807,"id":"k","payload_json":"{\"a\":1}","status":1,"target_id":"n"}"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_naming_eras_see_each_other() {
    let api = Api::start(&[]).await;
    let mut raw = Raw::tcp(&api).await;
    let ok = |(status, body): (u16, Value)| {
        assert_eq!(status, 200, "{body}");
        body
    };
    let platform = json!({"platform": {"id": "p", "platform_type": "ferry", "status": "PLATFORM_STATUS_BUSY"}});
    ok(raw.call("PutPlatform", &platform).await);
    ok(raw.call("PutNode", &json!({"node": {"id": "n", "nodeType": "tug", "status": 3}})).await);
    ok(raw.call("PutNode", &json!({"node": {"id": "both", "nodeType": "of nodes"}})).await);
    ok(raw.call("PutPlatform", &json!({"platform": {"id": "both", "platformType": "of platforms"}})).await);
    let nodes = ok(raw.call("GetNodes", &json!({})).await);
    assert_eq!(
        nodes,
        json!({"nodes": [
            {"id": "both", "nodeType": "of nodes"},
            {"id": "n", "nodeType": "tug", "status": "NODE_STATUS_DEGRADED"},
            {"id": "p", "nodeType": "ferry", "status": "NODE_STATUS_BUSY"},
        ]})
    );
    let platforms = ok(raw.call("GetPlatforms", &json!({})).await);
    assert_eq!(
        platforms,
        json!({"platforms": [
            {"id": "both", "platformType": "of platforms"},
            {"id": "n", "platformType": "tug", "status": "PLATFORM_STATUS_DEGRADED"},
            {"id": "p", "platformType": "ferry", "status": "PLATFORM_STATUS_BUSY"},
        ]})
    );
    for (collection, ids) in [("nodes", json!(["both", "n"])), ("platforms", json!(["both", "p"]))] {
        let list = ok(raw.call("ListDocuments", &json!({"collection": collection})).await);
        assert_eq!(list, json!({"docIds": ids}), "generic calls see {collection} as it is");
    }
    for (name, count) in [("platformCount", 1), ("platform_count", 2), ("nodeCount", 3), ("node_count", 4)] {
        ok(raw.call("PutCell", &json!({"cell": {"id": "c", name: count}})).await);
        assert_eq!(ok(raw.call("GetCells", &json!({})).await)["cells"][0]["nodeCount"], count, "{name}");
    }
    for name in ["sourcePlatform", "source_platform", "sourceNode", "source_node"] {
        ok(raw.call("PutTrack", &json!({"track": {"id": "t", name: name}})).await);
        assert_eq!(ok(raw.call("GetTracks", &json!({})).await)["tracks"][0]["sourceNode"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_heartbeat_written_as_a_document_shows_in_the_typed_list() {
    let api = Api::start(&[]).await;
    let mut raw = Raw::tcp(&api).await;
    let heartbeat =
        json!({"collection": "nodes", "docId": "h", "jsonData": "{\"node_type\":\"agent\",\"last_seen\":5}"});
    raw.call("PutDocument", &heartbeat).await;
    let nodes = raw.call("GetNodes", &json!({})).await.1;
    assert_eq!(nodes, json!({"nodes": [{"id": "h", "nodeType": "agent"}]}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_a_socket_with_its_mode_and_leaves_with_the_node() {
    let mut api = Api::start(&["--socket-mode", "0640"]).await;
    let file = std::fs::metadata(api.socket()).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o640);
    let signal = std::process::Command::new("kill").arg(api.node.pid().to_string()).status().unwrap();
    assert!(signal.success());
    let end = std::time::Instant::now() + super::process::PATIENCE;
    let code = loop {
        if let Some(code) = api.node.exited() {
            break code;
        }
        assert!(std::time::Instant::now() < end, "the node did not leave");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(code, 0, "SIGTERM is a clean end");
    assert!(!api.socket().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_answer_on_the_same_port() {
    let api = Api::start(&[]).await;
    let mut raw = Raw::tcp(&api).await;
    for (service, expected) in
        [("", 200), ("peat.sidecar.v1.PeatSidecar", 200), ("peat.node.v1.Node", 200), ("no.such.Service", 404)]
    {
        let body = json!({"service": service}).to_string();
        let (status, answer) = raw.json("/grpc.health.v1.Health/Check", &[], body.as_bytes()).await;
        assert_eq!(status, expected, "{answer}");
        if expected == 200 {
            assert_eq!(answer, json!({"status": "SERVING"}));
        }
    }
    // A bidirectional stream: plain HTTP/1.1 can send its one request whole.
    let request = json!({"listServices": ""}).to_string();
    let mut frame = vec![0];
    frame.extend((request.len() as u32).to_be_bytes());
    frame.extend(request.as_bytes());
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let response = raw.post(path, &[("content-type", "application/connect+json")], &frame).await;
    assert_eq!(response.status(), 200);
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    for service in ["peat.sidecar.v1.PeatSidecar", "peat.node.v1.Node"] {
        assert!(String::from_utf8_lossy(&body).contains(service), "{body:?}");
    }
}
