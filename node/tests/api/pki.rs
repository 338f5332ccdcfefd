//! Authorities and certificates of a test, as PEM files in a folder of its own, and clients that show them.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const HOUR: Duration = Duration::from_secs(3600);

/// A certificate and its key, PEM.
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// Signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = params(name, HOUR);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For the API, on loopback.
    pub(crate) fn server(&self) -> Pair {
        let mut params = params("peat-node", HOUR);
        params.subject_alt_names =
            CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap().subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.pair(params)
    }

    /// For a caller, from an hour ago until `left` from now; none is over since a minute.
    pub(crate) fn client(&self, left: Option<Duration>) -> Pair {
        let mut params = params("caller", left.unwrap_or_default());
        if left.is_none() {
            params.not_after -= Duration::from_secs(60);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.pair(params)
    }

    fn pair(&self, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        Pair { chain: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

fn params(name: &str, left: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    (params.not_before, params.not_after) = (epoch + (now - HOUR), epoch + (now + left));
    params
}

/// A folder of files that flags name.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Writes a file, in place of one that may be there, as a whole; its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let unfinished = self.path("unfinished");
        std::fs::write(&unfinished, text).unwrap();
        std::fs::rename(unfinished, self.path(name)).unwrap();
        self.path(name)
    }

    /// Puts new files in force as the kubelet does for a mounted Secret: files are links through `..data`, which is
    /// itself a link to a folder and is replaced by one to another.
    pub(crate) fn mount(&self, generation: u32, files: &[(&str, &str)]) {
        let folder = PathBuf::from(self.path(&format!("..generation_{generation}")));
        std::fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
            if !std::fs::exists(self.path(name)).unwrap() {
                std::os::unix::fs::symlink(format!("..data/{name}"), self.path(name)).unwrap();
            }
        }
        std::os::unix::fs::symlink(folder.file_name().unwrap(), self.path("..data_tmp")).unwrap();
        std::fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
    }

    /// The flags of a server with TLS, its files written.
    pub(crate) fn server(&self, authority: &Authority) -> Vec<String> {
        let Pair { chain, key } = authority.server();
        let (chain, key) = (self.write("tls.crt", &chain), self.write("tls.key", &key));
        ["--api-tls-cert".to_owned(), chain, "--api-tls-key".to_owned(), key].into()
    }
}

/// A client that trusts `authority` and shows `pair`.
pub(crate) fn client(authority: &Authority, pair: Option<&Pair>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    match pair {
        None => builder.with_no_client_auth(),
        Some(Pair { chain, key }) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
    }
}

/// A connection on which no byte of the application was sent. The client's side of TLS 1.3 is done before the server
/// has looked at its certificate: a refusal comes with the first read.
pub(crate) async fn connect(to: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}
