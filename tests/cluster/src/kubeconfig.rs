//! The kubeconfig files of one cluster.
//!
//! Input: the API server's URL and the PEM files of a user. Output: a self-contained kubeconfig (mode 0600, nothing by
//! path), as of <https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>. Does not read or change the user's
//! own kubeconfig.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::files::{self, FileError};

/// Writes a kubeconfig to `path` for the user whose certificate is `<pki>/<user>.crt`.
pub(crate) fn write(path: &Path, server: &str, pki: &Path, user: &str) -> Result<(), FileError> {
    let data = |file: String| files::read(&pki.join(file)).map(|pem| STANDARD.encode(pem));
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "peat",
        "clusters": [{
            "name": "peat",
            "cluster": {"server": server, "certificate-authority-data": data("ca.crt".to_owned())?},
        }],
        "users": [{
            "name": user,
            "user": {
                "client-certificate-data": data(format!("{user}.crt"))?,
                "client-key-data": data(format!("{user}.key"))?,
            },
        }],
        "contexts": [{"name": "peat", "context": {"cluster": "peat", "user": user}}],
    });
    // JSON is YAML, and every reader of kubeconfigs takes it.
    files::write_private(path, format!("{config:#}\n"))
}
