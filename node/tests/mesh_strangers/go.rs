//! connect-go, whose code its own generators make of the protos, and grpcurl, which asks the node for them.

use super::{Api, EXACT, NODE_ID, installed, run};
use peat_cluster::packages::Packages;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use prost_types::compiler::{CodeGeneratorRequest, CodeGeneratorResponse};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

const GO_MOD: &str = include_str!("go/go.mod");
const GO_SUM: &str = include_str!("go/go.sum");
/// The generators and grpcurl; the same module pins what the client is compiled with.
const TOOLS: Packages = Packages {
    name: "go-tools",
    lists: &[("go.mod", GO_MOD), ("go.sum", GO_SUM)],
    install: &[&["env", "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", "bin/", "tool"]],
};
/// Each proto and the Go package that is made of it.
const PROTOS: [(&str, &str); 2] = [
    ("peat/sidecar/v1/sidecar.proto", "peat.mesh/strangers/gen/sidecar"),
    ("peat/node/v1/node.proto", "peat.mesh/strangers/gen/node"),
];
/// What grpcurl adds to a status code to make it an exit code.
const GRPCURL_STATUS: i32 = 64;
const INVALID_ARGUMENT: i32 = 3;

/// Runs a generator as protoc does: the request on its standard input, the files on its standard output.
fn generate(plugin: &Path, module: &Path) {
    let packages = PROTOS.map(|(file, package)| format!("M{file}={package}")).join(",");
    let request = CodeGeneratorRequest {
        file_to_generate: PROTOS.map(|(file, _)| file.to_owned()).into(),
        parameter: Some(format!("module=peat.mesh/strangers,{packages}")),
        proto_file: FileDescriptorSet::decode(peat_proto::sidecar::DESCRIPTOR_SET).unwrap().file,
        compiler_version: None,
    };
    let mut child = Command::new(plugin).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&request.encode_to_vec()).unwrap();
    let answer = CodeGeneratorResponse::decode(&*child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(answer.error, None, "{}", plugin.display());
    for file in answer.file {
        let path = module.join(file.name());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file.content()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_go_client_generated_from_the_proto_speaks_every_protocol_over_tcp_and_unix() {
    let Some(tools) = installed(&TOOLS).await else { return };
    let module = tempfile::tempdir().unwrap();
    for (name, content) in [("go.mod", GO_MOD), ("go.sum", GO_SUM), ("main.go", include_str!("go/main.go"))] {
        fs::write(module.path().join(name), content).unwrap();
    }
    for plugin in ["protoc-gen-go", "protoc-gen-connect-go"] {
        generate(&tools.join("bin").join(plugin), module.path());
    }
    let mut build = Command::new("go");
    build.args(["build", "-trimpath", "-o", "client", "."]).current_dir(module.path());
    run(build.env("GOWORK", "off").env("GOFLAGS", "").env("CGO_ENABLED", "0"));
    let api = Api::start().await;
    let mut client = Command::new(module.path().join("client"));
    let printed = run(client.args([&api.authority, &api.socket(), NODE_ID, EXACT]));
    let protocols =
        ["connect", "connect-json", "grpc-web"].map(|protocol| ["http1", "http2"].map(|http| (protocol, http)));
    let ways = protocols.concat().into_iter().chain([("grpc", "http2")]);
    let ways = ways.flat_map(|(protocol, http)| ["tcp", "unix"].map(|socket| format!("{protocol} {http} {socket}")));
    assert_eq!(printed.lines().collect::<Vec<_>>(), ways.collect::<Vec<_>>());
}

/// grpcurl, to be given flags, then the target.
fn grpcurl(tools: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(tools.join("bin/grpcurl"));
    command.args(["-plaintext", "-max-time", "30"]).args(flags);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn grpcurl_lists_describes_and_calls_through_reflection() {
    let Some(tools) = installed(&TOOLS).await else { return };
    let api = Api::start().await;
    let socket = api.socket();
    for target in [vec![api.authority.as_str()], vec!["-unix", &socket]] {
        let [service, subscribe] = ["", ".Subscribe"].map(|method| format!("peat.sidecar.v1.PeatSidecar{method}"));
        let ask = |words: &[&str]| run(grpcurl(&tools, &target).args(words));
        assert!(ask(&["list"]).lines().any(|line| line == service));
        assert!(ask(&["list", &service]).lines().any(|line| line == subscribe));
        assert!(ask(&["describe", &service]).contains("returns ( stream .peat.sidecar.v1.DocumentChange )"));
        let call = |method: &str, body: &str| {
            run(grpcurl(&tools, &[&["-format", "text", "-d", body], &*target].concat())
                .arg(format!("{service}/{method}")))
        };
        let at = r#"collection: "grpcurl" doc_id: "one""#;
        let escaped = EXACT.escape_default();
        assert!(call("GetStatus", "").contains(&format!("node_id: {NODE_ID:?}")));
        call("PutDocument", &format!(r#"{at} json_data: "{escaped}""#));
        assert_eq!(call("GetDocument", at).trim(), format!(r#"json_data: "{escaped}""#));
        assert_eq!(call("ListDocuments", r#"collection: "grpcurl""#).trim(), r#"doc_ids: "one""#);
        follow(&tools, &target, &subscribe, || drop(call("DeleteDocument", at)));
        assert_eq!(call("GetDocument", at).trim(), "");
        let words = ["-d", r#"{"collection":"a:b"}"#];
        let refused = grpcurl(&tools, &[&words, &*target].concat()).arg(format!("{service}/ListDocuments")).output();
        assert_eq!(refused.unwrap().status.code(), Some(GRPCURL_STATUS + INVALID_ARGUMENT));
    }
}

/// Listens until what is stored has come, then until `delete` has been told.
fn follow(tools: &Path, target: &[&str], subscribe: &str, delete: impl FnOnce()) {
    let words = ["-d", r#"{"collections":["grpcurl"]}"#];
    let mut command = grpcurl(tools, &[&words, target].concat());
    let mut child = command.arg(subscribe).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told =
        |word: &str| assert!(lines.any(|line| line.unwrap().contains(word)), "the stream ended before {word}");
    told("CHANGE_TYPE_UPSERT");
    delete();
    told("CHANGE_TYPE_DELETE");
    child.kill().unwrap();
    child.wait().unwrap();
}
