//! Automerge by itself, on one core: what it costs without store, network and API.
//!
//! Inputs: how many; outputs: rates, times and sizes. What it does not do: parse JSON, or keep anything.

use super::document;
use super::drive::Closed;
use super::latency::Latencies;
use anyhow::{Context as _, Result};
use automerge::{ActorId, Automerge};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ACTOR: [u8; 16] = [9; 16];

fn empty() -> Automerge {
    Automerge::new().with_actor(ActorId::from(ACTOR))
}

/// Makes `count` new documents of eight fields, one commit each.
pub(super) fn new_documents(count: usize) -> Result<Closed> {
    let mut latencies = Vec::with_capacity(count);
    let began = Instant::now();
    for n in 0..count {
        let began = Instant::now();
        black_box(with_document(n)?);
        latencies.push(began.elapsed());
    }
    let took = began.elapsed();
    Ok(Closed { rate: count as f64 / took.as_secs_f64(), took, latencies: Latencies::of(latencies) })
}

/// Edits one field of one document `count` times, one commit each; the time of every edit.
pub(super) fn edits(count: usize) -> Result<Vec<Duration>> {
    let mut doc = with_document(0)?;
    let mut times = Vec::with_capacity(count);
    for n in 1..=count {
        let began = Instant::now();
        edit(&mut doc, n)?;
        times.push(began.elapsed());
    }
    Ok(times)
}

/// Bytes of the change that an edit of one field is.
pub(super) fn size_of_an_edit() -> Result<usize> {
    let mut doc = with_document(0)?;
    edit(&mut doc, 1)?;
    Ok(doc.get_last_local_change().context("an edit without a change")?.raw_bytes().len())
}

fn with_document(n: usize) -> Result<Automerge> {
    let mut doc = empty();
    let mut transaction = doc.transaction();
    document::write(&mut transaction, n)?;
    transaction.commit();
    Ok(doc)
}

fn edit(doc: &mut Automerge, n: usize) -> Result<()> {
    let mut transaction = doc.transaction();
    document::edit_one(&mut transaction, n)?;
    transaction.commit();
    Ok(())
}
