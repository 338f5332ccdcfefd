//! How a client knows the node, and how it proves who calls.
//!
//! Inputs: `--api-ca`, `--api-cert`, `--api-key`, `--api-token-file`. Outputs: a connector that speaks TLS, and the
//! header with the token. What it does not do: trust the authorities of the system; `--api-ca` names who vouches for
//! the node.

use super::ClientError;
use crate::api::access::first_token;
use crate::cli::ApiArgs;
use crate::config;
use futures::future::BoxFuture;
use http::{HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The `authorization` of every call, from the first token of `--api-token-file`; none without the flag.
pub(super) fn authorization(args: &ApiArgs) -> Result<Option<HeaderValue>, ClientError> {
    let Some(path) = given(args.api_token_file.as_ref()) else { return Ok(None) };
    let text = String::from_utf8(read("api-token-file", path)?).unwrap_or_default();
    let token =
        first_token(&text).ok_or_else(|| wrong("api-token-file", path, "has no usable token in its first line"))?;
    let header = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut header = header.map_err(|_| wrong("api-token-file", path, "has no usable token in its first line"))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

/// Connects to one node over TLS.
#[derive(Clone)]
pub(super) struct Secure {
    tls: TlsConnector,
    name: ServerName<'static>,
    /// As `TcpStream` takes it.
    address: String,
}

impl Secure {
    /// `uri`: `https://HOST:PORT`; the certificate must be for `HOST`.
    pub(super) fn new(args: &ApiArgs, uri: &Uri) -> Result<Self, ClientError> {
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16().unwrap_or_default());
        let name = ServerName::try_from(host.trim_start_matches('[').trim_end_matches(']').to_owned());
        let name = name.map_err(|_| ClientError::Usage(format!("--api: `{host}` cannot be in a certificate")))?;
        Ok(Self { tls: TlsConnector::from(Arc::new(config(args)?)), name, address: format!("{host}:{port}") })
    }

    async fn connect(self) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        self.tls.connect(self.name, stream).await.map(TokioIo::new)
    }
}

impl tower::Service<Uri> for Secure {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().connect())
    }
}

fn config(args: &ApiArgs) -> Result<ClientConfig, ClientError> {
    let Some(ca) = given(args.api_ca.as_ref()) else {
        return Err(ClientError::Usage("--api-ca: is needed with https://".to_owned()));
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("api-ca", ca)? {
        roots.add(certificate).map_err(|_| wrong("api-ca", ca, "has a certificate that cannot be read"))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder =
        builder.with_safe_default_protocol_versions().map_err(io::Error::other)?.with_root_certificates(roots);
    let mut config = match (given(args.api_cert.as_ref()), given(args.api_key.as_ref())) {
        (None, None) => builder.with_no_client_auth(),
        (Some(cert), Some(key)) => {
            let chain = certificates("api-cert", cert)?;
            let parsed = PrivateKeyDer::from_pem_slice(&read("api-key", key)?);
            let parsed = parsed.map_err(|_| wrong("api-key", key, "has no PEM key"))?;
            let config = builder.with_client_auth_cert(chain, parsed);
            config.map_err(|_| wrong("api-key", key, "is not the key of --api-cert, or one that cannot be used"))?
        }
        (Some(_), None) => return Err(ClientError::Usage("--api-key: is needed with --api-cert".to_owned())),
        (None, Some(_)) => return Err(ClientError::Usage("--api-cert: is needed with --api-key".to_owned())),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(flag: &str, path: &str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    config::certificates(path).map_err(|reason| wrong(flag, path, &reason))
}

fn read(flag: &str, path: &str) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| wrong(flag, path, &format!("cannot be read: {error}")))
}

fn wrong(flag: &str, path: &str, reason: &str) -> ClientError {
    ClientError::Usage(format!("--{flag}: {path} {reason}"))
}

/// Empty is unset: compose files and Helm charts pass empty strings.
fn given(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}
