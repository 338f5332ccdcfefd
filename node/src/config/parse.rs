//! From the text of flags to checked values, in the order of [`Config`].
//!
//! Inputs: [`RawArgs`]. Outputs: [`Config`] or the first error. What it does not do: read anything but the key file
//! and, to check them, the files that say who may call the API and what peers may do.

use super::access::{exposed, read_access};
use super::quota::limits;
use super::relay::{Relay, is_relay, is_usable, peer_address, relay};
use super::rights::rights_file;
use super::store_key::store_keys;
use super::text::{LONGEST_NAME, boolean, given, number, parsed, secret, short_name, value};
use super::unbuilt::unbuilt;
use super::{
    ApiConfig, Config, ConfigError, DEFAULT_DATA_DIR, FlagsMode, GcConfig, IdentitySource, Listen, LogConfig,
    ManagedMode, MeshConfig, MeshKey, Mode, PeerFlag, SharedKey, SharedKeys,
};
use crate::api::access::check;
use crate::cli::{RawArgs, Secret, Settings};
use crate::identity::is_key;
use crate::secrets::{self, KeyFileError};
use crate::vault::Vault;
use peat_crds::names::port;
use peat_node_core::docs::Kinds;
use peat_node_core::ids::{Collection, PeerId};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Largest document unless told otherwise.
const DEFAULT_DOCUMENT_BYTES: u64 = 1 << 20;
/// Bounds of `--max-document-bytes`: a document must fit a frame of the mesh with its history.
const DOCUMENT_BYTES: RangeInclusive<u64> = 1024..=2 << 20;
/// Keys of a mesh at once: one more than a rotation needs is a mistake, but not yet a reason to refuse the file.
const MOST_KEYS: usize = 8;
/// Hours of telling of a delete that are few enough for a warning.
const SHORT_TOMBSTONES: u64 = 24;

pub(super) fn config(raw: RawArgs) -> Result<Config, ConfigError> {
    let mut warnings = unbuilt(&raw.unbuilt)?;
    let (api, mut told) = api(&raw)?;
    warnings.append(&mut told);
    let mode = mode(&raw)?;
    if let Mode::Flags(FlagsMode { key: MeshKey::Absent, .. }) = &mode {
        warnings.push("no --shared-key: this node peers with nobody (--allow-empty-key peers with anyone)".to_owned());
    }
    let node_id = match (given(raw.node_id.as_ref()), &mode) {
        (Some(name), _) => Some(short_name("node-id", name)?),
        (None, Mode::Managed(managed)) => Some(managed.pod_name.clone()),
        (None, Mode::Flags(_)) => None,
    };
    let relay = relay(raw.relay.as_ref(), raw.relay_ca.as_ref())?;
    let ours = relay.as_ref().map(Relay::address);
    let elsewhere = |peer: &PeerFlag| peer.address.as_ref().is_some_and(|address| !is_usable(address, ours.as_ref()));
    if matches!(&mode, Mode::Flags(flags) if flags.peers.iter().any(elsewhere)) {
        return Err(value("peer", "a peer is met only at the relay that --relay names"));
    }
    let data_dir = PathBuf::from(given(raw.data_dir.as_ref()).unwrap_or(DEFAULT_DATA_DIR));
    let identity = identity(&raw, &mode, node_id.as_deref())?;
    if let IdentitySource::Derived { .. } = &identity {
        warnings
            .push("--identity derived: whoever holds the mesh's key can compute this node's private key".to_owned());
    }
    Ok(Config {
        kinds: kinds(&raw.latest_collections)?,
        identity,
        node_id,
        key_dir: given(raw.key_dir.as_ref()).map_or_else(|| data_dir.clone(), PathBuf::from),
        data_dir,
        store_keys: store_keys(raw.store_key_file.as_ref())?,
        mode,
        mesh: MeshConfig {
            udp_port: parsed("iroh-udp-port", raw.iroh_udp_port.as_ref(), "a port from 0 to 65535")?.unwrap_or(0),
            bind: parsed("mesh-listen", raw.mesh_listen.as_ref(), "an IP address")?,
            auto_sync: boolean("auto-sync", raw.auto_sync.as_ref(), true)?,
            rights_file: rights_file(raw.rights_file.as_ref())?,
            relay,
        },
        admin_listen: parsed("admin-listen", raw.admin_listen.as_ref(), "IP:PORT")?,
        document_limit: api.document_limit,
        quotas: limits(&raw)?,
        vault: vault(raw.encryption_key.as_ref(), raw.encryption_key_file.as_ref())?,
        gc: gc(&raw, &mut warnings)?,
        api,
        log: log(&raw)?,
        otlp_endpoint: collector(&raw)?,
        print: boolean("print-config", raw.print_config.as_ref(), false)?,
        settings: Settings::default(),
        warnings,
    })
}

