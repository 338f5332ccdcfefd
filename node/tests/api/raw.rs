//! HTTP/1.1 with JSON and nothing of the API's library: what a plain client sends.

use super::Api;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// One kept-alive connection.
pub(crate) struct Raw(SendRequest<Full<Bytes>>);

impl Raw {
    pub(crate) async fn tcp(api: &Api) -> Self {
        Self::to(api.tcp).await
    }

    pub(crate) async fn to(address: std::net::SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    pub(crate) async fn unix(api: &Api) -> Self {
        Self::over(UnixStream::connect(api.socket()).await.unwrap()).await
    }

    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Posts to `path` with these headers.
    pub(crate) async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response<Incoming> {
        self.0.ready().await.unwrap();
        let mut request = Request::post(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.0.send_request(request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()).await.unwrap()
    }

    /// Calls a method of either service; the status and the body.
    pub(crate) async fn call(&mut self, method: &str, body: &Value) -> (u16, Value) {
        self.json(&format!("/{}/{method}", service_of(method)), &[], body.to_string().as_bytes()).await
    }

    /// Posts JSON, reads JSON.
    pub(crate) async fn json(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
        let headers = [&[("content-type", "application/json")], headers].concat();
        let response = self.post(path, &headers, body).await;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// Opens `Subscribe` with JSON frames; the headers are there when this returns.
    pub(crate) async fn subscribe(&mut self, request: &Value) -> Frames {
        frames_of(self, "/peat.sidecar.v1.PeatSidecar/Subscribe", request).await
    }
}

/// The service that has this method.
pub(crate) fn service_of(method: &str) -> &'static str {
    match method {
        "Write" | "Read" | "Watch" | "List" | "Digest" | "Peers" | "Drain" | "SetLogLevel" => "peat.node.v1.Node",
        _ => "peat.sidecar.v1.PeatSidecar",
    }
}

/// Opens a stream with JSON frames; the headers are there when this returns.
pub(crate) async fn frames_of(raw: &mut Raw, path: &str, request: &Value) -> Frames {
    let json = request.to_string();
    let mut frame = vec![0];
    frame.extend((json.len() as u32).to_be_bytes());
    frame.extend(json.as_bytes());
    let response = raw.post(path, &[("content-type", "application/connect+json")], &frame).await;
    assert_eq!(response.status(), 200);
    Frames::of(response)
}

/// The frames of a Connect stream.
pub(crate) struct Frames {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Frames {
    pub(crate) fn of(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), buffer: Vec::new() }
    }

    /// The next frame: its flags and its JSON. None at the end of the body.
    pub(crate) async fn next(&mut self) -> Option<(u8, Value)> {
        loop {
            if let Some((head, rest)) = self.buffer.split_at_checked(5) {
                let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
                if rest.len() >= length {
                    let frame = (head[0], serde_json::from_slice(&rest[..length]).unwrap());
                    self.buffer.drain(..5 + length);
                    return Some(frame);
                }
            }
            let data = self.body.frame().await?.unwrap().into_data().unwrap();
            self.buffer.extend(data);
        }
    }
}
