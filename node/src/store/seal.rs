//! Encryption at rest: what a stored value looks like to whoever has the disk but not the key.
//!
//! Purpose: rows and history records are sealed with AES-256-GCM before they are stored. Inputs: the keys of
//! `--store-key-file`, and values. Outputs: sealed values, and back. What it does not do: hide names, sizes, numbers or
//! times (keys of documents, the log and the figures of the engine stay clear); protect a running process; help against
//! whoever can put an older copy of the whole disk back.
//!
//! - A store has one random *data key*. It lies in the store, [`Wrapped`] by the first key of the file, under an id of
//!   that key. Any key of the file opens it; if that was not the first, it is wrapped anew. So a key is rotated by
//!   putting a new line first, restarting, and removing the old line, and no value is written again.
//! - No two values are sealed under one key and nonce: each opening of a store draws a random *epoch* of 128 bits, derives
//!   a key of its own from the data key (HKDF-SHA-256, the epoch as salt), and counts. An epoch that two openings
//!   drew by chance would take 2^64 of them.
//! - A value is bound to its key and its number: as associated data they are part of the seal, so that values of two
//!   documents cannot be exchanged, nor an old one of the same document be given a new number.
//!
//! Sealed: epoch (16 bytes), count (8), ciphertext, tag (16). Sources: NIST SP 800-38D (GCM), RFC 5869 (HKDF).

use crate::secrets;
pub use crate::secrets::KeyFileError;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of every key.
const KEY: usize = 32;

/// Bytes of the name of a key.
const ID: usize = 8;

const EPOCH: usize = 16;
const COUNT: usize = 8;

/// Keys of epochs that are kept at hand; more openings than this of one store are rare, and only cost a derivation.
const EPOCHS: usize = 1024;

/// Of the layout of [`Wrapped`].
const WRAPPED: u8 = 1;

/// What the two uses of keys are bound to.
const OF_VALUES: &[u8] = b"peat store values 1";
const OF_DATA_KEYS: &[u8] = b"peat store data key 1";

/// The keys of `--store-key-file`, none for a clear store. They do not print.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreKeys(Arc<Vec<[u8; KEY]>>);

impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreKeys({})", self.0.len())
    }
}

impl StoreKeys {
    /// One key in base64 on each line; empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        secrets::keys(text).map(|keys| Self(Arc::new(keys)))
    }

    /// Whether there is none: the store is clear.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why a store stays closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The store is encrypted and no key was given.
    #[error("it is encrypted: --store-key-file is not set")]
    NoKey,
    /// None of the keys is the right one.
    #[error("it is encrypted with the key {0}, which --store-key-file does not have")]
    OtherKey(String),
    /// The right key does not open it, so its bytes are not what was written.
    #[error("its data key is damaged in both places")]
    Damaged,
    /// The system gives no random numbers, or a value is too large to seal.
    #[error("the cipher failed")]
    Cipher,
}

impl From<ring::error::Unspecified> for SealError {
    fn from(_: ring::error::Unspecified) -> Self {
        Self::Cipher
    }
}

/// A data key as it lies in a store: layout (1 byte), id of the key that wraps it (8), nonce (12), ciphertext (32), tag
/// (16). Of no use without that key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrapped(Vec<u8>);

impl Wrapped {
    const BYTES: usize = 1 + ID + NONCE_LEN + KEY + MAX_TAG_LEN;

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == Self::BYTES && bytes[0] == WRAPPED).then(|| Self(bytes.to_vec()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn id(&self) -> &[u8] {
        &self.0[1..=ID]
    }

    fn wrap(data_key: &[u8; KEY], key: &[u8; KEY], random: &SystemRandom) -> Result<Self, SealError> {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce)?;
        let id = id_of(key);
        let mut sealed = data_key.to_vec();
        cipher(key)?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad_of(&id), &mut sealed)?;
        Ok(Self([&[WRAPPED], &id[..], &nonce, &sealed].concat()))
    }

    fn open(&self, key: &[u8; KEY]) -> Option<[u8; KEY]> {
        let (nonce, sealed) = self.0[1 + ID..].split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = cipher(key).ok()?.open_in_place(nonce, aad_of(self.id()), &mut sealed).ok()?;
        <[u8; KEY]>::try_from(&*opened).ok()
    }
}

