//! A client that is cut off while ten thousand documents are written, and takes its watch up again.

use super::Api;
use super::node::{complete, next, watch};
use super::process::put;
use super::raw::{Frames, Raw};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::sync::watch as signal;
use tokio::task::JoinHandle;

const WRITES: usize = 10_000;
const WRITERS: usize = 16;

/// Writes `flood/00000`, `flood/00001`, …; the second half once `cut` says so.
fn writers(api: &Api, cut: &signal::Receiver<bool>) -> Vec<JoinHandle<()>> {
    let client = api.node.client();
    let spawn = |writer: usize| {
        let (client, mut cut) = (client.clone(), cut.clone());
        tokio::spawn(async move {
            for n in (writer..WRITES).step_by(WRITERS) {
                if n >= WRITES / 2 {
                    cut.wait_for(|cut| *cut).await.unwrap();
                }
                put(&client, "flood", &format!("{n:05}"), "{}").await.unwrap();
            }
        })
    };
    (0..WRITERS).map(spawn).collect()
}

/// Reads until so many documents were seen, each once; the last token.
async fn read_until(frames: &mut Frames, seen: &mut BTreeSet<String>, count: usize) -> Value {
    let mut last = Value::Null;
    while seen.len() < count {
        let (id, token) = next(frames).await;
        assert!(seen.insert(id.clone()), "{id} came twice");
        last = token;
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_cut_off_in_a_flood_goes_on_from_its_token_without_a_gap_and_without_a_repeat() {
    let api = Api::start(&[]).await;
    let mut raw = Raw::unix(&api).await;
    let mut frames = watch(&mut raw, &json!({"collections": ["flood"]})).await;
    complete(&mut frames).await;
    let (cut, held) = signal::channel(false);
    let writers = writers(&api, &held);
    let mut seen = BTreeSet::new();
    let token = read_until(&mut frames, &mut seen, 3 * WRITES / 10).await;
    cut.send_replace(true);
    // What was sent and not read goes with the connection.
    drop((frames, raw));
    let mut raw = Raw::unix(&api).await;
    let mut frames = watch(&mut raw, &json!({"collections": ["flood"], "after": token})).await;
    // As many different ones as were written: none is missing.
    read_until(&mut frames, &mut seen, WRITES).await;
    for writer in writers {
        writer.await.unwrap();
    }
    api.node.put("flood", "last", "{}").await;
    assert_eq!(next(&mut frames).await.0, "last", "nothing came twice at the end either");
}
