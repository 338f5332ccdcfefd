//! What the flags mean, and which are refused with which words.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const KEY: &str = "KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=";
const ID: &str = "4229afe8d9c12d0acfd98cb56d4e2edd0e844442651a70a6995c2ed7ef100684";
const PEM: &str = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn managed() -> RawArgs {
    RawArgs {
        pod_name: some("ferry-0"),
        pod_namespace: some("harbour"),
        pod_uid: some("0f9a3c5d"),
        pod_ip: some("fd00::7"),
        mesh_uid: some("mesh-uid"),
        mesh_name: some("harbour/fleet"),
        membership_url: some("https://peat-operator.peat-system.svc:8443"),
        membership_ca: some(PEM),
        token_file: some("/var/run/peat/token/token"),
        ..RawArgs::default()
    }
}

fn refused(raw: RawArgs) -> String {
    config(raw).unwrap_err().to_string()
}

#[test]
fn without_flags_a_node_listens_on_loopback_and_peers_with_nobody() {
    let config = config(RawArgs::default()).unwrap();
    assert_eq!(config.api.listen, [Listen::Tcp("127.0.0.1:50051".parse().unwrap())]);
    assert!(!config.api.exposed);
    assert!(matches!(config.mode, Mode::Flags(FlagsMode { key: MeshKey::Absent, .. })));
    assert_eq!(config.key_dir, Path::new(DEFAULT_DATA_DIR));
    assert_eq!(config.node_id, None);
    assert!(config.mesh.auto_sync);
    assert_eq!(config.admin_listen, None);
}

#[test]
fn empty_texts_count_as_unset() {
    let empty = || some("");
    let raw = RawArgs {
        listen: vec![String::new()],
        data_dir: empty(),
        node_id: empty(),
        app_id: empty(),
        shared_key: Some(String::new().into()),
        shared_key_file: empty(),
        auto_sync: empty(),
        iroh_udp_port: empty(),
        peer: vec![String::new()],
        mesh_uid: empty(),
        membership_url: empty(),
        encryption_key: Some(String::new().into()),
        rpc_max_timeout_secs: empty(),
        quota_bytes: empty(),
        ..RawArgs::default()
    };
    let config = config(raw).unwrap();
    assert_eq!(config.data_dir, Path::new(DEFAULT_DATA_DIR));
    assert!(matches!(config.mode, Mode::Flags(_)));
}

#[test]
fn listeners_are_tcp_or_unix_and_one_beyond_loopback_is_told() {
    let raw = RawArgs {
        listen: vec!["tcp://0.0.0.0:1".into(), "unix:///run/peat/peat.sock".into(), "[::1]:2".into(), "[::1]:2".into()],
        ..RawArgs::default()
    };
    let config = config(raw).unwrap();
    let shown: Vec<String> = config.api.listen.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["tcp://0.0.0.0:1", "unix:///run/peat/peat.sock", "tcp://[::1]:2"]);
    assert!(config.api.exposed);
    assert!(config.warnings.iter().any(|line| line.contains("beyond loopback")), "{:?}", config.warnings);
}

#[test]
fn required_authentication_refuses_what_it_cannot_guard_and_accepts_the_rest() {
    let raw = |listen: &str| RawArgs { listen: vec![listen.into()], api_auth: some("required"), ..RawArgs::default() };
    assert!(refused(raw("tcp://0.0.0.0:1")).starts_with("--api-auth: "));
    assert!(config(raw("unix:///run/peat.sock")).is_ok());
    assert!(config(raw("127.0.0.1:1")).is_ok());
}

#[test]
fn a_mesh_by_flags_has_a_key_and_peers() {
    let raw = RawArgs {
        shared_key: Some(KEY.to_owned().into()),
        peer: vec![format!("{ID}@host.example:11204"), format!("{ID}@[::1]:1"), ID.to_owned()],
        ..RawArgs::default()
    };
    let Mode::Flags(mode) = config(raw).unwrap().mode else { unreachable!() };
    assert_eq!(mode.key, MeshKey::Shared(SharedKeys { first: SharedKey([0x2a; 32]), others: Vec::new() }));
    let addresses: Vec<_> = mode.peers.iter().map(|peer| peer.address.as_deref()).collect();
    assert_eq!(addresses, [Some("host.example:11204"), Some("[::1]:1"), None]);
    assert!(!format!("{mode:?}").contains("42, 42"), "a key does not print");
}

