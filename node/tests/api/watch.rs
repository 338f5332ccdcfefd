//! `Subscribe`: what is stored, then every change, filtered, to everyone who listens.

use super::Api;
use super::caller::Failure;
use super::process::PATIENCE;
use super::raw::{Raw, frames_of};
use connectrpc::Protocol;
use connectrpc::client::{ClientConfig, Http2Connection};
use peat_proto::sidecar::peat::sidecar::v1::{PeatSidecarClient, SubscribeAttachmentBundleRequest, SubscribeRequest};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The ways to listen.
pub(super) const WAYS: [Way; 4] = [Way::Grpc, Way::GrpcWeb, Way::Connect, Way::PlainUnix];

#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    Grpc,
    GrpcWeb,
    /// Its messages are protobuf, as those of the two above.
    Connect,
    PlainUnix,
}

impl Way {
    /// None where the test speaks HTTP by itself.
    const fn protocol(self) -> Option<Protocol> {
        match self {
            Self::Grpc => Some(Protocol::Grpc),
            Self::GrpcWeb => Some(Protocol::GrpcWeb),
            Self::Connect => Some(Protocol::Connect),
            Self::PlainUnix => None,
        }
    }
}

/// Events in proto3 JSON, then perhaps a failure.
pub(super) struct Events(mpsc::Receiver<Result<Value, Failure>>);

impl Events {
    /// The headers have come when this returns.
    pub(super) async fn subscribe(api: &Api, way: Way, request: Value) -> Self {
        let (events, receiver) = mpsc::channel(16);
        match way.protocol() {
            Some(protocol) => rpc(api, protocol, request, events).await,
            None => {
                let mut raw = Raw::unix(api).await;
                let mut frames = raw.subscribe(&request).await;
                let reader = events.clone();
                let told = async move {
                    while let Some((flags, value)) = frames.next().await {
                        let text = |part: &str| value["error"][part].as_str().unwrap_or_default().to_owned();
                        let event = match flags {
                            0 => Ok(value),
                            _ => Err(Failure { code: text("code"), message: text("message") }),
                        };
                        if events.send(event).await.is_err() {
                            return;
                        }
                    }
                    drop(raw);
                };
                // Whose reader is gone, his node may be killed.
                tokio::spawn(async move {
                    tokio::select! { () = told => {}, () = reader.closed() => {} }
                });
            }
        }
        Self(receiver)
    }

    async fn item(&mut self) -> Result<Value, Failure> {
        tokio::time::timeout(PATIENCE, self.0.recv()).await.unwrap().unwrap()
    }

    /// The next event as `collection/id`, with `-` before a delete.
    pub(super) async fn next(&mut self) -> String {
        let event = self.item().await.unwrap();
        let name = format!("{}/{}", event["collection"].as_str().unwrap(), event["docId"].as_str().unwrap());
        match event["changeType"].as_str().unwrap() {
            "CHANGE_TYPE_UPSERT" => {
                assert!(event["jsonData"].is_string(), "{event}");
                name
            }
            "CHANGE_TYPE_DELETE" => {
                assert!(event.get("jsonData").is_none(), "{event}");
                format!("-{name}")
            }
            other => panic!("{other}"),
        }
    }
}

async fn rpc(api: &Api, protocol: Protocol, request: Value, events: mpsc::Sender<Result<Value, Failure>>) {
    let uri: http::Uri = format!("http://{}", api.tcp).parse().unwrap();
    let config = ClientConfig::new(uri.clone()).with_protocol(protocol);
    let client = PeatSidecarClient::new(Http2Connection::lazy_plaintext(uri).shared(4), config);
    let request: SubscribeRequest = serde_json::from_value(request).unwrap();
    let mut stream = client.subscribe(request).await.unwrap();
    tokio::spawn(async move {
        loop {
            let event = match stream.message().await {
                Ok(Some(event)) => Ok(serde_json::to_value(event.to_owned_message()).unwrap()),
                Ok(None) => return,
                Err(error) => Err(error.into()),
            };
            let failed = event.is_err();
            if events.send(event).await.is_err() || failed {
                return;
            }
        }
    });
}

async fn put(api: &Api, name: &str, json: &str) {
    let (collection, id) = name.split_once('/').unwrap();
    api.node.put(collection, id, json).await;
}

