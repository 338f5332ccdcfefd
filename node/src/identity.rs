//! The node's key: who it is to every peer.
//!
//! Purpose: an Ed25519 secret key in a folder of its own, made once; its public half is the endpoint id. In a pod the
//! folder is a memory volume, so that a restarted container stays who it was; by flags it is the data folder. Or, by an
//! explicit flag, a key that is computed from the mesh's. Inputs: the folder. Outputs: an [`Identity`], or an
//! [`IdentityError`] that names the file. What it does not do: print the key, or replace one that is there.

use crate::config::SharedKey;
use crate::hkdf;
use iroh::{EndpointId, SecretKey};
use peat_node_core::ids::PeerId;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tracing::warn;

/// The file: the secret key as 64 hexadecimal digits and a newline, readable by the owner only.
pub const KEY_FILE: &str = "endpoint.key";

/// A key that could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none.
    #[error("there is no key at {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is one already; it is never overwritten.
    #[error("there is a key at {} already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{} is not 64 hexadecimal digits", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be read.
    #[error("read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be written.
    #[error("write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A secret key. Does not print.
#[derive(Clone)]
pub struct Identity(SecretKey);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.id().short())
    }
}

impl Identity {
    /// Reads the key of `folder`.
    ///
    /// # Errors
    /// [`IdentityError::Missing`], `Malformed` or `Read`.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(KEY_FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(IdentityError::Missing { path }),
            Err(source) => return Err(IdentityError::Read { path, source }),
        };
        if fs::metadata(&path).is_ok_and(|file| file.permissions().mode() & 0o007 != 0) {
            warn!(path = %path.display(), "the node's key is open to every user of this machine");
        }
        let mut secret = [0; 32];
        match hex::decode_to_slice(text.trim_end(), &mut secret) {
            Ok(()) => Ok(Self(SecretKey::from_bytes(&secret))),
            Err(_) => Err(IdentityError::Malformed { path }),
        }
    }

    /// Makes a key in `folder`, which is created when it is not there.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] or `Write`.
    pub fn generate(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(KEY_FILE);
        if path.exists() {
            return Err(IdentityError::Exists { path });
        }
        let identity = Self(SecretKey::generate());
        let mut text = hex::encode(identity.0.to_bytes());
        text.push('\n');
        let written = fs::create_dir_all(folder).and_then(|()| write_private(&path, text.as_bytes()));
        written.map_err(|source| IdentityError::Write { path, source })?;
        Ok(identity)
    }

    /// Reads the key of `folder`, or makes it.
    ///
    /// # Errors
    /// As [`Identity::load`] and [`Identity::generate`]. A key that cannot be read is never replaced.
    pub fn load_or_generate(folder: &Path) -> Result<Self, IdentityError> {
        match Self::load(folder) {
            Err(IdentityError::Missing { .. }) => Self::generate(folder),
            read => read,
        }
    }

    /// The key that every holder of the mesh's key can compute for the node of this name. Source: the derivation of
    /// peat-mesh, HKDF-SHA256 without salt for `iroh:` and the name.
    pub fn derived(key: &SharedKey, node_id: &str) -> Self {
        let seed = hkdf::derive(&[], key.expose(), &[b"iroh:", node_id.as_bytes()].concat());
        Self(SecretKey::from_bytes(&seed))
    }

    /// The public half.
    pub fn id(&self) -> PeerId {
        PeerId(*self.0.public().as_bytes())
    }

    /// The Ed25519 signature of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    pub(crate) fn secret(&self) -> SecretKey {
        self.0.clone()
    }
}

/// Whether a node can have this id: about half of all numbers of that length are no public key.
pub(crate) fn is_key(id: &PeerId) -> bool {
    EndpointId::from_bytes(&id.0).is_ok()
}

/// Replaces a file by one that only the owner reads: whole or not at all, and durable when this returns.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("not/there/yet");
        assert!(matches!(Identity::load(&folder), Err(IdentityError::Missing { .. })));
        let made = Identity::load_or_generate(&folder).unwrap();
        assert_eq!(Identity::load_or_generate(&folder).unwrap().id(), made.id());
        assert!(matches!(Identity::generate(&folder), Err(IdentityError::Exists { .. })));
        let mode = fs::metadata(folder.join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_key_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(KEY_FILE), "not a key").unwrap();
        assert!(matches!(Identity::load_or_generate(folder.path()), Err(IdentityError::Malformed { .. })));
        assert_eq!(fs::read_to_string(folder.path().join(KEY_FILE)).unwrap(), "not a key");
    }

    #[test]
    fn a_derived_key_is_that_of_other_implementations() {
        let mesh = SharedKey::from([0x2a; 32]);
        let seed = Identity::derived(&mesh, "node-a").secret().to_bytes();
        assert_eq!(hex::encode(seed), "56e7da1eec4ce5dc522b686b30e17fb36a4cc41030b0540aeab7c9814c376a1d");
        for (name, id) in [
            ("node-a", "4229afe8d9c12d0acfd98cb56d4e2edd0e844442651a70a6995c2ed7ef100684"),
            ("node-b", "f0782d206a443de24a744a6682851c11b71813fd1c03c9447ddecd9a5e9df279"),
            ("peat-node-0", "eb93f1dc20949468c355dd59276d3f91e9e2da6c3ec7b1d2aa91a7af2f1d57fa"),
        ] {
            assert_eq!(Identity::derived(&mesh, name).id().to_string(), id);
        }
    }

    #[test]
    fn the_id_of_a_node_is_a_public_key_and_not_every_number_is_one() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_key(&Identity::generate(folder.path()).unwrap().id()));
        assert!(is_key(&PeerId([0; 32])));
        assert!(!is_key(&PeerId([2; 32])));
    }

    #[test]
    fn the_secret_does_not_print() {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::generate(folder.path()).unwrap();
        let secret = hex::encode(identity.secret().to_bytes());
        assert!(!format!("{identity:?}").contains(&secret[..8]));
    }
}
