//! What a collection demands of deletes and of documents that nobody writes any more.
//!
//! Purpose: one answer for every node of a mesh. A policy is set by an application and lives in a row like any other,
//! of the collection [`RESERVED`]: so it is durable, replicated, and the last one that was set wins. Inputs: such a
//! row's document, or a collection's name; outputs: a [`Policy`]. What it does not do: carry it out.

use crate::docs::Document;
use crate::stamp::Stamp;
use serde_json::{Map, Value};
use std::time::Duration;

/// The collection of policies; the id of a document in it is the collection that it is for. Applications do not write
/// to it.
pub const RESERVED: &str = "peat.collections";

/// What a delete does, and whether time deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deletion {
    /// Marks the document as deleted.
    #[default]
    Soft,
    /// Leaves a tombstone.
    Tombstone,
    /// Leaves a tombstone, and a document that is not written again in time goes by itself.
    ImplicitTtl,
    /// Refuses: documents can be changed, and stay.
    Immutable,
}

/// How a collection's documents leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// What a delete does.
    pub deletion: Deletion,
    /// Seconds: the life of a document under [`Deletion::ImplicitTtl`], of the mark under [`Deletion::Soft`].
    pub soft_delete_ttl: Option<u64>,
    /// Seconds: the life of a tombstone.
    pub tombstone_ttl: Option<u64>,
}

/// The life of a document under [`Deletion::ImplicitTtl`] where none is set.
const DEFAULT_LIFE: u64 = 3600;

/// The longest life of a document, in seconds: some 136 years, as the longest that a writer can say. A policy with more
/// means never, and an end that far behind any stamp is still a time.
const LONGEST_LIFE: u64 = u32::MAX as u64;

/// The marks of deletes end together, in so many parts of their life: nodes whose clocks differ a little then tell of
/// the same ones nearly all the time.
const PARTS: u32 = 16;
/// But not in longer parts.
const LONGEST_PART: Duration = Duration::from_secs(3600);

impl Policy {
    const fn new(deletion: Deletion, soft_delete_ttl: Option<u64>, tombstone_ttl: Option<u64>) -> Self {
        Self { deletion, soft_delete_ttl, tombstone_ttl }
    }

    /// The policy of a collection for which none was set.
    pub fn of(collection: &str) -> Self {
        DEFAULTS.iter().find(|(name, _)| *name == collection).map(|(_, policy)| *policy).unwrap_or_default()
    }

    /// After which time without a write a document goes; none when it stays.
    pub fn life(&self) -> Option<Duration> {
        let seconds = self.soft_delete_ttl.filter(|seconds| *seconds > 0).unwrap_or(DEFAULT_LIFE);
        (self.deletion == Deletion::ImplicitTtl).then(|| Duration::from_secs(seconds.min(LONGEST_LIFE)))
    }

    /// After which time neighbours are no longer told of a delete; `default` where none is set.
    pub fn mark_life(&self, default: Duration) -> Duration {
        let seconds = match self.deletion {
            Deletion::Soft => self.soft_delete_ttl,
            Deletion::Tombstone | Deletion::ImplicitTtl | Deletion::Immutable => self.tombstone_ttl,
        };
        seconds.filter(|seconds| *seconds > 0).map_or(default, Duration::from_secs)
    }

    /// Wall time at which neighbours are no longer told of a delete of `stamp`.
    pub fn mark_ends(&self, stamp: Stamp, default: Duration) -> Duration {
        let life = self.mark_life(default);
        let part = (life / PARTS).clamp(Duration::from_secs(1), LONGEST_PART).as_secs();
        let end = stamp.wall().saturating_add(life).as_secs();
        Duration::from_secs((end / part).saturating_add(1).saturating_mul(part))
    }

