//! Every flag of the node with its text and where that came from: what `--print-config` shows.
//!
//! Inputs: what clap found in arguments, variables and file together. Outputs: [`Settings`], which print as a
//! configuration file. What it does not do: judge values; hold secrets, which are redacted before they get here.

use super::{Secret, flags};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// What stands for the text of a secret.
const REDACTED: &str = "(redacted)";

/// Where each flag's text came from, for flags that have one.
pub(super) type Origins = BTreeMap<String, Origin>;

/// Where a text came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line; the flag's name.
    Flag(String),
    /// The environment; the variable's name.
    Variable(String),
    /// The file of `--config`.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The flags of the node in the order of its help.
#[derive(Debug, Clone, Default)]
pub struct Settings(Vec<Setting>);

#[derive(Debug, Clone)]
struct Setting {
    flag: String,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// YAML of the value, and where it came from.
    Given(String, Origin),
    /// What holds instead, in the words of the help.
    Default(Option<String>),
}

impl Settings {
    /// Hidden flags are there if they were given.
    pub(super) fn collect(command: &Command, matches: &ArgMatches, origins: &Origins) -> Self {
        let setting = |(flag, arg): (&str, &Arg)| {
            let texts = matches.get_raw(arg.get_id().as_str()).into_iter().flatten();
            let texts: Vec<_> = texts.map(|text| text.to_string_lossy().trim().to_owned()).collect();
            let given = origins.get(flag).filter(|_| texts.iter().any(|text| !text.is_empty()));
            let state = match given {
                Some(origin) => State::Given(yaml(arg, &texts), origin.clone()),
                None if arg.is_hide_set() => return None,
                None => State::Default(default(arg)),
            };
            Some(Setting { flag: flag.to_owned(), state })
        };
        Self(flags(command).filter_map(setting).collect())
    }

    /// Where the value of a flag came from; none for defaults.
    pub fn origin(&self, flag: &str) -> Option<&Origin> {
        self.0.iter().find(|setting| setting.flag == flag).and_then(|setting| match &setting.state {
            State::Given(_, origin) => Some(origin),
            State::Default(_) => None,
        })
    }
}

/// A line for each flag: what was given as in a file, with its origin; what was not is a comment.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|Setting { flag, state }| match state {
            State::Given(value, origin) => writeln!(f, "{flag}: {value} # {origin}"),
            State::Default(Some(default)) => writeln!(f, "# {flag}: {default} (default)"),
            State::Default(None) => writeln!(f, "# {flag}: (not set)"),
        })
    }
}

/// The value in YAML. A type that never prints itself does not do so here.
fn yaml(arg: &Arg, texts: &[String]) -> String {
    if arg.get_value_parser().type_id() == TypeId::of::<Secret>() {
        return REDACTED.to_owned();
    }
    let scalars: Vec<String> = texts.iter().filter(|text| !text.is_empty()).map(|text| scalar(text)).collect();
    if is_list(arg) { format!("[{}]", scalars.join(", ")) } else { scalars.concat() }
}

/// Whether a flag has several values.
pub(super) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// A text as a YAML scalar: plain if nothing in it could mean something else, else in quotes as in JSON.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@=+".contains(c);
    let safe = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !matches!(text, "null" | "Null" | "NULL");
    if safe { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

/// The default in the words of the help.
fn default(arg: &Arg) -> Option<String> {
    let help = arg.get_help()?.to_string();
    let (_, rest) = help.split_once("[default: ")?;
    rest.split_once(']').map(|(default, _)| default.to_owned())
}
