//! Which files say who may call, and what is made of each.
//!
//! Inputs: [`AccessConfig`]. Outputs: what the files hold at first, and at each look what is new. What it does not do:
//! put anything into force.

use super::authority::Authority;
use super::files::{AccessError, Source, Watched};
use super::metrics::Part;
use super::server::Identity;
use super::tokens::{Tokens, tag_key};
use crate::config::{AccessConfig, TlsFiles};
use std::fmt;
use std::path::Path;

/// One for each kind of files; none for those that were not named, or have nothing new.
#[derive(Debug)]
pub(super) struct Found<I, A, T> {
    pub(super) identity: Option<I>,
    pub(super) authority: Option<A>,
    pub(super) tokens: Option<T>,
}

/// What the files hold at the start.
pub(super) type First = Found<Identity, Authority, Tokens>;

/// What a later look found.
pub(super) type Looked =
    Found<Result<Identity, AccessError>, Result<Authority, AccessError>, Result<Tokens, AccessError>>;

/// The files, each kind followed by itself.
pub(in crate::api) struct Followed(Found<Watched<Identity, 2>, Watched<Authority>, Watched<Tokens>>);

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Followed(..)")
    }
}

impl Followed {
    /// Reads all files for the first time.
    pub(super) fn begin(config: &AccessConfig) -> Result<(Self, First), AccessError> {
        let client_ca = config.tls.as_ref().and_then(|tls| tls.client_ca.as_deref());
        // Who may show a token instead needs no certificate.
        let mandatory = config.token_file.is_none();
        let (identity, first_identity) = config.tls.as_ref().map(identity).transpose()?.unzip();
        let (authority, first_authority) = client_ca.map(|path| authority(path, mandatory)).transpose()?.unzip();
        let (tokens, first_tokens) = config.token_file.as_deref().map(tokens).transpose()?.unzip();
        let first = Found { identity: first_identity, authority: first_authority, tokens: first_tokens };
        Ok((Self(Found { identity, authority, tokens }), first))
    }

    /// Reads all files again.
    pub(super) fn look(&mut self) -> Looked {
        let Found { identity, authority, tokens } = &mut self.0;
        Found {
            identity: identity.as_mut().and_then(Watched::look),
            authority: authority.as_mut().and_then(Watched::look),
            tokens: tokens.as_mut().and_then(Watched::look),
        }
    }

    /// Whether what is in force is not what the files hold.
    pub(super) fn stale(&self) -> [(Part, bool); 3] {
        let Found { identity, authority, tokens } = &self.0;
        [
            (Part::Certificate, identity.as_ref().is_some_and(Watched::is_stale)),
            (Part::ClientCa, authority.as_ref().is_some_and(Watched::is_stale)),
            (Part::Tokens, tokens.as_ref().is_some_and(Watched::is_stale)),
        ]
    }
}

fn identity(tls: &TlsFiles) -> Result<(Watched<Identity, 2>, Identity), AccessError> {
    let sources = [Source::new("api-tls-cert", &tls.certificate), Source::new("api-tls-key", &tls.key)];
    Watched::begin(sources, Box::new(Identity::read))
}

fn authority(path: &Path, mandatory: bool) -> Result<(Watched<Authority>, Authority), AccessError> {
    let sources = [Source::new("api-tls-client-ca", path)];
    Watched::begin(sources, Box::new(move |[source], [content]| Authority::read(mandatory, source, content)))
}

fn tokens(path: &Path) -> Result<(Watched<Tokens>, Tokens), AccessError> {
    let key = tag_key();
    let sources = [Source::new("api-token-file", path)];
    Watched::begin(sources, Box::new(move |[source], [content]| Tokens::read(&key, source, content)))
}