/// The API, and what deserves a line in the log.
fn api(raw: &RawArgs) -> Result<(ApiConfig, Vec<String>), ConfigError> {
    let mut listen = Vec::new();
    for text in raw.listen.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        let address = listener(text)?;
        if !listen.contains(&address) {
            listen.push(address);
        }
    }
    if listen.is_empty() {
        listen.push(Listen::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port::API))));
    }
    let (access, warnings) = read_access(raw, &listen)?;
    check(&access)?;
    const SECONDS: &str = "seconds";
    let seconds = |flag, text: &Option<String>, range, default| {
        number(flag, text.as_ref(), range, default, SECONDS).map(Duration::from_secs)
    };
    let default_timeout = seconds("rpc-default-timeout-secs", &raw.rpc_default_timeout_secs, 1..=86_400, 120)?;
    let max_timeout = seconds("rpc-max-timeout-secs", &raw.rpc_max_timeout_secs, 1..=86_400, 300)?;
    if default_timeout > max_timeout {
        let reason =
            format!("{} is over --rpc-max-timeout-secs ({})", default_timeout.as_secs(), max_timeout.as_secs());
        return Err(value("rpc-default-timeout-secs", reason));
    }
    let count = |flag, text: &Option<String>, default| number(flag, text.as_ref(), 1..=65_535, default, "a count");
    let document_limit =
        number("max-document-bytes", raw.max_document_bytes.as_ref(), DOCUMENT_BYTES, DEFAULT_DOCUMENT_BYTES, "bytes")?;
    let api = ApiConfig {
        socket_mode: socket_mode(raw.socket_mode.as_ref())?,
        exposed: exposed(&access, &listen),
        listen,
        access,
        document_limit: document_limit as usize,
        default_timeout,
        max_timeout,
        header_read_timeout: seconds(
            "http-header-read-timeout-secs",
            &raw.http_header_read_timeout_secs,
            1..=3600,
            30,
        )?,
        max_idle: seconds("http-max-connection-idle-secs", &raw.http_max_connection_idle_secs, 1..=86_400, 300)?,
        max_connections: count("http-max-connections", &raw.http_max_connections, 1024)? as usize,
        keepalive_interval: seconds("http2-keepalive-interval-secs", &raw.http2_keepalive_interval_secs, 1..=3600, 30)?,
        keepalive_timeout: seconds("http2-keepalive-timeout-secs", &raw.http2_keepalive_timeout_secs, 1..=3600, 20)?,
        max_streams: count("http2-max-concurrent-streams", &raw.http2_max_concurrent_streams, 128)? as u32,
    };
    Ok((api, warnings))
}

