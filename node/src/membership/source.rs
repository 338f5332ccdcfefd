//! What the kubelet puts beside the node: where the operator is, who vouches for it, the token, first peers.
//!
//! Purpose: read the files anew whenever they are needed, because all of them rotate. The mounted ConfigMap of the mesh
//! supersedes what the injector wrote into the environment. Inputs: paths. Outputs: checked values, or a
//! [`SourceError`]. What it does not do: trust a certificate authority of the mesh from here: whoever may write
//! ConfigMaps in the application's namespace would admit anyone. Those come by the stream only.

use super::PeerSet;
use crate::config::ManagedMode;
use peat_crds::names::config_map;
use peat_node_core::ids::PeerId;
use std::io;
use std::path::{Path, PathBuf};

/// Most lines of the bootstrap list that are read; the operator writes at most 16.
const BOOTSTRAP_LINES: usize = 64;

/// A file that is needed and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read {}", path.display())]
pub(super) struct SourceError {
    path: PathBuf,
    source: io::Error,
}

/// Where to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// `https://host:port`.
    pub(super) url: String,
    /// PEM of the authorities that vouch for it.
    pub(super) ca: String,
}

/// A service account token. Does not print.
#[derive(Clone)]
pub(super) struct Token(String);

impl Token {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

pub(super) fn target(managed: &ManagedMode) -> Target {
    let mounted = |key: &str, otherwise: &str| {
        let found = managed.mesh_dir.as_ref().and_then(|folder| std::fs::read_to_string(folder.join(key)).ok());
        found.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).unwrap_or_else(|| otherwise.to_owned())
    };
    Target {
        url: mounted(config_map::MEMBERSHIP, &managed.membership_url),
        ca: mounted(config_map::CA, &managed.membership_ca),
    }
}

pub(super) fn token(path: &Path) -> Result<Token, SourceError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Token(text.trim().to_owned())),
        Err(source) => Err(SourceError { path: path.to_owned(), source }),
    }
}

/// The bootstrap peers of the mounted ConfigMap; lines that are not `<endpoint id>@<ip>:<port>` are skipped.
pub(super) fn bootstrap(managed: &ManagedMode) -> PeerSet {
    let Some(folder) = &managed.mesh_dir else { return PeerSet::new() };
    let text = std::fs::read_to_string(folder.join(config_map::BOOTSTRAP)).unwrap_or_default();
    let mut peers = PeerSet::new();
    for (id, address) in text.lines().take(BOOTSTRAP_LINES).filter_map(|line| line.trim().split_once('@')) {
        if let Ok(peer) = PeerId::parse(id) {
            peers.entry(peer).or_default().push(address.to_owned());
        }
    }
    peers
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A pod of `pier/harbour`, with the mesh's ConfigMap in this folder.
    pub(in crate::membership) fn managed(mesh_dir: Option<&Path>) -> ManagedMode {
        ManagedMode {
            pod_name: "ferry-0".to_owned(),
            pod_namespace: "pier".to_owned(),
            pod_uid: "pod".to_owned(),
            pod_ip: None,
            kube_node: None,
            mesh_uid: "mesh".to_owned(),
            mesh_name: "pier/harbour".to_owned(),
            membership_url: "https://env:8443".to_owned(),
            membership_ca: "env".to_owned(),
            token_file: PathBuf::new(),
            mesh_dir: mesh_dir.map(Path::to_owned),
        }
    }

    #[test]
    fn the_mounted_config_map_supersedes_the_environment_value_by_value() {
        let folder = tempfile::tempdir().unwrap();
        let env = Target { url: "https://env:8443".to_owned(), ca: "env".to_owned() };
        assert_eq!(target(&managed(None)), env);
        assert_eq!(target(&managed(Some(folder.path()))), env, "a mount that is still empty");
        std::fs::write(folder.path().join(config_map::CA), "mounted\n").unwrap();
        std::fs::write(folder.path().join(config_map::MEMBERSHIP), "").unwrap();
        assert_eq!(target(&managed(Some(folder.path()))), Target { ca: "mounted".to_owned(), ..env });
    }

    #[test]
    fn the_bootstrap_list_is_read_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (PeerId([1; 32]), PeerId([2; 32]));
        let text =
            format!("{one}@10.0.0.1:11204\nnonsense\n{two}@10.0.0.2:11204\n{one}@[fd00::1]:11204\nzz@10.0.0.3:1\n");
        std::fs::write(folder.path().join(config_map::BOOTSTRAP), text).unwrap();
        let peers = bootstrap(&managed(Some(folder.path())));
        assert_eq!(peers.len(), 2);
        assert_eq!(peers[&one], ["10.0.0.1:11204", "[fd00::1]:11204"]);
        assert!(bootstrap(&managed(None)).is_empty());
    }

    #[test]
    fn a_token_is_read_without_its_newline_and_does_not_print() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc.def\n").unwrap();
        let token = token(file.path()).unwrap();
        assert_eq!(token.expose(), "abc.def");
        assert_eq!(format!("{token:?}"), "Token(..)");
        assert!(super::token(Path::new("/nonexistent/token")).is_err());
    }
}
