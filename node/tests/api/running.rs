//! What can be asked of a running node: another log level, what it takes of its host, and whether a peer has
//! everything.

use super::Api;
use super::access::{admin, scrape, wait_for_metric};
use super::caller::Caller;
use super::process::{KEY, wait_for};
use super::raw::{Raw, frames_of};
use serde_json::json;
use std::process::Command;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_level_takes_effect_at_once_and_the_one_before_is_told() {
    for format in ["text", "json"] {
        let api = Api::start(&["--log-level", "info", "--log-format", format]).await;
        // A refused caller of the mesh would be told at this level, and every connection of the API is by the
        // library's.
        let library = "h2::";
        assert!(!api.node.log().contains(library));
        let mut before = json!("info");
        for (way, mut caller) in Caller::all(&api).await {
            let level = json!(format!("info,h2={}", if before == "info,h2=trace" { "debug" } else { "trace" }));
            assert_eq!(caller.ok("SetLogLevel", json!({"level": level})).await, json!({"previous": before}), "{way}");
            before = level;
        }
        wait_for("lines of the new level", || async {
            api.node.put("c", "d", "{}").await;
            api.node.log().contains(library).then_some(())
        })
        .await;
        for wrong in ["", "=", "loud=very", &"x".repeat(1001)] {
            let (status, error) = Raw::tcp(&api).await.call("SetLogLevel", &json!({"level": wrong})).await;
            assert_eq!((status, &error["code"]), (400, &json!("invalid_argument")), "{wrong}: {error}");
        }
        let (_, answer) = Raw::tcp(&api).await.call("SetLogLevel", &json!({"level": "warn"})).await;
        assert_eq!(answer, json!({"previous": before}), "a refused level changes nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_tells_what_the_node_takes_of_its_host_and_that_somebody_subscribes() {
    let (flags, metrics) = admin();
    let api = Api::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut raw = Raw::tcp(&api).await;
    let _events = frames_of(&mut raw, "/peat.sidecar.v1.PeatSidecar/Subscribe", &json!({})).await;
    wait_for_metric(metrics, "peat_node_subscribers 1").await;
    let text = scrape(metrics).await.unwrap();
    for name in
        ["process_resident_memory_bytes", "process_open_fds", "peat_node_store_disk_bytes", "peat_node_disk_free_bytes"]
    {
        let figure = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        assert!(figure.is_some_and(|figure| figure > 0.0), "{name} in {text}");
    }
}

fn peat_node(api: &Api, args: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peat-node"));
    command.env_clear().env("PEAT_NODE_API", format!("http://{}", api.tcp)).args(args).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_a_peer_to_have_everything_and_says_what_is_left() {
    let absent = format!("{}@127.0.0.1:1", "cd".repeat(32));
    let api = Api::start(&["--shared-key", KEY, "--peer", &absent]).await;
    for (way, mut caller) in Caller::all(&api).await {
        assert_eq!(caller.ok("Drain", json!({})).await, json!({}), "{way}: nothing was written yet");
    }
    let (status, error) = Raw::tcp(&api).await.call("Drain", &json!({"wait": "-1s"})).await;
    assert_eq!((status, &error["code"]), (400, &json!("invalid_argument")), "{error}");
    api.node.put("c", "d", "{}").await;
    let left = peat_node(&api, &["drain", "--timeout", "1"]);
    assert_eq!(left.status.code(), Some(1), "{left:?}");
    let text = String::from_utf8_lossy(&left.stderr);
    assert!(text.contains("no peer has everything: documents were written while no peer was connected"), "{text}");
    let peer = Api::start(&["--shared-key", KEY, "--peer", &api.node.address()]).await;
    let drained = peat_node(&api, &["drain", "--timeout", "60"]);
    assert_eq!(String::from_utf8_lossy(&drained.stdout), "some peer has everything\n", "{drained:?}");
    wait_for("the document", || async { (peer.node.list("c").await == ["d"]).then_some(()) }).await;
    let level = peat_node(&api, &["log-level", "debug", "-o", "json"]);
    assert_eq!(String::from_utf8_lossy(&level.stdout), "{\"previous\":\"info\"}\n");
    assert_eq!(peat_node(&api, &["log-level", "="]).status.code(), Some(1));
}
