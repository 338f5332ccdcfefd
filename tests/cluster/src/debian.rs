//! Packages of the host's own distribution: what tests need of a machine and nobody builds from pinned sources.
//!
//! Input: names of packages. Output: they are installed, where this process is root on Debian or a relative of it;
//! elsewhere nothing is done. Does not configure what it installed, nor take it away again.

use std::path::{Path, PathBuf};

use tokio::sync::Mutex;

use crate::command::{CommandError, Run};
use crate::progress::report;

/// Where programs are looked for; a root shell often lacks the second half in its PATH.
const PROGRAM_DIRS: [&str; 6] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Seconds that apt-get waits for another one.
const WAIT: &str = "DPkg::Lock::Timeout=300";

/// Something of the host is not here.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// Nor can this process install it.
    #[error("it is not installed (in Debian: apt-get install {0})")]
    Missing(&'static str),
    /// apt-get failed.
    #[error("install {package}")]
    Install {
        /// The package.
        package: &'static str,
        /// What apt-get said.
        source: CommandError,
    },
}

/// What `find` finds, with `package` installed if it finds nothing before. Tests of one process that want the same at
/// once install it once.
///
/// # Errors
/// [`PackageError`] where it cannot be installed, or is not what `find` looks for.
pub async fn provide(package: &'static str, find: impl Fn() -> Option<PathBuf>) -> Result<PathBuf, PackageError> {
    static INSTALLING: Mutex<()> = Mutex::const_new(());
    let _one = INSTALLING.lock().await;
    if let Some(found) = find() {
        return Ok(found);
    }
    if can_install() {
        install(&[package]).await.map_err(|source| PackageError::Install { package, source })?;
    }
    find().ok_or(PackageError::Missing(package))
}

/// Whether [`install`] has a meaning here.
pub(crate) fn can_install() -> bool {
    let is_debian = Path::new("/etc/debian_version").exists() && program("apt-get").is_some();
    is_debian && nix::unistd::geteuid().is_root()
}

pub(crate) async fn install(packages: &[&str]) -> Result<(), CommandError> {
    report(format_args!("installing {}", packages.join(" ")));
    let apt = || Run::new("apt-get").env("DEBIAN_FRONTEND", "noninteractive").args(["-o", WAIT]);
    apt().args(["update", "--quiet"]).output().await?;
    let install = apt().args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages);
    install.output().await.map(drop)
}

pub(crate) fn program(name: &str) -> Option<PathBuf> {
    PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_there_is_not_installed() {
        let shell = provide("no-such-package", || program("sh")).await.unwrap();
        assert!(shell.ends_with("sh"));
    }
}
