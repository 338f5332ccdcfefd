//! What the operator tells nodes about itself: configuration, and the authorities that rotate under it.
//!
//! Inputs: the checked configuration and the bundle of the TLS identity. Outputs: what injector and ConfigMaps say.

use std::sync::Arc;

use peat_operator_core::inject::InjectConfig;
use tokio::sync::watch;

/// What nodes are told about the operator.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Image of the sidecar where neither mesh nor pod names one.
    pub sidecar_image: String,
    /// `https://host:port` of the membership server.
    pub membership_url: String,
    /// PEM of the operator's authorities, as it is now and changes.
    pub bundle: watch::Receiver<Arc<str>>,
}

impl Settings {
    /// PEM of the operator's authorities, now.
    pub fn membership_ca(&self) -> String {
        self.bundle.borrow().to_string()
    }

    /// What the injector adds to every sidecar, now.
    pub fn inject_config(&self) -> InjectConfig {
        InjectConfig {
            image: self.sidecar_image.clone(),
            membership_url: self.membership_url.clone(),
            membership_ca: self.membership_ca(),
        }
    }
}
