//! Container images without an engine: one layer, written as a docker-archive.
//!
//! Input: files of the host with the places they get, an entry point, a user, an environment. Output: a tar file for
//! [`Cluster::load_image`](crate::Cluster::load_image), `ctr images import`, `docker load` or `kind load
//! image-archive`. For a dynamically linked program the shared libraries that `ldd` names go in too. Equal inputs give
//! equal bytes. Format: <https://github.com/moby/docker-image-spec/blob/v1.3.1/v1.2.md>. Does not push anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::command::Run;
use crate::files::{self, FileError};

/// User and group of every image that names none: the number that distroless images made customary.
const NONROOT: u32 = 65_532;
const FOLDERS: [&str; 7] = ["bin", "dev", "etc", "proc", "sys", "tmp", "var"];
const PASSWD: &str = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";
/// Without it the C library's resolver asks no DNS server when names are not in /etc/hosts, in some versions.
const NSSWITCH: &str = "hosts: files dns\n";

/// An image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file that goes in, or the archive.
    #[error("build image {image}")]
    Files {
        /// Name of the image.
        image: String,
        /// Which file.
        source: FileError,
    },
    /// A shared library is not on this machine.
    #[error("build image {image}: {program} needs {library}, which is not found here")]
    Library {
        /// Name of the image.
        image: String,
        /// The program that needs it.
        program: String,
        /// Its name.
        library: String,
    },
}

/// An image to be built.
#[derive(Debug, Clone)]
pub struct Image {
    name: String,
    files: BTreeMap<String, PathBuf>,
    links: BTreeMap<String, String>,
    folders: BTreeSet<String>,
    entrypoint: Vec<String>,
    env: Vec<String>,
    user: u32,
}

impl Image {
    /// An image called `name`, with repository and tag, such as `peat.local/peat-node:dev`. Use a domain no registry
    /// has: then a node that lacks the image fails at once instead of asking the network.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            folders: FOLDERS.map(str::to_owned).into(),
            entrypoint: Vec::new(),
            env: Vec::new(),
            user: NONROOT,
        }
    }

    /// Changes the name.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Puts the file `source` at `target` (an absolute path), executable, with the shared libraries it needs.
    #[must_use]
    pub fn file(mut self, target: &str, source: &Path) -> Self {
        self.files.insert(relative(target), source.to_owned());
        self
    }

    /// Puts a symbolic link to `to` at `target`.
    #[must_use]
    pub fn link(mut self, target: &str, to: &str) -> Self {
        self.links.insert(relative(target), to.to_owned());
        self
    }

    /// Makes an empty folder, as a mount point.
    #[must_use]
    pub fn folder(mut self, path: &str) -> Self {
        self.folders.insert(relative(path));
        self
    }

    /// What runs in the container.
    #[must_use]
    pub fn entrypoint<S: Into<String>>(mut self, entrypoint: impl IntoIterator<Item = S>) -> Self {
        self.entrypoint = entrypoint.into_iter().map(Into::into).collect();
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push(format!("{name}={value}"));
        self
    }

    /// Sets user and group; 65532 unless called.
    #[must_use]
    pub fn user(mut self, user: u32) -> Self {
        self.user = user;
        self
    }

    /// Builds the image into the docker-archive `path`, replacing what is there.
    pub async fn write(&self, path: &Path) -> Result<(), ImageError> {
        let mut contents = self.files.clone();
        for source in self.files.values() {
            contents.extend(self.libraries(source).await?);
        }
        let files_error = |source| ImageError::Files { image: self.name.clone(), source };
        let layer = self.layer(&contents).map_err(files_error)?;
        let archive = files::at("build", path, self.archive(&layer)).map_err(files_error)?;
        files::write(path, archive).map_err(files_error)
    }

    /// The shared libraries of `program`, at the paths where the dynamic linker looks for them; none for a static one.
    async fn libraries(&self, program: &Path) -> Result<BTreeMap<String, PathBuf>, ImageError> {
        // ldd fails for what is not a dynamic executable, and that is an answer. That the file exists is checked when
        // it is read.
        let listing = Run::new("ldd").args([program]).output().await.unwrap_or_default();
        parse_ldd(&listing).map_err(|library| ImageError::Library {
            image: self.name.clone(),
            program: program.display().to_string(),
            library: library.to_owned(),
        })
    }

    fn layer(&self, contents: &BTreeMap<String, PathBuf>) -> Result<Vec<u8>, FileError> {
        let mut layer = Layer::default();
        layer.folders(self.folders.iter().map(String::as_str))?;
        layer.text("etc/passwd", PASSWD)?;
        layer.text("etc/group", GROUP)?;
        layer.text("etc/nsswitch.conf", NSSWITCH)?;
        for (target, source) in contents {
            layer.program(target, source)?;
        }
        for (target, to) in &self.links {
            layer.link(target, to)?;
        }
        layer.finish()
    }

    fn archive(&self, layer: &[u8]) -> std::io::Result<Vec<u8>> {
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Env": self.env, "User": format!("{0}:{0}", self.user), "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex::encode(Sha256::digest(layer)))]},
        })
        .to_string();
        let config_name = format!("{}.json", hex::encode(Sha256::digest(&config)));
        let manifest = json!([{"Config": config_name, "RepoTags": [self.name], "Layers": ["layer.tar"]}]).to_string();
        let mut archive = tar::Builder::new(Vec::with_capacity(layer.len() + 8_192));
        for (name, content) in
            [("layer.tar", layer), (config_name.as_str(), config.as_bytes()), ("manifest.json", manifest.as_bytes())]
        {
            archive.append_data(&mut header(tar::EntryType::Regular, 0o644, content.len()), name, content)?;
        }
        archive.into_inner()
    }
}

