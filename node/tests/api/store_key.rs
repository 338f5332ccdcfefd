//! `--store-key-file`: a node whose store nobody reads without the key.

use super::process::Node;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A key file with these keys, one a line.
fn key_file(node: &Node, name: &str, keys: &[u8]) -> PathBuf {
    let lines: Vec<String> = keys.iter().map(|byte| STANDARD.encode([*byte; 32])).collect();
    let path = node.dir().join(name);
    fs::write(&path, format!("# keys of the store\n{}\n", lines.join("\n"))).unwrap();
    path
}

fn peat_node(args: &[&str], data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    command.env_clear().args(args).arg("--data-dir").arg(data).stdin(Stdio::null()).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_store_opens_with_its_key_only_and_its_key_can_be_rotated() {
    let mut node = Node::prepare(&[]);
    let [old, both, new] = [("old", &[1][..]), ("both", &[2, 1]), ("new", &[2])]
        .map(|(name, keys)| key_file(&node, name, keys).display().to_string());
    node.start(&["--store-key-file", &old]).await;
    node.put("papers", "one", r#"{"n":1}"#).await;
    node.put("papers", "one", r#"{"n":2}"#).await;
    node.leave().await;
    let (none, other): (&[&str], &[&str]) = (&[], &["--store-key-file", &new]);
    for (flags, why) in [(none, "--store-key-file is not set"), (other, "which --store-key-file does not have")] {
        let output = peat_node(&[flags, &["--listen", "tcp://127.0.0.1:0"]].concat(), &node.data());
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{told}");
        let line = told.lines().last().unwrap();
        assert!(line.starts_with("peat-node: ") && line.contains("stays closed") && line.contains(why), "{told}");
        assert!(!told.contains(" ERROR "), "{told}");
    }
    for keys in [&both, &new] {
        node.start(&["--store-key-file", keys]).await;
        assert_eq!(node.get("papers", "one").await.as_deref(), Some(r#"{"n":2}"#));
        node.leave().await;
    }
    assert_eq!(
        peat_node(&["--store-key-file", &old, "--listen", "tcp://127.0.0.1:0"], &node.data()).status.code(),
        Some(64)
    );

    fs::rename(node.data().join("store"), node.data().join("store.set-aside-1")).unwrap();
    let salvaged = peat_node(&["salvage", "--store-key-file", &new], &node.data());
    let line = "{\"collection\":\"papers\",\"docId\":\"one\",\"document\":{\"n\":2}}\n";
    assert_eq!(String::from_utf8_lossy(&salvaged.stdout), line, "{salvaged:?}");
    let closed = peat_node(&["salvage"], &node.data());
    assert!(!closed.status.success() && String::from_utf8_lossy(&closed.stderr).contains("is not set"), "{closed:?}");
}

#[test]
fn a_key_file_that_cannot_be_used_is_told_in_one_line_without_what_is_in_it() {
    let node = Node::prepare(&[]);
    let secret = "c2VjcmV0IGJ1dCBzaG9ydA==";
    let short = node.dir().join("short");
    fs::write(&short, secret).unwrap();
    let empty = key_file(&node, "empty", &[]);
    for (path, why) in [
        (short.clone(), format!("{}: line 1 is not 32 bytes in base64", short.display())),
        (empty.clone(), format!("{}: it has no key", empty.display())),
        (node.dir().join("missing"), format!("read {}: ", node.dir().join("missing").display())),
    ] {
        let output = peat_node(&["--store-key-file", path.to_str().unwrap()], &node.data());
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{told}");
        assert!(
            told.starts_with(&format!("peat-node: --store-key-file: {why}")) && told.lines().count() == 1,
            "{told}"
        );
        assert!(!told.contains(secret));
    }
    let good = key_file(&node, "good", &[7]);
    let output = peat_node(&["--print-config", "--store-key-file", good.to_str().unwrap()], &node.data());
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        shown.contains(&format!("store-key-file: {}", good.display())) && !shown.contains(&STANDARD.encode([7; 32])),
        "{shown}"
    );
}