#[test]
fn a_peer_whose_id_is_no_public_key_is_refused() {
    let (keys, others): (Vec<_>, Vec<_>) = (0..=u8::MAX).map(|byte| PeerId([byte; 32])).partition(is_key);
    let raw = |ids: &[PeerId]| RawArgs {
        allow_empty_key: some("true"),
        peer: ids.iter().map(|id| format!("{id}@1.2.3.4:5")).collect(),
        ..RawArgs::default()
    };
    let Mode::Flags(mode) = config(raw(&keys)).unwrap().mode else { unreachable!() };
    assert_eq!(mode.peers.len(), keys.len());
    for id in others {
        assert_eq!(refused(raw(&[id])), format!("--peer: `{id}` is not a public key"));
    }
}

#[test]
fn the_key_may_come_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{KEY}\n")).unwrap();
    let raw = RawArgs { shared_key_file: some(file.path().to_str().unwrap()), ..RawArgs::default() };
    let Mode::Flags(mode) = config(raw).unwrap().mode else { unreachable!() };
    assert_eq!(mode.key, MeshKey::Shared(SharedKeys { first: SharedKey([0x2a; 32]), others: Vec::new() }));
    let missing = refused(RawArgs { shared_key_file: some("/nowhere/key"), ..RawArgs::default() });
    assert_eq!(missing, "--shared-key-file: read /nowhere/key");
}

#[test]
fn the_key_file_has_one_key_on_each_line_and_the_first_is_shown() {
    let zeros = STANDARD.encode([0; 32]);
    let keys = SharedKeys::parse(&format!("# old below\n{KEY}\n\n  {zeros}\n")).unwrap();
    assert_eq!((&keys.first, &keys.others[..]), (&SharedKey([0x2a; 32]), &[SharedKey([0; 32])][..]));
    for (wrong, reason) in [
        (String::new(), "has no key"),
        (format!("{KEY}\nc2hvcnQ=\n"), "has a line 2 that is not 32 bytes in base64"),
        (format!("{KEY}\n").repeat(9), "has more than 8 keys"),
    ] {
        assert_eq!(SharedKeys::parse(&wrong), Err(reason.to_owned()));
    }
}

#[test]
fn an_identity_is_derived_only_on_request_and_only_from_a_key_and_a_name() {
    let raw = |identity, node_id, key: &str| RawArgs {
        identity: some(identity),
        node_id: some(node_id),
        shared_key: Some(key.to_owned().into()),
        ..RawArgs::default()
    };
    assert!(matches!(config(raw("", "node-a", KEY)).unwrap().identity, IdentitySource::Own));
    let derived = config(raw("derived", "node-a", KEY)).unwrap();
    assert!(matches!(&derived.identity, IdentitySource::Derived { node_id, .. } if node_id == "node-a"));
    assert!(derived.warnings.iter().any(|line| line.contains("private key")), "{:?}", derived.warnings);
    for wrong in [raw("derived", "", KEY), raw("derived", "node-a", ""), raw("borrowed", "node-a", KEY)] {
        assert!(refused(wrong).starts_with("--identity: "));
    }
    assert!(refused(RawArgs { identity: some("derived"), ..managed() }).contains("--identity cannot be combined"));
}

#[test]
fn the_injected_flags_select_the_managed_mode_and_name_the_node_after_its_pod() {
    let config = config(managed()).unwrap();
    let Mode::Managed(mode) = config.mode else { unreachable!() };
    assert_eq!(mode.mesh_uid, "mesh-uid");
    assert_eq!(mode.pod_ip, Some("fd00::7".parse().unwrap()));
    assert_eq!(config.node_id.as_deref(), Some("ferry-0"));
}

#[test]
fn the_name_of_the_pod_alone_does_not_select_the_managed_mode() {
    let raw = RawArgs { pod_name: some("ferry-0"), ..RawArgs::default() };
    assert!(matches!(config(raw).unwrap().mode, Mode::Flags(_)));
}