/// A name for a key that tells nothing of it.
fn id_of(key: &[u8; KEY]) -> [u8; ID] {
    let mut hash = Sha256::new();
    hash.update(b"peat store key id 1");
    hash.update(key);
    let mut id = [0; ID];
    id.copy_from_slice(&hash.finalize()[..ID]);
    id
}

fn aad_of(id: &[u8]) -> Aad<Vec<u8>> {
    Aad::from([OF_DATA_KEYS, id].concat())
}

fn cipher(key: &[u8; KEY]) -> Result<LessSafeKey, SealError> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?))
}

/// Seals and opens the values of one store.
pub(super) struct Sealer {
    data_key: [u8; KEY],
    epoch: [u8; EPOCH],
    own: LessSafeKey,
    count: AtomicU64,
    /// Those of earlier openings, as values of them are met.
    earlier: Mutex<HashMap<[u8; EPOCH], Arc<LessSafeKey>>>,
}

impl Sealer {
    /// For a store that has no data key yet; with what is to lie in it.
    pub(super) fn create(keys: &StoreKeys) -> Result<(Self, Wrapped), SealError> {
        let (first, random) = (keys.0.first().ok_or(SealError::NoKey)?, SystemRandom::new());
        let mut data_key = [0; KEY];
        random.fill(&mut data_key)?;
        Ok((Self::of(data_key, &random)?, Wrapped::wrap(&data_key, first, &random)?))
    }

    /// For a store with one of `found`, the same data key at several places; with what is to lie in each of them now.
    pub(super) fn open(keys: &StoreKeys, found: &[Wrapped]) -> Result<(Self, Wrapped), SealError> {
        let (first, random) = (keys.0.first().ok_or(SealError::NoKey)?, SystemRandom::new());
        for wrapped in found {
            for key in keys.0.iter().filter(|key| id_of(key) == wrapped.id()) {
                let Some(data_key) = wrapped.open(key) else { continue };
                let is_first = key == first;
                let now = if is_first { wrapped.clone() } else { Wrapped::wrap(&data_key, first, &random)? };
                return Ok((Self::of(data_key, &random)?, now));
            }
        }
        let is_known = |wrapped: &&Wrapped| keys.0.iter().any(|key| id_of(key) == wrapped.id());
        match found.iter().find(|wrapped| !is_known(wrapped)) {
            Some(other) => Err(SealError::OtherKey(hex::encode(other.id()))),
            None => Err(SealError::Damaged),
        }
    }

    fn of(data_key: [u8; KEY], random: &SystemRandom) -> Result<Self, SealError> {
        let mut epoch = [0; EPOCH];
        random.fill(&mut epoch)?;
        let own = derive(&data_key, &epoch)?;
        Ok(Self { data_key, epoch, own, count: AtomicU64::new(0), earlier: Mutex::default() })
    }

    /// `bound`: what the value belongs to.
    pub(super) fn seal(&self, bound: &[u8], clear: &[u8]) -> Result<Vec<u8>, SealError> {
        let count = self.count.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let mut body = clear.to_vec();
        self.own.seal_in_place_append_tag(nonce(count), Aad::from(bound), &mut body)?;
        Ok([&self.epoch[..], &count, &body].concat())
    }

    /// None when the seal is not that of this store, this place and these bytes.
    pub(super) fn unseal(&self, bound: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (epoch, rest) = sealed.split_first_chunk::<EPOCH>()?;
        let (count, body) = rest.split_first_chunk::<COUNT>()?;
        let mut body = body.to_vec();
        let length = match *epoch == self.epoch {
            true => self.own.open_in_place(nonce(*count), Aad::from(bound), &mut body).ok()?.len(),
            false => self.earlier(epoch)?.open_in_place(nonce(*count), Aad::from(bound), &mut body).ok()?.len(),
        };
        body.truncate(length);
        Some(body)
    }

    fn earlier(&self, epoch: &[u8; EPOCH]) -> Option<Arc<LessSafeKey>> {
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = earlier.get(epoch) {
            return Some(Arc::clone(key));
        }
        if earlier.len() >= EPOCHS {
            earlier.clear();
        }
        let key = Arc::new(derive(&self.data_key, epoch).ok()?);
        earlier.insert(*epoch, Arc::clone(&key));
        Some(key)
    }
}

