//! The text of a file of rights.
//!
//! Inputs: text; outputs: [`Rights`], or the first line that is none. What it does not do: judge whether the rules are
//! wise.

use super::{Rights, Rules, Who};
use crate::ids::{Collection, NameError, PeerId};
use std::collections::{BTreeMap, BTreeSet};

/// Collections that a file may name: neighbours tell each other of them in one frame.
pub const MOST_COLLECTIONS: usize = 64;
/// Lines that a file may have: enough to name some hundred peers for each of some collections.
pub const MOST_LINES: usize = 2048;

/// A file that has no rights in it. The text names the line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RightsError {
    /// A line that does not have three parts.
    #[error("line {line} is not `collection right who`")]
    Line {
        /// Which.
        line: usize,
    },
    /// A second part that is no right.
    #[error("line {line}: {found:?} is not `read`, `write` or `both`")]
    Right {
        /// Which.
        line: usize,
        /// What is there.
        found: String,
    },
    /// A third part that is nobody.
    #[error("line {line}: {found:?} is not an endpoint id of 64 hexadecimal digits, `*` or `nobody`")]
    Who {
        /// Which.
        line: usize,
        /// What is there.
        found: String,
    },
    /// A first part that is no collection.
    #[error("line {line}: {source}")]
    Name {
        /// Which.
        line: usize,
        /// What is wrong.
        source: NameError,
    },
    /// No rules at all: more likely a file that is being written than one that forbids everything.
    #[error("there is no rule in it; `* both *` allows everything, `* both nobody` nothing")]
    Empty,
    /// More than [`MOST_LINES`].
    #[error("it has more than {MOST_LINES} lines")]
    Lines,
    /// More than [`MOST_COLLECTIONS`].
    #[error("line {line} names one collection too many: a file names at most {MOST_COLLECTIONS}")]
    Collections {
        /// The line that names one too many.
        line: usize,
    },
}

/// Who was named for one right, by collection; `*` is one of them.
#[derive(Default)]
struct Lists(BTreeMap<Box<str>, Who>);

impl Lists {
    fn add(&mut self, collection: &str, who: &Named) {
        let listed = self.0.entry(collection.into()).or_insert_with(|| Who::Only(BTreeSet::new()));
        match (who, listed) {
            (Named::Everybody, listed) => *listed = Who::Everybody,
            (Named::One(peer), Who::Only(peers)) => {
                peers.insert(*peer);
            }
            (Named::One(_), Who::Everybody) | (Named::Nobody, _) => {}
        }
    }

    fn rules(mut self) -> Rules {
        let rest = self.0.remove(REST).unwrap_or_else(|| Who::Only(BTreeSet::new()));
        Rules { named: self.0, rest }
    }
}

enum Named {
    Everybody,
    Nobody,
    One(PeerId),
}

/// What stands for every collection that is not named, and for every peer.
const REST: &str = "*";

impl Rights {
    /// Reads the text of a file. Blank lines, and lines that begin with `#`, say nothing.
    ///
    /// # Errors
    /// [`RightsError`] with the first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, RightsError> {
        let (mut read, mut write) = (Lists::default(), Lists::default());
        let mut collections = BTreeSet::new();
        if text.lines().count() > MOST_LINES {
            return Err(RightsError::Lines);
        }
        let lines = text.lines().map(str::trim).enumerate().map(|(index, text)| (index + 1, text));
        for (line, text) in lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#')) {
            let (collection, right, who) = parts(line, text)?;
            collections.insert(collection);
            if collections.iter().filter(|name| **name != REST).count() > MOST_COLLECTIONS {
                return Err(RightsError::Collections { line });
            }
            if right != "write" {
                read.add(collection, &who);
            }
            if right != "read" {
                write.add(collection, &who);
            }
        }
        if collections.is_empty() {
            Err(RightsError::Empty)
        } else {
            Ok(Self { read: read.rules(), write: write.rules() })
        }
    }
}

/// Collection, right and who of one line. The name of a collection may have blanks.
fn parts(line: usize, text: &str) -> Result<(&str, &str, Named), RightsError> {
    let last = |text: &'_ str| text.rfind(char::is_whitespace);
    let split = last(text).map(|at| (text[..at].trim_end(), text[at..].trim_start()));
    let (front, who) = split.ok_or(RightsError::Line { line })?;
    let (collection, right) =
        last(front).map(|at| (front[..at].trim_end(), front[at..].trim_start())).ok_or(RightsError::Line { line })?;
    if !matches!(right, "read" | "write" | "both") {
        return Err(RightsError::Right { line, found: right.to_owned() });
    }
    let who = match who {
        REST => Named::Everybody,
        "nobody" => Named::Nobody,
        id => Named::One(PeerId::parse(id).map_err(|_| RightsError::Who { line, found: id.to_owned() })?),
    };
    if collection != REST {
        Collection::parse(collection).map_err(|source| RightsError::Name { line, source })?;
    }
    Ok((collection, right, who))
}