#[test]
fn both_modes_at_once_are_refused() {
    let raw = RawArgs { shared_key: Some(KEY.to_owned().into()), ..managed() };
    let text = refused(raw);
    assert!(text.contains("--shared-key") && text.contains("--mesh-uid"), "{text}");
    assert!(refused(RawArgs { peer: vec![ID.into()], ..managed() }).contains("--peer"));
    assert!(refused(RawArgs { allow_empty_key: some("true"), ..managed() }).contains("--allow-empty-key"));
}

#[test]
fn a_managed_mesh_says_which_flag_is_missing() {
    assert!(refused(RawArgs { token_file: None, ..managed() }).contains("--token-file is required"));
    assert!(refused(RawArgs { pod_uid: some(""), ..managed() }).contains("--pod-uid is required"));
}

#[test]
fn what_is_not_built_is_refused_and_not_ignored() {
    let read = |args: &[&str]| Config::try_from(command_line(args).cli.run);
    assert!(read(&["--nats-url", "nats://x"]).unwrap_err().to_string().contains("--nats-url"));
    assert!(read(&["--discovery-mode", "mdns"]).unwrap_err().to_string().contains("--discovery-mode"));
    let warnings = read(&["--attachment-root", "a=/b"]).unwrap().warnings;
    assert!(warnings.iter().any(|line| line.contains("attachments")));
}