fn derive(data_key: &[u8; KEY], epoch: &[u8; EPOCH]) -> Result<LessSafeKey, SealError> {
    let extracted: Prk = Salt::new(HKDF_SHA256, epoch).extract(data_key);
    let expanded = extracted.expand(&[OF_VALUES], &AES_256_GCM)?;
    Ok(LessSafeKey::new(UnboundKey::from(expanded)))
}

fn nonce(count: [u8; COUNT]) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - COUNT..].copy_from_slice(&count);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn keys(lines: &[u8]) -> StoreKeys {
        StoreKeys(Arc::new(lines.iter().map(|byte| [*byte; KEY]).collect()))
    }

    #[test]
    fn a_key_file_has_one_key_on_each_line_and_says_which_line_is_wrong() {
        let key = STANDARD.encode([7; KEY]);
        let parsed = StoreKeys::parse(&format!("# of the year\n\n{key}\n  {}\r\n", STANDARD.encode([8; KEY])));
        assert_eq!(parsed, Ok(keys(&[7, 8])));
        assert_eq!(StoreKeys::parse(&format!("{key}\nc2hvcnQ=\n")), Err(KeyFileError::Line(2)));
        assert_eq!(StoreKeys::parse("# nothing\n"), Err(KeyFileError::Empty));
        assert!(!format!("{:?}", keys(&[7])).contains('7'));
    }

    #[test]
    fn a_value_opens_at_its_own_place_only_and_no_two_look_alike() {
        let (sealer, _) = Sealer::create(&keys(&[1])).unwrap();
        let (one, two) = (sealer.seal(b"a", b"secret").unwrap(), sealer.seal(b"a", b"secret").unwrap());
        assert_ne!(one[EPOCH + COUNT..], two[EPOCH + COUNT..]);
        assert_eq!(sealer.unseal(b"a", &one).unwrap(), b"secret");
        assert_eq!(sealer.unseal(b"b", &one), None);
        assert!(!one.windows(6).any(|window| window == b"secret"));
        for byte in 0..one.len() {
            let mut flipped = one.clone();
            flipped[byte] ^= 1;
            assert_eq!(sealer.unseal(b"a", &flipped), None, "byte {byte}");
            assert_eq!(sealer.unseal(b"a", &one[..byte]), None, "cut to {byte}");
        }
    }

    #[test]
    fn a_key_is_rotated_by_a_new_first_line_and_values_of_before_stay_readable() {
        let (old, wrapped) = Sealer::create(&keys(&[1])).unwrap();
        let value = old.seal(b"a", b"secret").unwrap();
        let (_, same) = Sealer::open(&keys(&[1]), std::slice::from_ref(&wrapped)).unwrap();
        assert_eq!(same, wrapped);
        let (both, rewrapped) = Sealer::open(&keys(&[2, 1]), &[wrapped]).unwrap();
        assert_eq!(both.unseal(b"a", &value).unwrap(), b"secret");
        let (new, _) = Sealer::open(&keys(&[2]), std::slice::from_ref(&rewrapped)).unwrap();
        assert_eq!(new.unseal(b"a", &value).unwrap(), b"secret");
        assert_ne!(new.seal(b"a", b"secret").unwrap()[..EPOCH], value[..EPOCH], "each opening has a key of its own");
        assert!(matches!(Sealer::open(&keys(&[1]), &[rewrapped]), Err(SealError::OtherKey(_))));
    }

    #[test]
    fn a_store_whose_data_key_is_damaged_at_one_place_opens_with_the_other() {
        let (old, wrapped) = Sealer::create(&keys(&[1])).unwrap();
        let value = old.seal(b"a", b"secret").unwrap();
        let mut damaged = wrapped.clone();
        damaged.0[30] ^= 1;
        let (sealer, now) = Sealer::open(&keys(&[1]), &[damaged.clone(), wrapped.clone()]).unwrap();
        assert_eq!((sealer.unseal(b"a", &value).unwrap(), now), (b"secret".to_vec(), wrapped));
        assert!(matches!(Sealer::open(&keys(&[1]), &[damaged]), Err(SealError::Damaged)));
        assert!(matches!(Sealer::open(&StoreKeys::default(), &[]), Err(SealError::NoKey)));
    }
}