    /// As it is stored.
    pub fn to_document(self) -> Document {
        let number = |seconds: Option<u64>| seconds.map_or(Value::Null, Value::from);
        let members = [
            (DELETION, Value::from(name(self.deletion))),
            (SOFT_DELETE_TTL, number(self.soft_delete_ttl)),
            (TOMBSTONE_TTL, number(self.tombstone_ttl)),
        ];
        Document::from_map(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
    }

    /// As it was stored; none when it is of another release, which then knows better than this one.
    pub fn from_document(document: &Document) -> Option<Self> {
        let members = document.as_map();
        let deletion = members.get(DELETION)?.as_str()?;
        let deletion = DELETIONS.into_iter().find(|known| name(*known) == deletion)?;
        let number = |key| members.get(key).and_then(Value::as_u64);
        Some(Self { deletion, soft_delete_ttl: number(SOFT_DELETE_TTL), tombstone_ttl: number(TOMBSTONE_TTL) })
    }
}

/// The policies of collections for which none was set, by name; every other is [`Policy::default`].
pub const DEFAULTS: [(&str, Policy); 6] = [
    ("beacons", Policy::new(Deletion::ImplicitTtl, Some(3600), None)),
    ("tracks", Policy::new(Deletion::Tombstone, None, Some(3600))),
    // Two names of one thing, so one policy.
    ("nodes", Policy::new(Deletion::Tombstone, None, Some(86_400))),
    ("platforms", Policy::new(Deletion::Tombstone, None, Some(86_400))),
    ("cells", Policy::new(Deletion::Tombstone, None, Some(86_400))),
    ("alerts", Policy::new(Deletion::Tombstone, None, Some(14_400))),
];

const DELETION: &str = "deletion_policy";
const SOFT_DELETE_TTL: &str = "soft_delete_ttl_secs";
const TOMBSTONE_TTL: &str = "tombstone_ttl_secs";

const DELETIONS: [Deletion; 4] = [Deletion::Soft, Deletion::Tombstone, Deletion::ImplicitTtl, Deletion::Immutable];

const fn name(deletion: Deletion) -> &'static str {
    match deletion {
        Deletion::Soft => "SOFT_DELETE",
        Deletion::Tombstone => "TOMBSTONE",
        Deletion::ImplicitTtl => "IMPLICIT_TTL",
        Deletion::Immutable => "IMMUTABLE",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_as_it_was_stored() {
        for deletion in DELETIONS {
            for ttl in [None, Some(0), Some(u64::MAX)] {
                let policy = Policy::new(deletion, ttl, ttl.map(|seconds| seconds / 2));
                assert_eq!(Policy::from_document(&policy.to_document()), Some(policy));
            }
        }
    }

    #[test]
    fn a_policy_that_this_release_does_not_know_is_none() {
        for unknown in ["{}", r#"{"deletion_policy":"ARCHIVE"}"#, r#"{"deletion_policy":4}"#] {
            assert_eq!(Policy::from_document(&Document::parse(unknown).unwrap()), None);
        }
    }

    #[test]
    fn only_documents_under_implicit_ttl_have_a_life_and_it_is_never_zero() {
        let life = |deletion, ttl| Policy::new(deletion, ttl, None).life();
        assert_eq!(life(Deletion::ImplicitTtl, Some(60)), Some(Duration::from_secs(60)));
        assert_eq!(life(Deletion::ImplicitTtl, Some(0)), Some(Duration::from_secs(3600)));
        assert_eq!(life(Deletion::ImplicitTtl, None), Some(Duration::from_secs(3600)));
        assert_eq!((life(Deletion::Soft, Some(60)), life(Deletion::Tombstone, Some(60))), (None, None));
    }

    #[test]
    fn a_life_of_any_length_ends_at_a_time_that_can_be_counted() {
        let life = Policy::new(Deletion::ImplicitTtl, Some(u64::MAX), None).life().unwrap();
        assert!(life > Duration::from_secs(100 * 365 * 86_400));
        assert!(Stamp(u64::MAX).wall().checked_add(life).is_some());
    }

    #[test]
    fn the_mark_of_a_delete_lives_as_long_as_the_policy_says_or_the_default() {
        let mark = |deletion, soft, tombstone| Policy::new(deletion, soft, tombstone).mark_life(Duration::from_secs(9));
        assert_eq!(mark(Deletion::Soft, Some(60), Some(70)), Duration::from_secs(60));
        assert_eq!(mark(Deletion::Tombstone, Some(60), Some(70)), Duration::from_secs(70));
        assert_eq!(mark(Deletion::ImplicitTtl, Some(60), None), Duration::from_secs(9));
        assert_eq!(mark(Deletion::Soft, Some(0), None), Duration::from_secs(9));
    }

    #[test]
    fn nodes_and_platforms_are_kept_alike() {
        assert_eq!(Policy::of("nodes"), Policy::of("platforms"));
    }
}
