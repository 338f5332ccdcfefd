//! The configuration as a person reads it: `--print-config`.
//!
//! Inputs: a [`Config`]. Outputs: one `flag = value` line each, secrets redacted. What it does not do: promise a format.

use super::{AccessConfig, AuthRule, Config, IdentitySource, Listen, MeshKey, Mode};
use std::fmt;

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            node_id,
            data_dir,
            key_dir,
            identity,
            mode,
            mesh,
            admin_listen,
            document_limit,
            quotas,
            gc,
            vault,
            api,
            log,
            print: _,
            warnings: _,
        } = self;
        let mut line = |flag: &str, value: &dyn fmt::Display| writeln!(f, "{flag} = {value}");
        line("node-id", &node_id.as_deref().unwrap_or("(random, kept in the data folder)"))?;
        line("data-dir", &data_dir.display())?;
        line("key-dir", &key_dir.display())?;
        line("identity", &if matches!(identity, IdentitySource::Own) { "own" } else { "derived" })?;
        line("listen", &listeners(&api.listen))?;
        line("socket-mode", &format_args!("{:04o}", api.socket_mode))?;
        write_access(&mut line, &api.access)?;
        line("admin-listen", &admin_listen.map_or_else(|| "(off)".to_owned(), |address| address.to_string()))?;
        line("max-document-bytes", document_limit)?;
        let limits = [("bytes", quotas.bytes), ("documents", quotas.documents), ("put-rate", quotas.put_rate)];
        for (quota, limit) in limits {
            line(&format!("quota-{quota}"), &limit.map_or_else(|| "(none)".to_owned(), |limit| limit.to_string()))?;
        }
        line("encryption-key", &if vault.has_key() { "(redacted)" } else { "(none)" })?;
        line("rpc-default-timeout-secs", &api.default_timeout.as_secs())?;
        line("rpc-max-timeout-secs", &api.max_timeout.as_secs())?;
        line("http-header-read-timeout-secs", &api.header_read_timeout.as_secs())?;
        line("http-max-connection-idle-secs", &api.max_idle.as_secs())?;
        line("http-max-connections", &api.max_connections)?;
        line("http2-keepalive-interval-secs", &api.keepalive_interval.as_secs())?;
        line("http2-keepalive-timeout-secs", &api.keepalive_timeout.as_secs())?;
        line("http2-max-concurrent-streams", &api.max_streams)?;
        line("tombstone-ttl-hours", &(gc.tombstone_ttl.as_secs() / 3600))?;
        line("gc-interval-secs", &gc.every.as_secs())?;
        line("gc-batch-size", &gc.batch)?;
        line("iroh-udp-port", &mesh.udp_port)?;
        line("mesh-listen", &mesh.bind.map_or_else(|| "(all)".to_owned(), |ip| ip.to_string()))?;
        line("auto-sync", &mesh.auto_sync)?;
        line("log-level", &log.filter)?;
        line("log-format", &if log.json { "json" } else { "text" })?;
        write_mode(f, mode)?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "# {warning}"))
    }
}

fn write_access(line: &mut impl FnMut(&str, &dyn fmt::Display) -> fmt::Result, access: &AccessConfig) -> fmt::Result {
    let AccessConfig { rule, tls, token_file } = access;
    let rule = match rule {
        AuthRule::Open => "open",
        AuthRule::Required => "required",
        AuthRule::All => "all",
    };
    line("api-auth", &rule)?;
    let files = tls.as_ref().map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]);
    let [certificate, key, client_ca] = files.unwrap_or_default();
    let flags = ["api-tls-cert", "api-tls-key", "api-tls-client-ca", "api-token-file"];
    let files = [certificate, key, client_ca, token_file.as_ref()];
    flags.into_iter().zip(files).try_for_each(|(flag, file)| file.map_or(Ok(()), |file| line(flag, &file.display())))
}

fn write_mode(f: &mut fmt::Formatter<'_>, mode: &Mode) -> fmt::Result {
    let mut line = |flag: &str, value: &dyn fmt::Display| writeln!(f, "{flag} = {value}");
    match mode {
        Mode::Flags(mode) => {
            line("app-id", &mode.app_id)?;
            let key = match mode.key {
                MeshKey::Shared(_) => "(redacted)",
                MeshKey::Empty => "(none; --allow-empty-key)",
                MeshKey::Absent => "(none; peers with nobody)",
            };
            line("shared-key", &key)?;
            mode.key_file.iter().try_for_each(|file| line("shared-key-file", &file.display()))?;
            mode.peers.iter().try_for_each(|peer| match &peer.address {
                Some(address) => line("peer", &format_args!("{}@{address}", peer.id)),
                None => line("peer", &peer.id),
            })
        }
        Mode::Managed(mode) => {
            line("mesh-uid", &mode.mesh_uid)?;
            line("mesh-name", &mode.mesh_name)?;
            line("membership-url", &mode.membership_url)?;
            line("membership-ca", &format_args!("({} bytes of PEM)", mode.membership_ca.len()))?;
            line("token-file", &mode.token_file.display())?;
            line("pod-name", &mode.pod_name)?;
            line("pod-namespace", &mode.pod_namespace)?;
            line("pod-uid", &mode.pod_uid)
        }
    }
}

fn listeners(listen: &[Listen]) -> String {
    listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
