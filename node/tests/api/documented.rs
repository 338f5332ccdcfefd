//! What the documents say against what the binary does.

use super::Api;
use super::raw::{Raw, frames_of};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const API_MD: &str = include_str!("../../../docs/api.md");

/// The rows of the table under a heading of the page, cells trimmed.
fn table(heading: &str) -> Vec<Vec<String>> {
    let section = API_MD.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let cells = rows.map(|row| row.split(" | ").map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    // The first is the head; the line under it has no blanks.
    cells.skip(1).collect()
}

fn in_quotes(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_calls_are_those_that_the_node_serves() {
    let api = Api::start(&[]).await;
    documented_and_served(&api, "Calls", 29, "peat.sidecar.v1.PeatSidecar").await;
    documented_and_served(&api, "The service peat.node.v1.Node", 9, "peat.node.v1.Node").await;
}

async fn documented_and_served(api: &Api, heading: &str, count: usize, service: &str) {
    let documented: Vec<String> = table(heading).iter().flat_map(|row| in_quotes(&row[0])).collect();
    let unique: BTreeSet<String> = documented.iter().cloned().collect();
    assert_eq!((documented.len(), unique.len()), (count, count), "{documented:?}");
    let request = json!({"fileContainingSymbol": service});
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let (_, answer) = frames_of(&mut Raw::tcp(api).await, path, &request).await.next().await.unwrap();
    let files = answer["fileDescriptorResponse"]["fileDescriptorProto"].as_array().unwrap();
    let served = STANDARD.decode(files[0].as_str().unwrap()).unwrap();
    for method in &unique {
        // A method in an encoded descriptor: its name, with its length before it.
        let field = [&[0x0a, method.len() as u8][..], method.as_bytes(), &[0x12]].concat();
        assert!(served.windows(field.len()).any(|window| window == field), "{method} is not served");
    }
    let requests = served.windows(8).filter(|window| *window == b"Request\x1a").count();
    assert_eq!(requests, unique.len(), "the node serves as many calls as are documented");
}

/// `--help` as flag to default; flags without a default have an empty one.
pub(super) fn flags() -> BTreeMap<String, String> {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_peat-node")).env_clear().arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut current = None;
    for line in help.lines().map(str::trim).take_while(|line| !line.starts_with("Examples:")) {
        if let Some(flag) = line.strip_prefix("--").or_else(|| line.split(", --").nth(1)) {
            let name = flag.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).next();
            current = name.map(str::to_owned);
        }
        if let Some(name) = &current {
            // A text may be broken anywhere between two words.
            texts.entry(name.clone()).or_default().push_str(&format!("{line} "));
        }
    }
    let default = |text: &str| text.split("[default: ").nth(1)?.split(']').next().map(str::to_owned);
    let mut flags: BTreeMap<_, _> =
        texts.into_iter().map(|(name, text)| (name, default(&text).unwrap_or_default())).collect();
    flags.remove("help");
    flags.remove("version");
    flags
}

#[test]
fn the_documented_flags_and_defaults_are_those_of_the_binary() {
    let documented: BTreeMap<String, String> = table("Flags")
        .iter()
        .map(|row| (in_quotes(&row[0])[0].trim_start_matches("--").to_owned(), row[1].trim_matches('`').to_owned()))
        .collect();
    let flags = flags();
    assert!(flags.len() > 30, "{flags:?}");
    assert_eq!(documented, flags);
}
