//! Bodies of requests and answers, as bytes on a connection.
//!
//! Purpose: what the service reads and writes, with three things added: text is decoded and encoded, a running call is
//! counted, and a refused request is read to its end. Inputs: hyper's and the service's bodies. Outputs: bodies.
//! What it does not do: decide how large a body may be; the service does.

use super::connection::{Receiving, Running};
use super::text::{Decoder, TextError, encode};
use connectrpc::ConnectRpcBody;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A refused body of more bytes is not read to its end, and its connection is closed.
const UNREAD_LIMIT: u64 = 64 << 20;

/// A refused body that takes longer is not read to its end either.
const UNREAD_TIME: Duration = Duration::from_secs(5);

/// A body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The connection.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The caller's text.
    #[error(transparent)]
    Text(#[from] TextError),
}

/// Where a request's body says that its text is wrong: the service would call any failure to read a bug of ours.
pub(super) type Wrong = Arc<OnceLock<TextError>>;

/// A request body that is read to its end even when the service refused it early: an HTTP/1.1 connection that is closed
/// with unread bytes is reset, and the caller never sees why.
pub(super) struct Received {
    body: Option<Incoming>,
    text: Option<(Decoder, Wrong)>,
    receiving: Option<Receiving>,
}

impl Received {
    /// `text`: where to tell of text that cannot be decoded; none for a binary body.
    pub(super) fn new(body: Incoming, text: Option<Wrong>, receiving: Receiving) -> Self {
        Self { body: Some(body), text: text.map(|wrong| (Decoder::default(), wrong)), receiving: Some(receiving) }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = ReadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ReadError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx)).transpose()?;
        let Some((decoder, wrong)) = &mut self.text else { return Poll::Ready(frame.map(Ok)) };
        let decoded = match frame.map(Frame::into_data) {
            Some(Ok(text)) => decoder.decode(&text).map(|bytes| Some(Frame::data(bytes))),
            Some(Err(trailers)) => Ok(Some(trailers)),
            None => decoder.finish().map(|()| None),
        };
        let decoded = decoded.map_err(|error| ReadError::Text(wrong.get_or_init(|| error).clone()));
        Poll::Ready(decoded.transpose())
    }

    fn is_end_stream(&self) -> bool {
        // Text ends properly or not, which only its last read tells.
        self.text.is_none() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.body, &self.text) {
            (None, _) => SizeHint::with_exact(0),
            (Some(body), None) => body.size_hint(),
            (Some(_), Some(_)) => SizeHint::default(),
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        if body.size_hint().lower() > UNREAD_LIMIT {
            return;
        }
        let receiving = self.receiving.take();
        tokio::spawn(tokio::time::timeout(UNREAD_TIME, async move {
            let _receiving = receiving;
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, |data| data.len() as u64);
                if read > UNREAD_LIMIT {
                    return;
                }
            }
        }));
    }
}

/// A response body that keeps its call counted.
pub(super) struct Sent {
    body: ConnectRpcBody,
    text: bool,
    _running: Running,
}

impl Sent {
    /// `text`: send the bytes as base64.
    pub(super) const fn new(body: ConnectRpcBody, text: bool, running: Running) -> Self {
        Self { body, text, _running: running }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !self.text {
            return Poll::Ready(frame);
        }
        Poll::Ready(frame.map(|Ok(frame)| Ok(frame.map_data(|bytes| encode(&bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.text { SizeHint::default() } else { self.body.size_hint() }
    }
}
