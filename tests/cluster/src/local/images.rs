//! The images that every local cluster starts with.
//!
//! Input: host tools and binaries. Output: docker-archives in the state folder. Does not contain Peat's own images (the
//! caller builds those with [`crate::image`]).

use std::path::{Path, PathBuf};

use crate::binaries::{Binaries, Binary};
use crate::image::{Image, ImageError};
use crate::local::packages::HostTools;

/// The image that holds a pod's namespaces.
pub(crate) const PAUSE: &str = "peat.local/pause:1";
/// The DNS server.
pub(crate) const COREDNS: &str = "peat.local/coredns:1";
/// A small shell for tests and for looking around by hand: `kubectl run -it --image peat.local/busybox:1`.
pub const BUSYBOX: &str = "peat.local/busybox:1";

/// For pods that talk to the network: what busybox has for that is static and crashes, as static glibc programs do
/// here.
const BASH: &str = "/bin/bash";
/// Part of every C library package.
const GETENT: &str = "/usr/bin/getent";
/// Collects processes that lost their parent, as the first process of a pod with a shared PID namespace must.
const PAUSE_SCRIPT: &str = "trap 'exit 0' TERM INT; while :; do /bin/busybox sleep 3600 & wait; done";

/// Builds the images into `dir`.
pub(crate) async fn build(dir: &Path, tools: &HostTools, binaries: &Binaries) -> Result<Vec<PathBuf>, ImageError> {
    let busybox = || Image::new(BUSYBOX).file("/bin/busybox", &tools.busybox);
    let mut shell = busybox()
        .file("/bin/bash", Path::new(BASH))
        .file("/bin/getent", Path::new(GETENT))
        .env("PATH", "/bin")
        .entrypoint(["/bin/sh"]);
    for applet in APPLETS {
        shell = shell.link(&format!("/bin/{applet}"), "/bin/busybox");
    }
    let pause = busybox().name(PAUSE).entrypoint(["/bin/busybox", "sh", "-c", PAUSE_SCRIPT]);
    let coredns = Image::new(COREDNS).file("/coredns", &binaries.path(Binary::Coredns)).entrypoint(["/coredns"]);
    let mut archives = Vec::new();
    for (file, image) in [("pause.tar", pause), ("busybox.tar", shell), ("coredns.tar", coredns)] {
        let path = dir.join(file);
        image.write(&path).await?;
        archives.push(path);
    }
    Ok(archives)
}

/// The commands of the shell image that busybox provides.
const APPLETS: [&str; 23] = [
    "cat", "cp", "cut", "date", "dd", "echo", "env", "false", "grep", "hostname", "httpd", "id", "ip", "kill", "ls",
    "mkdir", "ps", "rm", "sh", "sleep", "stat", "touch", "true",
];
