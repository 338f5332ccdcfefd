//! Who may call the API: the rule, and the files that it needs.
//!
//! Purpose: decide which listeners are guarded and that a rule can be kept with the files that were given, so that
//! nobody finds out later that a listener was open. Inputs: flags and the listeners. Outputs: [`AccessConfig`] with its
//! warnings. What it does not do: serve; the files themselves are checked by `api::access`, which reads them again when
//! they change.

use super::text::{given, value};
use super::{ConfigError, Listen};
use crate::cli::RawArgs;
use std::path::PathBuf;

/// Who must prove who he is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthRule {
    /// Callers from beyond loopback, if there is a way for them to do so; else nobody.
    Open,
    /// Callers from beyond loopback, over TLS.
    Required,
    /// All callers, those on loopback and on sockets too.
    All,
}

/// Who may call the API, and how they prove it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessConfig {
    /// Whom it concerns.
    pub rule: AuthRule,
    /// TLS of guarded TCP listeners. None: plain text.
    pub tls: Option<TlsFiles>,
    /// File with the tokens, any of which lets a caller in.
    pub token_file: Option<PathBuf>,
}

/// PEM files of the server side of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the API with those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities whose certificates let a caller in. None: no caller is asked for one.
    pub client_ca: Option<PathBuf>,
}

impl AccessConfig {
    /// Whether callers of a guarded listener must prove who they are.
    pub const fn authenticates(&self) -> bool {
        self.token_file.is_some() || self.asks_for_certificates()
    }

    /// Whether the rules apply to a listener.
    pub const fn guards(&self, listen: &Listen) -> bool {
        matches!(self.rule, AuthRule::All) || !listen.is_local()
    }

    fn configured(&self) -> bool {
        self.tls.is_some() || self.token_file.is_some()
    }

    const fn asks_for_certificates(&self) -> bool {
        matches!(self.tls, Some(TlsFiles { client_ca: Some(_), .. }))
    }
}

/// Reads the flags, and says what a person should know about them.
pub(super) fn read_access(raw: &RawArgs, listen: &[Listen]) -> Result<(AccessConfig, Vec<String>), ConfigError> {
    let rule = match given(raw.api_auth.as_ref()).unwrap_or("open") {
        "open" => AuthRule::Open,
        "required" => AuthRule::Required,
        "all" => AuthRule::All,
        other => return Err(value("api-auth", format!("`{other}` is none of `open`, `required` and `all`"))),
    };
    let access =
        AccessConfig { rule, tls: tls(raw)?, token_file: given(raw.api_token_file.as_ref()).map(PathBuf::from) };
    for listen in listen {
        if rule != AuthRule::Open && access.guards(listen) {
            kept(&access, listen)?;
        }
    }
    let warnings = warnings(&access, listen);
    Ok((access, warnings))
}

fn tls(raw: &RawArgs) -> Result<Option<TlsFiles>, ConfigError> {
    let path = |text: &Option<String>| given(text.as_ref()).map(PathBuf::from);
    let client_ca = path(&raw.api_tls_client_ca);
    match (path(&raw.api_tls_cert), path(&raw.api_tls_key)) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_ca })),
        (Some(_), None) => Err(value("api-tls-key", "is needed with --api-tls-cert")),
        (None, Some(_)) => Err(value("api-tls-cert", "is needed with --api-tls-key")),
        (None, None) if client_ca.is_some() => {
            Err(value("api-tls-client-ca", "needs --api-tls-cert and --api-tls-key"))
        }
        (None, None) => Ok(None),
    }
}

/// A rule that a listener cannot keep is an error, whatever the other listeners do.
fn kept(access: &AccessConfig, listen: &Listen) -> Result<(), ConfigError> {
    let rule = if access.rule == AuthRule::All { "all" } else { "required" };
    let wrong = |reason: &str| Err(value("api-auth", format!("`{rule}` and --listen {listen}: {reason}")));
    match listen {
        Listen::Unix(_) if access.token_file.is_none() => wrong("callers on a socket need --api-token-file"),
        Listen::Tcp(_) if !access.authenticates() => {
            wrong("callers need --api-token-file or --api-tls-client-ca to prove who they are")
        }
        Listen::Tcp(_) if access.tls.is_none() && !listen.is_local() => {
            wrong("tokens from beyond loopback need --api-tls-cert and --api-tls-key")
        }
        Listen::Unix(_) | Listen::Tcp(_) => Ok(()),
    }
}