fn gc(raw: &RawArgs, warnings: &mut Vec<String>) -> Result<GcConfig, ConfigError> {
    let hours = number("tombstone-ttl-hours", raw.tombstone_ttl_hours.as_ref(), 1..=87_600, 168, "hours")?;
    if hours < SHORT_TOMBSTONES {
        warnings.push(format!(
            "--tombstone-ttl-hours={hours}: a node that joins later than that after a delete is not told of it"
        ));
    }
    let every = number("gc-interval-secs", raw.gc_interval_secs.as_ref(), 1..=86_400, 300, "seconds")?;
    let batch = number("gc-batch-size", raw.gc_batch_size.as_ref(), 1..=65_536, 1000, "a count")?;
    Ok(GcConfig {
        tombstone_ttl: Duration::from_secs(hours * 3600),
        every: Duration::from_secs(every),
        batch: batch as usize,
    })
}

fn listener(text: &str) -> Result<Listen, ConfigError> {
    let wrong = || value("listen", format!("`{text}` is neither tcp://IP:PORT nor unix:///PATH"));
    if let Some(path) = text.strip_prefix("unix://") {
        let path = Path::new(path);
        return if path.is_absolute() { Ok(Listen::Unix(path.to_owned())) } else { Err(wrong()) };
    }
    let address = text.strip_prefix("tcp://").unwrap_or(text);
    address.parse().map(Listen::Tcp).map_err(|_| wrong())
}

fn socket_mode(text: Option<&String>) -> Result<u32, ConfigError> {
    let Some(text) = given(text) else { return Ok(0o666) };
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| value("socket-mode", format!("`{text}` is not an octal mode up to 0777")))
}

fn mode(raw: &RawArgs) -> Result<Mode, ConfigError> {
    let managed = [
        ("mesh-uid", given(raw.mesh_uid.as_ref())),
        ("membership-url", given(raw.membership_url.as_ref())),
        ("membership-ca", given(raw.membership_ca.as_ref())),
        ("token-file", given(raw.token_file.as_ref())),
        ("mesh-name", given(raw.mesh_name.as_ref())),
        ("mesh-dir", given(raw.mesh_dir.as_ref())),
    ];
    match managed.into_iter().find(|(_, text)| text.is_some()) {
        Some((managed, _)) => managed_mode(raw, managed).map(|mode| Mode::Managed(Box::new(mode))),
        None => flags_mode(raw).map(Mode::Flags),
    }
}

fn managed_mode(raw: &RawArgs, managed: &'static str) -> Result<ManagedMode, ConfigError> {
    let by_flags = [
        ("app-id", given(raw.app_id.as_ref()).is_some()),
        ("shared-key", secret(raw.shared_key.as_ref()).is_some()),
        ("shared-key-file", given(raw.shared_key_file.as_ref()).is_some()),
        ("allow-empty-key", boolean("allow-empty-key", raw.allow_empty_key.as_ref(), false)?),
        ("peer", !raw.peer.is_empty()),
        ("identity", given(raw.identity.as_ref()).is_some()),
    ];
    if let Some((flag, _)) = by_flags.into_iter().find(|(_, set)| *set) {
        return Err(ConfigError::Mixed { flag, managed });
    }
    let required = |flag, text: &Option<String>| {
        given(text.as_ref()).map(str::to_owned).ok_or(ConfigError::Missing { flag, managed })
    };
    let membership_url = required("membership-url", &raw.membership_url)?;
    if !membership_url.parse::<http::Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some()) {
        return Err(value("membership-url", format!("`{membership_url}` is not https://HOST:PORT")));
    }
    let membership_ca = required("membership-ca", &raw.membership_ca)?;
    if !membership_ca.contains("-----BEGIN CERTIFICATE-----") {
        return Err(value("membership-ca", "has no PEM certificate"));
    }
    Ok(ManagedMode {
        pod_name: required("pod-name", &raw.pod_name)?,
        pod_namespace: required("pod-namespace", &raw.pod_namespace)?,
        pod_uid: required("pod-uid", &raw.pod_uid)?,
        pod_ip: parsed("pod-ip", raw.pod_ip.as_ref(), "an IP address")?,
        kube_node: given(raw.node_name.as_ref()).map(str::to_owned),
        mesh_uid: required("mesh-uid", &raw.mesh_uid)?,
        mesh_name: given(raw.mesh_name.as_ref()).unwrap_or_default().to_owned(),
        membership_url,
        membership_ca,
        token_file: required("token-file", &raw.token_file)?.into(),
        mesh_dir: given(raw.mesh_dir.as_ref()).map(PathBuf::from),
    })
}

