//! Conditions as Kubernetes means them.
//!
//! Purpose: a condition keeps its transition time until its status changes, so that it says how long something is so.
//! Inputs: the conditions as they were, the verdicts of now, and the time. Outputs: the conditions to write.
//! What it does not do: decide verdicts, or read a clock.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// It cannot be told.
    Unknown,
}

impl Holds {
    /// The word for it in a condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "True",
            Self::No => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// One condition as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Type of the condition, CamelCase.
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: Holds,
    /// Why, one CamelCase word from a fixed set.
    pub reason: &'static str,
    /// Why, for people: what to do, if something is to be done.
    pub message: String,
}

impl Verdict {
    /// A condition that holds.
    pub fn yes(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: Holds::Yes, reason, message: message.into() }
    }

    /// A condition that does not hold.
    pub fn no(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: Holds::No, reason, message: message.into() }
    }

    /// A condition that cannot be told.
    pub fn unknown(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: Holds::Unknown, reason, message: message.into() }
    }
}

/// The conditions to write: `verdicts`, in their order, each with the time of its last transition.
///
/// `old`: the conditions as read; those of other types belong to other writers and are left out, since server-side
/// apply keeps them. `generation`: of the spec that the verdicts are about.
pub fn merge(old: &[Condition], verdicts: Vec<Verdict>, generation: Option<i64>, now: &Time) -> Vec<Condition> {
    let condition = |verdict: Verdict| {
        let Verdict { kind, holds, reason, message } = verdict;
        let since = old.iter().find(|c| c.type_ == kind && c.status == holds.as_str());
        Condition {
            type_: kind.to_owned(),
            status: holds.as_str().to_owned(),
            reason: reason.to_owned(),
            message,
            observed_generation: generation,
            last_transition_time: since.map_or_else(|| now.clone(), |c| c.last_transition_time.clone()),
        }
    };
    verdicts.into_iter().map(condition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        serde_json::from_value(format!("2026-01-01T00:00:{second:02}Z").into()).unwrap()
    }

    #[test]
    fn an_unchanged_condition_keeps_its_time_and_takes_the_new_reason() {
        let first = merge(&[], vec![Verdict::no("Ready", "Waiting", "one")], Some(1), &at(1));
        let second = merge(&first, vec![Verdict::no("Ready", "StillWaiting", "two")], Some(2), &at(2));
        assert_eq!(second[0].last_transition_time, at(1));
        assert_eq!((second[0].reason.as_str(), second[0].observed_generation), ("StillWaiting", Some(2)));
    }

    #[test]
    fn a_changed_condition_takes_the_time_of_the_change() {
        let first = merge(&[], vec![Verdict::no("Ready", "Waiting", "")], None, &at(1));
        let second = merge(&first, vec![Verdict::yes("Ready", "Done", "")], None, &at(2));
        assert_eq!(second[0].last_transition_time, at(2));
    }

    #[test]
    fn conditions_of_other_writers_are_not_taken_over() {
        let other = merge(&[], vec![Verdict::yes("Theirs", "Set", "")], None, &at(1));
        let merged = merge(&other, vec![Verdict::yes("Ready", "Done", "")], None, &at(2));
        assert_eq!(merged.len(), 1);
    }
}
