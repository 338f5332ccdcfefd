//! When documents go by themselves whose writer said so.
//!
//! Purpose: such documents are few beside the others, so each is noted here with its end, and nobody has to look for
//! them. Inputs: documents and their ends; outputs: the next that is over. What it does not do: take a document away.

use crate::ids::Key;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Documents by the wall time of their end.
#[derive(Debug, Default)]
pub(super) struct Ends {
    by_key: BTreeMap<Key, Duration>,
    in_order: BTreeSet<(Duration, Key)>,
}

impl Ends {
    /// Notes the end of `key`; none when it stays.
    pub(super) fn set(&mut self, key: &Key, end: Option<Duration>) {
        let before = match end {
            Some(end) => self.by_key.insert(key.clone(), end),
            None => self.by_key.remove(key),
        };
        if let Some(before) = before {
            self.in_order.remove(&(before, key.clone()));
        }
        if let Some(end) = end {
            self.in_order.insert((end, key.clone()));
        }
    }

    /// Wall time of the next end.
    pub(super) fn next(&self) -> Option<Duration> {
        self.in_order.first().map(|(end, _)| *end)
    }

    /// Takes out a document whose end has come.
    pub(super) fn pop(&mut self, today: Duration) -> Option<Key> {
        self.next().filter(|end| *end <= today)?;
        let (_, key) = self.in_order.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Collection;

    #[test]
    fn a_document_has_one_end_and_they_come_in_order() {
        let key = |id| Key::new(&Collection::parse("c").unwrap(), id).unwrap();
        let at = Duration::from_secs;
        let mut ends = Ends::default();
        ends.set(&key("a"), Some(at(5)));
        ends.set(&key("b"), Some(at(4)));
        ends.set(&key("c"), Some(at(3)));
        ends.set(&key("a"), Some(at(2)));
        ends.set(&key("c"), None);
        assert_eq!((ends.next(), ends.pop(at(1))), (Some(at(2)), None));
        assert_eq!((ends.pop(at(9)), ends.pop(at(9)), ends.pop(at(9))), (Some(key("a")), Some(key("b")), None));
        assert!(ends.by_key.is_empty());
    }
}
