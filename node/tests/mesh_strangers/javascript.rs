//! The connect-es family and grpc-web of npm: every protocol, from a descriptor set.

use super::{Api, EXACT, NODE_ID, installed, run};
use peat_cluster::packages::Packages;
use std::fs;
use std::process::Command;

const PACKAGES: Packages = Packages {
    name: "npm-connect",
    lists: &[
        ("package.json", include_str!("javascript/package.json")),
        ("package-lock.json", include_str!("javascript/package-lock.json")),
    ],
    install: &[&["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]],
};

#[tokio::test(flavor = "multi_thread")]
async fn javascript_clients_of_every_protocol_work_from_a_descriptor_set() {
    let Some(packages) = installed(&PACKAGES).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let [program, descriptors] = ["client.mjs", "descriptors.bin"].map(|name| folder.path().join(name));
    fs::write(&program, include_str!("javascript/client.mjs")).unwrap();
    fs::write(&descriptors, peat_proto::sidecar::DESCRIPTOR_SET).unwrap();
    // A module finds its packages beside it.
    std::os::unix::fs::symlink(packages.join("node_modules"), folder.path().join("node_modules")).unwrap();
    let api = Api::start().await;
    let mut client = Command::new("node");
    client.arg(program).arg(format!("http://{}", api.authority)).arg(api.socket());
    let printed = run(client.args([NODE_ID, EXACT]).arg(descriptors));
    let done: Vec<&str> = printed.lines().collect();
    assert_eq!(done, ["connect-json", "connect-binary", "connect-json-unix", "grpc", "grpc-web", "grpc-web-text"]);
}
