//! Where a node is, and the connection to it.
//!
//! Inputs: `--api` and the flags beside it. Outputs: the generated client over one HTTP/2 connection, made at the first
//! call, and a name for what ends a stream. What it does not do: send a token in clear text beyond loopback.

use super::ClientError;
use super::secure::{Secure, authorization};
use crate::cli::ApiArgs;
use buffa_types::google::protobuf::Duration as ProtoDuration;
use connectrpc::client::{CallOptions, ClientConfig, Http2Connection, SharedHttp2Connection};
use connectrpc::{ConnectError, ErrorCode, Protocol};
use peat_crds::names::port;
use peat_proto::sidecar::peat::node::v1::NodeClient;
use peat_proto::sidecar::peat::sidecar::v1::PeatSidecarClient;
use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

/// Calls that may wait for the connection: the client makes one at a time.
const CALLS_AT_ONCE: usize = 1;

/// What a node that waited for others has for its answer.
const ANSWER_ROOM: Duration = Duration::from_secs(10);

/// Largest answer: a list of a large collection.
const LARGEST_ANSWER: usize = 256 << 20;

/// A node's API.
#[derive(Clone)]
pub(super) struct Client {
    inner: PeatSidecarClient<SharedHttp2Connection>,
    /// `peat.node.v1.Node`, on the same connection.
    pub(super) node: NodeClient<SharedHttp2Connection>,
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
        let authorization = authorization(args)?;
        if authorization.is_some() && !target.is_private() {
            let reason = "a token is not sent in clear text: use https://, a socket or loopback";
            return Err(ClientError::Usage(format!("--api-token-file: {reason}")));
        }
        let builder = Http2Connection::builder().establishment_timeout(timeout);
        let (connection, uri) = match target {
            Target::Tcp(uri) => (builder.lazy_plaintext(uri.clone()), uri),
            Target::Tls(uri) => (builder.lazy_with_connector(Secure::new(args, &uri)?, uri.clone()), uri),
            Target::Unix(path) => {
                let authority = http::Uri::from_static("http://localhost");
                (builder.lazy_unix(path, authority.clone()), authority)
            }
        };
        let headers = authorization.map(|value| (http::header::AUTHORIZATION, value));
        let config = ClientConfig::new(uri).with_default_headers(headers.into_iter().collect());
        let config = config.with_protocol(Protocol::Grpc).with_default_max_message_size(LARGEST_ANSWER);
        // A deadline of the configuration would also cut streams.
        let connection = connection.shared(CALLS_AT_ONCE);
        let node = NodeClient::new(connection.clone(), config.clone());
        Ok(Self { inner: PeatSidecarClient::new(connection, config), node, timeout })
    }

    /// Options of a call that ends: the deadline of `--timeout`.
    pub(super) fn deadline(&self) -> CallOptions {
        CallOptions::default().with_timeout(self.timeout)
    }

    /// How long the node is to wait for other nodes in a call that waits, and the options of that call: the node ends
    /// it, because only the node can say what was still to come.
    pub(super) fn wait(&self) -> (ProtoDuration, CallOptions) {
        let seconds = i64::try_from(self.timeout.as_secs()).unwrap_or(i64::MAX);
        let options = CallOptions::default().with_timeout(self.timeout.saturating_add(ANSWER_ROOM));
        (ProtoDuration { seconds, ..Default::default() }, options)
    }
}

impl Deref for Client {
    type Target = PeatSidecarClient<SharedHttp2Connection>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

/// What ended a stream; `node_said`: whether trailers came with it. connectrpc calls a connection that broke within a
/// stream INTERNAL; what the node says comes in trailers.
pub(super) fn broken(mut error: ConnectError, node_said: bool) -> ConnectError {
    if error.code == ErrorCode::Internal && !node_said {
        error.code = ErrorCode::Unavailable;
    }
    error
}

/// A place where an API may be.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Tcp(http::Uri),
    Tls(http::Uri),
    Unix(PathBuf),
}

impl Target {
    fn parse(url: &str) -> Result<Self, ClientError> {
        const FORMS: &str = "http://HOST:PORT, https://HOST:PORT and unix:///PATH";
        let wrong = || ClientError::Usage(format!("--api: `{url}` is none of {FORMS}"));
        if let Some(path) = url.strip_prefix("unix://") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(wrong()) };
        }
        // The form of --listen is the one that people have at hand.
        let (scheme, authority) = match url.strip_prefix("https://") {
            Some(authority) => ("https", authority),
            None => ("http", url.strip_prefix("http://").or_else(|| url.strip_prefix("tcp://")).unwrap_or(url)),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains('/') {
            return Err(wrong());
        }
        let uri: http::Uri = format!("{scheme}://{authority}").parse().map_err(|_| wrong())?;
        if uri.port().is_none() || uri.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        Ok(if scheme == "https" { Self::Tls(uri) } else { Self::Tcp(uri) })
    }

    /// Whether nobody on the way can read what is sent.
    fn is_private(&self) -> bool {
        match self {
            Self::Tls(_) | Self::Unix(_) => true,
            Self::Tcp(uri) => {
                let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
                host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_broke_is_unavailable_and_a_bug_that_the_node_told_of_is_not() {
        let code = |error, node_said| broken(error, node_said).code;
        assert_eq!(code(ConnectError::internal("failed to read response body"), false), ErrorCode::Unavailable);
        assert_eq!(code(ConnectError::internal("internal error 7"), true), ErrorCode::Internal);
        assert_eq!(code(ConnectError::invalid_argument("query"), false), ErrorCode::InvalidArgument);
    }

    #[test]
    fn an_address_is_http_or_https_or_a_socket() {
        for url in ["http://127.0.0.1:50051", "http://127.0.0.1:50051/", "tcp://127.0.0.1:50051", "127.0.0.1:50051"] {
            assert_eq!(Target::parse(url).unwrap(), Target::Tcp("http://127.0.0.1:50051".parse().unwrap()), "{url}");
        }
        let tls = Target::parse("https://peat.example:50051/").unwrap();
        assert_eq!(tls, Target::Tls("https://peat.example:50051".parse().unwrap()));
        assert_eq!(Target::parse("unix:///run/peat.sock").unwrap(), Target::Unix("/run/peat.sock".into()));
        for url in [
            "https://127.0.0.1",
            "https://h:1/path",
            "unix://relative",
            "http://127.0.0.1",
            "http://",
            "http://h:1/path",
            ":1",
        ] {
            assert!(matches!(Target::parse(url), Err(ClientError::Usage(_))), "{url}");
        }
    }

    #[test]
    fn a_token_goes_where_nobody_else_can_read_it() {
        let private = |url| Target::parse(url).unwrap().is_private();
        for url in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://peat.example:1", "unix:///s"]
        {
            assert!(private(url), "{url}");
        }
        for url in ["http://peat.example:1", "http://10.0.0.1:1", "tcp://[fd00::1]:1", "http://localhost.example:1"] {
            assert!(!private(url), "{url}");
        }
    }
}
