//! Programs and libraries of other languages that tests and benchmarks use: installed from pinned lists, kept in a
//! cache.
//!
//! Input: [`Packages`], which are lists of versions and the commands that install them. Output: the folder that has
//! them. It is filled once for each content of the lists, next to the other binaries of this project. Does not run what
//! it installed.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::binaries::cache_root;
use crate::command::{CommandError, Run};
use crate::files::{self, FileError};
use crate::progress::report;

/// What one ecosystem is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Packages {
    /// Name of the folder, and the word in messages.
    pub name: &'static str,
    /// File name and content of each list, such as a lock file.
    pub lists: &'static [(&'static str, &'static str)],
    /// Command lines, run one after the other in the folder that has the lists.
    pub install: &'static [&'static [&'static str]],
}

/// Packages could not be provided.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    /// There is no place for the cache.
    #[error("find a cache folder: set HOME or XDG_CACHE_HOME")]
    NoCache,
    /// The installer is not there, or reported a failure.
    #[error("install {name}")]
    Install {
        /// [`Packages::name`].
        name: &'static str,
        /// What happened.
        source: CommandError,
    },
    /// The cache folder could not be used.
    #[error("use the cache of packages")]
    Cache(#[from] FileError),
}

impl Packages {
    /// The folder of these packages: `peat/packages/<name>` in the user's cache. Installs them when they are not there
    /// or the lists have changed, which is said on standard error. Processes that want the same at once install it
    /// once.
    pub async fn ensure(&self) -> Result<PathBuf, PackagesError> {
        let root = cache_root().ok_or(PackagesError::NoCache)?.join("packages");
        let (folder, stamp) = (root.join(self.name), self.stamp());
        // Written last: an interrupted installation does not count.
        let mark = root.join(format!(".{}.stamp", self.name));
        let there = || files::read(&mark).is_ok_and(|found| found == stamp);
        if there() {
            return Ok(folder);
        }
        let _lock = files::lock(&root.join(format!(".{}.lock", self.name))).await?;
        if there() {
            return Ok(folder);
        }
        report(format_args!("installing {}", self.name));
        files::remove(&mark)?;
        files::remove_tree(&folder)?;
        files::create_dir(&folder)?;
        for (name, content) in self.lists {
            files::write(&folder.join(name), content)?;
        }
        for line in self.install {
            let Some((program, args)) = line.split_first() else { continue };
            let ran = Run::new(program).args(args).dir(&folder).output().await;
            ran.map_err(|source| PackagesError::Install { name: self.name, source })?;
        }
        files::write(&mark, &stamp)?;
        Ok(folder)
    }

    /// Changes with the lists and with the way of installing.
    fn stamp(&self) -> String {
        let mut hash = Sha256::new();
        let lists = self.lists.iter().flat_map(|(name, content)| [*name, *content]);
        for part in lists.chain(self.install.iter().flat_map(|line| line.iter().copied())) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: Packages = Packages { name: "a", lists: &[("list", "one")], install: &[&["true"]] };

    #[test]
    fn another_list_or_another_command_is_another_installation() {
        let other_list = Packages { lists: &[("list", "two")], ..LISTS };
        let other_command = Packages { install: &[&["true", "true"]], ..LISTS };
        assert_ne!(LISTS.stamp(), other_list.stamp());
        assert_ne!(LISTS.stamp(), other_command.stamp());
    }
}
