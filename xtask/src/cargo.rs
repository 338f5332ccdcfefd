//! The cargo that this program starts: the one that runs it, without what that one put into the environment.
//!
//! `cargo run` describes the package it runs in `CARGO_MANIFEST_DIR`, `CARGO_PKG_NAME` and so on. Build scripts that
//! watch these variables (ring's does) would see them change between a build started here and one started by hand, and
//! every crate above them would be compiled again each time.
//!
//! And without protoc: whatever is built by way of this program shows that none is needed.

use std::ffi::OsString;
use std::process::Command;

/// Where prost would look for protoc, and finds nothing: a build script that calls it fails here, whatever is
/// installed.
const NO_PROTOC: &str = "/there/is/no/protoc";

/// A command of cargo, to which the caller adds its arguments.
pub(crate) fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(describes_a_package)) {
        command.env_remove(name);
    }
    command.env("PROTOC", NO_PROTOC);
    command
}

/// Whether cargo sets this variable for the package that it runs (Cargo Book, "Environment Variables").
fn describes_a_package(name: &str) -> bool {
    matches!(name, "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE" | "OUT_DIR")
        || ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_"].iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_says_of_this_package_is_not_handed_on() {
        let command = command();
        let removed: Vec<_> = command.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        assert!(removed.iter().any(|name| *name == "CARGO_MANIFEST_DIR"), "{removed:?}");
        assert!(!describes_a_package("CARGO_HOME") && !describes_a_package("CARGO_TARGET_DIR"));
    }

    #[test]
    fn whatever_is_built_here_is_built_without_protoc() {
        let command = command();
        let protoc = command.get_envs().find(|(name, _)| *name == "PROTOC").and_then(|(_, value)| value);
        assert_eq!(protoc, Some(std::ffi::OsStr::new(NO_PROTOC)));
        assert!(!std::path::Path::new(NO_PROTOC).exists());
    }
}
