//! Files that say who may call, join, read or write, read again and again.
//!
//! Purpose: follow files that a person, a cron job or a mounted Secret replaces. They are compared by content, since a
//! Secret is swapped by a symbolic link and keeps its dates. New content counts when two looks in a row found the same:
//! what is being written, or a pair of which one half is new, is not judged. What cannot be used is told once, and the
//! old content stays. Inputs: paths. Outputs: values made of whole files. What it does not do: wait; its caller looks.

use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Largest file: some hundred certificates, or all tokens that are allowed.
const LONGEST: u64 = 256 * 1024;

/// A file that cannot be used. Its text names the flag and never shows what is in the file.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The system.
    #[error("--{flag}: read {}", path.display())]
    Read {
        /// The flag without dashes.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The TLS library refuses its own defaults, which is a fault of this program.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
    /// The content.
    #[error("--{flag}: {} {reason}", path.display())]
    Content {
        /// The flag without dashes.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, with the place and without the text.
        reason: String,
    },
}

impl AccessError {
    /// Content that breaks a rule.
    pub(crate) fn content(source: &Source, reason: impl Into<String>) -> Self {
        Self::Content { flag: source.flag, path: source.path.clone(), reason: reason.into() }
    }
}

/// A file and the flag that named it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(super) flag: &'static str,
    pub(super) path: PathBuf,
}

impl Source {
    pub(crate) fn new(flag: &'static str, path: &Path) -> Self {
        Self { flag, path: path.to_owned() }
    }

    fn read(&self) -> Result<Vec<u8>, AccessError> {
        let failed = |source| AccessError::Read { flag: self.flag, path: self.path.clone(), source };
        let mut bytes = Vec::new();
        File::open(&self.path).and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes)).map_err(failed)?;
        if bytes.len() as u64 > LONGEST {
            return Err(AccessError::content(self, format!("is longer than {LONGEST} bytes")));
        }
        Ok(bytes)
    }
}

/// Makes a value of the content of `N` files, in their order.
pub(crate) type Make<T, const N: usize> = Box<dyn Fn([&Source; N], [&[u8]; N]) -> Result<T, AccessError> + Send>;

/// Files that belong together, and which content of theirs is in use.
pub(crate) struct Watched<T, const N: usize = 1> {
    sources: [Source; N],
    make: Make<T, N>,
    used: Found,
    last: Found,
    told: bool,
}

/// What files hold, as something to compare: a digest of their content, or the text of the failure to read them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    Content([u8; 32]),
    Failure(String),
}

impl<T, const N: usize> Watched<T, N> {
    /// Reads the files for the first time.
    pub(crate) fn begin(sources: [Source; N], make: Make<T, N>) -> Result<(Self, T), AccessError> {
        let contents = read(&sources)?;
        let value = make(sources.each_ref(), contents.each_ref().map(Vec::as_slice))?;
        let used = Found::Content(digest(&contents));
        Ok((Self { sources, make, last: used.clone(), used, told: false }, value))
    }

    /// Reads the files again; a value of new content, or why new content cannot be used, once each. Blocks for as long
    /// as the disk takes.
    pub(crate) fn look(&mut self) -> Option<Result<T, AccessError>> {
        let contents = read(&self.sources);
        let found = match &contents {
            Ok(contents) => Found::Content(digest(contents)),
            Err(error) => Found::Failure(error.to_string()),
        };
        let settled = found == self.last;
        self.told &= settled;
        self.last = found.clone();
        if found == self.used || !settled || self.told {
            return None;
        }
        let made =
            contents.and_then(|contents| (self.make)(self.sources.each_ref(), contents.each_ref().map(Vec::as_slice)));
        match &made {
            Ok(_) => self.used = found,
            Err(_) => self.told = true,
        }
        Some(made)
    }

    /// Whether the files hold something else than what is in use, and it was told that they do.
    pub(crate) const fn is_stale(&self) -> bool {
        self.told
    }
}

fn read<const N: usize>(sources: &[Source; N]) -> Result<[Vec<u8>; N], AccessError> {
    let mut contents = [const { Vec::new() }; N];
    for (content, source) in contents.iter_mut().zip(sources) {
        *content = source.read()?;
    }
    Ok(contents)
}

fn digest(contents: &[Vec<u8>]) -> [u8; 32] {
    let mut all = Sha256::new();
    for content in contents {
        all.update((content.len() as u64).to_be_bytes());
        all.update(content);
    }
    all.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A number in a file, one half in each of two.
    fn sum(sources: [&Source; 2], contents: [&[u8]; 2]) -> Result<u32, AccessError> {
        let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(|text| text.trim().parse::<u32>().ok());
        let numbers: Option<Vec<u32>> = contents.into_iter().map(number).collect();
        numbers.map(|numbers| numbers.iter().sum()).ok_or_else(|| AccessError::content(sources[0], "has no number"))
    }

    struct Pair {
        folder: tempfile::TempDir,
        watched: Watched<u32, 2>,
    }

    impl Pair {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let sources = ["a", "b"].map(|name| Source::new("file", &folder.path().join(name)));
            fs::write(&sources[0].path, "1").unwrap();
            fs::write(&sources[1].path, "2").unwrap();
            let (watched, first) = Watched::begin(sources, Box::new(sum)).unwrap();
            assert_eq!(first, 3);
            Self { folder, watched }
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn look(&mut self) -> Result<Option<u32>, String> {
            self.watched.look().transpose().map_err(|error| error.to_string())
        }
    }

    #[test]
    fn new_content_counts_when_it_has_settled() {
        let mut pair = Pair::new();
        assert_eq!(pair.look(), Ok(None));
        pair.write("a", "10");
        assert_eq!(pair.look(), Ok(None), "one half of a pair");
        pair.write("b", "20");
        assert_eq!(pair.look(), Ok(None));
        assert_eq!(pair.look(), Ok(Some(30)));
        assert_eq!(pair.look(), Ok(None));
    }

    #[test]
    fn what_cannot_be_used_is_told_once_and_forgotten_when_it_is_mended() {
        let mut pair = Pair::new();
        for _ in 0..2 {
            pair.write("b", "no number");
            assert_eq!(pair.look(), Ok(None));
            assert!(pair.look().unwrap_err().starts_with("--file: "));
            assert_eq!((pair.look(), pair.watched.is_stale()), (Ok(None), true));
            pair.write("b", "2");
            assert_eq!((pair.look(), pair.watched.is_stale()), (Ok(None), false), "the content in use came back");
        }
        fs::remove_file(pair.folder.path().join("a")).unwrap();
        assert_eq!(pair.look(), Ok(None));
        assert!(pair.look().unwrap_err().contains("read "));
        pair.write("a", "5");
        assert_eq!(pair.look(), Ok(None));
        assert_eq!(pair.look(), Ok(Some(7)));
        assert!(!pair.watched.is_stale());
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let mut pair = Pair::new();
        let blanks = |count: u64| " ".repeat(usize::try_from(count).unwrap());
        pair.write("a", &format!("1{}", blanks(LONGEST)));
        assert_eq!(pair.look(), Ok(None));
        assert!(pair.look().unwrap_err().contains("is longer than"));
        pair.write("a", &format!("7{}", blanks(LONGEST - 1)));
        assert_eq!(pair.look(), Ok(None));
        assert_eq!(pair.look(), Ok(Some(9)));
    }
}
