//! The operator's TLS identity: a leaf of its own authority, replaced a third into its life.
//!
//! Guarantees: a new authority is published in [`TlsIdentity::bundle`] two days before it signs; when the Secret
//! cannot be read, the configuration in use stays. Open connections outlive a reload; new handshakes, resumed ones
//! included, see the new configuration, because the session cache goes with the old one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::authority::store::{Place, StoreError, ensure_current};
use crate::authority::{Authority, LeafError, server_leaf};
use crate::error::Chain;

/// How often the Secret is looked at: another replica may have rotated it, or somebody deleted it.
const CHECK_EVERY: Duration = Duration::from_secs(5 * 60);

/// Making or renewing the identity failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority is not to be had.
    #[error("load the operator's certificate authority")]
    Authority(#[from] StoreError),
    /// The leaf could not be signed.
    #[error("sign a certificate for the listeners")]
    Leaf(#[from] LeafError),
    /// The TLS library refused key or certificate.
    #[error("build the TLS configuration")]
    Config(#[from] rustls::Error),
}

/// Configuration and trust bundle in use.
#[derive(Debug)]
pub struct TlsIdentity {
    config: ArcSwap<ServerConfig>,
    bundle: watch::Sender<Arc<str>>,
    place: Place,
    names: Vec<String>,
}

/// What decides whether the leaf must be replaced.
struct Served {
    renew_at: Timestamp,
    signer: String,
}

impl TlsIdentity {
    /// Loads or makes the authority and a first leaf for `names` (DNS names and IP addresses).
    pub async fn load(api: &Api<Secret>, place: Place, names: Vec<String>) -> Result<Arc<Self>, TlsError> {
        let now = Timestamp::now();
        let authority = ensure_current(api, &place, now).await?;
        let (config, _) = configure(&authority, &names, now)?;
        let bundle = watch::Sender::new(Arc::from(authority.bundle_pem()));
        Ok(Arc::new(Self { config: ArcSwap::from_pointee(config), bundle, place, names }))
    }

    /// The configuration for the next handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.load_full()
    }

    /// PEM of the authorities that clients must trust, and its changes.
    pub fn bundle(&self) -> watch::Receiver<Arc<str>> {
        self.bundle.subscribe()
    }

    /// Renews leaf and authority until `stop`. Failures are logged and tried again at the next turn.
    pub async fn maintain(self: Arc<Self>, api: Api<Secret>, stop: CancellationToken) {
        let mut served = None;
        while stop.run_until_cancelled(tokio::time::sleep(CHECK_EVERY)).await.is_some() {
            if let Err(error) = self.refresh(&api, &mut served, Timestamp::now()).await {
                tracing::warn!(error = %Chain(&error), "keeping the current TLS certificate");
            }
        }
    }

    async fn refresh(&self, api: &Api<Secret>, served: &mut Option<Served>, now: Timestamp) -> Result<(), TlsError> {
        let authority = ensure_current(api, &self.place, now).await?;
        let current = served.as_ref().is_some_and(|s| now < s.renew_at && s.signer == authority.signer_pem(now));
        if !current {
            let (config, next) = configure(&authority, &self.names, now)?;
            self.config.store(Arc::new(config));
            *served = Some(next);
            tracing::info!("serving a new TLS certificate");
        }
        let bundle = authority.bundle_pem();
        self.bundle.send_if_modified(|known| {
            let changed = **known != *bundle;
            if changed {
                *known = Arc::from(bundle);
            }
            changed
        });
        Ok(())
    }
}

fn configure(authority: &Authority, names: &[String], now: Timestamp) -> Result<(ServerConfig, Served), TlsError> {
    let leaf = server_leaf(authority, names, now)?;
    let served = Served { renew_at: leaf.renew_at, signer: authority.signer_pem(now).to_owned() };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.certificate], leaf.key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, served))
}
