//! Every name that more than one part of Peat must agree on, once.
//!
//! Purpose: operator, node, chart checks and tests read the same constant, so that a rename is one edit.
//! What it does not do: give the names meaning; the types and the injector do.

/// API group of both custom resources.
pub const GROUP: &str = "peat.mesh";
/// Served and stored version.
pub const VERSION: &str = "v1alpha1";
/// Category that lists every Peat kind (`kubectl get peat`).
pub const CATEGORY: &str = "peat";

/// Annotations that ask for something. On pods, and the first also on namespaces.
pub mod annotation {
    /// `<mesh>`, `<namespace>/<mesh>`, `true` (the only mesh of the namespace) or `false`.
    pub const INJECT: &str = "peat.mesh/inject";
    /// Image of the sidecar, in place of the mesh's.
    pub const IMAGE: &str = "peat.mesh/image";
    /// Log filter of the sidecar, in place of the mesh's.
    pub const LOG_LEVEL: &str = "peat.mesh/log-level";
    /// Set by us: hash of what was injected.
    pub const INJECTED: &str = "peat.mesh/injected";
    /// Set by us: why nothing was injected.
    pub const STATUS: &str = "peat.mesh/status";
    /// On a PeatMesh whose authority is lost: the public key of that authority, so that another one is made.
    pub const REPLACE_AUTHORITY: &str = "peat.mesh/replace-authority";
}

/// Labels that we set or read.
pub mod label {
    /// On a namespace: `enabled` switches injection on for its pods.
    pub const INJECT: &str = "peat.mesh/inject";
    /// The value of [`INJECT`] that switches on.
    pub const INJECT_ENABLED: &str = "enabled";
    /// On injected pods, PeatPeers and ConfigMaps: UID of the mesh (a name may exceed the 63 characters of a label).
    pub const MESH_UID: &str = "peat.mesh/mesh-uid";
    /// On a Kubernetes node: its zone, in the words of Kubernetes.
    pub const ZONE: &str = "topology.kubernetes.io/zone";
    /// The recommended labels of Kubernetes.
    pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
    /// The recommended labels of Kubernetes.
    pub const NAME: &str = "app.kubernetes.io/name";
    /// The recommended labels of Kubernetes.
    pub const COMPONENT: &str = "app.kubernetes.io/component";
    /// The recommended labels of Kubernetes.
    pub const PART_OF: &str = "app.kubernetes.io/part-of";
}

/// The injected container, its volumes and paths.
pub mod sidecar {
    /// Name of the container.
    pub const CONTAINER: &str = "peat-node";
    /// Numeric user and group of every Peat image.
    pub const UID: i64 = 65532;
    /// Memory volume with key and certificate; mounted by nothing else.
    pub const VOLUME_KEYS: &str = "peat-keys";
    /// Where [`VOLUME_KEYS`] is mounted.
    pub const KEY_DIR: &str = "/var/run/peat/keys";
    /// Volume of the API socket.
    pub const VOLUME_RUN: &str = "peat-run";
    /// Where [`VOLUME_RUN`] is mounted.
    pub const RUN_DIR: &str = "/run/peat";
    /// The API socket.
    pub const SOCKET: &str = "/run/peat/peat.sock";
    /// Disk volume of the store.
    pub const VOLUME_DATA: &str = "peat-data";
    /// Where [`VOLUME_DATA`] is mounted.
    pub const DATA_DIR: &str = "/var/lib/peat";
    /// Projected service account token.
    pub const VOLUME_TOKEN: &str = "peat-token";
    /// Folder of the token.
    pub const TOKEN_DIR: &str = "/var/run/peat/token";
    /// The token.
    pub const TOKEN_FILE: &str = "/var/run/peat/token/token";
    /// Lifetime of the token.
    pub const TOKEN_SECONDS: i64 = 3600;
    /// Optional ConfigMap of the mesh.
    pub const VOLUME_MESH: &str = "peat-mesh";
    /// Where [`VOLUME_MESH`] is mounted.
    pub const MESH_DIR: &str = "/etc/peat/mesh";
}

/// Audience of the projected token.
pub const TOKEN_AUDIENCE: &str = "peat-operator";

/// Ports.
pub mod port {
    /// Application API, on the pod's loopback.
    pub const API: u16 = 50051;
    /// QUIC of the mesh, UDP.
    pub const MESH: u16 = 11204;
    /// Health and metrics of the node, on the pod IP.
    pub const NODE_ADMIN: u16 = 11205;
    /// Admission webhook of the operator.
    pub const WEBHOOK: u16 = 9443;
    /// Membership server of the operator.
    pub const MEMBERSHIP: u16 = 8443;
    /// Health and metrics of the operator.
    pub const OPERATOR_ADMIN: u16 = 8080;
}

