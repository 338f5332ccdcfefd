//! Python's grpcio: stubs that its own compiler makes of the protos.

use super::{Api, EXACT, NODE_ID, installed, run};
use peat_cluster::packages::Packages;
use std::path::Path;
use std::process::Command;

const PACKAGES: Packages = Packages {
    name: "python-grpcio",
    lists: &[("requirements.txt", include_str!("python/requirements.txt"))],
    install: &[
        &["python3", "-m", "venv", "venv"],
        &["venv/bin/python", "-m", "pip", "install", "--quiet", "--require-hashes", "-r", "requirements.txt"],
    ],
};

#[tokio::test(flavor = "multi_thread")]
async fn a_python_grpc_client_generated_from_the_proto_works_over_tcp_and_unix() {
    let Some(packages) = installed(&PACKAGES).await else { return };
    let python = packages.join("venv/bin/python");
    let generated = tempfile::tempdir().unwrap();
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/peat/sidecar/v1");
    let out = |kind: &str| format!("--{kind}={}", generated.path().display());
    let mut protoc = Command::new(&python);
    protoc.args(["-m", "grpc_tools.protoc", "-I"]).arg(&proto).args([out("python_out"), out("grpc_python_out")]);
    run(protoc.arg("sidecar.proto"));
    let api = Api::start().await;
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mesh_strangers/python/client.py");
    for target in [api.authority.clone(), format!("unix:{}", api.socket())] {
        let mut client = Command::new(&python);
        // Proxies of the environment are not for loopback.
        client.env("PYTHONPATH", generated.path()).env("no_proxy", "*").env("GRPC_ENABLE_FORK_SUPPORT", "0");
        run(client.arg(&program).args([&target, NODE_ID, EXACT]));
    }
}
