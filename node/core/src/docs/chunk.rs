//! The chunks that Automerge's binary format consists of, found without decoding them.
//!
//! Purpose: stored changes can go to a peer as they are. A chunk is four magic bytes, four of checksum, one for its
//! type, its length as unsigned LEB128, and its content. Source: Automerge binary document format, "Chunk Container
//! Format". Inputs: bytes that Automerge wrote; outputs: where each change is. What it does not do: verify checksums;
//! whoever reads a change does.

use std::ops::Range;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// Magic, checksum and type.
const HEAD: usize = 9;

/// Whether the first chunk of `bytes` is a change, plain or compressed.
pub(crate) fn is_change(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) && matches!(bytes.get(HEAD - 1), Some(1 | 2))
}

/// Where each change is; none when there is anything else.
pub(crate) fn changes(bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let rest = &bytes[start..];
        if !is_change(rest) {
            return None;
        }
        let (length, width) = leb128(&rest[HEAD..])?;
        let end = start.checked_add(HEAD + width)?.checked_add(length)?;
        if end > bytes.len() {
            return None;
        }
        found.push(start..end);
        start = end;
    }
    Some(found)
}

/// A number of at most 35 bits, and its width in bytes.
fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut number = 0;
    for (position, byte) in bytes.iter().take(5).enumerate() {
        number |= usize::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((number, position + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docs::Document;
    use crate::docs::full::FullDoc;
    use crate::stamp::Stamp;

    #[test]
    fn changes_are_found_as_they_were_appended() {
        let mut doc = FullDoc::new([1; 16]);
        // The second is long enough to be compressed.
        let puts = [r#"{"a":1}"#.to_owned(), format!(r#"{{"a":"{}"}}"#, "long ".repeat(200)), "{}".to_owned()];
        let added: Vec<_> =
            puts.iter().map(|put| doc.put(&Document::parse(put).unwrap(), Stamp(7)).unwrap().unwrap()).collect();
        let stored = added.concat();
        let found: Vec<_> = changes(&stored).unwrap().into_iter().map(|range| stored[range].to_vec()).collect();
        assert_eq!(found, added);
        assert_eq!(changes(&stored[..stored.len() - 1]), None, "cut short");
        assert_eq!(changes(&[doc.save(), stored].concat()), None, "a document is no change");
        assert_eq!(changes(b"nonsense and more"), None);
        assert_eq!(changes(b""), Some(Vec::new()));
    }
}
