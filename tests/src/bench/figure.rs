//! What one measurement says: a figure, the peer or limit of the same run beside it, and its budget.
//!
//! Inputs: numbers; outputs: [`Figure`]s as JSON and as rows of a table. What it does not do: measure.

use serde::Serialize;
use std::fmt;

/// A unit, as it is printed behind a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    /// Events in a second.
    #[serde(rename = "/s")]
    PerSecond,
    /// Milliseconds.
    #[serde(rename = "ms")]
    Millis,
    /// 2^20 bytes.
    #[serde(rename = "MiB")]
    Mebibytes,
    /// 2^10 bytes.
    #[serde(rename = "KiB")]
    Kibibytes,
    /// A ratio of two figures.
    #[serde(rename = "×")]
    Times,
}

/// A number with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantity {
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
}

impl Quantity {
    /// Events in a second.
    pub fn per_second(value: f64) -> Self {
        Self { value, unit: Unit::PerSecond }
    }

    /// Milliseconds.
    pub fn millis(value: f64) -> Self {
        Self { value, unit: Unit::Millis }
    }

    /// 2^20 bytes.
    pub fn mebibytes(value: f64) -> Self {
        Self { value, unit: Unit::Mebibytes }
    }

    /// 2^10 bytes.
    pub fn kibibytes(value: f64) -> Self {
        Self { value, unit: Unit::Kibibytes }
    }

    /// A ratio.
    pub fn times(value: f64) -> Self {
        Self { value, unit: Unit::Times }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value;
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        match self.unit {
            Unit::PerSecond => write!(f, "{value:.0}/s"),
            Unit::Millis => write!(f, "{value:.digits$} ms"),
            Unit::Mebibytes => write!(f, "{value:.1} MiB"),
            Unit::Kibibytes => write!(f, "{value:.0} KiB"),
            Unit::Times => write!(f, "{value:.2} ×"),
        }
    }
}

/// The peer or limit that a figure is held against, measured in the same run.
#[derive(Debug, Clone, Serialize)]
pub struct Against {
    /// What it is.
    pub what: String,
    /// Its figure.
    pub quantity: Quantity,
    /// Ours divided by it.
    pub ratio: f64,
}

/// What the design allows.
#[derive(Debug, Clone, Serialize)]
pub struct Budget {
    /// In words.
    pub text: String,
    /// Whether this run kept it.
    pub met: bool,
}

/// One line of the report.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured.
    pub work: String,
    /// The figure.
    pub quantity: Quantity,
    /// Percentiles and other circumstances, in words.
    pub note: String,
    /// What it is held against; absent for the limits themselves.
    pub against: Option<Against>,
    /// What is allowed, where something is.
    pub budget: Option<Budget>,
}

impl Figure {
    /// A figure by itself.
    pub fn new(work: impl Into<String>, quantity: Quantity) -> Self {
        Self { work: work.into(), quantity, note: String::new(), against: None, budget: None }
    }

    /// Adds circumstances.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Holds it against a figure of the same unit.
    pub fn against(mut self, what: impl Into<String>, quantity: Quantity) -> Self {
        self.against = Some(Against { what: what.into(), quantity, ratio: self.quantity.value / quantity.value });
        self
    }

    /// Adds the budget: `kept` is told the figure and the ratio (not a number without a peer) and judges. A budget that
    /// only a peer decides is not judged without one.
    pub fn budget(mut self, text: impl Into<String>, kept: impl Fn(f64, f64) -> bool) -> Self {
        let ratio = self.against.as_ref().map_or(f64::NAN, |against| against.ratio);
        self.budget = Some(Budget { text: text.into(), met: kept(self.quantity.value, ratio) });
        self
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { work, quantity, note, against, budget } = self;
        let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
        let (peer, ratio) = against.as_ref().map_or_else(Default::default, |against| {
            (format!("{} {}", against.what, against.quantity), format!("{:.2}", against.ratio))
        });
        let (allowed, met) = budget
            .as_ref()
            .map_or_else(Default::default, |budget| (budget.text.clone(), if budget.met { "yes" } else { "**no**" }));
        write!(f, "| {work} | {quantity}{note} | {peer} | {ratio} | {allowed} | {met} |")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_ratio_to_the_peer_and_whether_the_budget_was_kept() {
        let figure = Figure::new("put", Quantity::per_second(900.0))
            .against("etcd", Quantity::per_second(1_000.0))
            .budget("≥ 1 × etcd", |_, ratio| ratio >= 1.0);
        assert_eq!(figure.to_string(), "| put | 900/s | etcd 1000/s | 0.90 | ≥ 1 × etcd | **no** |");
    }

    #[test]
    fn numbers_keep_the_digits_that_mean_something() {
        let shown: Vec<String> = [0.534, 12.34, 1234.5].map(|value| Quantity::millis(value).to_string()).into();
        assert_eq!(shown, ["0.53 ms", "12.3 ms", "1234 ms"]);
    }
}