fn warnings(access: &AccessConfig, listen: &[Listen]) -> Vec<String> {
    let mut warnings = Vec::new();
    if exposed(access, listen) {
        let without = if access.tls.is_some() { "authentication" } else { "TLS or authentication" };
        warnings.push(format!(
            "the API listens beyond loopback without {without}: whoever reaches it may read and write every document"
        ));
    } else if access.tls.is_none() && listen.iter().any(|listen| !listen.is_local()) {
        warnings.push(
            "the API listens beyond loopback without TLS: whoever can listen on the way reads tokens and documents"
                .to_owned(),
        );
    }
    if access.configured() && !listen.iter().any(|listen| access.guards(listen)) {
        let text = "the files of --api-tls-cert and --api-token-file guard nothing: every listener is on loopback or a \
                    socket (`--api-auth all` guards those too)";
        warnings.push(text.to_owned());
    }
    warnings
}

/// Whether somebody beyond loopback may call without proving who he is.
pub(super) fn exposed(access: &AccessConfig, listen: &[Listen]) -> bool {
    !access.authenticates() && listen.iter().any(|listen| !listen.is_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(rule: &str, flags: &[&str], listen: &str) -> Result<(AccessConfig, Vec<String>), String> {
        let file = |flag| flags.contains(&flag).then(|| format!("/etc/{flag}"));
        let raw = RawArgs {
            api_auth: Some(rule.to_owned()),
            api_tls_cert: file("cert"),
            api_tls_key: file("key"),
            api_tls_client_ca: file("ca"),
            api_token_file: file("tokens"),
            ..RawArgs::default()
        };
        let listen = match listen.strip_prefix("unix://") {
            Some(path) => Listen::Unix(path.into()),
            None => Listen::Tcp(listen.parse().map_err(|_| "no address".to_owned())?),
        };
        read_access(&raw, &[listen]).map_err(|error| error.to_string())
    }

    const TLS: [&str; 2] = ["cert", "key"];
    const MUTUAL: [&str; 3] = ["cert", "key", "ca"];
    const BEARER: [&str; 3] = ["cert", "key", "tokens"];
    const BEYOND: &str = "0.0.0.0:1";
    const LOOPBACK: &str = "[::1]:1";
    const SOCKET: &str = "unix:///run/peat.sock";

    #[test]
    fn a_rule_is_refused_where_it_could_not_be_kept() {
        for (rule, flags, listen, word) in [
            ("required", &[][..], BEYOND, "--api-token-file"),
            ("required", &TLS, BEYOND, "--api-tls-client-ca"),
            ("required", &["tokens"], BEYOND, "--api-tls-cert"),
            ("all", &[], LOOPBACK, "--api-token-file"),
            ("all", &["tokens"], BEYOND, "--api-tls-cert"),
            ("all", &MUTUAL, SOCKET, "socket"),
            ("some", &[], LOOPBACK, "`some`"),
        ] {
            let text = read(rule, flags, listen).unwrap_err();
            assert!(text.starts_with("--api-auth: ") && text.contains(word), "{rule} {flags:?} {listen}: {text}");
        }
        for (rule, flags, listen) in [
            ("required", &[][..], LOOPBACK),
            ("required", &[], SOCKET),
            ("required", &MUTUAL, BEYOND),
            ("required", &BEARER, BEYOND),
            ("all", &["tokens"], SOCKET),
            ("all", &["tokens"], LOOPBACK),
            ("all", &MUTUAL, LOOPBACK),
        ] {
            assert!(read(rule, flags, listen).is_ok(), "{rule} {flags:?} {listen}");
        }
    }

    #[test]
    fn half_of_a_pair_is_refused_with_the_name_of_the_other_half() {
        for (flags, start) in
            [(&["cert"][..], "--api-tls-key: "), (&["key"], "--api-tls-cert: "), (&["ca"], "--api-tls-client-ca: ")]
        {
            let text = read("open", flags, LOOPBACK).unwrap_err();
            assert!(text.starts_with(start), "{text}");
        }
    }

    #[test]
    fn a_person_is_warned_of_what_is_open_or_readable_or_without_effect() {
        for (flags, listen, word) in [
            (&[][..], BEYOND, "without TLS or authentication"),
            (&TLS, BEYOND, "without authentication"),
            (&["tokens"], BEYOND, "without TLS:"),
            (&BEARER, LOOPBACK, "guard nothing"),
            (&["tokens"], SOCKET, "guard nothing"),
        ] {
            let (_, warnings) = read("open", flags, listen).unwrap();
            assert!(matches!(warnings.as_slice(), [one] if one.contains(word)), "{flags:?} {listen}: {warnings:?}");
        }
        for (flags, listen) in [(&MUTUAL[..], BEYOND), (&BEARER, BEYOND), (&[], LOOPBACK), (&[], SOCKET)] {
            assert_eq!(read("open", flags, listen).unwrap().1, [""; 0], "{flags:?} {listen}");
        }
    }
}
