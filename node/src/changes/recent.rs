//! The newest changes as they were written, in memory.
//!
//! Purpose: the log names a document once, so a reader that takes its turn a moment later would miss what was there
//! between two writes. Whoever keeps up is told of each from here, without a look at the disk. Inputs: what each commit
//! wrote. Outputs: rows by number, or the answer that some are gone. What it does not do: hold anything for a slow
//! reader; it has [`BYTES`], whoever reads, and who is further behind reads the log.

use super::{Filter, LOG_PAGE};
use crate::store::{PAGE_BYTES, Row, Seq};
use peat_node_core::event::Write;
use peat_node_core::ids::Key;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// What is kept, some thousands of small documents.
const BYTES: usize = 1 << 20;

/// What an entry takes beside its key and row.
const OVERHEAD: usize = 96;

/// Written by the driver, read by every feed.
#[derive(Debug, Default)]
pub struct Recent(Mutex<Ring>);

/// Rows whose numbers follow each other without a gap.
#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<(Key, Row)>,
    bytes: usize,
}

impl Recent {
    /// Keeps what a commit wrote whose last number is `last`: readers see its visible rows, numbered by key.
    pub(crate) fn keep(&self, last: Seq, writes: BTreeMap<Key, Write>) {
        let visible: Vec<_> = writes.into_iter().filter(|(_, write)| write.visible).collect();
        let before = last.saturating_sub(visible.len() as Seq);
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.entries.back().is_some_and(|(_, row)| row.seq != before) {
            *ring = Ring::default();
        }
        for ((key, write), seq) in visible.into_iter().zip(before + 1..) {
            ring.push(key, Row { seq, bytes: write.row });
        }
    }

    /// As [`super::log_page`], with every version; none if some of what follows `position` is not here any more.
    pub(super) fn page(&self, position: Seq, until: Seq, filter: &Filter) -> Option<(Vec<(Key, Row)>, Seq)> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ring.entries.front()?.1.seq;
        let skipped = (position + 1).checked_sub(first)?;
        let (mut page, mut bytes, mut behind) = (Vec::new(), 0, position);
        let entries = ring.entries.iter().skip(usize::try_from(skipped).ok()?);
        for (key, row) in entries.take(LOG_PAGE).take_while(|(_, row)| row.seq <= until) {
            if bytes >= PAGE_BYTES {
                break;
            }
            behind = row.seq;
            if filter.holds(key) {
                bytes += row.bytes.len();
                page.push((key.clone(), row.clone()));
            }
        }
        (behind > position).then_some((page, behind))
    }
}

impl Ring {
    fn push(&mut self, key: Key, row: Row) {
        self.bytes += weight(&key, &row);
        self.entries.push_back((key, row));
        while self.bytes > BYTES {
            let Some((key, row)) = self.entries.pop_front() else { return };
            self.bytes -= weight(&key, &row);
        }
    }
}

fn weight(key: &Key, row: &Row) -> usize {
    OVERHEAD + key.as_bytes().len() + row.bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use peat_node_core::ids::Collection;

    fn key(id: u64) -> Key {
        Key::new(&Collection::parse("ferries").unwrap(), &format!("{id:06}")).unwrap()
    }

    /// Keeps one row of `bytes` for each id, the last of which gets the number `last`.
    fn keep(recent: &Recent, last: Seq, ids: impl IntoIterator<Item = u64>, bytes: usize) {
        let write = |visible| Write { row: vec![7; bytes], history: None, visible };
        let writes = ids.into_iter().map(|id| (key(id), write(true))).chain([(key(999_999), write(false))]);
        recent.keep(last, writes.collect());
    }

    fn seqs(recent: &Recent, position: Seq, until: Seq) -> Option<Vec<Seq>> {
        let (page, behind) = recent.page(position, until, &Filter::All)?;
        assert_eq!(page.last().map(|(_, row)| row.seq), Some(behind));
        Some(page.iter().map(|(_, row)| row.seq).collect())
    }

    #[test]
    fn every_version_behind_a_position_is_told_and_none_that_readers_do_not_see() {
        let recent = Recent::default();
        assert_eq!(seqs(&recent, 0, 9), None, "nothing was written since the start");
        keep(&recent, 7, [1, 2], 10);
        keep(&recent, 8, [1], 10);
        assert_eq!(seqs(&recent, 5, 8), Some(vec![6, 7, 8]));
        assert_eq!(seqs(&recent, 6, 7), Some(vec![7]));
        assert_eq!(seqs(&recent, 4, 8), None, "number 5 was written before");
        assert_eq!(seqs(&recent, 8, 8), None);
    }

    #[test]
    fn what_is_kept_is_bounded_and_whoever_is_further_behind_is_sent_to_the_log() {
        let recent = Recent::default();
        (1..=10).for_each(|seq| keep(&recent, seq, [seq], BYTES / 4));
        assert_eq!(seqs(&recent, 7, 10), Some(vec![8]), "a page is bounded as well");
        assert_eq!(seqs(&recent, 6, 10), None);
        keep(&recent, 11, [11], 2 * BYTES);
        assert_eq!(seqs(&recent, 10, 11), None, "one that is too large is not kept at all");
    }

    #[test]
    fn numbers_that_do_not_follow_begin_anew() {
        let recent = Recent::default();
        keep(&recent, 3, [1, 2, 3], 10);
        keep(&recent, 9, [1], 10);
        assert_eq!(seqs(&recent, 2, 9), None);
        assert_eq!(seqs(&recent, 8, 9), Some(vec![9]));
    }
}
