//! The chunks that Automerge's binary format consists of, found without decoding them.
//!
//! Purpose: stored changes can go to a peer as they are. A chunk is four magic bytes, four of checksum, one for its
//! type, its length as unsigned LEB128, and its content. Source: Automerge binary document format, "Chunk Container
//! Format". Inputs: bytes that Automerge wrote, or a peer; outputs: where each change is, and a change of a peer as it
//! was before it was compressed. What it does not do: verify checksums; whoever reads a change does.

use super::leb128;
use flate2::bufread::DeflateDecoder;
use std::borrow::Cow;
use std::io::Read as _;
use std::ops::Range;

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];
/// Magic, checksum and type.
const HEAD: usize = 9;
const CHANGE: u8 = 1;
const COMPRESSED: u8 = 2;

/// Whether the first chunk of `bytes` is a change, plain or compressed.
pub(crate) fn is_change(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC) && matches!(bytes.get(HEAD - 1), Some(&(CHANGE | COMPRESSED)))
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
        let (length, width) = leb128::read(&rest[HEAD..])?;
        let end = start.checked_add(HEAD + width)?.checked_add(usize::try_from(length).ok()?)?;
        if end > bytes.len() {
            return None;
        }
        found.push(start..end);
        start = end;
    }
    Some(found)
}

/// `bytes` as they are where they are no compressed change, and otherwise the change that was compressed; none where
/// that is damaged or has more than `most` bytes, of which no more are made.
pub(super) fn inflate(bytes: &[u8], most: usize) -> Option<Cow<'_, [u8]>> {
    if !bytes.starts_with(&MAGIC) || bytes.get(HEAD - 1) != Some(&COMPRESSED) {
        return Some(Cow::Borrowed(bytes));
    }
    let mut plain = Vec::new();
    DeflateDecoder::new(content(bytes)?).take(most as u64 + 1).read_to_end(&mut plain).ok()?;
    if plain.len() > most {
        return None;
    }
    let mut change = Vec::with_capacity(HEAD + 5 + plain.len());
    change.extend(&bytes[..HEAD - 1]);
    change.push(CHANGE);
    leb128::put(&mut change, plain.len() as u64);
    change.extend(plain);
    Some(Cow::Owned(change))
}

/// What is in the first chunk of `bytes`.
pub(super) fn content(bytes: &[u8]) -> Option<&[u8]> {
    let (length, width) = leb128::read(bytes.get(HEAD..)?)?;
    bytes[HEAD + width..].get(..usize::try_from(length).ok()?)
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
