//! Documents under a key: sealed before they are stored or sent, opened when they are read.
//!
//! Purpose: with `--encryption-key` neither this node's disk nor a peer without the key sees what a document says. An
//! envelope is `ENC:v1:2:`, the id of the key (8 hexadecimal digits), `:`, and the base64 of nonce (12 bytes),
//! ciphertext and tag (16): AES-256-GCM over the canonical JSON, bound to collection and id as associated data, under a
//! nonce from the system's random source (NIST SP 800-38D: at most 2^32 documents under one key). Envelopes of other
//! implementations, `ENC:v1:` and base64 without associated data, are read too. Names, sizes and times stay visible.
//! Inputs: documents and rows. Outputs: envelopes and documents. What it does not do: write, or know whether a peer has
//! the key.

use crate::hkdf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use peat_node_core::docs::row::{RowError, View};
use peat_node_core::docs::{Document, Sealed, sealed};
use peat_node_core::ids::Key;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Behind [`sealed::PREFIX`]: what follows names its key and is bound to its document.
const BOUND: &str = "2:";

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

/// The keys of documents, if there are any: the first seals, all open. Does not print.
#[derive(Clone, Default)]
pub struct Vault(Arc<[Sealer]>);

/// One key, and what envelopes call it.
struct Sealer {
    id: String,
    key: LessSafeKey,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.has_key() { "Vault(..)" } else { "Vault(no key)" })
    }
}

impl Vault {
    /// With keys of 32 bytes, the one that seals first.
    pub fn of(keys: &[[u8; 32]]) -> Self {
        Self(keys.iter().filter_map(Sealer::of).collect())
    }

    /// Whether what is written here is sealed.
    pub fn has_key(&self) -> bool {
        !self.0.is_empty()
    }

    /// What readers see of the row of `key`; none when it is deleted.
    ///
    /// # Errors
    /// [`RowError`] when the row is damaged.
    pub(crate) fn content(&self, key: &Key, view: &View<'_>) -> Result<Option<Content>, RowError> {
        let Some(envelope) = view.sealed() else { return Ok(view.document()?.map(Content::Open)) };
        let opened = self.open(key, envelope).map(Content::Open);
        Ok(Some(opened.unwrap_or_else(|| Content::Sealed(envelope.to_owned()))))
    }

    /// As [`Vault::content`], as text: one that is not sealed is not parsed for it.
    pub(crate) fn text<'a>(&self, key: &Key, view: &View<'a>) -> Option<Cow<'a, str>> {
        match view.sealed() {
            Some(envelope) => {
                Some(self.open(key, envelope).map_or(Cow::Borrowed(envelope), |document| document.to_json().into()))
            }
            None => view.text().map(Cow::Borrowed),
        }
    }

    /// The envelope of `document`; that of `view` where it is one of the same under the first key, so that nothing
    /// changes. None without a key.
    ///
    /// # Errors
    /// [`SealError`].
    pub(crate) fn seal(
        &self,
        key: &Key,
        document: &Document,
        view: Option<&View<'_>>,
    ) -> Result<Option<Sealed>, SealError> {
        let Some(sealer) = self.0.first() else { return Ok(None) };
        let stored =
            view.and_then(View::sealed).filter(|envelope| sealer.opens(key, envelope).as_ref() == Some(document));
        let envelope = match stored {
            Some(envelope) => envelope.to_owned(),
            None => sealer.seal(key, rand::random(), document.to_json())?,
        };
        Sealed::new(envelope).map(Some).ok_or(SealError)
    }

    /// None without the key, with others than it was sealed with, and at another place than it was sealed for.
    fn open(&self, key: &Key, envelope: &str) -> Option<Document> {
        self.0.iter().find_map(|sealer| sealer.opens(key, envelope).or_else(|| sealer.opens_foreign(envelope)))
    }
}

impl Sealer {
    fn of(key: &[u8; 32]) -> Option<Self> {
        let id = hex::encode(&hkdf::derive(&[], key, b"peat id of a key of documents")[..4]);
        // Fails for a key of another length only.
        UnboundKey::new(&AES_256_GCM, key).ok().map(|key| Self { id, key: LessSafeKey::new(key) })
    }

    fn seal(&self, key: &Key, nonce: [u8; NONCE_LEN], text: String) -> Result<String, SealError> {
        let mut body = text.into_bytes();
        let (nonce_of_it, bound) = (Nonce::assume_unique_for_key(nonce), Aad::from(key.as_bytes()));
        self.key.seal_in_place_append_tag(nonce_of_it, bound, &mut body).map_err(|_| SealError)?;
        let body = STANDARD.encode([&nonce[..], &body].concat());
        Ok(format!("{}{BOUND}{}:{body}", sealed::PREFIX, self.id))
    }

