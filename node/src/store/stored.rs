//! The bytes around a stored row: its number and a checksum.
//!
//! Purpose: `seq` (8 bytes, big endian), XXH3-64 over key, seq and row (8 bytes, big endian), row. The engine has
//! checksums of its own for blocks and journal; this one goes from the core to the core, so it also finds a row under a
//! wrong key and a fault of the engine. Source: XXH3, <https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md>.
//! What it does not do: protect against an attacker with access to the disk.

use super::{Row, Seq};
use xxhash_rust::xxh3::Xxh3Default;

const HEADER: usize = 16;

/// What is wrong with a stored value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoredError {
    #[error("the value has {0} bytes, fewer than its header")]
    Short(usize),
    #[error("the checksum does not match")]
    Checksum,
}

pub(super) fn encode(key: &[u8], seq: Seq, row: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER + row.len());
    value.extend_from_slice(&seq.to_be_bytes());
    value.extend_from_slice(&checksum(key, seq, row).to_be_bytes());
    value.extend_from_slice(row);
    value
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<Row, StoredError> {
    let (seq, bytes) = checked(key, value)?;
    Ok(Row { seq, bytes: bytes.to_vec() })
}

/// As [`decode`], without a copy of the row.
pub(super) fn checked<'a>(key: &[u8], value: &'a [u8]) -> Result<(Seq, &'a [u8]), StoredError> {
    let short = StoredError::Short(value.len());
    let (seq, rest) = value.split_first_chunk::<8>().ok_or(short)?;
    let (sum, row) = rest.split_first_chunk::<8>().ok_or(short)?;
    let seq = Seq::from_be_bytes(*seq);
    if checksum(key, seq, row) != u64::from_be_bytes(*sum) {
        return Err(StoredError::Checksum);
    }
    Ok((seq, row))
}

/// The row alone, unchecked: for a person to look at.
pub(super) fn unchecked(value: &[u8]) -> Option<&[u8]> {
    value.get(HEADER..)
}

/// The number alone, unchecked: good enough to find the log entry to remove.
pub(super) fn seq(value: &[u8]) -> Option<Seq> {
    value.first_chunk::<8>().map(|seq| Seq::from_be_bytes(*seq))
}

fn checksum(key: &[u8], seq: Seq, row: &[u8]) -> u64 {
    let mut hash = Xxh3Default::new();
    hash.update(key);
    hash.update(&seq.to_be_bytes());
    hash.update(row);
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_back_under_its_own_key_only() {
        let value = encode(b"agents\0a", 7, b"row");
        assert_eq!(decode(b"agents\0a", &value), Ok(Row { seq: 7, bytes: b"row".to_vec() }));
        assert_eq!(decode(b"agents\0b", &value), Err(StoredError::Checksum));
        assert_eq!(seq(&value), Some(7));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let value = encode(b"k\0i", 1, b"row");
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(b"k\0i", &flipped), Err(StoredError::Checksum), "bit {bit}");
        }
        assert_eq!(decode(b"k\0i", &value[..15]), Err(StoredError::Short(15)));
    }
}