/// Environment of the node. `PEAT_NODE_` is the prefix of every flag's variable.
pub mod env {
    /// Downward API: name of the pod.
    pub const POD_NAME: &str = "PEAT_NODE_POD_NAME";
    /// Downward API: namespace of the pod.
    pub const POD_NAMESPACE: &str = "PEAT_NODE_POD_NAMESPACE";
    /// Downward API: UID of the pod.
    pub const POD_UID: &str = "PEAT_NODE_POD_UID";
    /// Downward API: IP of the pod.
    pub const POD_IP: &str = "PEAT_NODE_POD_IP";
    /// Downward API: name of the Kubernetes node.
    pub const NODE_NAME: &str = "PEAT_NODE_NODE_NAME";
    /// Identity of the mesh: its `spec.meshID`, else its UID. The trust domain of every SPIFFE ID in it.
    pub const MESH_UID: &str = "PEAT_NODE_MESH_UID";
    /// `<namespace>/<name>` of the mesh, for people.
    pub const MESH_NAME: &str = "PEAT_NODE_MESH_NAME";
    /// `https://host:port` of the membership server.
    pub const MEMBERSHIP_URL: &str = "PEAT_NODE_MEMBERSHIP_URL";
    /// PEM of the operator's certificate authorities.
    pub const MEMBERSHIP_CA: &str = "PEAT_NODE_MEMBERSHIP_CA";
    /// Path of the projected token.
    pub const TOKEN_FILE: &str = "PEAT_NODE_TOKEN_FILE";
    /// Folder of key and certificate.
    pub const KEY_DIR: &str = "PEAT_NODE_KEY_DIR";
    /// Folder of the mounted ConfigMap of the mesh.
    pub const MESH_DIR: &str = "PEAT_NODE_MESH_DIR";
    /// Folder of the store.
    pub const DATA_DIR: &str = "PEAT_NODE_DATA_DIR";
    /// Listeners of the application API, comma separated.
    pub const LISTEN: &str = "PEAT_NODE_LISTEN";
    /// Listener of health and metrics.
    pub const ADMIN_LISTEN: &str = "PEAT_NODE_ADMIN_LISTEN";
    /// UDP port of the mesh.
    pub const IROH_UDP_PORT: &str = "PEAT_NODE_IROH_UDP_PORT";
    /// Log filter.
    pub const LOG_LEVEL: &str = "PEAT_NODE_LOG_LEVEL";

    /// Everything that the injector sets, and that a mesh's own `env` may therefore not set.
    pub const INJECTED: [&str; 17] = [
        POD_NAME,
        POD_NAMESPACE,
        POD_UID,
        POD_IP,
        NODE_NAME,
        MESH_UID,
        MESH_NAME,
        MEMBERSHIP_URL,
        MEMBERSHIP_CA,
        TOKEN_FILE,
        KEY_DIR,
        MESH_DIR,
        DATA_DIR,
        LISTEN,
        ADMIN_LISTEN,
        IROH_UDP_PORT,
        LOG_LEVEL,
    ];
}

/// Keys of the ConfigMap that each mesh has in every namespace it serves; see [`mesh_config_map`].
pub mod config_map {
    /// URL of the membership server.
    pub const MEMBERSHIP: &str = "membership";
    /// PEM of the operator's certificate authorities.
    pub const CA: &str = "ca.crt";
    /// PEM of the mesh's certificate authorities.
    pub const TRUST_BUNDLE: &str = "trust-bundle.pem";
    /// At most 16 lines `<endpoint id>@<ip>:<port>`.
    pub const BOOTSTRAP: &str = "bootstrap";
}

/// Secrets of the operator, all in its own namespace.
pub mod secret {
    /// TLS authority of webhook and membership server.
    pub const OPERATOR_CA: &str = "peat-operator-ca";
    /// Prefix of a mesh's authority; the UID of the mesh follows.
    pub const AUTHORITY_PREFIX: &str = "peat-authority-";
}

/// Name of a mesh's ConfigMap: `peat-<mesh>-<first 8 of the UID>`, with a long mesh name cut so that the whole is a
/// DNS subdomain of at most 253 characters (RFC 1123).
pub fn mesh_config_map(mesh: &str, uid: &str) -> String {
    suffixed("peat-", mesh, uid)
}

/// Name of a pod's first PeatPeer: `<pod>-<first 8 of the pod's UID>`, cut like [`mesh_config_map`].
pub fn peer(pod: &str, uid: &str) -> String {
    suffixed("", pod, uid)
}

fn suffixed(prefix: &str, name: &str, uid: &str) -> String {
    /// Room for a `-<generation>` of a replaced PeatPeer.
    const LONGEST: usize = 253 - 8;
    let short: String = uid.chars().take(8).collect();
    let room = LONGEST - prefix.len() - short.len() - 1;
    let cut: String = name.chars().take(room).collect();
    format!("{prefix}{}-{short}", cut.trim_end_matches(['-', '.']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_carries_eight_characters_of_the_uid() {
        assert_eq!(peer("ferry-0", "0f9a3c5d-1111-2222-3333-444455556666"), "ferry-0-0f9a3c5d");
        assert_eq!(mesh_config_map("harbour", "0f9a3c5d-1"), "peat-harbour-0f9a3c5d");
    }

    #[test]
    fn a_name_of_any_length_stays_a_dns_subdomain() {
        let name = mesh_config_map(&"a".repeat(253), "0f9a3c5d");
        assert!(name.len() <= 245);
        assert!(name.ends_with("a-0f9a3c5d"));
    }
}
