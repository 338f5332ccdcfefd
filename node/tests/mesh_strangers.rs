//! Clients that nobody here wrote, against a real node: Python's grpcio generated from the proto, the connect-es family
//! and grpc-web of npm, and curl.
//!
//! Inputs: `strangers/`, and the packages it names, kept under the workspace's target folder between runs. Where an
//! interpreter is not installed, the test says so and ends; packages that cannot be had are a failure.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test suite")]

mod process;

use process::Node;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/strangers");

/// A node with a TCP and a Unix listener.
struct Api {
    node: Node,
    authority: String,
}

impl Api {
    async fn start() -> Self {
        let mut node = Node::prepare(&["--listen", "tcp://127.0.0.1:0", "--node-id", "aurora"]);
        node.start(&[]).await;
        let log = node.log();
        let authority = log.split("Tcp(").nth(1).and_then(|rest| rest.split(')').next()).unwrap().to_owned();
        Self { node, authority }
    }

    fn socket(&self) -> String {
        self.node.dir().join("peat.sock").display().to_string()
    }
}

/// Whether a program is there; if not, that is printed.
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        // Past the harness, which keeps the prints of a test that passes to itself.
        let _ = writeln!(std::io::stderr(), "left out: {program} is not installed");
    }
    found
}

/// Runs a command to its end; what it printed. Its failure is the test's.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// A folder of packages as `list` (a file of `strangers/`) names them, made by `install` at the first run and after
/// every change of the list. Several tests never make the same one.
fn packages(name: &str, list: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("strangers").join(name);
    let wanted = fs::read_to_string(Path::new(FOLDER).join(list)).unwrap();
    // Written last: an interrupted installation does not count.
    let mark = folder.join("installed");
    if fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
        return folder;
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    fs::create_dir_all(&folder).unwrap();
    install(&folder);
    fs::write(mark, wanted).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_grpc_client_generated_from_the_proto_works_over_tcp_and_unix() {
    if !installed("python3") {
        return;
    }
    let packages = packages("python", "requirements.txt", |folder| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder.join("venv")));
        let pip = folder.join("venv/bin/python");
        run(Command::new(pip)
            .args(["-m", "pip", "install", "--quiet", "-r"])
            .arg(format!("{FOLDER}/requirements.txt")));
    });
    let python = packages.join("venv/bin/python");
    let generated = tempfile::tempdir().unwrap();
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/peat/sidecar/v1");
    let out = |kind: &str| format!("--{kind}={}", generated.path().display());
    let mut protoc = Command::new(&python);
    protoc.args(["-m", "grpc_tools.protoc", "-I"]).arg(&proto).args([out("python_out"), out("grpc_python_out")]);
    run(protoc.arg("sidecar.proto"));
    let api = Api::start().await;
    for target in [api.authority.clone(), format!("unix:{}", api.socket())] {
        let mut client = Command::new(&python);
        // Proxies of the environment are not for loopback.
        client.env("PYTHONPATH", generated.path()).env("no_proxy", "*").env("GRPC_ENABLE_FORK_SUPPORT", "0");
        run(client.arg(format!("{FOLDER}/client.py")).args([&target, "aurora"]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_clients_of_every_protocol_work_from_a_descriptor_set() {
    if !installed("node") || !installed("npm") {
        return;
    }
    let packages = packages("javascript", "package.json", |folder| {
        fs::copy(format!("{FOLDER}/package.json"), folder.join("package.json")).unwrap();
        run(Command::new("npm").args(["install", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(folder));
    });
    // A module finds its packages beside it.
    fs::copy(format!("{FOLDER}/client.mjs"), packages.join("client.mjs")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let descriptors = folder.path().join("descriptors.bin");
    fs::write(&descriptors, peat_proto::sidecar::DESCRIPTOR_SET).unwrap();
    let api = Api::start().await;
    let url = format!("http://{}", api.authority);
    let mut client = Command::new("node");
    client.arg(packages.join("client.mjs")).args([OsStr::new(&url), OsStr::new("aurora"), descriptors.as_os_str()]);
    let printed = run(&mut client);
    let done: Vec<&str> = printed.lines().collect();
    assert_eq!(done, ["connect-json", "connect-binary", "grpc", "grpc-web", "grpc-web-text"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_speaks_connect_json_over_tcp_and_unix() {
    if !installed("curl") {
        return;
    }
    let api = Api::start().await;
    let url = format!("http://{}/peat.sidecar.v1.PeatSidecar", api.authority);
    for more in [vec![], vec!["--unix-socket".to_owned(), api.socket()]] {
        let call = |method: &str, body: &str| {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "30", "-w", "\n%{http_code}"]);
            curl.args(["-H", "content-type: application/json", "-d", body, &format!("{url}/{method}")]).args(&more);
            run(&mut curl)
        };
        let at = r#"{"collection":"curl","docId":"one"}"#;
        let put = r#"{"collection":"curl","docId":"one","jsonData":"{\"hello\":\"world\"}"}"#;
        assert_eq!(call("PutDocument", put), "{}\n200");
        assert_eq!(call("GetDocument", at), "{\"jsonData\":\"{\\\"hello\\\":\\\"world\\\"}\"}\n200");
        assert_eq!(call("ListDocuments", at), "{\"docIds\":[\"one\"]}\n200");
        assert_eq!(call("DeleteDocument", at), "{}\n200");
        assert_eq!(call("GetDocument", at), "{}\n200");
        let refused = call("ListDocuments", r#"{"collection":"a:b"}"#);
        assert!(refused.contains(r#""code":"invalid_argument""#) && refused.ends_with("\n400"), "{refused}");
        assert!(call("NoSuchMethod", "{}").ends_with("\n404"));
    }
}
