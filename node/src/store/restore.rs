//! Reading everything at the start.
//!
//! Purpose: every row passes through the checks and to the visitor; the other keyspaces are read so that their damage
//! is found now and not by a reader. One thread reads rows, one checks them, one reads the rest, since together they
//! are most of what a start costs. Inputs: an open engine. Outputs: the rows that are not sound, and how much the
//! others are. What it does not do: move or mend anything.

use super::engine::Engine;
use super::{Usage, Visit};
use fjall::{KvPair, Readable as _};
use peat_node_core::ids::Key;
use std::sync::mpsc::{self, Receiver, SyncSender};

/// Rows that pass from thread to thread at once.
const LOT: usize = 256;

/// Lots that wait to be checked; when so many do, the reader waits.
const LOTS: usize = 16;

/// Raw keys and values of the rows that are not sound or that `visit` refuses; how much the others are.
pub(super) fn unsound(engine: &Engine, visit: &Visit<'_>) -> fjall::Result<(Vec<KvPair>, Usage)> {
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::sync_channel(LOTS);
        let checked = scope.spawn(move || check(engine, &receive, visit));
        let others = scope.spawn(|| {
            let mut others = engine.log.iter().chain(engine.history.iter());
            others.try_for_each(|guard| guard.into_inner().map(drop))
        });
        let read = read(engine, &send);
        drop(send);
        let (checked, others) = (joined(checked), joined(others));
        read.and(others).map(|()| checked)
    })
}

/// What a thread gave; its panic, if it ended by one.
fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn read(engine: &Engine, lots: &SyncSender<Vec<KvPair>>) -> fjall::Result<()> {
    let snapshot = engine.database.snapshot();
    let mut rows = snapshot.iter(&engine.rows);
    loop {
        let lot = rows.by_ref().take(LOT).map(fjall::Guard::into_inner).collect::<fjall::Result<Vec<_>>>()?;
        if lot.is_empty() || lots.send(lot).is_err() {
            return Ok(());
        }
    }
}

fn check(engine: &Engine, lots: &Receiver<Vec<KvPair>>, visit: &Visit<'_>) -> (Vec<KvPair>, Usage) {
    let mut usage = Usage::default();
    let mut is_sound = |(raw, value): &KvPair| match (Key::decode(raw), engine.codec.decode(raw, value)) {
        (Ok(key), Ok((_, row))) => {
            let sound = visit(key, &row);
            usage.add(if sound { Usage::of(&row) } else { Usage::default() });
            sound
        }
        (Err(_), _) | (_, Err(_)) => false,
    };
    let unsound = lots.iter().flatten().filter(|row| !is_sound(row)).collect();
    (unsound, usage)
}
