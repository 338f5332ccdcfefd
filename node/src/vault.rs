//! Documents under a key: sealed before they are stored or sent, opened when they are read.
//!
//! Purpose: with `--encryption-key` neither this node's disk nor a peer without the key sees what a document says. An
//! envelope is `ENC:v1:` and the base64 of nonce (12 bytes), ciphertext and tag (16): AES-256-GCM without associated data
//! over the canonical JSON, under a nonce from the system's random source (NIST SP 800-38D: at most 2^32 documents under
//! one key). Names, sizes and times stay visible. Inputs: documents and rows. Outputs: envelopes and documents.
//! What it does not do: write, or know whether a peer has the key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use peat_node_core::docs::row::{RowError, View};
use peat_node_core::docs::{Document, Sealed, sealed};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::borrow::Cow;
use std::fmt;

/// A document that cannot be sealed: nothing that the limits let through.
#[derive(Debug, thiserror::Error)]
#[error("encrypt a document")]
pub struct SealError;

/// What a reader sees of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The document.
    Open(Document),
    /// Its envelope: this node does not have the key.
    Sealed(String),
}

impl Content {
    /// What the API calls `json_data`: canonical JSON, or the bare envelope.
    pub fn to_json(&self) -> String {
        match self {
            Self::Open(document) => document.to_json(),
            Self::Sealed(envelope) => envelope.clone(),
        }
    }

    /// The document, if it could be opened.
    pub fn into_document(self) -> Option<Document> {
        match self {
            Self::Open(document) => Some(document),
            Self::Sealed(_) => None,
        }
    }
}

/// The key of documents, if there is one. Does not print.
#[derive(Clone, Default)]
pub struct Vault(Option<LessSafeKey>);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.has_key() { "Vault(..)" } else { "Vault(no key)" })
    }
}

impl Vault {
    /// With a key of 32 bytes.
    pub fn of(key: &[u8; 32]) -> Self {
        // Fails for a key of another length only.
        Self(UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new))
    }

    /// Whether what is written here is sealed.
    pub const fn has_key(&self) -> bool {
        self.0.is_some()
    }

    /// What readers see of a row; none when it is deleted.
    ///
    /// # Errors
    /// [`RowError`] when the row is damaged.
    pub(crate) fn content(&self, view: &View<'_>) -> Result<Option<Content>, RowError> {
        let Some(envelope) = view.sealed() else { return Ok(view.document()?.map(Content::Open)) };
        let opened = self.open(envelope).map(Content::Open);
        Ok(Some(opened.unwrap_or_else(|| Content::Sealed(envelope.to_owned()))))
    }

    /// As [`Vault::content`], as text: one that is not sealed is not parsed for it.
    pub(crate) fn text<'a>(&self, view: &View<'a>) -> Option<Cow<'a, str>> {
        match view.sealed() {
            Some(envelope) => {
                Some(self.open(envelope).map_or(Cow::Borrowed(envelope), |document| document.to_json().into()))
            }
            None => view.text().map(Cow::Borrowed),
        }
    }

    /// The envelope of `document`; that of `view` where it is one of the same, so that nothing changes. None without a
    /// key.
    ///
    /// # Errors
    /// [`SealError`].
    pub(crate) fn seal(&self, document: &Document, view: Option<&View<'_>>) -> Result<Option<Sealed>, SealError> {
        let Some(key) = &self.0 else { return Ok(None) };
        let stored = view.and_then(View::sealed).filter(|envelope| self.open(envelope).as_ref() == Some(document));
        let envelope = match stored {
            Some(envelope) => envelope.to_owned(),
            None => seal(key, rand::random(), document.to_json())?,
        };
        Sealed::new(envelope).map(Some).ok_or(SealError)
    }

    /// None without the key, or with another than it was sealed with.
    fn open(&self, envelope: &str) -> Option<Document> {
        let key = self.0.as_ref()?;
        let mut sealed = STANDARD.decode(envelope.strip_prefix(sealed::PREFIX)?).ok()?;
        let (nonce, body) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
        let text = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), body).ok()?;
        Document::parse(std::str::from_utf8(text).ok()?).ok()
    }
}

fn seal(key: &LessSafeKey, nonce: [u8; NONCE_LEN], text: String) -> Result<String, SealError> {
    let mut body = text.into_bytes();
    let sealed = key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body);
    sealed.map_err(|_| SealError)?;
    Ok(sealed::PREFIX.to_owned() + &STANDARD.encode([&nonce[..], &body].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENVELOPE: &str = "ENC:v1:AAECAwQFBgcICQoLfvzysdBfgWL7byF38+d5T13t4xnFKpCMZ7td7L8VGucgMnH9kKrjJxUkYw==";

    fn document() -> Document {
        Document::parse(r#"{"classified":"top-secret"}"#).unwrap()
    }

    #[test]
    fn an_envelope_is_that_of_other_implementations() {
        let vault = Vault::of(&[0x42; 32]);
        let nonce = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        assert_eq!(seal(vault.0.as_ref().unwrap(), nonce, document().to_json()).unwrap(), ENVELOPE);
        assert_eq!(vault.open(ENVELOPE), Some(document()));
    }

    #[test]
    fn another_key_no_key_and_a_changed_byte_open_nothing() {
        let vault = Vault::of(&[0x42; 32]);
        assert_eq!(Vault::of(&[0x43; 32]).open(ENVELOPE), None);
        assert_eq!(Vault::default().open(ENVELOPE), None);
        for wrong in [ENVELOPE.replace("fvzy", "gvzy"), ENVELOPE[..30].to_owned(), "ENC:v1:".to_owned()] {
            assert_eq!(vault.open(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn two_envelopes_of_one_document_differ_and_the_key_does_not_print() {
        let vault = Vault::of(&[0x42; 32]);
        assert_ne!(vault.seal(&document(), None).unwrap(), vault.seal(&document(), None).unwrap());
        assert_eq!(Vault::default().seal(&document(), None).unwrap(), None);
        assert_eq!(format!("{vault:?}"), "Vault(..)");
    }
}
