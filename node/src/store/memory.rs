//! A store in memory, for tests of everything above the disk.
//!
//! Purpose: the contract of [`Store`] without files, with switches that make commits fail or wait.
//! What it does not do: survive the process.

use super::backup::{Entries, Entry};
use super::{
    PAGE_BYTES, PAGE_ROWS, Page, Position, Row, Run, Seq, SetAside, Store, StoreError, StoreId, Usage, Visit, history,
    stored,
};
use peat_node_core::event::{History, Write};
use peat_node_core::ids::Key;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Tables {
    rows: BTreeMap<Key, Row>,
    history: BTreeMap<(Key, u16), Vec<u8>>,
    log: BTreeMap<Seq, Key>,
    last: Seq,
    set_aside: BTreeMap<Key, Row>,
}

impl Tables {
    fn take_in(&mut self, writes: &BTreeMap<Key, Write>) -> Seq {
        for (key, write) in writes {
            let old = self.rows.get(key).map_or(0, |row| row.seq);
            let seq = if write.visible { self.last + 1 } else { old };
            if write.visible {
                self.last = seq;
                self.log.remove(&old);
                self.log.insert(seq, key.clone());
            }
            self.rows.insert(key.clone(), Row { seq, bytes: write.row.clone() });
            self.record(key, write.history.as_ref());
        }
        self.last
    }

