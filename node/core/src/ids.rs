//! Identities: peers, connections, documents.
//!
//! Purpose: newtypes whose existence proves that the bytes inside were checked. Inputs: text and bytes from outside;
//! outputs: values or a [`NameError`] that names the field. What it does not do: prove possession of a key.

use std::fmt;
use std::sync::Arc;

/// A node of the mesh: its Ed25519 public key, which is also its Iroh endpoint id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 32]);

impl PeerId {
    /// Reads 64 hexadecimal digits of either case.
    ///
    /// # Errors
    /// [`NameError::PeerId`] for any other text.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let digits: Vec<u8> =
            text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>().ok_or(NameError::PeerId)?;
        if digits.len() != 64 {
            return Err(NameError::PeerId);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }

    /// The first ten digits, for logs.
    pub fn short(&self) -> String {
        self.to_string()[..10].to_owned()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({})", self.short())
    }
}

/// One connection of the transport, numbered by the shell; never reused within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// One call that waits for an answer, numbered by the shell; never reused within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A checked collection name: 1 to 255 bytes of UTF-8 without control characters and without `:`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Collection(Arc<str>);

impl Collection {
    /// Longest name in bytes.
    pub const LONGEST: usize = 255;

    /// Checks `name`.
    ///
    /// # Errors
    /// [`NameError::Collection`] with what is wrong.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let wrong = match name {
            "" => "is empty",
            _ if name.len() > Self::LONGEST => "is longer than 255 bytes",
            _ if name.chars().any(char::is_control) => "has a control character",
            _ if name.contains(':') => "has a `:`",
            _ => return Ok(Self(name.into())),
        };
        Err(NameError::Collection(wrong))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A document: its collection and id, as one string with a NUL between them.
///
/// Ordered by the bytes of (collection, id), because no collection name holds a byte below the separator's successor.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

impl Key {
    /// Longest document id in bytes.
    pub const LONGEST_ID: usize = 1024;

    /// Checks a document id of 1 to 1024 bytes of UTF-8 without NUL.
    ///
    /// # Errors
    /// [`NameError::DocumentId`] with what is wrong.
    pub fn new(collection: &Collection, doc_id: &str) -> Result<Self, NameError> {
        let wrong = match doc_id {
            "" => "is empty",
            _ if doc_id.len() > Self::LONGEST_ID => "is longer than 1024 bytes",
            _ if doc_id.contains('\0') => "has a NUL",
            _ => return Ok(Self(format!("{}\0{doc_id}", collection.as_str()).into())),
        };
        Err(NameError::DocumentId(wrong))
    }

    /// Reads what [`Key::as_bytes`] gave, from disk or from a peer.
    ///
    /// # Errors
    /// [`NameError`] when a part breaks its rule or the separator is missing.
    pub fn decode(bytes: &[u8]) -> Result<Self, NameError> {
        let text = std::str::from_utf8(bytes).map_err(|_| NameError::DocumentId("is not UTF-8"))?;
        let (collection, id) = text.split_once('\0').ok_or(NameError::DocumentId("is missing"))?;
        Self::new(&Collection::parse(collection)?, id)
    }

    /// `collection`, NUL, `doc_id`: the key of the store and of the wire.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Sorts before every key; the key of no document.
    pub(crate) fn lowest() -> Self {
        Self(Arc::from(""))
    }

    /// First key bytes of every document of `collection`.
    pub fn prefix(collection: &Collection) -> Vec<u8> {
        let mut prefix = collection.as_str().as_bytes().to_vec();
        prefix.push(0);
        prefix
    }

    /// The collection's name.
    pub fn collection(&self) -> &str {
        self.0.split_once('\0').map_or("", |(collection, _)| collection)
    }

    /// The document's id.
    pub fn doc_id(&self) -> &str {
        self.0.split_once('\0').map_or("", |(_, id)| id)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection(), self.doc_id())
    }
}

/// A name or id that breaks its rule. The text says which field and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Rule of [`Collection::parse`].
    #[error("collection {0}")]
    Collection(&'static str),
    /// Rule of [`Key::new`].
    #[error("doc_id {0}")]
    DocumentId(&'static str),
    /// Rule of [`PeerId::parse`].
    #[error("endpoint_id is not 64 hexadecimal digits")]
    PeerId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_in_an_id_is_part_of_the_id_and_none_is_allowed_in_a_collection() {
        let agents = Collection::parse("agents").unwrap();
        let key = Key::new(&agents, "a:b/c").unwrap();
        assert_eq!((key.collection(), key.doc_id()), ("agents", "a:b/c"));
        assert_eq!(Key::decode(key.as_bytes()).unwrap(), key);
        assert_eq!(Collection::parse("a:b"), Err(NameError::Collection("has a `:`")));
    }

    #[test]
    fn names_over_their_limit_are_refused_and_at_the_limit_accepted() {
        let longest = Collection::parse(&"c".repeat(255)).unwrap();
        assert!(Collection::parse(&"c".repeat(256)).is_err());
        assert!(Key::new(&longest, &"d".repeat(1024)).is_ok());
        assert!(Key::new(&longest, &"d".repeat(1025)).is_err());
        assert!(Key::new(&longest, "").is_err());
        assert!(Key::new(&longest, "a\0b").is_err());
        assert!(Collection::parse("a\nb").is_err());
    }

    #[test]
    fn a_peer_id_reads_back_what_it_prints() {
        let id = PeerId([0xa7; 32]);
        assert_eq!(PeerId::parse(&id.to_string()), Ok(id));
        assert_eq!(PeerId::parse("a7"), Err(NameError::PeerId));
        assert_eq!(PeerId::parse(&"é".repeat(32)), Err(NameError::PeerId));
    }
}
