//! The newest changes of a document, as they were made or came.
//!
//! Purpose: what neighbours lack is nearly always what was just written or received, and each of them wants the same;
//! Automerge would have to go through the whole document to encode it again, for every one of them. Inputs: changes and
//! the heads before them; outputs: the changes since heads that were there not long ago. What it does not do: know the
//! document; whoever has it notes every change of it here.

use automerge::ChangeHash;
use std::collections::VecDeque;

/// Steps of one document.
const MOST: usize = 8;

/// Bytes of their changes: little beside a document in memory.
const MOST_BYTES: usize = 2 << 10;

/// Changes that were taken in at once.
struct Step {
    /// The heads before, ascending.
    from: Vec<ChangeHash>,
    changes: Vec<Vec<u8>>,
    bytes: usize,
}

/// The newest steps, each behind the one before.
#[derive(Default)]
pub(super) struct Steps {
    steps: VecDeque<Step>,
    bytes: usize,
}

impl Steps {
    /// The document went on from the heads `from` by `changes`, dependencies first.
    pub(super) fn note(&mut self, from: Vec<ChangeHash>, changes: Vec<Vec<u8>>) {
        let bytes = changes.iter().map(Vec::len).sum();
        self.bytes += bytes;
        self.steps.push_back(Step { from, changes, bytes });
        while self.steps.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.steps.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }

    /// All changes since the document had these heads, if that is not too long ago.
    pub(super) fn since(&self, heads: &[ChangeHash]) -> Option<Vec<Vec<u8>>> {
        let at = self.steps.iter().position(|step| step.from == heads)?;
        Some(self.steps.range(at..).flat_map(|step| &step.changes).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(n: u8) -> Vec<ChangeHash> {
        vec![ChangeHash([n; 32])]
    }

    #[test]
    fn what_came_since_any_of_the_newest_heads_is_there_in_order() {
        let mut steps = Steps::default();
        for n in 0..20 {
            steps.note(heads(n), vec![vec![n]]);
        }
        assert_eq!(steps.since(&heads(19)), Some(vec![vec![19]]));
        assert_eq!(steps.since(&heads(17)), Some(vec![vec![17], vec![18], vec![19]]));
        assert_eq!(steps.since(&heads(11)), None, "too long ago");
        assert_eq!(steps.since(&heads(20)), None, "never");
    }

    #[test]
    fn what_is_large_is_not_kept_and_nothing_before_it() {
        let mut steps = Steps::default();
        steps.note(heads(1), vec![vec![1]]);
        steps.note(heads(2), vec![vec![2; MOST_BYTES + 1]]);
        assert!(steps.since(&heads(1)).is_none() && steps.since(&heads(2)).is_none());
        steps.note(heads(3), vec![vec![3]]);
        assert_eq!((steps.since(&heads(3)), steps.bytes), (Some(vec![vec![3]]), 1));
    }
}
