//! `peat.node.v1.Node`: writes under conditions, batches, and watches that are taken up again.

use super::Api;
use super::caller::{Caller, Failure};
use super::process::PATIENCE;
use super::raw::{Frames, Raw, frames_of};
use connectrpc::Protocol;
use connectrpc::client::{ClientConfig, Http2Connection};
use peat_proto::sidecar::peat::node::v1::{NodeClient, WatchRequest};
use serde_json::{Value, json};
use tokio::time::timeout;

/// An edit of `papers/<id>`, with these members beside.
fn edit(id: &str, members: Value) -> Value {
    let mut edit = json!({"collection": "papers", "docId": id});
    edit.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    edit
}

/// Makes one edit; its result.
async fn write(caller: &mut Caller, edit: Value) -> Value {
    caller.ok("Write", json!({"edits": [edit]})).await["results"][0].clone()
}

async fn read(caller: &mut Caller, id: &str) -> Value {
    caller.ok("Read", json!({"documents": [{"collection": "papers", "docId": id}]})).await["results"][0].clone()
}

/// The code and the text of a result that must have an error and no version.
fn error(result: &Value) -> (&str, &str) {
    assert!(result.get("version").is_none(), "{result}");
    (result["error"]["code"].as_str().unwrap(), result["error"]["message"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_from_a_stale_read_fails_and_undoes_nothing() {
    let api = Api::start(&[]).await;
    for (way, mut caller) in Caller::all(&api).await {
        let put = |json: &str, version: &Value| edit(way, json!({"putJson": json, "ifVersion": version}));
        let first = write(&mut caller, edit(way, json!({"putJson": r#"{"n":1}"#}))).await["version"].clone();
        assert_eq!(read(&mut caller, way).await, json!({"found": true, "jsonData": r#"{"n":1}"#, "version": first}));
        let second = write(&mut caller, put(r#"{"n":2}"#, &first)).await["version"].clone();
        assert_ne!(first, second, "{way}");
        let stale = write(&mut caller, put(r#"{"n":3}"#, &first)).await;
        assert_eq!(error(&stale).0, "ABORTED", "{way}");
        assert!(error(&stale).1.contains("its version is "), "{way}: {stale}");
        let stale = write(&mut caller, edit(way, json!({"delete": {}, "ifVersion": first}))).await;
        assert_eq!(error(&stale).0, "ABORTED", "{way}");
        assert_eq!(read(&mut caller, way).await, json!({"found": true, "jsonData": r#"{"n":2}"#, "version": second}));
        write(&mut caller, edit(way, json!({"delete": {}, "ifVersion": second}))).await["version"].as_str().unwrap();
        assert_eq!(read(&mut caller, way).await, json!({}), "{way}");
        let gone = write(&mut caller, put(r#"{"n":4}"#, &second)).await;
        assert!(error(&gone).1.contains("there is none"), "{way}: {gone}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_callers_who_make_a_document_at_once_one_makes_it() {
    let api = Api::start(&[]).await;
    let mut callers = Caller::all(&api).await.into_iter().map(|(_, caller)| caller);
    let (mut one, mut two) = (callers.next().unwrap(), callers.next_back().unwrap());
    for n in 0..20 {
        let id = format!("race-{n}");
        let make = |who: &str| edit(&id, json!({"putJson": format!("{{\"by\":\"{who}\"}}"), "ifAbsent": {}}));
        let (first, second) = tokio::join!(write(&mut one, make("one")), write(&mut two, make("two")));
        let (winner, loser, by) =
            if first.get("error").is_none() { (first, second, "one") } else { (second, first, "two") };
        assert_eq!(error(&loser).0, "ABORTED", "{loser}");
        let expected = json!({"found": true, "jsonData": format!("{{\"by\":\"{by}\"}}"), "version": winner["version"]});
        assert_eq!(read(&mut one, &id).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_patch_keeps_the_members_of_others() {
    let api = Api::start(&[]).await;
    for (way, mut caller) in Caller::all(&api).await {
        write(&mut caller, edit(way, json!({"mergeJson": r#"{"kept":1,"gone":2,"in":{"a":1,"b":2}}"#}))).await;
        let patch = json!({"mergeJson": r#"{"gone":null,"in":{"b":3},"new":[null]}"#});
        let merged = write(&mut caller, edit(way, patch)).await;
        let found = read(&mut caller, way).await;
        assert_eq!(found["jsonData"], r#"{"in":{"a":1,"b":3},"kept":1,"new":[null]}"#, "{way}");
        assert_eq!(found["version"], merged["version"], "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_reports_each_item_and_keeps_the_order_of_one_document() {
    let api = Api::start(&[]).await;
    for (way, mut caller) in Caller::all(&api).await {
        let one = format!("{way} one");
        let edits = json!([
            edit(&one, json!({"putJson": r#"{"n":1}"#})),
            {"collection": "a:b", "docId": "x", "delete": {}},
            edit(&one, json!({"mergeJson": r#"{"m":2}"#, "ifAbsent": {}})),
            edit(way, json!({"putJson": "[]"})),
            edit(&one, json!({"mergeJson": r#"{"m":3}"#})),
            edit(way, json!({})),
            edit(way, json!({"delete": {}, "ifVersion": "AAAA"})),
            edit(way, json!({"delete": {}})),
        ]);
        let answer = caller.ok("Write", json!({"edits": edits})).await;
        let results = answer["results"].as_array().unwrap();
        let codes: Vec<&str> = results.iter().map(|result| result["error"]["code"].as_str().unwrap_or("")).collect();
        let (wrong, stale) = ("INVALID_ARGUMENT", "ABORTED");
        assert_eq!(codes, ["", wrong, stale, wrong, "", wrong, wrong, ""], "{way}: {answer}");
        assert!(error(&results[5]).1.contains("put_json"), "{way}: {answer}");
        assert!(error(&results[6]).1.contains("3 bytes"), "{way}: {answer}");
        assert_eq!(results[7], json!({}), "{way}: a delete that finds nothing has no version");
        let documents = json!([
            {"collection": "papers", "docId": way},
            {"collection": "papers", "docId": ""},
            {"collection": "papers", "docId": one},
        ]);
        let answer = caller.ok("Read", json!({"documents": documents})).await;
        assert_eq!(answer["results"][0], json!({}), "{way}");
        assert_eq!(answer["results"][1]["error"]["code"], "INVALID_ARGUMENT", "{way}");
        let expected = json!({"found": true, "jsonData": r#"{"m":3,"n":1}"#, "version": results[4]["version"]});
        assert_eq!(answer["results"][2], expected, "{way}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_a_thousand_documents_and_answers_no_more_than_its_room() {
    let api = Api::start(&["--max-document-bytes", "4096"]).await;
    let mut raw = Raw::tcp(&api).await;
    let reference = |n: usize| json!({"collection": "c", "docId": format!("{n}")});
    let edits = |count| (0..count).map(|n| json!({"collection": "c", "docId": format!("{n}"), "delete": {}}));
    for (method, of_1000, of_1001) in [
        ("Write", json!({"edits": edits(1000).collect::<Vec<_>>()}), json!({"edits": edits(1001).collect::<Vec<_>>()})),
        (
            "Read",
            json!({"documents": (0..1000).map(reference).collect::<Vec<_>>()}),
            json!({"documents": (0..1001).map(reference).collect::<Vec<_>>()}),
        ),
    ] {
        let (status, answer) = raw.call(method, &of_1000).await;
        assert_eq!((status, answer["results"].as_array().unwrap().len()), (200, 1000), "{method}");
        let (status, answer) = raw.call(method, &of_1001).await;
        assert_eq!((status, &answer["code"]), (429, &json!("resource_exhausted")), "{method}: {answer}");
    }
    let large = format!("{{\"text\":\"{}\"}}", "x".repeat(4000));
    for n in 0..3 {
        api.node.put("c", &format!("{n}"), &large).await;
    }
    let (_, answer) = raw.call("Read", &json!({"documents": (0..4).map(reference).collect::<Vec<_>>()})).await;
    let told = |n: usize| (&answer["results"][n]["found"], &answer["results"][n]["error"]["code"]);
    assert_eq!([told(0), told(1)], [(&json!(true), &Value::Null); 2]);
    assert_eq!(told(2), (&Value::Null, &json!("RESOURCE_EXHAUSTED")));
    assert_eq!(told(3), (&Value::Null, &Value::Null), "what is not there needs no room");
    let too_long =
        json!({"collection": "c", "docId": "d", "putJson": format!("{{\"text\":\"{}\"}}", "x".repeat(5000))});
    let (_, answer) = raw.call("Write", &json!({"edits": [too_long]})).await;
    assert_eq!(error(&answer["results"][0]).0, "RESOURCE_EXHAUSTED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_makes_no_document_above_the_limit_that_a_put_has() {
    for key in [&[][..], &["--encryption-key", super::sealed::STARS]] {
        let api = Api::start(&[&["--max-document-bytes", "4096"], key].concat()).await;
        let patch = |member: &str, length: usize| format!("{{\"{member}\":\"{}\"}}", "x".repeat(length));
        for (way, mut caller) in Caller::all(&api).await {
            let made = write(&mut caller, edit(way, json!({"mergeJson": patch("a", 3000)}))).await;
            let refused = write(&mut caller, edit(way, json!({"mergeJson": patch("b", 3000)}))).await;
            let (code, text) = error(&refused);
            assert_eq!(code, "RESOURCE_EXHAUSTED", "{way}: {refused}");
            assert!(
                text.contains("merge_json makes a document of 6015 bytes, over the limit of 4096"),
                "{way}: {text}"
            );
            assert_eq!(read(&mut caller, way).await["version"], made["version"], "{way}: nothing changed");
            let fits = write(&mut caller, edit(way, json!({"mergeJson": patch("b", 1000)}))).await;
            assert!(fits["version"].is_string(), "{way}: {fits}");
        }
    }
}

pub(super) async fn watch(raw: &mut Raw, request: &Value) -> Frames {
    frames_of(raw, "/peat.node.v1.Node/Watch", request).await
}

/// The next event as its id, with `-` before a delete, and its token.
pub(super) async fn next(frames: &mut Frames) -> (String, Value) {
    let (flags, event) = tokio::time::timeout(PATIENCE, frames.next()).await.unwrap().unwrap();
    assert_eq!(flags, 0, "{event}");
    assert!(event["version"].is_string(), "{event}");
    let deleted = event["changeType"] == "CHANGE_TYPE_DELETE";
    assert_eq!(event.get("jsonData").is_none(), deleted, "{event}");
    (format!("{}{}", if deleted { "-" } else { "" }, event["docId"].as_str().unwrap()), event["token"].clone())
}

/// The mark behind what is stored; its token.
pub(super) async fn complete(frames: &mut Frames) -> Value {
    let (flags, event) = tokio::time::timeout(PATIENCE, frames.next()).await.unwrap().unwrap();
    let members: Vec<&str> = event.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((flags, members), (0, vec!["snapshotComplete", "token"]), "{event}");
    event["token"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_says_when_everything_stored_was_told_and_goes_on_from_there() {
    let mut api = Api::start(&[]).await;
    let ids: Vec<String> = (0..600).map(|id| format!("{id:04}")).collect();
    let edits: Vec<Value> = ids.iter().map(|id| edit(id, json!({"putJson": format!("{{\"n\":{id:?}}}")}))).collect();
    let mut raw = Raw::tcp(&api).await;
    assert_eq!(raw.call("Write", &json!({"edits": edits})).await.0, 200);
    api.node.put("other", "no", "{}").await;
    // No document holds, or some, or all; and a collection that has none.
    let query = |op: &str| json!({op: {"field": "n", "value": "\"0597\""}});
    let mut token = Value::Null;
    for (request, told) in [
        (json!({"collections": ["papers"], "query": query("gt")}), 2),
        (json!({"collections": ["none"]}), 0),
        (json!({"collections": ["papers"]}), 600),
    ] {
        let mut raw = Raw::unix(&api).await;
        let mut frames = watch(&mut raw, &request).await;
        for id in &ids[600 - told..] {
            assert_eq!(next(&mut frames).await, (id.clone(), Value::Null));
        }
        token = complete(&mut frames).await;
    }
    api.node.delete("papers", "0001").await;
    api.node.kill();
    api.node.start(&[]).await;
    api.node.put("papers", "later", "{}").await;
    let mut raw = Raw::unix(&api).await;
    let mut frames = watch(&mut raw, &json!({"collections": ["papers"], "after": token})).await;
    assert_eq!([next(&mut frames).await.0, next(&mut frames).await.0], ["-0001", "later"], "and no second mark");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_protocol_brings_the_mark() {
    let api = Api::start(&[]).await;
    api.node.put("papers", "one", "{}").await;
    let uri: http::Uri = format!("http://{}", api.tcp).parse().unwrap();
    for protocol in [Protocol::Grpc, Protocol::GrpcWeb, Protocol::Connect] {
        let config = ClientConfig::new(uri.clone()).with_protocol(protocol);
        let client = NodeClient::new(Http2Connection::lazy_plaintext(uri.clone()).shared(4), config);
        let mut stream = client.watch(WatchRequest::default()).await.unwrap();
        let mut marks = Vec::new();
        for _ in 0..2 {
            let event = stream.message().await.unwrap().unwrap().to_owned_message();
            marks.push((event.snapshot_complete, event.token.len()));
        }
        assert_eq!(marks, [(false, 0), (true, 32)], "{protocol:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_after_a_restart_of_the_node_without_a_gap_and_without_a_repeat() {
    let mut api = Api::start(&[]).await;
    api.node.put("papers", "stored", "{}").await;
    let mut raw = Raw::unix(&api).await;
    let mut frames = watch(&mut raw, &json!({"collections": ["papers"]})).await;
    assert_eq!(next(&mut frames).await, ("stored".to_owned(), Value::Null), "the snapshot has no token");
    complete(&mut frames).await;
    api.node.put("papers", "one", "{}").await;
    let (seen, token) = next(&mut frames).await;
    assert_eq!(seen, "one");
    api.node.put("papers", "two", "{}").await;
    api.node.put("papers", "one", r#"{"n":1}"#).await;
    api.node.kill();
    api.node.start(&[]).await;
    api.node.put("papers", "three", "{}").await;
    api.node.put("other", "no", "{}").await;
    api.node.delete("papers", "stored").await;
    let mut raw = Raw::unix(&api).await;
    let mut frames = watch(&mut raw, &json!({"collections": ["papers"], "after": token})).await;
    let mut last = Value::Null;
    for id in ["two", "one", "three", "-stored"] {
        let (seen, token) = next(&mut frames).await;
        assert_eq!(seen, id);
        last = token;
    }
    let mut raw = Raw::unix(&api).await;
    let mut again = watch(&mut raw, &json!({"collections": ["papers"], "after": last})).await;
    api.node.put("papers", "live", "{}").await;
    assert_eq!(next(&mut frames).await.0, "live");
    assert_eq!(next(&mut again).await.0, "live", "nothing that was handled came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_store_is_refused_with_the_way_out() {
    let (api, other) = (Api::start(&[]).await, Api::start(&[]).await);
    let mut raw = Raw::tcp(&other).await;
    let mut frames = watch(&mut raw, &json!({})).await;
    complete(&mut frames).await;
    other.node.put("papers", "theirs", "{}").await;
    let (_, token) = next(&mut frames).await;
    api.node.put("papers", "ours", "{}").await;
    for after in [&token, &json!("AAAA")] {
        let mut raw = Raw::tcp(&api).await;
        let (flags, end) = watch(&mut raw, &json!({"after": after})).await.next().await.unwrap();
        assert_eq!((flags, &end["error"]["code"]), (2, &json!("failed_precondition")), "{end}");
        for protocol in [Protocol::Grpc, Protocol::GrpcWeb] {
            let failure = refused(&api, protocol, json!({"after": after})).await;
            assert_eq!(failure.code, "failed_precondition");
            assert!(failure.message.contains("begin again without one"), "{}", failure.message);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_change_that_a_data_folder_put_back_does_not_have_is_refused_when_its_number_is_given_again() {
    let mut api = Api::start(&[]).await;
    api.node.put("papers", "kept", "{}").await;
    let mut raw = Raw::unix(&api).await;
    let mut frames = watch(&mut raw, &json!({})).await;
    assert_eq!(next(&mut frames).await.0, "kept");
    let kept = complete(&mut frames).await;
    api.node.kill();
    let (data, older) = (api.node.data(), api.node.dir().join("older"));
    let copied = std::process::Command::new("cp").arg("-a").args([&data, &older]).status().unwrap();
    assert!(copied.success());
    api.node.start(&[]).await;
    api.node.put("papers", "lost", "{}").await;
    let mut raw = Raw::unix(&api).await;
    let (id, lost) = next(&mut watch(&mut raw, &json!({"after": kept})).await).await;
    assert_eq!(id, "lost");
    api.node.kill();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&older, &data).unwrap();
    api.node.start(&[]).await;
    for id in ["one", "two"] {
        api.node.put("papers", id, "{}").await;
    }
    let mut raw = Raw::unix(&api).await;
    let (flags, end) = watch(&mut raw, &json!({"after": lost})).await.next().await.unwrap();
    assert_eq!((flags, &end["error"]["code"]), (2, &json!("failed_precondition")), "{end}");
    let mut raw = Raw::unix(&api).await;
    let mut frames = watch(&mut raw, &json!({"after": kept})).await;
    assert_eq!([next(&mut frames).await.0, next(&mut frames).await.0], ["one", "two"]);
}

/// The failure of a watch, whether it comes with the headers or behind them.
async fn refused(api: &Api, protocol: Protocol, request: Value) -> Failure {
    let uri: http::Uri = format!("http://{}", api.tcp).parse().unwrap();
    let config = ClientConfig::new(uri.clone()).with_protocol(protocol);
    let client = NodeClient::new(Http2Connection::lazy_plaintext(uri).shared(4), config);
    let request: WatchRequest = serde_json::from_value(request).unwrap();
    match client.watch(request).await {
        Err(error) => error.into(),
        Ok(mut stream) => stream.message().await.err().unwrap().into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_goes_by_itself_when_its_writer_said_and_the_next_write_says_anew() {
    let api = Api::start(&[]).await;
    for (way, mut caller) in Caller::all(&api).await {
        let put = |id: &str, ttl: &str| edit(&format!("{way}-{id}"), json!({"putJson": "{}", "ttlSecs": ttl}));
        for (id, ttl) in [("short", "1"), ("kept", "1"), ("long", "3600")] {
            write(&mut caller, put(id, ttl)).await["version"].as_str().unwrap();
        }
        write(&mut caller, put("kept", "0")).await["version"].as_str().unwrap();
        let gone = async {
            while read(&mut caller, &format!("{way}-short")).await != json!({}) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, gone).await.unwrap();
        for id in ["kept", "long"] {
            assert_eq!(read(&mut caller, &format!("{way}-{id}")).await["jsonData"], "{}", "{way}: {id}");
        }
        let wrong = write(&mut caller, put("wrong", "4294967296")).await;
        assert_eq!(error(&wrong).0, "INVALID_ARGUMENT", "{way}");
        assert!(error(&wrong).1.contains("ttl_secs"), "{way}: {wrong}");
        let wrong = write(&mut caller, edit("a", json!({"delete": {}, "ttlSecs": "1"}))).await;
        assert!(error(&wrong).1.contains("ttl_secs"), "{way}: {wrong}");
    }
}
