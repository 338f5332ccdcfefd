//! Nodes that cannot reach each other meet at a relay: the real `iroh-relay`, in a network of the test's own.

use super::leave_out;
use super::pair::{agree, node, put_each, report};
use super::process::{Node, wait_for, within};
use super::walled::{A, B, Network, parted, wall};
use peat_cluster::packages::Packages;
use peat_proto::sidecar::peat::node::v1::PeersRequest;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use tempfile::TempDir;

/// As its authors release it, and not optimised: it has little to do here.
const SERVER: Packages = Packages {
    name: "cargo-iroh-relay",
    lists: &[],
    // Beside tests that measure time.
    install: &[
        &[
            "nice",
            "cargo",
            "install",
            "--quiet",
            "--locked",
            "iroh-relay@1.4.1",
            "--features",
            "server",
            "--debug",
            "--config",
            "profile.dev.debug=false",
            "--root",
            ".",
            "--target-dir",
            "built",
        ],
        &["rm", "-rf", "built"],
    ],
};
const HOST: &str = "127.0.0.3";
const URL: &str = "https://127.0.0.3:3343";

/// A relay that ends with this. Its certificate is of an authority of its own.
struct Relay {
    folder: TempDir,
    child: Option<Child>,
}

impl Relay {
    fn prepare() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([HOST.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("authority.pem"), authority.pem()).unwrap();
        fs::write(file("certificate.pem"), certificate.pem()).unwrap();
        fs::write(file("key.pem"), key.serialize_pem()).unwrap();
        let lines = [
            format!("http_bind_addr = \"{HOST}:3340\""),
            "enable_metrics = false".to_owned(),
            "enable_quic_addr_discovery = true".to_owned(),
            "[tls]".to_owned(),
            format!("https_bind_addr = \"{HOST}:3343\""),
            "cert_mode = \"Manual\"".to_owned(),
            format!("manual_cert_path = {:?}", file("certificate.pem")),
            format!("manual_key_path = {:?}", file("key.pem")),
        ];
        fs::write(file("relay.toml"), lines.join("\n")).unwrap();
        Self { folder, child: None }
    }

    fn start(&mut self, program: &Path, network: &Network) {
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let mut relay = within(network.pid());
        relay.arg(program.join("bin/iroh-relay")).arg("--config-path").arg(self.folder.path().join("relay.toml"));
        self.child = Some(relay.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn flags(&self) -> [String; 4] {
        let authority = self.folder.path().join("authority.pem").display().to_string();
        ["--relay".to_owned(), URL.to_owned(), "--relay-ca".to_owned(), authority]
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// What the connection to the only peer goes over.
async fn remote(node: &Node) -> String {
    let peers = node.batches().peers(PeersRequest::default()).await.unwrap().into_owned().peers;
    let connection = peers.into_iter().find_map(|peer| peer.connection.into_option());
    connection.map(|connection| connection.remote_address).unwrap_or_default()
}

async fn goes_over(node: &Node, address: &str) {
    wait_for(address, || async { remote(node).await.starts_with(address).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_cannot_reach_each_other_meet_at_a_relay_and_go_on_without_it_once_they_can() {
    let program = match SERVER.ensure().await {
        Ok(program) => program,
        Err(error) => return leave_out("the relay", &format!("{:#}", anyhow::Error::from(error))),
    };
    let network = Network::new();
    let mut relay = Relay::prepare();
    let (mut a, mut b) = (node(A), node(B));
    for node in [&mut a, &mut b] {
        node.in_network_of(network.pid());
        node.args(&relay.flags().each_ref().map(String::as_str));
    }
    a.args(&["--peer", &format!("{}@{URL}", b.id)]);
    network.rules(&wall(&[(A, B), (B, A)]));
    tokio::join!(a.start(&[]), b.start(&[]));
    put_each(&a, "notes", [("before".to_owned(), report(0))]).await;
    wait_for("a word of the relay", || async {
        a.log().contains(&format!("the relay {URL}/ cannot be reached")).then_some(())
    })
    .await;
    relay.start(&program, &network);
    assert_eq!(agree(&a, &b, "notes").await.len(), 1);
    goes_over(&a, URL).await;
    goes_over(&b, URL).await;
    // It reached the other there, maybe before it was at home there itself.
    wait_for("a home at the relay", || async {
        a.log().contains(&format!("peers can meet this node at the relay {URL}/")).then_some(())
    })
    .await;
    put_each(&a, "notes", (0..50).map(|n| (format!("a-{n}"), report(n)))).await;
    put_each(&b, "notes", (0..50).map(|n| (format!("b-{n}"), report(n)))).await;
    assert_eq!(agree(&a, &b, "notes").await.len(), 101);

    network.rules("delete table ip wall");
    goes_over(&a, &format!("{B}:{}", b.port)).await;
    relay.kill();
    put_each(&b, "notes", [("without".to_owned(), report(1))]).await;
    assert_eq!(agree(&a, &b, "notes").await.len(), 102);

    network.rules(&wall(&[(A, B), (B, A)]));
    parted([&a, &b]).await;
    put_each(&b, "notes", [("apart".to_owned(), report(2))]).await;
    relay.start(&program, &network);
    assert_eq!(agree(&a, &b, "notes").await.len(), 103);
    goes_over(&a, URL).await;
}