fn flags_mode(raw: &RawArgs) -> Result<FlagsMode, ConfigError> {
    let app_id = short_name("app-id", given(raw.app_id.as_ref()).unwrap_or("peat-default"))?;
    let allow_empty = boolean("allow-empty-key", raw.allow_empty_key.as_ref(), false)?;
    let key = match (secret(raw.shared_key.as_ref()), given(raw.shared_key_file.as_ref())) {
        (Some(_), Some(_)) => return Err(value("shared-key-file", "give it or --shared-key, not both")),
        (Some(text), None) => {
            MeshKey::Shared(SharedKeys { first: SharedKey::parse("shared-key", text)?, others: Vec::new() })
        }
        (None, Some(path)) => {
            let keys = SharedKeys::parse(key_file("shared-key-file", path)?.trim());
            MeshKey::Shared(keys.map_err(|reason| value("shared-key-file", reason))?)
        }
        (None, None) if allow_empty => MeshKey::Empty,
        (None, None) => MeshKey::Absent,
    };
    let mut peers = Vec::new();
    for text in raw.peer.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        peers.push(peer(text)?);
    }
    if !peers.is_empty() && key == MeshKey::Absent {
        return Err(value(
            "peer",
            "needs --shared-key or --shared-key-file (or --allow-empty-key, to peer with anyone)",
        ));
    }
    let key_file = given(raw.shared_key_file.as_ref()).map(PathBuf::from);
    Ok(FlagsMode { app_id, key, key_file, peers })
}

/// Which collections are replaced whole.
fn kinds(names: &[String]) -> Result<Kinds, ConfigError> {
    let names = names.iter().map(|name| name.trim()).filter(|name| !name.is_empty());
    let parsed = names
        .map(|name| Collection::parse(name).map_err(|error| value("latest-collections", format!("`{name}`: {error}"))));
    let latest = parsed.collect::<Result<Vec<_>, _>>()?;
    Ok(if latest.is_empty() { Kinds::default() } else { Kinds::with_latest(&latest) })
}

/// The text of a file of keys.
pub(super) fn key_file(flag: &'static str, path: &str) -> Result<String, ConfigError> {
    let path = PathBuf::from(path);
    std::fs::read_to_string(&path).map_err(|source| ConfigError::KeyFile { flag, path, source })
}

/// The keys of documents, one that is given or those in a file; none of both: none.
///
/// # Errors
/// Names the flag, and never the key.
pub(crate) fn vault(key: Option<&Secret>, file: Option<&String>) -> Result<Vault, ConfigError> {
    Ok(Vault::of(&match (secret(key), given(file)) {
        (Some(_), Some(_)) => return Err(value("encryption-key-file", "give it or --encryption-key, not both")),
        (Some(text), None) => vec![secrets::key(text.trim()).ok_or_else(|| value("encryption-key", NO_KEY))?],
        (None, Some(path)) => {
            let keys = keys(&key_file("encryption-key-file", path)?);
            keys.map_err(|reason| value("encryption-key-file", reason))?
        }
        (None, None) => Vec::new(),
    }))
}

/// As many keys as a node takes, from a file of them.
fn keys(text: &str) -> Result<Vec<[u8; 32]>, String> {
    match secrets::keys(text) {
        Err(KeyFileError::Line(number)) => Err(format!("has a line {number} that {NO_KEY}")),
        Err(KeyFileError::Empty) => Err("has no key".to_owned()),
        Ok(keys) if keys.len() > MOST_KEYS => Err(format!("has more than {MOST_KEYS} keys")),
        Ok(keys) => Ok(keys),
    }
}