#[test]
fn a_wrong_value_is_one_line_that_names_the_flag() {
    let with = |set: fn(&mut RawArgs)| {
        let mut raw = RawArgs::default();
        set(&mut raw);
        refused(raw)
    };
    let cases: [(&str, String); 33] = [
        ("--listen: ", with(|raw| raw.listen = vec!["localhost:1".into()])),
        ("--listen: ", with(|raw| raw.listen = vec!["unix://relative".into()])),
        ("--listen: ", with(|raw| raw.listen = vec!["http://1.2.3.4:5".into()])),
        ("--socket-mode: ", with(|raw| raw.socket_mode = some("999"))),
        ("--api-auth: ", with(|raw| raw.api_auth = some("maybe"))),
        ("--max-document-bytes: ", with(|raw| raw.max_document_bytes = some("1"))),
        ("--rpc-default-timeout-secs: ", with(|raw| raw.rpc_default_timeout_secs = some("301"))),
        ("--rpc-max-timeout-secs: ", with(|raw| raw.rpc_max_timeout_secs = some("86401"))),
        ("--http-header-read-timeout-secs: ", with(|raw| raw.http_header_read_timeout_secs = some("0"))),
        ("--http2-max-concurrent-streams: ", with(|raw| raw.http2_max_concurrent_streams = some("65536"))),
        ("--auto-sync: ", with(|raw| raw.auto_sync = some("yes"))),
        ("--iroh-udp-port: ", with(|raw| raw.iroh_udp_port = some("70000"))),
        ("--mesh-listen: ", with(|raw| raw.mesh_listen = some("eth0"))),
        ("--admin-listen: ", with(|raw| raw.admin_listen = some("11205"))),
        ("--log-level: ", with(|raw| raw.log_level = some("peat=loud=very"))),
        ("--otlp-endpoint: ", with(|raw| raw.otlp_endpoint = some("https://collector:4317"))),
        ("--otlp-endpoint: ", with(|raw| raw.otlp_endpoint = some("collector:4317"))),
        ("--otlp-endpoint: ", with(|raw| raw.otlp_endpoint = some("http://collector"))),
        ("--otlp-endpoint: ", with(|raw| raw.otlp_endpoint = some("http://collector:4318/v1/traces"))),
        ("--otlp-endpoint: ", with(|raw| raw.otlp_endpoint = some("http://user:word@collector:4317"))),
        ("--log-format: ", with(|raw| raw.log_format = some("xml"))),
        ("--encryption-key: ", with(|raw| raw.encryption_key = Some("c2hvcnQ=".to_owned().into()))),
        ("--encryption-key-file: read /nowhere", with(|raw| raw.encryption_key_file = some("/nowhere/key"))),
        ("--shared-key: ", with(|raw| raw.shared_key = Some("c2hvcnQ=".to_owned().into()))),
        ("--peer: ", with(|raw| raw.peer = vec![format!("{ID}@1.2.3.4:5")])),
        ("--peer: ", with(|raw| raw.peer = vec!["abc@1.2.3.4:5".into()])),
        ("--peer: ", with(|raw| raw.peer = vec![format!("{ID}@1.2.3.4")])),
        ("--node-id: ", with(|raw| raw.node_id = Some("n".repeat(254)))),
        ("--app-id: ", with(|raw| raw.app_id = some("a\nb"))),
        ("--latest-collections: `a:b`: ", with(|raw| raw.latest_collections = vec!["tracks".into(), "a:b".into()])),
        ("--quota-bytes: ", with(|raw| raw.quota_bytes = some("1GiB"))),
        ("--quota-documents: ", with(|raw| raw.quota_documents = some("0"))),
        ("--quota-put-rate: ", with(|raw| raw.quota_put_rate = some("-5"))),
    ];
    for (start, text) in cases {
        assert!(text.starts_with(start) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn an_address_is_a_host_and_a_port() {
    for good in ["1.2.3.4:5", "[fd00::1]:5", "peat-0.peat.svc:11204", "localhost:1"] {
        assert_eq!(check_address(good), Ok(()), "{good}");
    }
    for bad in ["", ":1", "1.2.3.4", "1.2.3.4:0", "1.2.3:5", "::1:5", "a b:1", "host:99999", "host:"] {
        assert!(check_address(bad).is_err(), "{bad}");
    }
}

fn command_line(args: &[&str]) -> crate::cli::Parsed {
    let args = std::iter::once("peat-node").chain(args.iter().copied()).map(Into::into).collect();
    crate::cli::parse(args, |name| (name == "PEAT_NODE_NODE_ID").then(|| "ferry".into())).unwrap()
}

/// What comes of arguments, one variable and a configuration file.
fn read(args: &[&str]) -> Result<Config, ConfigError> {
    Config::read(command_line(args))
}

/// Everything but where it came from.
fn meaning(config: &Config) -> String {
    format!("{:?}", Config { settings: Settings::default(), ..config.clone() })
}

#[test]
fn what_is_printed_is_a_file_that_means_the_same() {
    let args =
        ["--data-dir", "a: b", "--listen", "[::1]:0,unix:///x", "--socket-mode", "0640", "--app-id", "\"#'\u{e9}"];
    let given = read(&args).unwrap();
    let printed = given.to_string();
    assert!(printed.contains("\ndata-dir: \"a: b\" # --data-dir\n"), "{printed}");
    assert!(printed.contains("\nnode-id: ferry # PEAT_NODE_NODE_ID\n"), "{printed}");
    assert!(printed.contains("\n# iroh-udp-port: 0 (default)\n"), "{printed}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &printed).unwrap();
    let path = file.path().to_str().unwrap();
    let again = read(&["--config", path]).unwrap();
    assert_eq!(meaning(&again), meaning(&given));
    assert!(again.to_string().contains(&format!("\nsocket-mode: 0640 # {path}\n")), "{again}");
}

#[test]
fn a_default_that_is_told_is_the_one_that_holds() {
    let silent = read(&[]).unwrap();
    let told: Vec<String> = silent
        .to_string()
        .lines()
        .filter_map(|line| {
            let (flag, default) = line.strip_prefix("# ")?.strip_suffix(" (default)")?.split_once(": ")?;
            // The others are told in words.
            (!default.contains(' ') && default != "off").then(|| format!("--{flag}={default}"))
        })
        .collect();
    assert!(told.len() > 15, "{told:?}");
    let told: Vec<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(meaning(&read(&told).unwrap()), meaning(&silent));
}

#[test]
fn a_wrong_value_is_told_with_where_it_came_from() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "auto-sync: maybe\n").unwrap();
    let path = file.path().to_str().unwrap();
    let told = |args: &[&str]| format!("{:#}", anyhow::Error::from(read(args).unwrap_err()));
    assert_eq!(told(&["--config", path]), format!("in {path}: --auto-sync: `maybe` is neither `true` nor `false`"));
    assert_eq!(told(&["--auto-sync=maybe", "--config", path]), "--auto-sync: `maybe` is neither `true` nor `false`");
}
