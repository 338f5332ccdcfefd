//! The certificates and keys of one cluster.
//!
//! Input: the names and addresses of the API server, and a folder. Output: one CA, a serving certificate, client
//! certificates and the key pair of service-account tokens, as PEM files (keys with mode 0600). Requirements:
//! <https://kubernetes.io/docs/setup/best-practices/certificates/>. Keys are ECDSA P-256. Nothing is renewed: a cluster
//! for tests is shorter-lived than its certificates. Does not decide who may do what (RBAC does, by the names in the
//! certificates).

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

use crate::files::{self, FileError};

/// Names by which every cluster reaches its API server from inside.
const SERVICE_NAMES: [&str; 5] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"];

/// Certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A key or certificate could not be generated.
    #[error("make the certificate of {subject}")]
    Make {
        /// Common name of the certificate.
        subject: String,
        /// What the generator said.
        source: rcgen::Error,
    },
    /// A file could not be written.
    #[error("keep the certificates")]
    Keep(#[from] FileError),
}

/// Who a certificate is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// Base name of the files.
    pub(crate) file: &'a str,
    /// Common name: the Kubernetes user.
    pub(crate) name: &'a str,
    /// Organisation: the Kubernetes group.
    pub(crate) group: Option<&'a str>,
}

/// The administrator, and the one certificate the API server shows to kubelets.
pub(crate) const ADMIN: Subject<'_> = Subject { file: "admin", name: "admin", group: Some("system:masters") };
/// The controller manager.
pub(crate) const CONTROLLER_MANAGER: Subject<'_> =
    Subject { file: "controller-manager", name: "system:kube-controller-manager", group: None };
/// The scheduler.
pub(crate) const SCHEDULER: Subject<'_> = Subject { file: "scheduler", name: "system:kube-scheduler", group: None };
/// The service proxy.
pub(crate) const PROXY: Subject<'_> = Subject { file: "proxy", name: "system:kube-proxy", group: None };

/// The certificate authority of a cluster and the folder its certificates are kept in.
pub(crate) struct Pki {
    dir: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// Makes a CA and the service-account key pair in `dir`.
    pub(crate) fn create(dir: &Path) -> Result<Self, PkiError> {
        files::create_dir(dir)?;
        let subject = "peat-cluster-ca";
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = generate(subject)?;
        let key_pem = key.serialize_pem();
        let ca = CertifiedIssuer::self_signed(params, key).map_err(|source| make_error(subject, source))?;
        files::write(&dir.join("ca.crt"), ca.pem())?;
        files::write_private(&dir.join("ca.key"), key_pem)?;
        let tokens = generate("service-account tokens")?;
        files::write_private(&dir.join("sa.key"), tokens.serialize_pem())?;
        files::write(&dir.join("sa.pub"), tokens.public_key_pem())?;
        Ok(Self { dir: dir.to_owned(), ca })
    }

    /// Makes the API server's serving certificate for `addresses` (names or IPs) and the in-cluster names.
    pub(crate) fn api_server(&self, addresses: &[String]) -> Result<(), PkiError> {
        let names = SERVICE_NAMES.iter().map(ToString::to_string).chain(addresses.iter().cloned()).collect();
        self.leaf(Subject { file: "apiserver", name: "kube-apiserver", group: None }, names)
    }

    /// Makes a client certificate.
    pub(crate) fn client(&self, subject: Subject<'_>) -> Result<(), PkiError> {
        self.leaf(subject, Vec::new())
    }

    /// Makes a kubelet's certificate, with which it serves on `address` and talks to the API server as
    /// `system:node:<node>`.
    pub(crate) fn kubelet(&self, node: &str, address: &str) -> Result<(), PkiError> {
        let user = format!("system:node:{node}");
        let subject = Subject { file: "kubelet", name: &user, group: Some("system:nodes") };
        self.leaf(subject, vec![node.to_owned(), address.to_owned()])
    }

    fn leaf(&self, subject: Subject<'_>, names: Vec<String>) -> Result<(), PkiError> {
        let make_error = |source| make_error(subject.name, source);
        let mut params = CertificateParams::new(names).map_err(make_error)?;
        params.distinguished_name.push(DnType::CommonName, subject.name);
        if let Some(group) = subject.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = generate(subject.name)?;
        let certificate = params.signed_by(&key, &self.ca).map_err(make_error)?;
        files::write(&self.dir.join(format!("{}.crt", subject.file)), certificate.pem())?;
        Ok(files::write_private(&self.dir.join(format!("{}.key", subject.file)), key.serialize_pem())?)
    }
}

fn generate(subject: &str) -> Result<KeyPair, PkiError> {
    KeyPair::generate().map_err(|source| make_error(subject, source))
}

fn make_error(subject: &str, source: rcgen::Error) -> PkiError {
    PkiError::Make { subject: subject.to_owned(), source }
}
