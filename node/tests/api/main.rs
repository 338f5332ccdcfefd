//! The application API of a real node process, through every protocol, encoding and socket that clients use.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a test suite")]

mod access;
mod bounds;
mod caller;
mod cancelled;
mod collections;
mod command_line;
mod concern;
mod contract;
mod deletes;
mod documented;
mod flood;
mod life;
mod list;
mod node;
mod peers;
mod pki;
#[path = "../process/mod.rs"]
mod process;
mod queries;
mod quota;
mod raw;
mod rights;
mod rotation;
mod running;
mod salvage;
mod sealed;
mod store_key;
mod text;
mod traces;
mod transfer;
mod watch;
mod wrong;

use process::Node;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A running node with a TCP and a Unix listener.
struct Api {
    node: Node,
    tcp: SocketAddr,
}

impl Api {
    async fn start(args: &[&str]) -> Self {
        let mut node = Node::prepare(&[&["--listen", "tcp://127.0.0.1:0", "--node-id", "aurora"], args].concat());
        node.start(&[]).await;
        let log = node.log();
        let tcp = log.split("Tcp(").nth(1).and_then(|rest| rest.split(')').next()).unwrap().parse().unwrap();
        Self { node, tcp }
    }

    fn socket(&self) -> PathBuf {
        self.node.dir().join("peat.sock")
    }
}