    fn opens(&self, key: &Key, envelope: &str) -> Option<Document> {
        let (id, body) = envelope.strip_prefix(sealed::PREFIX)?.strip_prefix(BOUND)?.split_once(':')?;
        if id == self.id { self.decrypt(Aad::from(key.as_bytes()), body) } else { None }
    }

    /// One that another implementation made.
    fn opens_foreign(&self, envelope: &str) -> Option<Document> {
        self.decrypt(Aad::from(&[]), envelope.strip_prefix(sealed::PREFIX)?)
    }

    fn decrypt(&self, bound: Aad<&[u8]>, body: &str) -> Option<Document> {
        let mut sealed = STANDARD.decode(body).ok()?;
        let (nonce, body) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
        let text = self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), bound, body).ok()?;
        Document::parse(std::str::from_utf8(text).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use peat_node_core::ids::Collection;

    /// As other implementations make it.
    const FOREIGN: &str = "ENC:v1:AAECAwQFBgcICQoLfvzysdBfgWL7byF38+d5T13t4xnFKpCMZ7td7L8VGucgMnH9kKrjJxUkYw==";

    fn document() -> Document {
        Document::parse(r#"{"classified":"top-secret"}"#).unwrap()
    }

    fn key(collection: &str, id: &str) -> Key {
        Key::new(&Collection::parse(collection).unwrap(), id).unwrap()
    }

    fn envelope(vault: &Vault, key: &Key) -> String {
        vault.0[0].seal(key, rand::random(), document().to_json()).unwrap()
    }

    #[test]
    fn an_envelope_of_other_implementations_is_read() {
        let vault = Vault::of(&[[0x41; 32], [0x42; 32]]);
        assert_eq!(vault.open(&key("papers", "any"), FOREIGN), Some(document()));
        assert_eq!(Vault::of(&[[0x43; 32]]).open(&key("papers", "any"), FOREIGN), None);
        for wrong in [FOREIGN.replace("fvzy", "gvzy"), FOREIGN[..30].to_owned(), "ENC:v1:".to_owned()] {
            assert_eq!(vault.open(&key("papers", "any"), &wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ciphertext_that_is_copied_to_another_document_does_not_open() {
        let vault = Vault::of(&[[0x42; 32]]);
        let envelope = envelope(&vault, &key("papers", "one"));
        assert_eq!(vault.open(&key("papers", "one"), &envelope), Some(document()));
        for other in [key("papers", "two"), key("paper", "sone"), key("other", "one")] {
            assert_eq!(vault.open(&other, &envelope), None, "{other:?}");
        }
    }

    #[test]
    fn another_key_no_key_and_a_changed_byte_open_nothing() {
        let (vault, place) = (Vault::of(&[[0x42; 32]]), key("papers", "one"));
        let envelope = envelope(&vault, &place);
        assert!(Sealed::new(envelope.clone()).is_some(), "{envelope}");
        assert_eq!(Vault::of(&[[0x43; 32]]).open(&place, &envelope), None);
        assert_eq!(Vault::default().open(&place, &envelope), None);
        let (head, body) = envelope.rsplit_once(':').unwrap();
        let swapped = if body.starts_with('A') { "B" } else { "A" };
        let (other_id, other_byte) = (format!("ENC:v1:2:00000000:{body}"), format!("{head}:{swapped}{}", &body[1..]));
        for wrong in [other_id, other_byte, envelope[..40].to_owned(), format!("{head}:"), head.to_owned()] {
            assert_eq!(vault.open(&place, &wrong), None, "{wrong}");
        }
    }

    #[test]
    fn while_a_key_is_changed_both_open_and_the_first_one_seals() {
        let ([old, new], place) = ([[1; 32], [2; 32]], key("papers", "one"));
        let before = envelope(&Vault::of(&[old]), &place);
        let between = Vault::of(&[new, old]);
        assert_eq!(between.open(&place, &before), Some(document()));
        let after = envelope(&between, &place);
        assert_eq!(Vault::of(&[new]).open(&place, &after), Some(document()));
        assert_eq!(Vault::of(&[new]).open(&place, &before), None);
        assert_ne!(after[..18], before[..18], "each names its key");
    }

    #[test]
    fn two_envelopes_of_one_document_differ_and_the_key_does_not_print() {
        let (vault, place) = (Vault::of(&[[0x42; 32]]), key("papers", "one"));
        assert_ne!(vault.seal(&place, &document(), None).unwrap(), vault.seal(&place, &document(), None).unwrap());
        assert_eq!(Vault::default().seal(&place, &document(), None).unwrap(), None);
        assert_eq!(format!("{vault:?}"), "Vault(..)");
    }
}