/// The one layer of an image while it is put together. Every folder is written once, before what is in it.
struct Layer {
    tar: tar::Builder<Vec<u8>>,
    made: BTreeSet<String>,
}

impl Default for Layer {
    fn default() -> Self {
        Self { tar: tar::Builder::new(Vec::new()), made: BTreeSet::new() }
    }
}

impl Layer {
    fn folders<'a>(&mut self, paths: impl Iterator<Item = &'a str>) -> Result<(), FileError> {
        for path in paths {
            self.parents(path)?;
            if self.made.insert(path.to_owned()) {
                let mode = if path == "tmp" { 0o1777 } else { 0o755 };
                self.append(tar::EntryType::Directory, mode, &format!("{path}/"), &[])?;
            }
        }
        Ok(())
    }

    fn parents(&mut self, path: &str) -> Result<(), FileError> {
        match path.rsplit_once('/') {
            Some((parent, _)) => self.folders(std::iter::once(parent)),
            None => Ok(()),
        }
    }

    fn text(&mut self, path: &str, content: &str) -> Result<(), FileError> {
        self.parents(path)?;
        self.append(tar::EntryType::Regular, 0o644, path, content.as_bytes())
    }

    fn program(&mut self, path: &str, source: &Path) -> Result<(), FileError> {
        let content = files::at("read", source, std::fs::read(source))?;
        self.parents(path)?;
        self.append(tar::EntryType::Regular, 0o755, path, &content)
    }

    fn link(&mut self, path: &str, to: &str) -> Result<(), FileError> {
        self.parents(path)?;
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        files::at("archive", Path::new(path), self.tar.append_link(&mut header, path, to))
    }

    fn append(&mut self, kind: tar::EntryType, mode: u32, path: &str, content: &[u8]) -> Result<(), FileError> {
        let appended = self.tar.append_data(&mut header(kind, mode, content.len()), path, content);
        files::at("archive", Path::new(path), appended)
    }

    fn finish(self) -> Result<Vec<u8>, FileError> {
        files::at("archive", Path::new("layer.tar"), self.tar.into_inner())
    }
}

/// A header that depends on nothing but its arguments: owner root, time zero.
fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn relative(path: &str) -> String {
    path.trim_start_matches('/').to_owned()
}

/// Go's name of this machine's architecture, which images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The files named by ldd's output: lines of the form `name => /path (address)` or, for the linker itself, `/path
/// (address)`. The kernel's own object has no path. `Err` is the name of a library that was not found.
fn parse_ldd(listing: &str) -> Result<BTreeMap<String, PathBuf>, &str> {
    let mut libraries = BTreeMap::new();
    for line in listing.lines().map(str::trim) {
        if let Some((name, "not found")) = line.split_once(" => ") {
            return Err(name);
        }
        let path = line.rsplit_once(" => ").map_or(line, |(_, path)| path);
        let path = path.split_once(" (").map_or(path, |(path, _)| path);
        if path.starts_with('/') {
            libraries.insert(relative(path), PathBuf::from(path));
        }
    }
    Ok(libraries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    const LISTING: &str = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)\n\
                           \t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n";

    #[test]
    fn shared_libraries_and_the_linker_are_found_in_ldds_output() {
        let found: Vec<String> = parse_ldd(LISTING).unwrap().into_keys().collect();
        assert_eq!(found, ["lib/x86_64-linux-gnu/libc.so.6", "lib64/ld-linux-x86-64.so.2"]);
        assert!(parse_ldd("\tstatically linked\n").unwrap().is_empty());
        assert_eq!(parse_ldd("\tlibodd.so.1 => not found\n"), Err("libodd.so.1"));
    }

    #[tokio::test]
    async fn an_image_holds_its_program_with_its_libraries_and_is_the_same_each_time() {
        let program = std::env::current_exe().unwrap();
        let dir = std::env::temp_dir().join(format!("peat-image-{}", std::process::id()));
        files::create_dir(&dir).unwrap();
        let image = Image::new("peat.local/test:1").file("/usr/bin/test", &program).link("/bin/t", "/usr/bin/test");
        image.write(&dir.join("a.tar")).await.unwrap();
        image.write(&dir.join("b.tar")).await.unwrap();
        let bytes = std::fs::read(dir.join("a.tar")).unwrap();
        assert!(bytes == std::fs::read(dir.join("b.tar")).unwrap(), "equal inputs give equal bytes");
        let mut layer = Vec::new();
        let mut archive = tar::Archive::new(bytes.as_slice());
        archive.entries().unwrap().next().unwrap().unwrap().read_to_end(&mut layer).unwrap();
        let mut archive = tar::Archive::new(layer.as_slice());
        let names: Vec<String> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().display().to_string()).collect();
        for wanted in ["usr/", "usr/bin/", "usr/bin/test", "bin/t", "tmp/", "etc/passwd"] {
            assert!(names.iter().any(|name| name == wanted), "{wanted} in {names:?}");
        }
        assert!(names.iter().any(|name| name.contains("libc.so")), "{names:?}");
        files::remove_tree(&dir).unwrap();
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let image = Image::new("peat.local/test:1").file("/bin/x", Path::new("/no/such/program"));
        let error = image.write(&std::env::temp_dir().join("never.tar")).await.unwrap_err();
        assert!(format!("{error:?}").contains("/no/such/program"), "{error:?}");
    }
}