    fn record(&mut self, key: &Key, history: Option<&History>) {
        match history {
            None => {}
            Some(History::Append { number, chunk }) => {
                self.history.insert((key.clone(), *number), chunk.clone());
            }
            Some(History::Replace { base, count }) => {
                (0..*count).for_each(|number| drop(self.history.remove(&(key.clone(), number))));
                if !base.is_empty() {
                    self.history.insert((key.clone(), 0), base.clone());
                }
            }
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct MemoryStore {
    id: StoreId,
    tables: Mutex<Tables>,
    failing: AtomicBool,
    /// Whether what fails is kept all the same.
    keeping: AtomicBool,
    disk: Disk,
    commits: AtomicUsize,
    log_reads: AtomicUsize,
}

/// What commits wait for.
#[derive(Debug, Default)]
struct Disk {
    held: Mutex<bool>,
    released: Condvar,
    waiting: AtomicUsize,
}

impl Disk {
    fn wait(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.released.wait_while(held, |held| *held));
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self {
            id: uuid::Uuid::new_v4().into_bytes(),
            tables: Mutex::default(),
            failing: AtomicBool::default(),
            keeping: AtomicBool::default(),
            disk: Disk::default(),
            commits: AtomicUsize::default(),
            log_reads: AtomicUsize::default(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("commits are switched off")]
struct SwitchedOff;

impl MemoryStore {
    /// Makes every following commit fail, or succeed again.
    pub fn fail_commits(&self, fail: bool) {
        self.failing.store(fail, Ordering::Release);
    }

    /// Whether commits that fail are there nevertheless, as a disk may have it.
    pub fn keep_what_fails(&self, keep: bool) {
        self.keeping.store(keep, Ordering::Release);
    }

    /// Makes every following commit wait, or all go on.
    pub fn hold_commits(&self, hold: bool) {
        *self.disk.held.lock().unwrap_or_else(PoisonError::into_inner) = hold;
        self.disk.released.notify_all();
    }

    /// Commits that have begun and are not done.
    pub fn commits_under_way(&self) -> usize {
        self.disk.waiting.load(Ordering::Acquire)
    }

    /// Commits that are done.
    pub fn commits(&self) -> usize {
        self.commits.load(Ordering::Acquire)
    }

    /// How often the log of changes was read.
    pub fn log_reads(&self) -> usize {
        self.log_reads.load(Ordering::Acquire)
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn id(&self) -> Result<StoreId, StoreError> {
        Ok(self.id)
    }

    fn last(&self) -> Seq {
        self.tables().last
    }

    fn run(&self, _: Seq) -> Option<Run> {
        // It lives no longer than one.
        Some(Run::default())
    }

    fn read(&self, key: &Key) -> Result<Option<Row>, StoreError> {
        Ok(self.tables().rows.get(key).cloned())
    }

    fn history(&self, key: &Key, count: u16) -> Result<Option<Vec<u8>>, StoreError> {
        let tables = self.tables();
        let records = (0..count).map(|number| tables.history.get(&(key.clone(), number)).map(Vec::as_slice));
        Ok(records.collect::<Option<Vec<_>>>().map(|records| records.concat()))
    }

    fn commit(&self, writes: &BTreeMap<Key, Write>) -> Result<Seq, StoreError> {
        if self.failing.load(Ordering::Acquire) {
            if self.keeping.load(Ordering::Acquire) {
                self.tables().take_in(writes);
            }
            return Err(StoreError::Commit { rows: writes.len(), source: Box::new(SwitchedOff) });
        }
        self.disk.wait();
        self.commits.fetch_add(1, Ordering::AcqRel);
        Ok(self.tables().take_in(writes))
    }

    fn page(&self, position: &Position) -> Result<Page, StoreError> {
        let tables = self.tables();
        let mut bytes = 0;
        let mut page = Vec::new();
        let rows = tables.rows.iter().filter(|(key, _)| key.as_bytes().starts_with(&position.prefix));
        for (key, row) in rows.filter(|(key, _)| position.after.as_deref().is_none_or(|after| key.as_bytes() > after)) {
            if page.len() == PAGE_ROWS || bytes >= PAGE_BYTES {
                let next = page.last().map(|(key, _): &(Key, Row)| position.behind(key.as_bytes()));
                return Ok((page, next));
            }
            bytes += row.bytes.len();
            page.push((key.clone(), row.clone()));
        }
        Ok((page, None))
    }

    fn log(&self, after: Seq, until: Seq, limit: usize) -> Result<Vec<(Seq, Key)>, StoreError> {
        self.log_reads.fetch_add(1, Ordering::AcqRel);
        if after >= until {
            return Ok(Vec::new());
        }
        let tables = self.tables();
        let entries = tables.log.range((Bound::Excluded(after), Bound::Included(until)));
        Ok(entries.take(limit).map(|(seq, key)| (*seq, key.clone())).collect())
    }

    fn restore(&self, visit: &Visit<'_>) -> Result<(), StoreError> {
        let mut guard = self.tables();
        let tables = &mut *guard;
        let refused: Vec<Key> = tables
            .rows
            .iter()
            .filter(|(key, row)| !visit((*key).clone(), &row.bytes))
            .map(|(key, _)| key.clone())
            .collect();
        for key in refused {
            if let Some(row) = tables.rows.remove(&key) {
                tables.log.remove(&row.seq);
                tables.set_aside.insert(key, row);
            }
        }
        Ok(())
    }

    fn entries(&self) -> Result<Entries, StoreError> {
        let tables = self.tables();
        let rows = tables.rows.iter().map(|(key, row)| {
            let raw = key.as_bytes().to_vec();
            let value = stored::clear(&raw, row.seq, &row.bytes);
            Entry::Row(raw, value)
        });
        let history = tables.history.iter().map(|((key, number), chunk)| {
            let raw = history::record_key(key, *number);
            let value = stored::clear(&raw, 0, chunk);
            Entry::History(raw, value)
        });
        let entries: Vec<_> = rows.chain(history).map(Ok).collect();
        Ok(Box::new(entries.into_iter()))
    }

    fn set_damaged_aside(&self, _: &BTreeMap<Key, Write>) -> Result<Vec<Key>, StoreError> {
        // Memory is not damaged.
        Ok(Vec::new())
    }

    fn keep_history(&self, _: &Key) {}

    fn close(&self) {}

    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        self.tables().rows.values().for_each(|row| usage.add(Usage::of(&row.bytes)));
        usage
    }

    fn set_aside(&self) -> SetAside {
        SetAside { rows: self.tables().set_aside.len() as u64, stores: 0 }
    }
}
