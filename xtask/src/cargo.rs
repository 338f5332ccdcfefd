//! The cargo that this program starts: the one that runs it, without what that one put into the environment.
//!
//! `cargo run` describes the package it runs in `CARGO_MANIFEST_DIR`, `CARGO_PKG_NAME` and so on. Build scripts that watch
//! these variables (ring's does) would see them change between a build started here and one started by hand, and every
//! crate above them would be compiled again each time.

use std::ffi::OsString;
use std::process::Command;

/// A command of cargo, to which the caller adds its arguments.
pub(crate) fn command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(describes_a_package)) {
        command.env_remove(name);
    }
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
}
