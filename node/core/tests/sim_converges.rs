//! The simulator's acceptance suite: rotating seeds, and every seed that once failed.
//!
//! `PEAT_SIM_NODES`, `PEAT_SIM_WRITES`, `PEAT_SIM_SEEDS` and `PEAT_SIM_FIRST_SEED` choose another size; `cargo xtask
//! sim` sets them. `PEAT_SIM_FAILING` is the chance that a commit fails.
#![cfg(feature = "sim")]
#![allow(clippy::print_stdout, clippy::panic, clippy::unwrap_used, reason = "a test suite")]

use peat_node_core::sim::{Scenario, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// (seed, nodes, writes, chance that a commit fails) that once showed a fault; never removed.
const REGRESSIONS: [(u64, usize, usize, f64); 2] = [(976, 2, 120, 0.01), (1573, 6, 90, 0.05)];
/// The same, where nodes have files of rights.
const RULED_REGRESSIONS: [(u64, usize, usize); 4] = [(21428, 2, 12), (21428, 8, 48), (30803, 8, 48), (50034, 8, 192)];

#[test]
fn a_seed_replays_exactly() {
    let scenario = Scenario::rough(7, 6);
    assert_eq!(run(&scenario).unwrap(), run(&scenario).unwrap());
}

#[test]
fn two_nodes_converge_under_loss_partitions_and_restarts() {
    let (mut stored, mut epochs, mut twice, mut failed) = (0, 0, 0, 0);
    for seed in 0..50 {
        let scenario = Scenario { writes: 120, ..Scenario::rough(seed, 2) };
        let report = run(&scenario).unwrap_or_else(|failure| panic!("{failure}"));
        (stored, epochs) = (stored + report.stored, epochs + report.epochs);
        (twice, failed) = (twice + report.twice, failed + report.failed);
    }
    println!(
        "{stored} writers heard that the other node had stored what they wrote; {epochs} histories were begun anew; \
         {twice} frames came twice, {failed} commits failed"
    );
    assert!(twice > 0 && failed > 0, "{twice} frames came twice, {failed} commits failed");
    assert!(stored > 0, "a word that is never given is never wrong");
    assert!(epochs > 100, "{epochs} histories were begun anew");
}

#[test]
fn neighbours_with_files_of_rights_have_what_they_are_to_have_and_nothing_else() {
    // Two meet in every way that there is; in a larger mesh what one may not tell comes by another.
    let nodes = size("PEAT_SIM_NODES").map_or_else(|| vec![2, 8], |nodes| vec![nodes as usize]);
    nodes.into_iter().for_each(|nodes| every_rotating_seed(|seed| Scenario::ruled(seed, nodes)));
}

#[test]
fn where_nothing_fails_a_change_reaches_each_node_with_its_content_about_once() {
    let nodes = size("PEAT_SIM_NODES").unwrap_or(50) as usize;
    let first = size("PEAT_SIM_FIRST_SEED").unwrap_or(0);
    for seed in first..first + size("PEAT_SIM_SEEDS").unwrap_or(5) {
        let scenario = Scenario::calm(seed, nodes);
        let writes = size("PEAT_SIM_WRITES").map_or(scenario.writes, |writes| writes as usize);
        let report = run(&Scenario { writes, ..scenario }).unwrap_or_else(|failure| panic!("{failure}"));
        let needed = (report.acknowledged * (nodes - 1)) as f64;
        let per_change = report.payloads as f64 / needed;
        println!("seed {seed}: {per_change:.2} payloads per change and node: {report:?}");
        assert!(per_change <= 1.5, "seed {seed}: {per_change:.2} payloads per change and node");
    }
}

#[test]
fn every_seed_that_once_failed_converges() {
    // As it failed, and with what the simulator has learnt since.
    let both = |scenario: Scenario| {
        for scenario in [scenario.clone().without_later_faults(), scenario] {
            run(&scenario).unwrap_or_else(|failure| panic!("{failure}"));
        }
    };
    for (seed, nodes, writes, failing) in REGRESSIONS {
        both(Scenario { writes, failing, ..Scenario::rough(seed, nodes) });
    }
    for (seed, nodes, writes) in RULED_REGRESSIONS {
        both(Scenario { writes, ..Scenario::ruled(seed, nodes) });
    }
}

#[test]
fn a_hundred_nodes_converge_under_loss_partitions_and_restarts_for_every_rotating_seed() {
    let nodes = size("PEAT_SIM_NODES").unwrap_or(100) as usize;
    // Fewer than half as many writes as elsewhere, so that fifty seeds take three minutes on two cores.
    every_rotating_seed(|seed| Scenario { writes: nodes * 5 / 2, ..Scenario::rough(seed, nodes) });
}

fn every_rotating_seed(scenario: impl Fn(u64) -> Scenario + Sync) {
    let seeds = size("PEAT_SIM_SEEDS").unwrap_or(50);
    let first = size("PEAT_SIM_FIRST_SEED").unwrap_or_else(seed_of_the_hour);
    let next = AtomicU64::new(first);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let scenario = scenario(seed);
                    let writes = size("PEAT_SIM_WRITES").map_or(scenario.writes, |writes| writes as usize);
                    let failing = chance("PEAT_SIM_FAILING").unwrap_or(scenario.failing);
                    match run(&Scenario { writes, failing, ..scenario }) {
                        Ok(report) => println!("seed {seed}: {report:?}"),
                        Err(failure) => {
                            // At once: a long run may be watched.
                            println!("seed {seed} failed: {failure}");
                            failures.lock().unwrap().push(failure.to_string());
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {seeds} seeds failed:\n{}", failures.len(), failures.join("\n"));
}

fn chance(variable: &str) -> Option<f64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no chance")))
}

fn size(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Seeds that differ from hour to hour and are the same for two runs of one hour.
#[expect(
    clippy::disallowed_methods,
    reason = "a test suite chooses its seeds by the calendar; the simulator never does"
)]
fn seed_of_the_hour() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 3600 * 1000
}
