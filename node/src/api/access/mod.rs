//! Who may call the API.
//!
//! Purpose: let in, at the listeners that [`AccessConfig`] guards, who has a token of the token file or a certificate
//! of the client authorities, and follow these files while they change. [`files`] and [`followed`] read them,
//! [`tokens`], [`authority`] and [`server`] make rules of them, [`door`] stands at a listener, [`visitor`] at each
//! call. Inputs: files, streams, calls. Outputs: admissions and refusals. What it does not do: tell callers apart;
//! whoever is in may do everything.
//!
//! Guarantees: a file that cannot be used changes nothing, and each kind of file is followed by itself, so that a
//! broken certificate does not keep a token in. A call that comes after a change is judged by the new rules; streams
//! and connections of what was withdrawn end.

mod authority;
mod door;
mod files;
mod followed;
mod metrics;
mod server;
mod tokens;
mod visitor;

pub(super) use door::{Door, Entry};
pub use files::AccessError;
pub(crate) use files::{Source, Watched};
pub(super) use metrics::AccessMetrics;
pub(crate) use tokens::first as first_token;
pub(super) use visitor::{Refusal, Visitor};

use super::status::chain;
use crate::config::AccessConfig;
use authority::Authority;
use followed::{Followed, Found, Looked};
use metrics::Part;
use rustls::ServerConfig;
use server::Identity;
use std::sync::Arc;
use std::time::Duration;
use tokens::{Admission, Tokens};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Time between two looks at the files; two that agree make a change.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What let a call in, among its extensions.
#[derive(Debug, Clone)]
pub(super) struct Admitted(pub(super) Admission);

/// Checks that the files can be used.
///
/// # Errors
/// The first that cannot be, with its flag.
pub(crate) fn check(config: &AccessConfig) -> Result<(), AccessError> {
    Access::load(config, AccessMetrics::default()).map(drop)
}

/// The rules of this moment.
#[derive(Debug, Default)]
struct Rules {
    identity: Option<Identity>,
    authority: Option<Arc<Authority>>,
    /// Made of the two above.
    server: Option<Arc<ServerConfig>>,
    tokens: Option<Arc<Tokens>>,
}

/// Who may call.
#[derive(Debug)]
pub(super) struct Access {
    rules: watch::Sender<Rules>,
    metrics: AccessMetrics,
    bearer: bool,
}

impl Access {
    /// Reads the files; none when none were named. What is returned beside is to be given to [`Access::follow`].
    pub(super) fn load(
        config: &AccessConfig,
        metrics: AccessMetrics,
    ) -> Result<Option<(Arc<Self>, Followed)>, AccessError> {
        let (followed, Found { identity, authority, tokens }) = Followed::begin(config)?;
        let some = identity.is_some() || tokens.is_some();
        let (authority, tokens) = (authority.map(Arc::new), tokens.map(Arc::new));
        let mut rules = Rules { identity, authority, server: None, tokens };
        rules.renew_server(&metrics)?;
        let bearer = rules.tokens.is_some();
        Ok(some.then(|| (Arc::new(Self { rules: watch::Sender::new(rules), metrics, bearer }), followed)))
    }

    /// Looks at the files again and again, until `stopping`.
    pub(super) async fn follow(self: Arc<Self>, mut followed: Followed, stopping: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stopping.run_until_cancelled(looks.tick()).await.is_some() {
            let looked = tokio::task::spawn_blocking(move || {
                let found = followed.look();
                (followed, found)
            });
            let Ok((again, found)) = looked.await else {
                tracing::error!("the files that say who may call are no longer followed: the look at them panicked");
                return;
            };
            followed = again;
            for (part, stale) in followed.stale() {
                self.metrics.stale(part, stale);
            }
            self.apply(found);
        }
    }

    fn apply(&self, looked: Looked) {
        let Found { identity, authority, tokens } = looked;
        let identity = identity.and_then(|made| self.told(Part::Certificate, made));
        let authority = authority.and_then(|made| self.told(Part::ClientCa, made));
        let tokens = tokens.and_then(|made| self.told(Part::Tokens, made));
        if identity.is_none() && authority.is_none() && tokens.is_none() {
            return;
        }
        self.rules.send_modify(|rules| {
            if let Some(mut tokens) = tokens {
                if let Some(old) = &rules.tokens {
                    tokens.succeed(old);
                }
                rules.tokens = Some(Arc::new(tokens));
            }
            rules.identity = identity.or_else(|| rules.identity.take());
            rules.authority = authority.map(Arc::new).or_else(|| rules.authority.take());
            if let Err(error) = rules.renew_server(&self.metrics) {
                tracing::error!(error = %chain(&error), "new TLS settings cannot be used");
            }
        });
    }

    /// Counts and logs what became of new content.
    fn told<T>(&self, part: Part, made: Result<T, AccessError>) -> Option<T> {
        self.metrics.reloaded(part, made.is_ok());
        match made {
            Ok(value) => {
                tracing::info!(files = part.name(), "new files say who may call");
                Some(value)
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(files = part.name(), error, "a new file cannot be used, what was before stays in force");
                None
            }
        }
    }

    /// Who comes without a certificate.
    fn without_certificate(self: &Arc<Self>) -> Visitor {
        if self.bearer { Visitor::Bearer(Arc::clone(self)) } else { Visitor::Anyone }
    }

    /// Counts a refusal.
    fn refused(&self, refusal: Refusal) -> Refusal {
        tracing::debug!(reason = refusal.name(), "a caller of the API was not let in");
        self.metrics.refused(refusal);
        refusal
    }
}

impl Rules {
    fn renew_server(&mut self, metrics: &AccessMetrics) -> Result<(), AccessError> {
        if let Some(identity) = &self.identity {
            metrics.certificate(identity.not_after);
            self.server = Some(server::config(identity, self.authority.as_ref())?);
        }
        Ok(())
    }
}
