//! Mixed load for as long as asked: what a node holds must not grow with time.
//!
//! Inputs: `PEAT_SOAK_SECONDS`, by default a quarter of a minute; `cargo xtask soak --for 1h` sets it. Outputs: lines
//! of progress, a table at the end, and failure when memory, disk or handles of a node have a slope. What it does not
//! do: cause faults besides a peer that comes and goes.

mod load;
mod samples;

use super::number;
use super::pair::agree;
use super::process::{KEY, Node, PATIENCE};
use load::Load;
use samples::{Sample, Series};
use std::time::{Duration, Instant};

/// So many samples in a run, however long.
const SAMPLES: u32 = 120;

#[tokio::test(flavor = "multi_thread")]
async fn under_mixed_load_memory_disk_and_handles_are_flat_and_all_agree() {
    let lasting = Duration::from_secs(number("PEAT_SOAK_SECONDS", 15));
    let (a, b, guest) = mesh().await;
    let load = Load::start(&a, &b);
    let guest = tokio::spawn(come_and_go(guest, lasting / 8, load.stop.clone()));
    let began = Instant::now();
    let mut nodes = [("a", &a, Series::default()), ("b", &b, Series::default())];
    let mut ticks = tokio::time::interval(lasting / SAMPLES);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    while began.elapsed() < lasting && !load.stop.is_cancelled() {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = &mut interrupted => load.stop.cancel(),
        }
        for (name, node, series) in &mut nodes {
            let Some(sample) = Sample::of(node, began.elapsed()) else { continue };
            let (elapsed, done) = (began.elapsed().as_secs(), load.done());
            eprintln!("{elapsed:>5} s of {}, {done} calls, {name}: {sample}", lasting.as_secs());
            series.push(sample);
        }
    }
    let stopped_early = load.stop.is_cancelled();
    let (calls, guest) = tokio::join!(load.finish(), guest);
    assert!(!stopped_early, "interrupted, or the load failed after {:?}: {calls:?}", began.elapsed());
    eprintln!("{}", calls.unwrap());
    let guest = guest.unwrap();
    for collection in load::COLLECTIONS {
        let here = agree(&a, &b, collection).await;
        assert_eq!(here, agree(&a, &guest, collection).await);
    }
    let grown: Vec<_> = nodes.iter().flat_map(|(name, _, series)| series.verdicts(name)).collect();
    grown.iter().for_each(|verdict| eprintln!("{verdict}"));
    assert!(grown.iter().all(|verdict| verdict.is_flat()), "not flat");
}

/// Two nodes that stay and one that comes and goes; each knows the others.
async fn mesh() -> (Node, Node, Node) {
    let prepare = || Node::prepare(&["--shared-key", KEY, "--mesh-listen", "127.0.0.1"]);
    let (mut a, mut b, mut guest) = (prepare(), prepare(), prepare());
    let (to_a, to_b) = (a.address(), b.address());
    guest.args(&["--peer", &to_a, "--peer", &to_b]);
    a.args(&["--peer", &to_b]);
    b.args(&["--peer", &to_a]);
    tokio::join!(a.start(&[]), b.start(&[]), guest.start(&[]));
    (a, b, guest)
}

/// Leaves in order or is killed, in turn, and is back as soon as it can; in the end it is there.
async fn come_and_go(mut guest: Node, period: Duration, stop: tokio_util::sync::CancellationToken) -> Node {
    let period = period.clamp(Duration::from_secs(2), PATIENCE);
    for kills in [true, false].into_iter().cycle() {
        if tokio::time::timeout(period, stop.cancelled()).await.is_ok() {
            return guest;
        }
        if kills {
            guest.kill();
        } else {
            guest.leave().await;
        }
        guest.start(&[]).await;
    }
    guest
}
