//! The text form of gRPC-Web: the same frames in base64.
//!
//! Purpose: callers that can carry text alone, such as XMLHttpRequest, send and read `application/grpc-web-text`; the
//! API's library knows the binary form only, so headers and bytes are translated around it. Source: gRPC-Web protocol
//! (PROTOCOL-WEB of gRPC), RFC 4648 section 4. Inputs: headers and pieces of a body. Outputs: the same, in the other
//! form. What it does not do: know frames. Each piece of an answer is encoded and padded by itself, so that it is sent
//! as soon as it is there; padding may come within a request for the same reason.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use hyper::body::Bytes;

const TEXT: &str = "application/grpc-web-text";
const BINARY: &str = "application/grpc-web";

/// Characters that stand for three bytes.
const GROUP: usize = 4;

/// A body that is no base64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TextError {
    /// A character, or a padding, that base64 does not have there.
    #[error("the body is not base64, which {TEXT} needs")]
    NotBase64(#[source] base64::DecodeError),
    /// The end came too early.
    #[error("the body ends within a group of four base64 characters")]
    Truncated,
}

/// Which directions of a call are text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) request: bool,
    pub(super) response: bool,
}

impl Form {
    /// Reads the form of a call, and makes its headers those of the binary form.
    ///
    /// The answer is text if `Accept` names it, or the request is and `Accept` does not ask for something else.
    pub(super) fn of(headers: &mut HeaderMap) -> Self {
        let request = to_binary(headers);
        let accepted: Vec<&str> = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|kind| kind.split(';').next().unwrap_or_default().trim())
            .collect();
        let names = |kind: &str| accepted.iter().any(|accepted| accepted.starts_with(kind));
        let binary = accepted.iter().any(|kind| kind.starts_with(BINARY) && !kind.starts_with(TEXT));
        Self { request, response: names(TEXT) || (request && !binary) }
    }

    /// Makes the headers of an answer those of this form; whether its body is to be encoded.
    pub(super) fn answer(self, headers: &mut HeaderMap) -> bool {
        self.response && to_text(headers)
    }
}

/// Whether the content was text.
fn to_binary(headers: &mut HeaderMap) -> bool {
    replace_kind(headers, TEXT, BINARY)
}

/// Whether the content is gRPC-Web at all.
fn to_text(headers: &mut HeaderMap) -> bool {
    replace_kind(headers, BINARY, TEXT)
}

fn replace_kind(headers: &mut HeaderMap, from: &str, to: &str) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).and_then(|kind| kind.strip_prefix(from));
    let Some(Ok(kind)) = kind.map(|rest| HeaderValue::from_str(&format!("{to}{rest}"))) else { return false };
    headers.insert(CONTENT_TYPE, kind);
    // It counted the bytes of the other form.
    headers.remove(CONTENT_LENGTH);
    true
}

/// One piece of an answer, padded.
pub(super) fn encode(bytes: &[u8]) -> Bytes {
    STANDARD.encode(bytes).into()
}

/// From text to bytes, whatever the pieces it comes in; holds at most three characters between two of them.
#[derive(Debug, Default)]
pub(super) struct Decoder(Vec<u8>);

impl Decoder {
    /// The bytes that this piece completes.
    pub(super) fn decode(&mut self, text: &[u8]) -> Result<Bytes, TextError> {
        self.0.extend_from_slice(text);
        let whole = self.0.len() / GROUP * GROUP;
        let mut bytes = Vec::with_capacity(whole / GROUP * 3);
        let mut groups = &self.0[..whole];
        while !groups.is_empty() {
            // What follows a padded group was encoded by itself.
            let padded = groups.iter().position(|character| *character == b'=');
            let (piece, rest) = groups.split_at(padded.map_or(groups.len(), |at| (at / GROUP + 1) * GROUP));
            STANDARD.decode_vec(piece, &mut bytes).map_err(TextError::NotBase64)?;
            groups = rest;
        }
        self.0.drain(..whole);
        Ok(bytes.into())
    }

    /// To be asked at the end of the body.
    pub(super) fn finish(&self) -> Result<(), TextError> {
        if self.0.is_empty() { Ok(()) } else { Err(TextError::Truncated) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(pieces: &[&str]) -> Result<Vec<u8>, TextError> {
        let mut decoder = Decoder::default();
        let mut bytes = Vec::new();
        for piece in pieces {
            bytes.extend(decoder.decode(piece.as_bytes())?);
            assert!(decoder.0.len() < GROUP);
        }
        decoder.finish().map(|()| bytes)
    }

    #[test]
    fn text_is_decoded_whatever_its_pieces_and_paddings() {
        assert_eq!(decode(&[]), Ok(vec![]));
        assert_eq!(decode(&["Zm9vYmFy"]), Ok(b"foobar".to_vec()));
        assert_eq!(decode(&["Z", "m9v", "", "YmF", "y"]), Ok(b"foobar".to_vec()));
        assert_eq!(decode(&["Zm8=Yg==YXI="]), Ok(b"fobar".to_vec()), "padding within");
        assert_eq!(decode(&["Zm8", "=Yg=", "=YXI="]), Ok(b"fobar".to_vec()));
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        assert_eq!(decode(&["Zm9"]), Err(TextError::Truncated));
        for wrong in ["Zm9v\nYmFy", "Zm-_", "Z===", "=m9v", "Zm9=Z", "Zh==", "\u{e9}\u{e9}"] {
            assert!(decode(&[wrong, "AAAA"]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_encoded_piece_by_piece_decodes_whole() {
        for cut in 0..=5 {
            let (one, two) = b"\0\0\0\x02\xff".split_at(cut);
            let text = [encode(one), encode(two)].concat();
            assert_eq!(decode(&[std::str::from_utf8(&text).unwrap()]), Ok(b"\0\0\0\x02\xff".to_vec()));
        }
    }

    #[test]
    fn the_answer_has_the_form_of_the_request_unless_another_is_asked_for() {
        for (kind, accept, request, response, now) in [
            ("application/grpc-web-text", None, true, true, "application/grpc-web"),
            ("application/grpc-web-text+proto", Some("*/*"), true, true, "application/grpc-web+proto"),
            ("application/grpc-web-text", Some("application/grpc-web"), true, false, "application/grpc-web"),
            ("application/grpc-web", Some("application/grpc-web-text;q=1"), false, true, "application/grpc-web"),
            ("application/grpc-web+proto", None, false, false, "application/grpc-web+proto"),
            ("application/json", None, false, false, "application/json"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.extend(accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept))));
            assert_eq!(Form::of(&mut headers), Form { request, response }, "{kind} {accept:?}");
            assert_eq!(headers[CONTENT_TYPE], now);
        }
        let mut json = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        assert!(!Form { request: false, response: true }.answer(&mut json), "only gRPC-Web has a text form");
    }
}
