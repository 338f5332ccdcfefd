//! Counters of who was not let in, and of the files that say so.
//!
//! Inputs: the doors and the files of the API. Outputs: metrics in the node's registry, without a prefix of their own.
//! Every label value is one of an enum. What it does not do: tell who called.

use super::visitor::Refusal;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Which files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Certificate and key of the API.
    Certificate,
    /// Authorities of callers.
    ClientCa,
    /// Tokens.
    Tokens,
}

impl Part {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::ClientCa => "client_ca",
            Self::Tokens => "tokens",
        }
    }
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfPart {
    files: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfReload {
    files: &'static str,
    outcome: &'static str,
}

/// See the module. Cheap to clone: clones count together.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct AccessMetrics {
    refusals: Family<OfReason, Counter>,
    reloads: Family<OfReload, Counter>,
    stale: Family<OfPart, Gauge>,
    certificate_expiry: Gauge,
}

impl AccessMetrics {
    /// Adds the metrics to a registry.
    pub(in crate::api) fn register(&self, registry: &mut Registry) {
        let help = "Calls and connections that were not let in, by reason";
        registry.register("api_refusals", help, self.refusals.clone());
        let help = "Changes of the files that say who may call, by whether they could be used";
        registry.register("api_access_reloads", help, self.reloads.clone());
        let help = "1 while these files hold something that cannot be used and the content before is in force";
        registry.register("api_access_stale", help, self.stale.clone());
        let help = "When the certificate of the API ends, since the epoch; 0 without one";
        registry.register("api_certificate_not_after_seconds", help, self.certificate_expiry.clone());
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.refusals.get_or_create(&OfReason { reason: reason.name() }).inc();
    }

    pub(super) fn reloaded(&self, part: Part, used: bool) {
        let outcome = if used { "used" } else { "refused" };
        self.reloads.get_or_create(&OfReload { files: part.name(), outcome }).inc();
    }

    pub(super) fn stale(&self, part: Part, stale: bool) {
        self.stale.get_or_create(&OfPart { files: part.name() }).set(stale.into());
    }

    pub(super) fn certificate(&self, not_after: Duration) {
        self.certificate_expiry.set(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX));
    }
}
