//! Packets that the kernel drops, in a network of the test's own: no proxy is between the nodes.

use super::pair::{agree, node, put_each, report};
use super::process::{Node, wait_for, within};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

pub const A: &str = "127.0.0.1";
pub const B: &str = "127.0.0.2";

/// A network with a loopback of its own, for as long as this lives. That needs no root, only a kernel that gives
/// namespaces to users.
pub struct Network(Child);

impl Network {
    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["--user", "--map-root-user", "--net", "--", "sh", "-c"]);
        command.arg("ip link set lo up && echo up && exec sleep infinity").stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Self(holder)
    }

    /// The process that holds it.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Gives the kernel rules.
    pub fn rules(&self, text: &str) {
        let mut nft = within(self.pid()).args(["nft", "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "{text}");
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What else is in it holds it until it ends as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Rules that drop what goes from one address to another.
pub fn wall(ways: &[(&str, &str)]) -> String {
    let drops: String =
        ways.iter().map(|(from, to)| format!("ip saddr {from} ip daddr {to} udp length > 0 drop\n")).collect();
    format!("table ip wall {{ chain in {{ type filter hook input priority 0;\n{drops}}}\n}}\n")
}

pub async fn parted(nodes: [&Node; 2]) {
    for node in nodes {
        wait_for("the loss of the link", || async { (node.peers().await == 0).then_some(()) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_kernel_drops_both_ways_or_one_way_parts_two_nodes_until_it_lets_them() {
    let network = Network::new();
    let (mut a, mut b) = (node(A), node(B));
    a.in_network_of(network.pid());
    b.in_network_of(network.pid());
    a.args(&["--peer", &format!("{}@{B}:{}", b.id, b.port)]);
    tokio::join!(a.start(&[]), b.start(&[]));
    for (round, ways) in [&[(A, B), (B, A)][..], &[(A, B)]].into_iter().enumerate() {
        put_each(&a, "notes", [(format!("before-{round}"), report(round))]).await;
        agree(&a, &b, "notes").await;
        network.rules(&wall(ways));
        parted([&a, &b]).await;
        put_each(&a, "notes", (0..50).map(|n| (format!("a-{round}-{n}"), report(n)))).await;
        put_each(&b, "notes", (0..50).map(|n| (format!("b-{round}-{n}"), report(n)))).await;
        assert_eq!((a.peers().await, b.peers().await), (0, 0));
        network.rules("delete table ip wall");
        assert_eq!(agree(&a, &b, "notes").await.len(), (round + 1) * 101);
    }
}
