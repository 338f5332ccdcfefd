//! The configuration file: YAML whose keys are the names of flags.
//!
//! Inputs: the path and the flags. Outputs: the texts of each key, raw, as if they had been written behind the flag; or
//! one line with file and key. What it does not do: judge values, which is the same for flags, variables and file.

use super::flags;
use super::settings::is_list;
use super::usage::suggestion;
use clap::{Arg, Command};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// The flag that names the file; it has no meaning inside of it.
const ITSELF: &str = "config";

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("--config: read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no YAML, or has a key or a kind of value that no flag has.
    #[error("in {}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Which key, why and where.
        source: serde_yaml::Error,
    },
}

/// Reads the file: flags by name, with their texts; keys without a value are left out.
///
/// # Errors
/// [`FileError`].
pub(super) fn read(path: &Path, command: &Command) -> Result<BTreeMap<String, Vec<String>>, FileError> {
    let text = std::fs::read_to_string(path).map_err(|source| FileError::Read { path: path.to_owned(), source })?;
    let keys = Keys(command).deserialize(serde_yaml::Deserializer::from_str(&text));
    keys.map_err(|source| FileError::Content { path: path.to_owned(), source })
}

struct Keys<'a>(&'a Command);

impl Keys<'_> {
    fn flag(&self, key: &str) -> Option<&Arg> {
        flags(self.0).find(|(flag, _)| *flag == key && key != ITSELF).map(|(_, arg)| arg)
    }

    /// What is wrong with a key and, where one is near, which is right.
    fn unknown(&self, key: &str) -> String {
        let error = self.0.clone().try_get_matches_from(["peat-node".to_owned(), format!("--{key}")]).err();
        let near = error.as_ref().and_then(suggestion).map(|flag| flag.trim_start_matches('-'));
        match near.filter(|near| self.flag(near).is_some()) {
            Some(near) => format!("unknown key {key:?}; did you mean `{near}`?"),
            None => format!("unknown key {key:?}; the keys are the flags of `peat-node --help` without dashes"),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = BTreeMap<String, Vec<String>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = BTreeMap<String, Vec<String>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lines `FLAG: VALUE`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut keys = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let Some(arg) = self.flag(&key) else { return Err(A::Error::custom(self.unknown(&key))) };
            if keys.contains_key(&key) {
                return Err(A::Error::custom(format_args!("`{key}` is there twice")));
            }
            let values = if is_list(arg) {
                map.next_value::<Texts>()?.0
            } else {
                map.next_value::<Option<String>>()?.into_iter().collect()
            };
            keys.insert(key, values);
        }
        keys.retain(|_, values| values.iter().any(|value| !value.is_empty()));
        Ok(keys)
    }
}

/// One text or several.
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Several;
        impl<'de> Visitor<'de> for Several {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_unit<E>(self) -> Result<Texts, E> {
                Ok(Texts(Vec::new()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(Several)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cli;
    use super::*;
    use clap::CommandFactory as _;
    use std::error::Error as _;
    use tempfile::NamedTempFile;

    fn file(text: &str) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn of(text: &str) -> Result<BTreeMap<String, Vec<String>>, String> {
        let file = file(text);
        read(file.path(), &Cli::command()).map_err(|error| {
            assert_eq!(error.to_string(), format!("in {}", file.path().display()));
            error.source().map(ToString::to_string).unwrap_or_default()
        })
    }

    #[test]
    fn a_text_is_taken_as_it_is_written() {
        let keys = of("socket-mode: 0640\nauto-sync: true\nlog-level: \"info,h2=debug\"\nlisten: a\npeer:\n- b\n- c\n")
            .unwrap();
        let of = |key: &str| keys[key].join(" ");
        assert_eq!([of("socket-mode"), of("auto-sync"), of("log-level")], ["0640", "true", "info,h2=debug"]);
        assert_eq!((of("listen"), of("peer")), ("a".to_owned(), "b c".to_owned()));
    }

    #[test]
    fn nothing_and_values_that_are_empty_are_unset() {
        for text in ["", "# only a comment\n", "data-dir:\nlisten:\nkey-dir: ''\npeer: []\n", "{}"] {
            assert_eq!(of(text), Ok(BTreeMap::new()), "{text}");
        }
    }

    #[test]
    fn what_no_flag_has_is_one_line_with_the_key() {
        for (text, words) in [
            ("data-dir: x\nlisen: x\n", &["lisen", "did you mean `listen`?"][..]),
            ("frobnicate: x\n", &["frobnicate", "--help"]),
            ("config: x\n", &["config", "--help"]),
            ("help: x\n", &["help"]),
            ("encryption-kay: x\n", &["encryption-kay"]),
            ("\"a\\nb\": x\n", &["unknown key"]),
            ("data-dir: {a: b}\n", &["data-dir", "string", "line 1"]),
            ("data-dir: [a]\n", &["data-dir", "string"]),
            ("listen: {a: b}\n", &["listen", "a string or a list of strings"]),
            ("peer: [[a]]\n", &["peer", "string"]),
            ("node-id: a\nnode-id: b\n", &["node-id", "twice"]),
            ("- a\n", &["FLAG: VALUE"]),
            ("just text\n", &["FLAG: VALUE"]),
            ("node-id: b: c\n", &["line 1"]),
            ("a: b\n---\nc: d\n", &[]),
        ] {
            let line = of(text).unwrap_err();
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(words.iter().all(|word| line.contains(word)), "{text}: {line}");
        }
    }
}
