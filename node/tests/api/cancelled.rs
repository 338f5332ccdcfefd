//! Calls that their caller takes back: they end nothing but themselves.

use super::Api;
use super::process::{PATIENCE, put};
use peat_proto::sidecar::peat::sidecar::v1::SubscribeRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Kinds of frames (RFC 9113, 6), and flags of theirs.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The error code of a caller that no longer wants the answer.
const CANCEL: u32 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header of a gRPC call of `Subscribe`, the same bytes for each: HPACK (RFC 7541) that remembers nothing.
fn headers() -> Vec<u8> {
    // POST and http are in the static table whole, of the first three others the names.
    let mut block = vec![0x83, 0x86];
    for (name, value) in [
        (&b"\x04"[..], "/peat.sidecar.v1.PeatSidecar/Subscribe"),
        (b"\x01", "localhost"),
        (b"\x0f\x10", "application/grpc"),
        (b"\x00\x02te", "trailers"),
    ] {
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// One HTTP/2 connection, frame by frame: client libraries do not send at once what this suite has to.
struct Bare(TcpStream);

impl Bare {
    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Passes over frames up to one of this kind on this stream. The connection must not end before.
    async fn until(&mut self, kind: u8, stream: u32) {
        while timeout(PATIENCE, self.frame()).await.unwrap() != (kind, stream) {}
    }

    /// Kind and stream of the next frame.
    async fn frame(&mut self) -> (u8, u32) {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.unwrap();
        let [a, b, c, kind, _, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        assert_ne!(kind, GOAWAY, "{}", String::from_utf8_lossy(&payload));
        (kind, u32::from_be_bytes(stream))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_taken_back_at_once_end_no_other_on_their_connection() {
    // With the one that stays, no more than a connection may have by default.
    const TAKEN_BACK: u32 = 100;
    let api = Api::start(&[]).await;
    let mut bare = Bare(TcpStream::connect(api.tcp).await.unwrap());
    // An envelope with a `SubscribeRequest` of the collection `kept`.
    let kept = frame(DATA, END_STREAM, 1, b"\x00\x00\x00\x00\x06\x0a\x04kept");
    let settings = frame(SETTINGS, 0, 0, &[]);
    bare.send(&[PREFACE, &settings, &frame(HEADERS, END_HEADERS, 1, &headers()), &kept].concat()).await;
    bare.until(HEADERS, 1).await;
    let taken_back = |stream| {
        [frame(HEADERS, END_HEADERS, stream, &headers()), frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes())].concat()
    };
    let mut all: Vec<u8> = (0..TAKEN_BACK).flat_map(|n| taken_back(3 + 2 * n)).collect();
    // It is answered when all before it was taken in.
    all.extend(frame(PING, 0, 0, &[0; 8]));
    bare.send(&all).await;
    bare.until(PING, 0).await;
    api.node.put("kept", "one", "{}").await;
    bare.until(DATA, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_outlives_thousands_that_are_dropped_on_its_connection() {
    let api = Api::start(&[]).await;
    let client = api.node.client();
    let json = format!("{{\"text\":\"{}\"}}", "x".repeat(4096));
    for n in 0..32 {
        put(&client, "big", &n.to_string(), &json).await.unwrap();
    }
    let subscribe =
        |name: &str| client.subscribe(SubscribeRequest { collections: vec![name.into()], ..Default::default() });
    let mut kept = subscribe("kept").await.unwrap();
    for n in 0..3_000 {
        // The rest of what is stored is under way when the stream is dropped.
        let mut dropped = subscribe("big").await.unwrap();
        let first = timeout(PATIENCE, dropped.message()).await.unwrap().unwrap();
        assert!(first.is_some(), "stream {n}");
    }
    put(&client, "kept", "last", "{}").await.unwrap();
    let last = timeout(PATIENCE, kept.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(last.to_owned_message().doc_id, "last");
}