impl SharedKeys {
    /// The keys of a file.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut keys = keys(text)?.into_iter().map(SharedKey);
        let first = keys.next().ok_or("has no key")?;
        Ok(Self { first, others: keys.collect() })
    }
}

const NO_KEY: &str = "is not 32 bytes in base64";

impl SharedKey {
    /// # Errors
    /// When `text` is not 32 bytes in base64.
    pub(crate) fn parse(flag: &'static str, text: &str) -> Result<Self, ConfigError> {
        secrets::key(text).map(Self).ok_or_else(|| value(flag, NO_KEY))
    }
}

fn identity(raw: &RawArgs, mode: &Mode, node_id: Option<&str>) -> Result<IdentitySource, ConfigError> {
    match (given(raw.identity.as_ref()).unwrap_or("own"), mode, node_id) {
        ("own", _, _) => Ok(IdentitySource::Own),
        ("derived", Mode::Flags(FlagsMode { key: MeshKey::Shared(keys), .. }), Some(node_id)) => {
            Ok(IdentitySource::Derived { key: keys.first.clone(), node_id: node_id.to_owned() })
        }
        ("derived", _, _) => Err(value("identity", "`derived` needs --shared-key and --node-id")),
        (other, _, _) => Err(value("identity", format!("`{other}` is neither `own` nor `derived`"))),
    }
}

fn peer(text: &str) -> Result<PeerFlag, ConfigError> {
    let (id, address) = match text.split_once('@') {
        Some((id, address)) => (id, Some(address)),
        None => (text, None),
    };
    // What is behind the id is not shown where it is a relay's URL: a password may be in it.
    let id = PeerId::parse(id).map_err(|_| value("peer", format!("`{id}` is not 64 hexadecimal digits")))?;
    if !is_key(&id) {
        return Err(value("peer", format!("`{id}` is not a public key")));
    }
    let address = address.map(|address| {
        let shown = if is_relay(address) { "the relay" } else { address };
        peer_address(address).map_err(|reason| value("peer", format!("`{shown}` {reason}")))
    });
    Ok(PeerFlag { id, address: address.transpose()? })
}

/// Checks `ip:port` or `name:port`, IPv6 in brackets.
pub(crate) fn check_address(text: &str) -> Result<(), &'static str> {
    const WRONG: &str = "is not HOST:PORT (IPv6 in brackets)";
    if text.parse::<SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return Ok(());
    }
    let (host, port) = text.rsplit_once(':').ok_or(WRONG)?;
    let name = !host.is_empty()
        && host.len() <= LONGEST_NAME
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    let port = port.parse::<u16>().is_ok_and(|port| port != 0);
    // A dotted quad that is no address is a typing error, not a name.
    let quad = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') && host.parse::<IpAddr>().is_err();
    if name && port && !quad { Ok(()) } else { Err(WRONG) }
}

fn log(raw: &RawArgs) -> Result<LogConfig, ConfigError> {
    let filter = given(raw.log_level.as_ref()).unwrap_or("info").to_owned();
    tracing_subscriber::EnvFilter::try_new(&filter)
        .map_err(|_| value("log-level", format!("`{filter}` is not a level or filter")))?;
    let json = match given(raw.log_format.as_ref()).unwrap_or("text") {
        "text" => false,
        "json" => true,
        other => return Err(value("log-format", format!("`{other}` is neither `text` nor `json`"))),
    };
    Ok(LogConfig { filter, json })
}

/// Nothing but the address: a name and password before it would be told with it, and gRPC has no path.
fn collector(raw: &RawArgs) -> Result<Option<String>, ConfigError> {
    let Some(text) = given(raw.otlp_endpoint.as_ref()) else { return Ok(None) };
    let address = text.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
    match address.map(check_address) {
        Some(Ok(())) => Ok(Some(text.to_owned())),
        Some(Err(_)) | None => Err(value("otlp-endpoint", "is not http://HOST:PORT (IPv6 in brackets)")),
    }
}

#[cfg(test)]
mod tests;
