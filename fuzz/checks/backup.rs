//! Bytes are a whole and sound backup or an error, also when the checksums of the sections are right.

use peat_node::store::backup::check_stream;
use xxhash_rust::xxh3::Xxh3Default;

/// Magic and formats.
const HEADER: usize = 14;
/// Kind and length of a section, and its checksum.
const SECTION: usize = 5;
const SUM: usize = 8;

/// Panics when it does not hold.
pub(crate) fn check(bytes: &[u8]) {
    let _ = check_stream(bytes);
    let _ = check_stream(&sealed(bytes.to_vec())[..]);
}

/// The same with right checksums: random bytes do not have them, a hostile file does.
fn sealed(mut file: Vec<u8>) -> Vec<u8> {
    let mut at = HEADER;
    for number in 0_u64.. {
        let Some(length) = file.get(at + 1..at + SECTION) else { break };
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let body = at + SECTION + SUM;
        let mut sum = Xxh3Default::new();
        sum.update(&number.to_be_bytes());
        sum.update(&file[at..=at]);
        let Some(bytes) = body.checked_add(length).and_then(|end| file.get(body..end)) else { break };
        sum.update(bytes);
        file[at + SECTION..body].copy_from_slice(&sum.digest().to_be_bytes());
        at = body + length;
    }
    file
}
