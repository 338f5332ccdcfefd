//! The smallest HTTP clients that the measurements need.
//!
//! Inputs: an address; outputs: status and text. [`Pool`] speaks as the API server does to webhooks: HTTP/1.1 over TLS,
//! on connections that are kept. What it does not do: follow, retry, or compress.

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Sender = SendRequest<Full<Bytes>>;

/// One GET without TLS.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let (mut sender, connection) = handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
    tokio::spawn(connection);
    let answer = exchange(&mut sender, http::Method::GET, address, path, Bytes::new()).await?;
    Ok((answer.0, String::from_utf8(answer.1.to_vec())?))
}

/// Kept connections to one server, as many as calls were ever under way at once.
#[derive(Clone)]
pub(super) struct Pool {
    address: SocketAddr,
    tls: TlsConnector,
    idle: Arc<Mutex<Vec<Sender>>>,
    opened: Arc<AtomicUsize>,
}

impl Pool {
    /// A pool that trusts the certificates in `ca` (PEM).
    pub(super) fn new(address: SocketAddr, ca: &[u8]) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca) {
            roots.add(certificate.context("read the CA")?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { address, tls, idle: Arc::default(), opened: Arc::default() })
    }

    /// Connections that were opened.
    pub(super) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// One request on an idle connection, or on a new one when there is none.
    pub(super) async fn call(&self, method: http::Method, path: &str, body: Vec<u8>) -> Result<(u16, Bytes)> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut sender = match idle.filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let answer = exchange(&mut sender, method, self.address, path, body.into()).await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        Ok(answer)
    }

    async fn connect(&self) -> Result<Sender> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(ServerName::from(self.address.ip()), stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(sender)
    }
}

async fn exchange(
    sender: &mut Sender,
    method: http::Method,
    address: SocketAddr,
    path: &str,
    body: Bytes,
) -> Result<(u16, Bytes)> {
    sender.ready().await?;
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, address.to_string())
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))?;
    let answer = sender.send_request(request).await?;
    Ok((answer.status().as_u16(), answer.into_body().collect().await?.to_bytes()))
}
