//! `--rights-file`: what each peer may read and write of each collection.

use super::access::{admin, wait_for_metric};
use super::process::{KEY, Node, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Who leads gives commands and reads reports; everybody reports and hears commands; the rest is open.
const RULES: &str = "\
# collection  right  who
commands      read   *
commands      write  HEAD
reports       write  *
reports       read   HEAD
*             both   *
";

/// A head and sensors, with one file for all of them.
struct Mesh {
    head: Node,
    sensors: Vec<Node>,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Mesh {
    async fn start(sensors: usize, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("rights");
        let args = ["--shared-key", KEY, "--rights-file", file.to_str().unwrap()];
        let mut head = Node::prepare(&args);
        fs::write(&file, RULES.replace("HEAD", &head.id)).unwrap();
        head.start(more).await;
        let mut mesh = Self { head, sensors: Vec::new(), file: file.clone(), _folder: folder };
        for _ in 0..sensors {
            let mut sensor = Node::prepare(&args);
            let known: Vec<String> = mesh.all().map(Node::address).collect();
            known.iter().for_each(|peer| sensor.args(&["--peer", peer]));
            sensor.start(&[]).await;
            mesh.sensors.push(sensor);
        }
        let met = || async { (mesh.head.peers().await == sensors).then_some(()) };
        wait_for("the sensors to meet the head", met).await;
        mesh
    }

    fn all(&self) -> impl Iterator<Item = &Node> {
        std::iter::once(&self.head).chain(&self.sensors)
    }

    /// Adds lines to the rules, and returns when they are in force on the head.
    async fn add(&self, lines: &str) {
        let rules = RULES.replace("HEAD", &self.head.id);
        fs::write(&self.file, format!("{rules}{lines}\n")).unwrap();
        wait_for("the new rights", || async { self.head.log().contains("new rights are in force").then_some(()) })
            .await;
    }
}

async fn has(node: &Node, collection: &str, id: &str) {
    wait_for(&format!("{collection}/{id}"), || node.get(collection, id)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sensor_reports_and_hears_commands_but_gives_none_and_reads_no_reports_of_others() {
    let mesh = Mesh::start(2, &[]).await;
    let [one, two] = [&mesh.sensors[0], &mesh.sensors[1]];
    mesh.head.put("commands", "halt", r#"{"n":1}"#).await;
    mesh.head.put("charts", "harbour", r#"{"n":1}"#).await;
    one.put("commands", "forged", r#"{"n":1}"#).await;
    one.put("reports", "one", r#"{"n":1}"#).await;
    two.put("reports", "two", r#"{"n":1}"#).await;
    for sensor in [one, two] {
        has(sensor, "commands", "halt").await;
        has(sensor, "charts", "harbour").await;
    }
    has(&mesh.head, "reports", "one").await;
    has(&mesh.head, "reports", "two").await;
    // What came after them has come, so they are not on their way any more.
    one.put("charts", "last", r#"{"n":1}"#).await;
    mesh.head.put("charts", "late", r#"{"n":1}"#).await;
    for node in mesh.all() {
        has(node, "charts", "last").await;
        has(node, "charts", "late").await;
    }
    assert_eq!((mesh.head.get("commands", "forged").await, two.get("commands", "forged").await), (None, None));
    assert_eq!((one.get("reports", "two").await, two.get("reports", "one").await), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_is_in_force_without_a_restart_and_one_that_is_wrong_changes_nothing() {
    let (flags, metrics) = admin();
    let mesh = Mesh::start(1, &flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let sensor = &mesh.sensors[0];
    mesh.head.put("reports", "own", r#"{"n":1}"#).await;
    mesh.head.put("charts", "harbour", r#"{"n":1}"#).await;
    has(sensor, "charts", "harbour").await;
    assert_eq!(sensor.get("reports", "own").await, None);
    mesh.add(&format!("reports read {}", sensor.id)).await;
    has(sensor, "reports", "own").await;
    fs::write(&mesh.file, "reports see *\n").unwrap();
    wait_for_metric(metrics, "peat_node_rights_stale 1").await;
    let log = mesh.head.log();
    assert!(log.contains("the rights stay as they were") && log.contains("line 1: "), "{log}");
    mesh.head.put("reports", "later", r#"{"n":1}"#).await;
    has(sensor, "reports", "later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_without_the_file_may_not_write_is_dropped_and_counted() {
    let (flags, metrics) = admin();
    let mesh = Mesh::start(0, &flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut stranger = Node::prepare(&["--shared-key", KEY]);
    stranger.start(&[]).await;
    stranger.put("commands", "forged", r#"{"n":1}"#).await;
    stranger.put("charts", "harbour", r#"{"n":1}"#).await;
    stranger.connect(&mesh.head).await.unwrap();
    has(&mesh.head, "charts", "harbour").await;
    wait_for_metric(metrics, "peat_node_docs_refused_total 1").await;
    assert_eq!(mesh.head.get("commands", "forged").await, None);
}

fn peat_node(args: &[&str], data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    command.env_clear().args(args).arg("--data-dir").arg(data).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_file_of_rights_that_cannot_be_used_is_told_in_one_line_and_a_good_one_is_shown_by_its_path() {
    let node = Node::prepare(&[]);
    let file = node.dir().join("rights");
    let path = file.display();
    for (text, why) in [
        ("* both *\nships see *\n", format!("{path} is refused: line 2: \"see\" is not `read`, `write` or `both`")),
        ("# nothing yet\n", format!("{path} is refused: there is no rule in it")),
        ("", format!("read {path}: ")),
    ] {
        fs::write(&file, text).unwrap();
        if text.is_empty() {
            fs::remove_file(&file).unwrap();
        }
        let output = peat_node(&["--rights-file", file.to_str().unwrap()], &node.data());
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{told}");
        let is_one_line = told.lines().count() == 1;
        assert!(told.starts_with(&format!("peat-node: --rights-file: {why}")) && is_one_line, "{told}");
    }
    fs::write(&file, "* both *\n").unwrap();
    let output = peat_node(&["--print-config", "--rights-file", file.to_str().unwrap()], &node.data());
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains(&format!("rights-file: {path}")), "{shown}");
}
