//! A document as ciphertext: what a node keeps and passes on of one that was encrypted before it came here.
//!
//! Purpose: rows and readers that tell a sealed document from one of an application, whatever that has written. Inputs:
//! an envelope, `ENC:v1:` and base64, perhaps with marks before it. Outputs: the text of its row, `
//! {"value":"ENC:v1:…"}`, and back. The text is JSON that begins with a blank: no document of an application does,
//! because those are canonical. So the mark is outside the document. What it does not do: encrypt or decrypt.

/// How every envelope begins.
pub const PREFIX: &str = "ENC:v1:";

const HEAD: &str = r#" {"value":""#;
const TAIL: &str = r#""}"#;

/// A sealed document. Such a row is always a `latest` one: there are no fields to merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(String);

impl Sealed {
    /// Takes an envelope; none for any other text.
    pub fn new(envelope: String) -> Option<Self> {
        is_envelope(&envelope).then_some(Self(envelope))
    }

    /// As its row has it.
    pub(crate) fn to_text(&self) -> String {
        [HEAD, &self.0, TAIL].concat()
    }
}

/// The envelope in the text of a row; none when that is a document.
pub(crate) fn envelope(text: &str) -> Option<&str> {
    text.strip_prefix(HEAD)?.strip_suffix(TAIL).filter(|envelope| is_envelope(envelope))
}

fn is_envelope(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b':');
    text.strip_prefix(PREFIX).is_some_and(|body| body.bytes().all(known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docs::Document;

    #[test]
    fn an_envelope_comes_back_and_nothing_else_is_taken_for_one() {
        for sealed in ["ENC:v1:AA+/=", "ENC:v1:2:0a1b2c3d:AA+/="] {
            let text = Sealed::new(sealed.to_owned()).unwrap().to_text();
            assert_eq!(envelope(&text), Some(sealed));
            let document = Document::parse(&text).unwrap().to_json();
            assert_eq!(document, format!(r#"{{"value":"{sealed}"}}"#));
            assert_eq!(envelope(&document), None, "an application may write the same");
        }
        for other in ["", "ENC:v2:AA", "ENC:v1:\"", "AA"] {
            assert_eq!(Sealed::new(other.to_owned()), None);
        }
    }
}
