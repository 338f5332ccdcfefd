//! Keys from keys: HKDF-SHA256 (RFC 5869) with one block of output.
//!
//! Purpose: a key for one use, from which nobody gets back to the key that it was made of. Inputs: salt, key, what the
//! result is for. Outputs: 32 bytes. What it does not do: make keys of passwords.

use ring::hmac;

/// 32 bytes for `info` alone. An empty salt counts as none.
pub(crate) fn derive(salt: &[u8], key: &[u8], info: &[u8]) -> [u8; 32] {
    let digest = |key: &[u8], message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let extracted = digest(salt, key);
    let expanded = digest(extracted.as_ref(), &[info, &[1]].concat());
    let mut derived = [0; 32];
    derived.copy_from_slice(expanded.as_ref());
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_what_the_examples_of_rfc_5869_give() {
        let (key, salt, info) =
            ([0x0b; 22], hex::decode("000102030405060708090a0b0c").unwrap(), "f0f1f2f3f4f5f6f7f8f9");
        let first = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf";
        assert_eq!(hex::encode(derive(&salt, &key, &hex::decode(info).unwrap())), first);
        let without_salt = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d";
        assert_eq!(hex::encode(derive(&[], &key, &[])), without_salt);
    }
}
