//! Bearer tokens.
//!
//! Purpose: know a good token from a wrong one, in a time that tells nothing of either. Inputs: a file, one token on
//! each line, `#` begins a comment line; `authorization` headers (RFC 6750, 2.1). Outputs: the [`Admission`] of a
//! token. What it does not do: keep tokens; only their tags under a key of this process are in memory, and nothing
//! prints.

use super::files::{AccessError, Source};
use crate::secrets::lines;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::hmac;
use tokio_util::sync::CancellationToken;

/// Shortest token in characters: 16 random ones cannot be guessed over a network.
const SHORTEST: usize = 16;
/// Longest token in characters, well below what HTTP allows a header.
const LONGEST: usize = 4096;
/// Most tokens in a file: each call is compared with all of them.
const MOST: usize = 256;

/// What lets a caller in; cancelled when it is withdrawn.
pub(super) type Admission = CancellationToken;

/// Why a call shows no good token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenError {
    /// No `authorization` header.
    Missing,
    /// Another scheme, more than one header, or not one of our tokens.
    Wrong,
}

/// A key for the tags of tokens, fresh for each process: what a comparison takes then says nothing of a token.
pub(super) fn tag_key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>())
}

/// The tokens of a file.
pub(super) struct Tokens {
    key: hmac::Key,
    entries: Vec<(hmac::Tag, Admission)>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.entries.len())
    }
}

impl Tokens {
    /// Reads the content of `source`; tags are made with `key`.
    pub(super) fn read(key: &hmac::Key, source: &Source, content: &[u8]) -> Result<Self, AccessError> {
        let wrong = |reason: String| AccessError::content(source, reason);
        let text = std::str::from_utf8(content).map_err(|_| wrong("is not text".to_owned()))?;
        let mut entries = Vec::new();
        for (number, token) in lines(text) {
            check(token).map_err(|reason| wrong(format!("has a line {number} that {reason}")))?;
            entries.push((hmac::sign(key, token.as_bytes()), Admission::new()));
        }
        match entries.len() {
            0 => Err(wrong("has no token".to_owned())),
            count if count > MOST => Err(wrong(format!("has {count} tokens, more than {MOST}"))),
            _ => Ok(Self { key: key.clone(), entries }),
        }
    }

    /// Keeps the admissions of tokens that `old` had too, and withdraws those of all its others.
    pub(super) fn succeed(&mut self, old: &Self) {
        for (tag, admission) in &old.entries {
            match self.entries.iter_mut().find(|(new, _)| new.as_ref() == tag.as_ref()) {
                Some((_, kept)) => kept.clone_from(admission),
                None => admission.cancel(),
            }
        }
    }

    /// The admission of the token that a call shows.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<Admission, TokenError> {
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (first, more) = (shown.next().ok_or(TokenError::Missing)?, shown.next());
        let token = first.to_str().ok().and_then(bearer).filter(|_| more.is_none()).ok_or(TokenError::Wrong)?;
        self.find(token).ok_or(TokenError::Wrong)
    }

    /// Compares with every token, whether or not one was found: the time says nothing but how many there are.
    fn find(&self, token: &str) -> Option<Admission> {
        let mut found = None;
        for (tag, admission) in &self.entries {
            if hmac::verify(&self.key, token.as_bytes(), tag.as_ref()).is_ok() {
                found = Some(admission.clone());
            }
        }
        found
    }
}

/// The first token of a file, for a client; none when there is none or it could not be sent.
pub(crate) fn first(text: &str) -> Option<&str> {
    lines(text).map(|(_, token)| token).next().filter(|token| check(token).is_ok())
}

/// What is wrong with a token, without the token.
fn check(token: &str) -> Result<(), String> {
    if token.len() < SHORTEST {
        return Err(format!("is shorter than {SHORTEST} characters"));
    }
    if token.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} characters"));
    }
    // RFC 6750, 2.1 (b64token).
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if token.trim_end_matches('=').bytes().all(allowed) {
        return Ok(());
    }
    Err("has other characters than letters, digits and -._~+/ with = at the end".to_owned())
}

