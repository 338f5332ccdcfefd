//! The text form of gRPC-Web, as a browser's XMLHttpRequest would use it.

use super::Api;
use super::process::PATIENCE;
use super::raw::Raw;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use buffa::Message;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use peat_proto::sidecar::peat::sidecar::v1::{
    DocumentChange, GetDocumentRequest, GetDocumentResponse, PutDocumentRequest, SubscribeRequest,
};

const TEXT: &str = "application/grpc-web-text";
const TRAILERS: u8 = 0x80;

/// One message in its frame, as text.
fn framed(message: &impl Message) -> String {
    let bytes = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend((bytes.len() as u32).to_be_bytes());
    frame.extend(bytes);
    STANDARD.encode(frame)
}

async fn post(raw: &mut Raw, method: &str, text: &str) -> Response<Incoming> {
    let headers = [("content-type", TEXT), ("accept", TEXT), ("x-grpc-web", "1")];
    let response = raw.post(&format!("/peat.sidecar.v1.PeatSidecar/{method}"), &headers, text.as_bytes()).await;
    assert_eq!(response.status(), 200);
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with(TEXT), "{kind}");
    response
}

/// The frames of an answer as they come: flags and bytes.
struct Frames {
    body: Incoming,
    text: Vec<u8>,
    bytes: Vec<u8>,
}

impl Frames {
    fn of(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), text: Vec::new(), bytes: Vec::new() }
    }

    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            // Every group by itself: padding may be anywhere.
            let whole = self.text.len() / 4 * 4;
            for group in self.text.drain(..whole).collect::<Vec<_>>().chunks(4) {
                self.bytes.extend(STANDARD.decode(group).unwrap());
            }
            if let Some((head, rest)) = self.bytes.split_at_checked(5) {
                let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
                if rest.len() >= length {
                    let frame = (head[0], rest[..length].to_vec());
                    self.bytes.drain(..5 + length);
                    return Some(frame);
                }
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.unwrap()?;
            self.text.extend(frame.unwrap().into_data().unwrap());
        }
    }

    /// The trailers, which must be next and last: the status code.
    async fn status(mut self) -> (String, String) {
        let (flags, bytes) = self.next().await.unwrap();
        assert_eq!(flags, TRAILERS);
        assert!(self.next().await.is_none() && self.text.is_empty() && self.bytes.is_empty());
        let text = String::from_utf8(bytes).unwrap();
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        (field("grpc-status"), field("grpc-message"))
    }
}

fn put(id: &str, json: &str) -> PutDocumentRequest {
    PutDocumentRequest { collection: "web".into(), doc_id: id.into(), json_data: json.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_grpc_web_carries_calls_answers_and_failures() {
    let api = Api::start(&[]).await;
    for mut raw in [Raw::tcp(&api).await, Raw::unix(&api).await] {
        let mut frames = Frames::of(post(&mut raw, "PutDocument", &framed(&put("a", r#"{"a":"é"}"#))).await);
        assert_eq!(frames.next().await, Some((0, vec![])), "an empty message");
        assert_eq!(frames.status().await.0, "0");
        let get = GetDocumentRequest { collection: "web".into(), doc_id: "a".into(), ..Default::default() };
        let mut frames = Frames::of(post(&mut raw, "GetDocument", &framed(&get)).await);
        let (_, bytes) = frames.next().await.unwrap();
        let answer = GetDocumentResponse::decode_from_slice(&bytes).unwrap();
        assert_eq!(answer.json_data.as_deref(), Some(r#"{"a":"é"}"#));
        assert_eq!(frames.status().await.0, "0");
        let frames = Frames::of(post(&mut raw, "PutDocument", &framed(&put("a", "[1]"))).await);
        let (code, message) = frames.status().await;
        assert_eq!(code, "3");
        assert!(message.contains("array"), "{message}");
        let frames = Frames::of(post(&mut raw, "NoSuchMethod", "").await);
        assert_eq!(frames.status().await.0, "12");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn text_of_grpc_web_streams_every_event_as_it_comes() {
    let api = Api::start(&[]).await;
    let mut raw = Raw::tcp(&api).await;
    let request = SubscribeRequest { collections: vec!["web".into()], ..Default::default() };
    let mut frames = Frames::of(post(&mut raw, "Subscribe", &framed(&request)).await);
    for n in 0..5 {
        // Each is written only after the one before it was read.
        let (id, json) = (format!("doc-{n}"), format!("{{\"n\":\"{}\"}}", "x".repeat(n)));
        api.node.put("web", &id, &json).await;
        let (flags, bytes) = frames.next().await.unwrap();
        let event = DocumentChange::decode_from_slice(&bytes).unwrap();
        assert_eq!((flags, event.doc_id, event.json_data), (0, id, Some(json)));
    }
    assert!(std::process::Command::new("kill").arg(api.node.pid().to_string()).status().unwrap().success());
    assert_eq!(frames.status().await.0, "14", "a stopping node says so in text too");
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_no_base64_or_too_long_is_refused_in_kind() {
    let api = Api::start(&["--max-document-bytes", "4096"]).await;
    let mut raw = Raw::tcp(&api).await;
    let whole = framed(&put("a", "{}"));
    for wrong in [&whole[..whole.len() - 1], "%%%%", "AAAA\n", "A", &format!("{whole}=")] {
        let (code, message) = Frames::of(post(&mut raw, "PutDocument", wrong).await).status().await;
        assert_eq!(code, "3", "{wrong}: {message}");
        assert!(message.contains("base64"), "{message}");
    }
    let long = framed(&put("a", &"x".repeat(1 << 20)));
    let (code, _) = Frames::of(post(&mut raw, "PutDocument", &long).await).status().await;
    assert_eq!(code, "8");
    let mut raw = Raw::tcp(&api).await;
    let mut frames = Frames::of(post(&mut raw, "PutDocument", &whole).await);
    assert_eq!(frames.next().await, Some((0, vec![])));
}
