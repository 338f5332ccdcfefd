//! A store that does not open, in a form that does, without touching it.
//!
//! Purpose: fjall opens all of a store or nothing, and changes files as it does. So what is sound is put together
//! anew, beside it: the skeleton of a new store, in which each keyspace is replaced by the damaged store's, its tables
//! by hard links (they never change) and the rest by copies. Of each journal it gets the sound batches, so that one bad
//! byte costs one batch and not all that is in no table yet. A part that keeps the whole from opening all the same is
//! left out. A keyspace whose file `current` names no list of tables gets the newest list that is there.
//! Inputs: the folder of a store that nobody has open. Outputs: an engine that lives in a folder of its own, which goes
//! with the value. What it does not do: write to the damaged store; read a table that its list does not name, or around
//! a list of tables that is itself damaged: that keyspace is empty then; find batches behind one whose framing is broken.

use super::batches::Journals;
use super::engine::{Engine, KEYSPACES};
use super::failure::Damage;
use super::seal::StoreKeys;
use super::{StoreError, journal, locked};
use std::borrow::Borrow;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use tracing::warn;

/// Where the engine has its keyspaces, and each of those its tables.
const FOLDER: &str = "keyspaces";
const TABLES: &str = "tables";

/// Names the list of tables that counts, by its number in the first eight bytes; 17 more are not looked at.
const CURRENT: &str = "current";
const CURRENT_BYTES: usize = 25;

/// How it is told that journals, or batches in them, cannot be read.
pub(super) const JOURNALS: &str = "journals";

/// Bytes that are copied at once; a stretch of zeros takes no room.
const PIECE: usize = 64 * 1024;

/// See the module.
pub(super) struct Replica {
    /// Closed before its folder goes.
    engine: Engine,
    /// Keyspaces of which only what the journals have is there, and [`JOURNALS`] where those are not, or not whole.
    pub(super) left_out: Vec<&'static str>,
    _folder: Scratch,
}

/// A folder that goes with the value. One that a killed process left takes little room: the next one removes it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Replica {
    /// What can be opened of `store`; none when not even an empty one can be made beside it.
    ///
    /// # Errors
    /// [`StoreError::Key`].
    pub(super) fn of(store: &Path, keys: &StoreKeys) -> Result<Option<Self>, StoreError> {
        let folder = Scratch(store.with_extension("replica"));
        let found = Journals::of(store).inspect_err(|error| {
            let error: &dyn std::error::Error = error;
            warn!(error, "the journals of a damaged store cannot be listed");
        });
        let found = found.ok();
        for journals in [found.as_ref(), None] {
            let attempt = |keyspaces: &[u64]| {
                assemble(store, &folder.0, keyspaces, journals);
                match Engine::open(&folder.0, keys) {
                    Ok(engine) => Ok(Some(engine)),
                    Err(Damage::Fatal(StoreError::Key { source, .. })) => {
                        Err(StoreError::Key { path: store.to_owned(), source })
                    }
                    Err(_) => Ok(None),
                }
            };
            let mut kept: Vec<u64> = KEYSPACES.map(|(id, _)| id).to_vec();
            let mut engine = attempt(&kept)?;
            if engine.is_none() {
                let mut sound = Vec::new();
                for id in kept {
                    sound.extend(attempt(&[id])?.map(|_| id));
                }
                engine = attempt(&sound)?;
                kept = sound;
            }
            if let Some(engine) = engine {
                let left_out = KEYSPACES.into_iter().filter(|(id, _)| !kept.contains(id)).map(|(_, name)| name);
                let lost = journals.is_none_or(|journals| !journals.are_whole).then_some(JOURNALS);
                let left_out: Vec<_> = left_out.chain(lost).collect();
                warn!(?left_out, with_journals = journals.is_some(), "a damaged store was put together beside itself");
                return Ok(Some(Self { engine, left_out, _folder: folder }));
            }
        }
        Ok(None)
    }
}

impl Borrow<Engine> for Replica {
    fn borrow(&self) -> &Engine {
        &self.engine
    }
}

/// Makes a store at `at` with these keyspaces of `store`; where that fails, what is there shows when it is opened.
fn assemble(store: &Path, at: &Path, keyspaces: &[u64], journals: Option<&Journals>) {
    if let Err(error) = make(store, at, keyspaces, journals) {
        let error: &dyn std::error::Error = &error;
        warn!(error, "a damaged store could not be put together beside itself");
    }
}

fn make(store: &Path, at: &Path, keyspaces: &[u64], journals: Option<&Journals>) -> io::Result<()> {
    if at.exists() {
        fs::remove_dir_all(at)?;
    }
    let skeleton = Engine::open(at, &StoreKeys::default()).map_err(|damage| io::Error::other(damage.into_error(at)))?;
    drop(skeleton);
    locked::copy_file(store, at);
    for id in keyspaces.iter().map(u64::to_string) {
        let (from, to) = (store.join(FOLDER).join(&id), at.join(FOLDER).join(&id));
        if from.is_dir() {
            fs::remove_dir_all(&to)?;
            take(&from, &to, false)?;
            point_to_newest(&to)?;
        }
    }
    if let Some(Journals { files, .. }) = journals.filter(|journals| !journals.files.is_empty()) {
        journal::journals(at)?.into_iter().try_for_each(|(_, path)| fs::remove_file(path))?;
        for (path, batches) in files {
            batches.copy(path, &at.join(path.file_name().unwrap_or_default()))?;
        }
    }
    Ok(())
}

/// A folder with everything in it: tables as links, the rest as copies.
fn take(from: &Path, to: &Path, is_tables: bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            take(&entry.path(), &target, entry.file_name() == TABLES)?;
        } else if !is_tables || fs::hard_link(entry.path(), &target).is_err() {
            copy(&entry.path(), &target)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let (mut source, target) = (File::open(from)?, File::create(to)?);
    let (mut piece, mut at) = (vec![0; PIECE], 0);
    loop {
        let length = source.read(&mut piece)?;
        if length == 0 {
            return target.set_len(at);
        }
        if piece[..length].iter().any(|byte| *byte != 0) {
            target.write_all_at(&piece[..length], at)?;
        }
        at += length as u64;
    }
}

/// Lists of tables are called `v` and their number; as a rule there is one.
fn point_to_newest(keyspace: &Path) -> io::Result<()> {
    let current = keyspace.join(CURRENT);
    let bytes = fs::read(&current).unwrap_or_default();
    let named = bytes.first_chunk::<8>().map(|number| u64::from_le_bytes(*number));
    if named.is_some_and(|number| keyspace.join(format!("v{number}")).is_file()) {
        return Ok(());
    }
    let mut newest = None;
    for entry in fs::read_dir(keyspace)? {
        let name = entry?.file_name();
        newest = newest.max(name.to_str().and_then(|name| name.strip_prefix('v')?.parse::<u64>().ok()));
    }
    let Some(newest) = newest else { return Ok(()) };
    let mut bytes = newest.to_le_bytes().to_vec();
    bytes.resize(CURRENT_BYTES, 0);
    fs::write(current, bytes)
}
