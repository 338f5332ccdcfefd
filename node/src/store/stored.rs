//! The bytes around a stored value: its number, a checksum, and perhaps a seal.
//!
//! Purpose: `seq` (8 bytes, big endian), XXH3-64 over key, seq and body (8 bytes, big endian), body. The body is the
//! row or history record as it is or, where the checksum is the complement, sealed. The engine has checksums of its own
//! for blocks and journal; this one goes from the core to the core, so it also finds a value under a wrong key and a
//! fault of the engine, and it is checked without the key of a seal. Source: XXH3,
//! <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>. What it does not do: protect against an attacker
//! with access to the disk, where nothing is sealed.

use super::Seq;
use super::seal::{SealError, Sealer};
use std::borrow::Cow;
use xxhash_rust::xxh3::Xxh3Default;

const HEADER: usize = 16;

/// What the checksum is combined with (by exclusive or), which tells how to read the body.
const CLEAR: u64 = 0;
const SEALED: u64 = u64::MAX;

/// What is wrong with a stored value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoredError {
    #[error("the value has {0} bytes, fewer than its header")]
    Short(usize),
    #[error("the checksum does not match")]
    Checksum,
    #[error("the seal does not match")]
    Seal,
}

/// How the values of one store are written and read.
#[derive(Default)]
pub(super) struct Codec(Option<Sealer>);

impl Codec {
    pub(super) const fn sealed(sealer: Sealer) -> Self {
        Self(Some(sealer))
    }

    pub(super) const fn seals(&self) -> bool {
        self.0.is_some()
    }

    /// A value to store under `key`.
    pub(super) fn encode(&self, key: &[u8], seq: Seq, row: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(match &self.0 {
            None => framed(CLEAR, key, seq, row),
            Some(sealer) => framed(SEALED, key, seq, &sealer.seal(&bound(key, seq), row)?),
        })
    }

    /// What was stored under `key`, and its number.
    pub(super) fn decode<'v>(&self, key: &[u8], value: &'v [u8]) -> Result<(Seq, Cow<'v, [u8]>), StoredError> {
        let (kind, seq, body) = checked(key, value)?;
        if kind == CLEAR {
            return Ok((seq, Cow::Borrowed(body)));
        }
        let opened = self.0.as_ref().and_then(|sealer| sealer.unseal(&bound(key, seq), body));
        Ok((seq, Cow::Owned(opened.ok_or(StoredError::Seal)?)))
    }

    /// The same value as this store writes it: what is clear is sealed, if it seals; anything else stays as it is.
    pub(super) fn renewed(&self, key: &[u8], value: &[u8]) -> Result<Option<Vec<u8>>, SealError> {
        match checked(key, value) {
            Ok((CLEAR, seq, row)) if self.seals() => self.encode(key, seq, row).map(Some),
            _ => Ok(None),
        }
    }
}

/// A value that is not sealed.
pub(super) fn clear(key: &[u8], seq: Seq, row: &[u8]) -> Vec<u8> {
    framed(CLEAR, key, seq, row)
}

/// Whether the value is what was stored under the key, as far as one sees without opening a seal.
pub(super) fn is_sound(key: &[u8], value: &[u8]) -> bool {
    checked(key, value).is_ok()
}

fn bound(key: &[u8], seq: Seq) -> Vec<u8> {
    [key, &seq.to_be_bytes()].concat()
}

fn framed(kind: u64, key: &[u8], seq: Seq, body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER + body.len());
    value.extend_from_slice(&seq.to_be_bytes());
    value.extend_from_slice(&(kind ^ checksum(key, seq, body)).to_be_bytes());
    value.extend_from_slice(body);
    value
}

/// How to read the body, the number, and the body.
fn checked<'v>(key: &[u8], value: &'v [u8]) -> Result<(u64, Seq, &'v [u8]), StoredError> {
    let short = StoredError::Short(value.len());
    let (seq, rest) = value.split_first_chunk::<8>().ok_or(short)?;
    let (sum, body) = rest.split_first_chunk::<8>().ok_or(short)?;
    let (seq, sum) = (Seq::from_be_bytes(*seq), u64::from_be_bytes(*sum));
    match sum ^ checksum(key, seq, body) {
        kind @ (CLEAR | SEALED) => Ok((kind, seq, body)),
        _ => Err(StoredError::Checksum),
    }
}

/// The row alone, unchecked: for a person to look at. Of no use if it is sealed.
pub(super) fn unchecked(value: &[u8]) -> Option<&[u8]> {
    value.get(HEADER..)
}

/// The number alone, unchecked: good enough to find the log entry to remove.
pub(super) fn seq(value: &[u8]) -> Option<Seq> {
    value.first_chunk::<8>().map(|seq| Seq::from_be_bytes(*seq))
}

fn checksum(key: &[u8], seq: Seq, body: &[u8]) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(key);
    hash.update(&seq.to_be_bytes());
    hash.update(body);
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::seal::StoreKeys;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn codecs() -> [Codec; 2] {
        let keys = StoreKeys::parse(&STANDARD.encode([7; 32])).unwrap();
        [Codec::default(), Codec::sealed(Sealer::create(&keys).unwrap().0)]
    }

    #[test]
    fn a_value_reads_back_under_its_own_key_only() {
        for codec in codecs() {
            let value = codec.encode(b"agents\0a", 7, b"row").unwrap();
            assert_eq!(codec.decode(b"agents\0a", &value), Ok((7, Cow::Borrowed(&b"row"[..]))));
            assert_eq!(codec.decode(b"agents\0b", &value), Err(StoredError::Checksum));
            assert_eq!(seq(&value), Some(7));
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for codec in codecs() {
            let value = codec.encode(b"k\0i", 1, b"row").unwrap();
            for bit in 0..value.len() * 8 {
                let mut flipped = value.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(codec.decode(b"k\0i", &flipped), Err(StoredError::Checksum), "bit {bit}");
            }
            assert_eq!(codec.decode(b"k\0i", &value[..15]), Err(StoredError::Short(15)));
        }
    }

    #[test]
    fn a_sealed_value_with_a_new_checksum_for_another_place_does_not_open() {
        let [clear, sealed] = codecs();
        let value = sealed.encode(b"k\0i", 1, b"row").unwrap();
        let moved = framed(SEALED, b"k\0j", 1, &value[HEADER..]);
        assert_eq!(sealed.decode(b"k\0j", &moved), Err(StoredError::Seal));
        let renumbered = framed(SEALED, b"k\0i", 2, &value[HEADER..]);
        assert_eq!(sealed.decode(b"k\0i", &renumbered), Err(StoredError::Seal));
        assert_eq!(clear.decode(b"k\0i", &value), Err(StoredError::Seal));
        let before = clear.encode(b"k\0i", 1, b"row").unwrap();
        let after = sealed.renewed(b"k\0i", &before).unwrap().unwrap();
        assert_eq!(sealed.decode(b"k\0i", &after), Ok((1, Cow::Borrowed(&b"row"[..]))));
        assert_eq!((sealed.renewed(b"k\0i", &after), clear.renewed(b"k\0i", &before)), (Ok(None), Ok(None)));
    }
}
