//! Clients that nobody here wrote, against a real node: Python's grpcio, connect-go, the connect-es family and grpc-web
//! of npm, grpcurl and curl. Those of other languages are generated from the protos, at the time of the test.
//!
//! Inputs: a folder for each language with a program and its pinned packages, which are kept in the user's cache
//! between runs. What this machine does not have and cannot install is left out, and said: `cargo xtask test` does not
//! count it as passed.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, unreachable_pub, reason = "a test suite")]

mod curl;
mod go;
mod javascript;
#[path = "../process/mod.rs"]
mod process;
mod python;

use peat_cluster::packages::Packages;
use process::Node;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The node's `--node-id`, which every client has to read.
const NODE_ID: &str = "aurora";
/// Every integer that JSON libraries are known to round, as the node writes it.
const EXACT: &str = r#"{"big":9223372036854775807,"odd":9007199254740993,"small":-9223372036854775808,"unsigned":18446744073709551615}"#;

/// A node with a TCP and a Unix listener.
struct Api {
    node: Node,
    /// `127.0.0.1:port`.
    authority: String,
}

impl Api {
    async fn start() -> Self {
        let mut node = Node::prepare(&["--listen", "tcp://127.0.0.1:0", "--node-id", NODE_ID]);
        node.start(&[]).await;
        let log = node.log();
        let authority = log.split("Tcp(").nth(1).and_then(|rest| rest.split(')').next()).unwrap().to_owned();
        Self { node, authority }
    }

    /// Path of the Unix socket.
    fn socket(&self) -> String {
        self.node.dir().join("peat.sock").display().to_string()
    }
}

/// The folder with `packages`; nothing when they cannot be had here, which is said then.
async fn installed(packages: &Packages) -> Option<PathBuf> {
    match packages.ensure().await {
        Ok(folder) => Some(folder),
        Err(error) => {
            leave_out(packages.name, &format!("{:#}", anyhow::Error::from(error)));
            None
        }
    }
}

/// Says that `what` is not tested here; the caller returns. On a line of its own, past the harness, which keeps the
/// prints of a test that passes to itself.
fn leave_out(what: &str, reason: &str) {
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    let _ = write!(std::io::stderr(), "\nleft out: {what}: {reason}\n");
}

/// Runs a command to its end; what it printed. Its failure is the test's.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}
