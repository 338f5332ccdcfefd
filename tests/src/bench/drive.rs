//! Load: so many calls at once, or so many calls a second.
//!
//! Inputs: a call; outputs: rate and latencies. A closed loop begins a call when another ends, and so finds the highest
//! rate. An open loop begins calls when they are due, whatever became of those before, and counts from that moment: a
//! server that stands still for a second is seen by every call of that second. What it does not do: warm up; the caller
//! does.

use super::latency::Latencies;
use anyhow::{Context as _, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What came of a closed loop.
#[derive(Debug)]
pub(super) struct Closed {
    /// Calls in a second.
    pub(super) rate: f64,
    /// From the first call's beginning to the last one's end.
    pub(super) took: Duration,
    /// Of every call.
    pub(super) latencies: Latencies,
}

/// Makes `count` calls, each with its number, `in_flight` of them at once. The first that fails ends it.
pub(super) async fn closed<F>(count: usize, in_flight: usize, call: impl Fn(usize) -> F) -> Result<Closed>
where
    F: Future<Output = Result<()>>,
{
    let call = &call;
    let began = Instant::now();
    let latencies: Vec<Duration> = stream::iter(0..count)
        .map(|n| async move {
            let began = Instant::now();
            call(n).await?;
            Ok::<_, anyhow::Error>(began.elapsed())
        })
        .buffer_unordered(in_flight)
        .try_collect()
        .await?;
    let took = began.elapsed();
    Ok(Closed { rate: count as f64 / took.as_secs_f64(), took, latencies: Latencies::of(latencies) })
}

/// Calls that are due and not begun. A full queue delays the clock's thread but not the moment from which a call is
/// counted.
const DUE_CAPACITY: usize = 1024;

/// Begins `per_second` calls a second for as long as `lasting`, and waits for all of them. Latencies count from when a
/// call was due.
pub(super) async fn open<F>(per_second: u32, lasting: Duration, call: impl Fn(usize) -> F) -> Result<Latencies>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (due, mut calls) = mpsc::channel(DUE_CAPACITY);
    let count = (f64::from(per_second) * lasting.as_secs_f64()) as u32;
    // A thread of its own: the runtime's timers are a millisecond coarse.
    let clock = std::thread::spawn(move || {
        let began = Instant::now();
        for n in 0..count {
            let at = began + Duration::from_secs(1) * n / per_second;
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if due.blocking_send((n as usize, at)).is_err() {
                return;
            }
        }
    });
    let mut running = JoinSet::new();
    while let Some((n, at)) = calls.recv().await {
        let call = call(n);
        running.spawn(async move { call.await.map(|()| at.elapsed()) });
    }
    let mut latencies = Vec::with_capacity(running.len());
    while let Some(ended) = running.join_next().await {
        latencies.push(ended.context("a call panicked")??);
    }
    clock.join().map_err(|_| anyhow::anyhow!("the clock panicked"))?;
    Ok(Latencies::of(latencies))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_open_loop_counts_a_stall_for_every_call_that_was_due_in_it() -> Result<()> {
        let gate = std::sync::Arc::new(tokio::sync::Mutex::new(()));
        let latencies = open(1_000, Duration::from_millis(100), |n| {
            let gate = gate.clone();
            async move {
                let _turn = gate.lock().await;
                if n == 0 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(())
            }
        })
        .await?;
        assert!(latencies.percentile(50).value > 25.0, "{}", latencies.text());
        Ok(())
    }

    #[tokio::test]
    async fn a_call_that_fails_ends_a_closed_loop() {
        let ended = closed(10, 2, async |n| if n == 3 { anyhow::bail!("three") } else { Ok(()) }).await;
        assert_eq!(ended.unwrap_err().to_string(), "three");
    }
}
