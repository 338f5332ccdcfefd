//! A command line that cannot be used, as one line.
//!
//! Inputs: what clap found. Outputs: the line, with the place of help. What it does not do: help and version, which are
//! long and no errors.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What is wrong, the nearest right thing where there is one, and where to read more.
pub fn one_line(error: &clap::Error) -> String {
    let what = match error.kind() {
        // Its text is the whole help.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a subcommand is missing".to_owned(),
        _ => first_paragraph(&error.render().to_string()),
    };
    match suggestion(error) {
        Some(suggestion) => format!("{what}; did you mean `{suggestion}`? (try --help)"),
        None => format!("{what} (try --help)"),
    }
}

/// Everything up to the first empty line: behind it come tips and usage.
fn first_paragraph(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let line = lines.join(" ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// The nearest right name, if one is near.
pub(super) fn suggestion(error: &clap::Error) -> Option<&str> {
    let kinds = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand, ContextKind::SuggestedValue];
    kinds.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(one) => Some(one.as_str()),
        ContextValue::Strings(several) => several.first().map(String::as_str),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{UsageError, parse};
    use super::*;
    use std::ffi::OsString;

    fn line(args: &[&str]) -> String {
        let args = std::iter::once("peat-node").chain(args.iter().copied()).map(OsString::from).collect();
        let UsageError::Arguments(error) = parse(args, |_| None).unwrap_err() else { unreachable!() };
        one_line(&error)
    }

    #[test]
    fn every_kind_of_usage_error_is_one_line_with_the_place_of_help() {
        for (args, words) in [
            (&["--lisen", "x"][..], &["--lisen", "did you mean `--listen`?"][..]),
            (&["--no-such-flag"], &["--no-such-flag"]),
            (&["extra\nextra"], &["extra"]),
            (&["statsu"], &["statsu", "did you mean `status`?"]),
            (&["doc"], &["subcommand is missing"]),
            (&["doc", "put", "a"], &["<ID>", "<JSON>"]),
            (&["doc", "frobnicate"], &["frobnicate"]),
            (&["status", "--timeout", "soon"], &["soon", "--timeout"]),
            (&["status", "--output", "jsn"], &["jsn", "`json`"]),
            (&["--data-dir"], &["--data-dir"]),
            (&["--listen", "x", "status"], &["status"]),
        ] {
            let line = line(args);
            assert_eq!(line.lines().count(), 1, "{line}");
            assert!(words.iter().all(|word| line.contains(word)) && line.ends_with("(try --help)"), "{line}");
            assert!(!line.contains("error:") && !line.contains("Usage"), "{line}");
        }
    }
}
