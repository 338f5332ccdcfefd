//! Licences, banned crates and releases that are not final, checked against `deny.toml` without any further tool.
//!
//! Inputs: `deny.toml` (`licenses.allow`, `bans.deny`), [`NOT_FINAL`] and cargo's own dependency graph for this
//! platform. Output: nothing, or an error that names every offender. Does not look at advisories: `cargo deny`, where
//! it is installed, reports those apart.

mod licence;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

/// Releases that are not final and are used nevertheless, each with the reason.
const NOT_FINAL: [(&str, &str); 1] = [("hexane", "a part of automerge, whose final releases are built on it")];

/// Checks the workspace this was built from.
pub(crate) fn run() -> Result<()> {
    check(&crate::root()?)
}

/// Fails with one line per offender when a crate of the graph is banned or its licence is not allowed.
pub(crate) fn check(root: &Path) -> Result<()> {
    let policy = Policy::read(&root.join("deny.toml"))?;
    let crates = dependencies(root)?;
    let offenders: Vec<String> = crates.iter().filter_map(|krate| policy.objection(krate)).collect();
    ensure!(offenders.is_empty(), "{}", offenders.join("\n"));
    let not_final: Vec<String> = NOT_FINAL.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
    eprintln!("{} crates, no banned one, every licence allowed; not final: {}", crates.len(), not_final.join(", "));
    Ok(())
}

/// What `deny.toml` says.
#[derive(Debug)]
struct Policy {
    allowed: BTreeSet<String>,
    banned: BTreeMap<String, String>,
}

impl Policy {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("parse {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let document: toml_edit::DocumentMut = text.parse()?;
        let allow = document["licenses"]["allow"].as_array().context("no list licenses.allow")?;
        let allowed = allow.iter().filter_map(|id| id.as_str()).map(str::to_owned).collect();
        let deny = document["bans"]["deny"].as_array().context("no list bans.deny")?;
        let mut banned = BTreeMap::new();
        for entry in deny {
            let entry = entry.as_inline_table().context("an entry of bans.deny is not a table")?;
            let field = |name| entry.get(name).and_then(toml_edit::Value::as_str).unwrap_or_default().to_owned();
            banned.insert(field("name"), field("reason"));
        }
        Ok(Self { allowed, banned })
    }

    fn objection(&self, krate: &Crate) -> Option<String> {
        if let Some(reason) = self.banned.get(&krate.name) {
            return Some(format!("{} {} is banned: {reason}", krate.name, krate.version));
        }
        let is_final = !is_before_its_release(&krate.version) || NOT_FINAL.iter().any(|(name, _)| *name == krate.name);
        if !is_final {
            return Some(format!("{} {} is not a final release", krate.name, krate.version));
        }
        let Some(licence) = &krate.license else {
            return Some(format!("{} {} names no licence", krate.name, krate.version));
        };
        let allowed = licence::satisfied(licence, &|id| self.allowed.contains(id));
        (!allowed).then(|| format!("{} {} has a licence that is not allowed: {licence}", krate.name, krate.version))
    }
}

/// Whether a version has a part behind a hyphen; what is behind a plus sign may have hyphens of its own (Semantic
/// Versioning, 9 and 10).
fn is_before_its_release(version: &str) -> bool {
    version.split('+').next().is_some_and(|version| version.contains('-'))
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
    resolve: Resolve,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Crate {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
}

/// Every crate that a build of the workspace for this platform can contain.
fn dependencies(root: &Path) -> Result<Vec<Crate>> {
    let mut cargo = crate::cargo::command();
    cargo.current_dir(root).args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &host()?]);
    let output = cargo.output().context("start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout).context("parse the output of cargo metadata")?;
    let built: BTreeSet<String> = metadata.resolve.nodes.into_iter().map(|node| node.id).collect();
    Ok(metadata.packages.into_iter().filter(|krate| built.contains(&krate.id)).collect())
}

/// The target triple of this machine, as the compiler names it.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("start rustc")?;
    let text = String::from_utf8(output.stdout).context("read the version of rustc")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let text =
            "[licenses]\nallow = [\"MIT\"]\n[bans]\ndeny = [{ name = \"openssl\", reason = \"rustls instead\" }]\n";
        Policy::parse(text).unwrap()
    }

    fn krate(name: &str, license: Option<&str>) -> Crate {
        Crate {
            id: String::new(),
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: license.map(str::to_owned),
        }
    }

    #[test]
    fn a_banned_crate_is_named_with_the_reason() {
        let objection = policy().objection(&krate("openssl", Some("MIT"))).unwrap();
        assert_eq!(objection, "openssl 1.0.0 is banned: rustls instead");
    }

    #[test]
    fn a_crate_without_an_allowed_licence_is_named() {
        assert!(policy().objection(&krate("a", Some("GPL-3.0"))).unwrap().contains("GPL-3.0"));
        assert!(policy().objection(&krate("a", None)).unwrap().contains("no licence"));
        assert_eq!(policy().objection(&krate("a", Some("GPL-3.0 OR MIT"))), None);
    }

    #[test]
    fn a_release_that_is_not_final_is_named() {
        let of = |name: &str, version: &str| Crate { version: version.to_owned(), ..krate(name, Some("MIT")) };
        let objection = policy().objection(&of("iroh", "1.0.0-rc.1")).unwrap();
        assert_eq!(objection, "iroh 1.0.0-rc.1 is not a final release");
        assert_eq!(policy().objection(&of("hexane", "1.0.0-alpha.5")), None);
        assert_eq!(policy().objection(&of("wasi", "0.11.1+wasi-snapshot-preview1")), None);
    }
}
