//! Where a node is, and the connection to it.
//!
//! Inputs: `--api`. Outputs: the generated client over one HTTP/2 connection, made at the first call.
//! What it does not do: TLS, which the node's API does not have.

use super::ClientError;
use crate::cli::ApiArgs;
use connectrpc::Protocol;
use connectrpc::client::{CallOptions, ClientConfig, Http2Connection, SharedHttp2Connection};
use peat_crds::names::port;
use peat_proto::sidecar::peat::sidecar::v1::PeatSidecarClient;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

/// Calls that may wait for the connection: the client makes one at a time.
const CALLS_AT_ONCE: usize = 1;

/// Largest answer: a list of a large collection.
const LARGEST_ANSWER: usize = 256 << 20;

/// A node's API.
#[derive(Clone)]
pub(super) struct Client {
    inner: PeatSidecarClient<SharedHttp2Connection>,
    /// For the beginning of a stream, which has no deadline of its own.
    pub(super) timeout: Duration,
}

impl Client {
    /// Reads the address; connects at the first call.
    pub(super) fn new(args: &ApiArgs) -> Result<Self, ClientError> {
        let timeout = Duration::from_secs(args.timeout.max(1));
        let given = args.api.as_deref().filter(|url| !url.is_empty());
        let default = format!("http://127.0.0.1:{}", port::API);
        let target = Target::parse(given.unwrap_or(&default))?;
        let builder = Http2Connection::builder().establishment_timeout(timeout);
        let (connection, uri) = match target {
            Target::Tcp(uri) => (builder.lazy_plaintext(uri.clone()), uri),
            Target::Unix(path) => {
                let authority = http::Uri::from_static("http://localhost");
                (builder.lazy_unix(path, authority.clone()), authority)
            }
        };
        let config = ClientConfig::new(uri).with_protocol(Protocol::Grpc).with_default_max_message_size(LARGEST_ANSWER);
        // A deadline of the configuration would also cut streams.
        let inner = PeatSidecarClient::new(connection.shared(CALLS_AT_ONCE), config);
        Ok(Self { inner, timeout })
    }

    /// Options of a call that ends: the deadline of `--timeout`.
    pub(super) fn deadline(&self) -> CallOptions {
        CallOptions::default().with_timeout(self.timeout)
    }
}

impl Deref for Client {
    type Target = PeatSidecarClient<SharedHttp2Connection>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

/// A place where an API may be.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Tcp(http::Uri),
    Unix(PathBuf),
}

impl Target {
    fn parse(url: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Usage(format!("--api: `{url}` is neither http://HOST:PORT nor unix:///PATH"));
        if let Some(path) = url.strip_prefix("unix://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(wrong()) };
        }
        // The form of --listen is the one that people have at hand.
        let authority = url.strip_prefix("http://").or_else(|| url.strip_prefix("tcp://")).unwrap_or(url);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains('/') {
            return Err(wrong());
        }
        let uri: http::Uri = format!("http://{authority}").parse().map_err(|_| wrong())?;
        if uri.port().is_none() || uri.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        Ok(Self::Tcp(uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_http_or_a_socket() {
        for url in ["http://127.0.0.1:50051", "http://127.0.0.1:50051/", "tcp://127.0.0.1:50051", "127.0.0.1:50051"] {
            assert_eq!(Target::parse(url).unwrap(), Target::Tcp("http://127.0.0.1:50051".parse().unwrap()), "{url}");
        }
        assert_eq!(Target::parse("unix:///run/peat.sock").unwrap(), Target::Unix("/run/peat.sock".into()));
        for url in ["https://127.0.0.1:1", "unix://relative", "http://127.0.0.1", "http://", "http://h:1/path", ":1"] {
            assert!(matches!(Target::parse(url), Err(ClientError::Usage(_))), "{url}");
        }
    }
}
