//! What is wrong with a configuration.
//!
//! Inputs: none. Outputs: one line that names the flag, and where its value came from if the command line does not show
//! that. What it does not do: hold secrets.

use crate::api::access::AccessError;
use crate::cli::{Origin, Settings};
use std::path::PathBuf;

/// A value that cannot be used. One line, naming the flag.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value breaks its rule. Secrets are never in `reason`.
    #[error("--{flag}: {reason}")]
    Value {
        /// The flag without dashes.
        flag: &'static str,
        /// What is wrong, and with which text.
        reason: String,
    },
    /// A key file cannot be read.
    #[error("--{flag}: read {path}")]
    KeyFile {
        /// The flag without dashes.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that says who may call the API, or what peers may read and write.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The operator manages this node, so flags may not.
    #[error("--{flag} cannot be combined with an operator-managed mesh (--{managed} is set): remove one of them")]
    Mixed {
        /// The flag of the mesh by flags.
        flag: &'static str,
        /// The flag of the operator.
        managed: &'static str,
    },
    /// The operator's injector always sets it.
    #[error("--{flag} is required in an operator-managed mesh (--{managed} is set)")]
    Missing {
        /// What is missing.
        flag: &'static str,
        /// What shows the mode.
        managed: &'static str,
    },
    /// A value that the command line does not show.
    #[error("in {origin}")]
    Elsewhere {
        /// The variable or file that has it.
        origin: Origin,
        /// What is wrong with it.
        source: Box<Self>,
    },
    /// Known upstream, not built here.
    #[error("--{flag} is not available in this version: {instead}")]
    Unavailable {
        /// The flag.
        flag: &'static str,
        /// What to do.
        instead: &'static str,
    },
}

impl ConfigError {
    /// Adds the variable or file that the flag's value came from.
    pub(super) fn with_origin(self, settings: &Settings) -> Self {
        let flag = match &self {
            Self::Value { flag, .. }
            | Self::Mixed { flag, .. }
            | Self::Unavailable { flag, .. }
            | Self::KeyFile { flag, .. } => flag,
            Self::Access(_) | Self::Missing { .. } | Self::Elsewhere { .. } => return self,
        };
        match settings.origin(flag).cloned() {
            None | Some(Origin::Flag(_)) => self,
            Some(origin) => Self::Elsewhere { origin, source: Box::new(self) },
        }
    }
}
