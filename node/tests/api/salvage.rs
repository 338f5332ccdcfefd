//! `peat-node salvage`: what a person gets back of a store that was set aside.

use super::Api;
use super::process::Node;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn salvage(data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    command.env_clear().args(["salvage", "--data-dir"]).arg(data).stdin(Stdio::null()).output().unwrap()
}

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8(bytes.to_vec()).unwrap().lines().map(str::to_owned).collect()
}

/// Overwrites every file of one part of the store that is not a table.
fn spoil(data: &Path, part: &str) {
    let part = data.join("store/keyspaces").join(part);
    let files: Vec<PathBuf> = fs::read_dir(part).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.iter().filter(|path| path.is_file()).for_each(|path| fs::write(path, "garbage").unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_a_store_that_was_set_aside_are_printed_and_can_be_imported() {
    let mut node = Node::prepare(&[]);
    node.start(&[]).await;
    for id in 0..50 {
        node.put("papers", &format!("{id:02}"), &format!(r#"{{"n":{id},"big":9007199254740993}}"#)).await;
    }
    node.delete("papers", "49").await;
    node.kill();
    // The log of changes: the start goes on with everything else.
    spoil(&node.data(), "3");
    node.start(&[]).await;
    assert_eq!(node.list("papers").await.len(), 49, "the start takes over what can be read");
    assert!(node.log().contains("it is set aside, and what can be read of it is copied"));
    let running = salvage(&node.data());
    assert!(running.status.success(), "{running:?}");
    let told = lines(&running.stderr);
    assert!(
        told[0].contains("store.set-aside-") && told[0].contains(": 49 documents, 1 deleted ones, 0 damaged"),
        "{told:?}"
    );
    assert!(told[1].ends_with("a node runs on it: stop it to see what that set aside itself"), "{told:?}");
    node.kill();
    let stopped = salvage(&node.data());
    assert_eq!(
        lines(&stopped.stderr)[1],
        format!("{}: nothing is set aside here", node.data().join("store").display())
    );
    let printed = lines(&stopped.stdout);
    assert_eq!(printed.len(), 49);
    let first = r#"{"collection":"papers","docId":"00","document":{"big":9007199254740993,"n":0}}"#;
    assert_eq!(printed[0], first, "every number as it was");

    let other = Api::start(&[]).await;
    let file = other.node.dir().join("salvaged.jsonl");
    fs::write(&file, &stopped.stdout).unwrap();
    let mut import = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    import.env_clear().env("PEAT_NODE_API", format!("http://{}", other.tcp)).arg("import").arg(&file);
    assert_eq!(lines(&import.output().unwrap().stdout), ["imported 49 documents, 0 failed"]);
    assert_eq!(other.node.get("papers", "07").await.as_deref(), Some(r#"{"big":9007199254740993,"n":7}"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_of_which_a_part_cannot_be_read_is_named_and_the_exit_code_says_so() {
    let mut node = Node::prepare(&[]);
    node.start(&[]).await;
    node.put("papers", "one", "{}").await;
    node.kill();
    spoil(&node.data(), "1");
    node.start(&[]).await;
    assert_eq!(node.list("papers").await, ["one"], "the journal still had it");
    node.leave().await;
    spoil(&node.data(), "1");
    let files = fs::read_dir(node.data().join("store")).unwrap().map(|entry| entry.unwrap().path());
    let journals: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|name| name == "jnl")).collect();
    journals.iter().for_each(|path| fs::write(path, "").unwrap());
    node.start(&[]).await;
    assert_eq!(node.list("papers").await, [""; 0]);
    node.kill();
    let output = salvage(&node.data());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = lines(&output.stderr);
    assert!(told[0].contains("store.set-aside-") && told[0].contains(": 1 documents"), "{told:?}");
    let lost = "0 documents, 0 deleted ones, 0 damaged records, 0 histories that were given up; cannot be read: rows";
    assert!(told[1].contains("store.set-aside-") && told[1].ends_with(lost), "{told:?}");
    assert_eq!(told.last().map(String::as_str), Some("peat-node: 2 places could not be read whole"));
    let missing = salvage(&node.data().join("nowhere"));
    assert_eq!(missing.status.code(), Some(1));
    assert!(lines(&missing.stderr)[0].starts_with("peat-node: read "), "{missing:?}");
}