async fn delete(api: &Api, name: &str) {
    let (collection, id) = name.split_once('/').unwrap();
    api.node.delete(collection, id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_collection_comes_as_it_is_stored_and_then_as_it_changes() {
    let api = Api::start(&[]).await;
    put(&api, "ferries/a", r#"{"n":1}"#).await;
    put(&api, "ferries/b", r#"{"n":2}"#).await;
    put(&api, "tugs/c", r#"{"n":3}"#).await;
    put(&api, "ferries/gone", r#"{"n":4}"#).await;
    delete(&api, "ferries/gone").await;
    for way in WAYS {
        let mut events = Events::subscribe(&api, way, json!({"collections": ["ferries"]})).await;
        assert_eq!(events.next().await, "ferries/a", "{way:?}");
        assert_eq!(events.next().await, "ferries/b", "{way:?}");
        put(&api, "tugs/d", &format!("{{\"way\":\"{way:?}\"}}")).await;
        put(&api, "ferries/new", &format!("{{\"way\":\"{way:?}\"}}")).await;
        assert_eq!(events.next().await, "ferries/new", "{way:?}");
        // Not before the event was read: a reader that is far behind would hear of the delete alone.
        delete(&api, "ferries/new").await;
        assert_eq!(events.next().await, "-ferries/new", "{way:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_come_before_there_is_any_event() {
    let api = Api::start(&[]).await;
    for way in WAYS {
        let mut events = Events::subscribe(&api, way, json!({"collections": [format!("empty-{way:?}")]})).await;
        put(&api, &format!("empty-{way:?}/first"), "{}").await;
        assert_eq!(events.next().await, format!("empty-{way:?}/first"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collection_every_change_comes_once_and_an_unchanged_put_not_at_all() {
    let api = Api::start(&[]).await;
    put(&api, "a/stored", r#"{"n":1}"#).await;
    let mut events = Events::subscribe(&api, Way::Grpc, json!({})).await;
    assert_eq!(events.next().await, "a/stored");
    put(&api, "b/one", r#"{"n":1}"#).await;
    assert_eq!(events.next().await, "b/one");
    put(&api, "b/one", r#"{ "n": 1 }"#).await;
    put(&api, "tracks/t", r#"{"n":1}"#).await;
    assert_eq!(events.next().await, "tracks/t", "the same content again is no change");
    put(&api, "tracks/t", r#"{"n":1}"#).await;
    put(&api, "b/one", r#"{"n":2}"#).await;
    assert_eq!(events.next().await, "b/one");
    delete(&api, "b/one").await;
    delete(&api, "b/one").await;
    delete(&api, "b/never").await;
    put(&api, "b/last", "{}").await;
    assert_eq!(events.next().await, "-b/one");
    assert_eq!(events.next().await, "b/last", "one delete is one event");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_write_is_one_event_also_when_it_is_soon_followed_by_others() {
    let api = Api::start(&[]).await;
    let mut events = Events::subscribe(&api, Way::Grpc, json!({"collections": ["c"]})).await;
    put(&api, "c/ready", "{}").await;
    assert_eq!(events.next().await, "c/ready");
    for n in 0..100 {
        put(&api, "c/one", &format!("{{\"n\":{n}}}")).await;
    }
    delete(&api, "c/one").await;
    put(&api, "c/one", "{}").await;
    for n in 0..100 {
        assert_eq!(events.next().await, "c/one", "event {n}");
    }
    assert_eq!([events.next().await, events.next().await], ["-c/one", "c/one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_subscribers_get_the_same_events() {
    let api = Api::start(&[]).await;
    let mut all = Vec::new();
    for way in WAYS.into_iter().chain([Way::Grpc]) {
        all.push(Events::subscribe(&api, way, json!({"collections": ["x", "y"]})).await);
    }
    for name in ["x/1", "y/1", "x/2"] {
        put(&api, name, "{}").await;
        for events in &mut all {
            assert_eq!(events.next().await, name);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_subscription_fails_before_the_first_event() {
    let api = Api::start(&[]).await;
    put(&api, "t/one", "{}").await;
    let deep = (0..16).fold(json!({"all": {}}), |inner, _| json!({"not": inner}));
    for way in WAYS {
        for (request, word) in [
            (json!({"collections": ["a:b"]}), "collection"),
            (json!({"collections": [""]}), "collection"),
            (json!({"query": {}}), "none of eq"),
            (json!({"query": {"not": {}}}), "query.not"),
            (json!({"query": {"eq": {"value": "1"}}}), "field"),
            (json!({"query": {"eq": {"field": "a", "value": "vehicle"}}}), "not valid JSON"),
            (json!({"query": deep}), "deeper than 16"),
        ] {
            let failure = match way.protocol() {
                None => Events::subscribe(&api, way, request.clone()).await.item().await.unwrap_err(),
                Some(protocol) => refused(&api, protocol, request.clone()).await,
            };
            assert_eq!(failure.code, "invalid_argument", "{way:?} {request}");
            assert!(failure.message.contains(word), "{way:?} {request}: {}", failure.message);
        }
    }
}

/// The failure of a subscription, which a protocol may tell with the headers or behind them.
async fn refused(api: &Api, protocol: Protocol, request: Value) -> Failure {
    let uri: http::Uri = format!("http://{}", api.tcp).parse().unwrap();
    let config = ClientConfig::new(uri.clone()).with_protocol(protocol);
    let client = PeatSidecarClient::new(Http2Connection::lazy_plaintext(uri).shared(4), config);
    let request: SubscribeRequest = serde_json::from_value(request).unwrap();
    match client.subscribe(request).await {
        Err(error) => error.into(),
        Ok(mut stream) => stream.message().await.err().unwrap().into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_node_tells_its_subscribers() {
    let api = Api::start(&[]).await;
    let mut all = Vec::new();
    for way in WAYS {
        all.push(Events::subscribe(&api, way, json!({})).await);
    }
    assert!(std::process::Command::new("kill").arg(api.node.pid().to_string()).status().unwrap().success());
    for events in &mut all {
        let failure = events.item().await.unwrap_err();
        assert_eq!(failure.code, "unavailable", "{failure:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_subscriber_is_late_and_misses_nothing() {
    let api = Api::start(&[]).await;
    // Nobody takes frames from this connection until all is written: its buffers are small against the documents.
    let mut raw = Raw::tcp(&api).await;
    let mut frames = raw.subscribe(&json!({"collections": ["big"]})).await;
    let text = "x".repeat(64 * 1024);
    for n in 0..200 {
        put(&api, &format!("big/{n:03}"), &format!("{{\"n\":{n},\"text\":\"{text}\"}}")).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 200 {
        let (flags, event) = tokio::time::timeout(PATIENCE, frames.next()).await.unwrap().unwrap();
        assert_eq!(flags, 0, "{event}");
        seen.push(event["docId"].as_str().unwrap().to_owned());
    }
    let expected: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
    assert_eq!(seen, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_writes_past_a_pausing_subscriber_all_arrive_once() {
    const WRITES: usize = 10_000;
    let api = Api::start(&[]).await;
    let mut raw = Raw::unix(&api).await;
    let mut frames = raw.subscribe(&json!({"collections": ["flood"]})).await;
    let client = api.node.client();
    let (wrote, mut half) = tokio::sync::watch::channel(0);
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let (client, wrote) = (client.clone(), wrote.clone());
            tokio::spawn(async move {
                for n in (writer..WRITES).step_by(16) {
                    super::process::put(&client, "flood", &format!("{n:05}"), &format!("{{\"n\":{n}}}")).await.unwrap();
                    wrote.send_modify(|count| *count += 1);
                }
            })
        })
        .collect();
    // The reader comes back when half of it has passed.
    tokio::time::timeout(PATIENCE, half.wait_for(|count| *count >= WRITES / 2)).await.unwrap().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < WRITES {
        let (flags, event) = tokio::time::timeout(PATIENCE, frames.next()).await.unwrap().unwrap();
        assert_eq!(flags, 0, "{event}");
        assert!(seen.insert(event["docId"].as_str().unwrap().to_owned()), "twice: {event}");
    }
    for writer in writers {
        writer.await.unwrap();
    }
    put(&api, "flood/last", "{}").await;
    let (_, event) = tokio::time::timeout(PATIENCE, frames.next()).await.unwrap().unwrap();
    assert_eq!(event["docId"], "last", "nothing came twice at the end either");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_to_attachments_is_unimplemented_over_every_protocol() {
    let api = Api::start(&[]).await;
    for protocol in [Protocol::Grpc, Protocol::GrpcWeb, Protocol::Connect] {
        let uri: http::Uri = format!("http://{}", api.tcp).parse().unwrap();
        let config = ClientConfig::new(uri.clone()).with_protocol(protocol);
        let client = PeatSidecarClient::new(Http2Connection::lazy_plaintext(uri).shared(4), config);
        let failure: Failure =
            match client.subscribe_attachment_bundle(SubscribeAttachmentBundleRequest::default()).await {
                Err(error) => error.into(),
                Ok(mut stream) => stream.message().await.err().unwrap().into(),
            };
        assert_eq!(failure.code, "unimplemented", "{protocol:?}");
        assert!(failure.message.contains("attachments"), "{protocol:?}: {}", failure.message);
    }
    let path = "/peat.sidecar.v1.PeatSidecar/SubscribeAttachmentBundle";
    for mut raw in [Raw::tcp(&api).await, Raw::unix(&api).await] {
        let (flags, end) = frames_of(&mut raw, path, &json!({"bundleId": "b"})).await.next().await.unwrap();
        assert_eq!((flags, &end["error"]["code"]), (2, &json!("unimplemented")), "{end}");
    }
}
