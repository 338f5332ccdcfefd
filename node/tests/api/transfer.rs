//! `peat-node export` and `peat-node import`, between real nodes.

use super::Api;
use super::raw::Raw;
use serde_json::{Value, json};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn peat_node(api: &Api, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    command.env_clear().env("PEAT_NODE_API", format!("unix://{}", api.socket().display())).args(args);
    command
}

fn export(api: &Api, args: &[&str]) -> String {
    let output = peat_node(api, &[&["export"], args].concat()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Imports from a pipe.
fn import(api: &Api, lines: &[u8], args: &[&str]) -> Output {
    let mut command = peat_node(api, &[&["import"], args].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines = lines.to_vec();
    // The reader may stop reading before everything is written.
    let writer = std::thread::spawn(move || drop(input.write_all(&lines)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_exports_another_imports_and_exports_again() {
    let (one, two) = (Api::start(&[]).await, Api::start(&[]).await);
    let mut raw = Raw::tcp(&one).await;
    let documents = [
        r#"{"text":"line\n\u0000\"quoted\"","ünï":"✓"}"#,
        r#"{"big":18446744073709551615,"half":0.5,"large":1e300,"minus":-9223372036854775808,"one":1.0}"#,
        r#"{"list":[null,true,{"in":[]}],"object":{}}"#,
        "{}",
    ];
    let mut edits: Vec<Value> = (0..700)
        .map(|n| json!({"collection": "many", "docId": format!("{n:04}"), "putJson": format!("{{\"n\":{n}}}")}))
        .collect();
    let ids = ["a:b/c", "with space", "z", "ö"];
    let few = |(id, json): (&&str, &str)| json!({"collection": "few", "docId": id, "putJson": json});
    edits.extend(ids.iter().zip(documents).map(few));
    assert_eq!(raw.call("Write", &json!({"edits": edits})).await.0, 200);
    raw.call("DeleteDocument", &json!({"collection": "many", "docId": "0000"})).await;
    let exported = export(&one, &[]);
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 703);
    assert_eq!(lines.iter().take(4).map(|line| line["docId"].as_str().unwrap()).collect::<Vec<_>>(), ids);
    assert_eq!(lines[4], json!({"collection": "many", "docId": "0001", "document": {"n": 1}}));
    let imported = import(&two, exported.as_bytes(), &[]);
    assert_eq!(String::from_utf8_lossy(&imported.stdout), "imported 703 documents, 0 failed\n");
    assert!(imported.status.success() && imported.stderr.is_empty(), "{imported:?}");
    assert_eq!(export(&two, &[]), exported);
    let few = export(&two, &["--collection", "few"]);
    assert_eq!(few, exported.lines().take(4).map(|line| format!("{line}\n")).collect::<String>());
    assert_eq!(export(&two, &["--collection", "none"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_fails_is_told_by_its_number_and_the_others_are_imported() {
    let api = Api::start(&["--max-document-bytes", "4096"]).await;
    let line = |id: &str, document: &str| format!(r#"{{"collection":"c","docId":"{id}","document":{document}}}"#);
    let text = |bytes: usize| format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes));
    let lines = [
        line("good", "{}"),
        String::new(),
        r#"{"collection":"#.to_owned(),
        line("a-list", "[1]"),
        line("first", &text(4000)),
        line("too-large", &text(5000)),
        line("no-call-takes-it", &text(200_000)),
        r#"{"collection":"a:b","docId":"x","document":{}}"#.to_owned(),
        r#"{"collection":"c","document":{}}"#.to_owned(),
    ];
    // Together more than the node takes in one call.
    let more = (0..60).map(|n| line(&format!("more-{n:02}"), &text(4000)));
    let text: Vec<String> = lines.into_iter().chain(more).collect();
    let file = api.node.dir().join("lines.json");
    std::fs::write(&file, text.join("\n")).unwrap();
    for output in [
        peat_node(&api, &["import", file.to_str().unwrap(), "-o", "json"]).output().unwrap(),
        import(&api, text.join("\n").as_bytes(), &["-", "-o", "json"]),
    ] {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), json!({"imported": 62, "failed": 6}));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let number = |line: &str| line.strip_prefix("line ")?.split(':').next()?.parse::<u64>().ok();
        let mut numbers: Vec<u64> = told.lines().filter_map(number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [3, 4, 6, 7, 8, 9], "{told}");
        let of = |number: &str| told.lines().find(|line| line.starts_with(&format!("line {number}: "))).unwrap();
        assert!(of("4").contains("INVALID_ARGUMENT") && of("4").contains("an array"), "{told}");
        assert!(of("6").contains("RESOURCE_EXHAUSTED") && of("9").contains("docId"), "{told}");
        assert!(told.ends_with("peat-node: 6 lines were not imported\n"), "{told}");
    }
    assert_eq!(api.node.list("c").await.len(), 62);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_without_a_node_or_a_file_says_so_by_its_exit_code() {
    let mut api = Api::start(&[]).await;
    assert_eq!(peat_node(&api, &["import", "/no/such/file"]).output().unwrap().status.code(), Some(1));
    api.node.kill();
    let output = import(&api, br#"{"collection":"c","docId":"d","document":{}}"#, &["--timeout", "2"]);
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped at line 1"), "{output:?}");
    assert_eq!(peat_node(&api, &["export", "--timeout", "2"]).output().unwrap().status.code(), Some(69));
}