/// The token of a header's value; the scheme's case does not count (RFC 9110, 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| token.len() <= LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const ONE: &str = "one-0123456789abcdef";
    const TWO: &str = "dHdvLTAxMjM0NTY3ODlhYmNkZWY=";

    fn tokens(key: &hmac::Key, content: &str) -> Result<Tokens, String> {
        let source = Source::new("api-token-file", Path::new("/etc/tokens"));
        Tokens::read(key, &source, content.as_bytes()).map_err(|error| error.to_string())
    }

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
    }

    #[test]
    fn any_token_of_the_file_lets_in_and_nothing_else_does() {
        let tokens = tokens(&tag_key(), &format!("# of the harbour\n\n{ONE}\r\n  {TWO}  \n# end")).unwrap();
        for good in [format!("Bearer {ONE}"), format!("bearer {TWO}"), format!("BEARER  {ONE}")] {
            assert!(tokens.admit(&headers(&[&good])).is_ok(), "{good}");
        }
        let prefix = &ONE[..ONE.len() - 1];
        let wrong = ["Bearer", "Bearer ", ONE, &format!("Basic {ONE}"), &format!("Bearer {prefix}")];
        for wrong in wrong.into_iter().chain(["Bearer # of the harbour", "Bearer # end"]) {
            assert_eq!(tokens.admit(&headers(&[wrong])).err(), Some(TokenError::Wrong), "{wrong}");
        }
        let twice = format!("Bearer {ONE}");
        assert_eq!(tokens.admit(&headers(&[&twice, &twice])).err(), Some(TokenError::Wrong));
        assert_eq!(tokens.admit(&headers(&[])).err(), Some(TokenError::Missing));
        assert_eq!(format!("{tokens:?}"), "Tokens(2)");
    }

    #[test]
    fn a_token_that_stays_keeps_its_admission_and_one_that_goes_is_withdrawn() {
        let key = tag_key();
        let old = tokens(&key, &format!("{ONE}\n{TWO}\n")).unwrap();
        let (one, two) = (old.find(ONE).unwrap(), old.find(TWO).unwrap());
        let mut new = tokens(&key, &format!("{TWO}\nthree-0123456789abcdef\n")).unwrap();
        new.succeed(&old);
        assert_eq!((one.is_cancelled(), two.is_cancelled()), (true, false));
        let mut newest = tokens(&key, ONE).unwrap();
        newest.succeed(&new);
        assert!(two.is_cancelled(), "through two successions");
        assert!(!newest.find(ONE).unwrap().is_cancelled(), "a token that came back is a new one");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_told_by_line_and_never_by_content() {
        for (content, words) in [
            ("", "has no token"),
            ("# nothing\n", "has no token"),
            ("# a comment\nshort-secret\n", "line 2 that is shorter than 16"),
            (&"s".repeat(LONGEST + 1), "line 1 that is longer than 4096"),
            ("a secret with blanks in it", "line 1 that has other characters"),
            ("=secret-in-the-middle=is-wrong", "line 1 that has other characters"),
            (&format!("{ONE}\n").repeat(MOST + 1), "has 257 tokens"),
        ] {
            let error = tokens(&tag_key(), content).unwrap_err();
            assert!(error.starts_with("--api-token-file: /etc/tokens ") && error.contains(words), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(tokens(&tag_key(), &format!("{ONE}\n").repeat(MOST)).is_ok());
    }

    #[test]
    fn a_client_sends_the_first_token() {
        assert_eq!(first(&format!("# mine\n{ONE}\n{TWO}\n")), Some(ONE));
        assert_eq!(first("# mine\nshort\n"), None);
        assert_eq!(first(""), None);
    }
}
