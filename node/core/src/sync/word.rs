//! A peer's word for all that it was sent.
//!
//! Purpose: content that was handed to the transport may still be on its way, at a slow link for many seconds. Frames of
//! a connection arrive in order, and an answer leaves when what came before its question is on disk; so a question about
//! the document that was sent last is one about all. It is asked only when somebody waits for that, before the process
//! ends. Inputs: what is sent, wanted, asked and confirmed. Outputs: whether and about what to ask. What it does not do:
//! send.

use crate::ids::Key;

#[derive(Debug, Default)]
enum Word {
    /// Nobody waits for it.
    #[default]
    Unwanted,
    Wanted,
    /// By the question of this number.
    Asked(u64),
}

/// What the peer's word is wanted for.
#[derive(Debug, Default)]
pub(crate) struct LastWord {
    /// The document that was sent last, until the peer has confirmed it.
    sent: Option<Key>,
    word: Word,
    /// How often in a row the peer was asked about it and wanted it once more instead.
    again: u8,
}

/// A peer that wants a document so often is one that cannot store it.
const MOST: u8 = 8;

impl LastWord {
    /// A frame left of which this is the last document.
    pub(crate) fn sent(&mut self, key: &Key) {
        let is_same = self.sent.as_ref() == Some(key);
        self.again = if is_same { self.again.saturating_add(1) } else { 0 };
        self.sent = Some(key.clone());
        self.ask_again();
    }

    /// Whether somebody waits until the peer has stored what it was sent, and what it will be sent.
    pub(crate) const fn want(&mut self, wanted: bool) {
        if !wanted {
            self.word = Word::Unwanted;
        } else if matches!(self.word, Word::Unwanted) {
            self.word = Word::Wanted;
        }
    }

    /// Whether somebody waits, and the peer has not said it.
    pub(crate) const fn is_missing(&self) -> bool {
        self.sent.is_some() && !matches!(self.word, Word::Unwanted)
    }

    /// What to ask about now.
    pub(crate) fn due(&self) -> Option<&Key> {
        self.sent.as_ref().filter(|_| matches!(self.word, Word::Wanted) && self.again < MOST)
    }

    /// A question about `key` left.
    pub(crate) fn asked(&mut self, key: &Key, number: u64) {
        if self.due() == Some(key) {
            self.word = Word::Asked(number);
        }
    }

    /// A question that was on its way may never have left.
    pub(crate) const fn ask_again(&mut self) {
        if matches!(self.word, Word::Asked(_)) {
            self.word = Word::Wanted;
        }
    }

    /// The peer has stored what the question of this number was about.
    pub(crate) fn confirmed(&mut self, key: &Key, number: u64) {
        if matches!(self.word, Word::Asked(asked) if asked <= number) {
            self.forget(key);
        }
    }

    /// Forgets what was sent where `stays` says that it is not for the peer any more.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Key) -> bool) {
        self.sent.take_if(|key| !stays(key));
    }

    /// There is nothing of `key` here that one could ask about.
    pub(crate) fn forget(&mut self, key: &Key) {
        if self.sent.as_ref() == Some(key) {
            self.sent = None;
            self.ask_again();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Collection;

    fn key(id: &str) -> Key {
        Key::new(&Collection::parse("ships").unwrap(), id).unwrap()
    }

    #[test]
    fn a_word_is_missing_until_what_was_sent_last_is_confirmed() {
        let mut word = LastWord::default();
        word.sent(&key("a"));
        assert!(!word.is_missing() && word.due().is_none(), "nobody waits");
        word.want(true);
        assert_eq!(word.due(), Some(&key("a")));
        word.asked(&key("a"), 7);
        assert!(word.is_missing() && word.due().is_none());
        word.sent(&key("b"));
        word.confirmed(&key("a"), 7);
        assert_eq!(word.due(), Some(&key("b")), "more was sent meanwhile");
        word.asked(&key("b"), 8);
        word.confirmed(&key("b"), 7);
        assert!(word.is_missing(), "an answer to an earlier question");
        word.confirmed(&key("b"), 8);
        assert!(!word.is_missing());
        word.sent(&key("c"));
        assert_eq!(word.due(), Some(&key("c")), "somebody still waits");
        word.want(false);
        assert!(!word.is_missing());
        word.want(true);
        (0..100).for_each(|_| word.sent(&key("c")));
        assert!(word.due().is_none() && word.is_missing(), "it cannot be stored there");
        word.retain(|_| false);
        assert!(!word.is_missing());
        word.want(false);
        word.sent(&key("d"));
        word.forget(&key("d"));
        word.sent(&key("e"));
        assert!(!word.is_missing(), "nobody waits, whatever was forgotten");
    }
}
