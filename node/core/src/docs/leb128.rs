//! Numbers of a variable width: seven bits in each byte, the lowest first, with the eighth set in all but the last.
//!
//! Inputs: bytes, or a number; outputs: the other. What it does not do: refuse a number that is written wider than it
//! needs. Source: DWARF 5, section 7.6.

/// Bytes of the largest number.
const WIDEST: usize = 10;

/// The number at the beginning of `bytes`, unsigned, and how many bytes it takes.
pub(super) fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0;
    for (position, byte) in bytes.iter().take(WIDEST).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * position);
        if byte & 0x80 == 0 {
            return Some((number, position + 1));
        }
    }
    None
}

/// Appends `number`.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_number_is_read_as_it_was_put_and_not_beyond(number: u64, after: u8) {
            let mut bytes = Vec::new();
            put(&mut bytes, number);
            let width = bytes.len();
            prop_assert_eq!(read(&bytes[..width - 1]), None, "cut short");
            bytes.push(after);
            prop_assert_eq!(read(&bytes), Some((number, width)));
        }
    }

    #[test]
    fn what_has_no_end_is_not_a_number() {
        assert_eq!(read(&[0x80; 64]), None);
    }
}
