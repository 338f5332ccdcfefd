//! Flags and environment of the operator, in two stages: [`RawArgs`] has no meaning yet, [`Config`] is checked.
//!
//! Outputs: a [`Config`] that every part can rely on. What it does not do: open sockets or talk to anything.

use std::io::Write;
use std::net::{Ipv6Addr, SocketAddr};

use axum::http::Uri;
use clap::{Args, Parser, ValueEnum};
use peat_crds::names::port;

use crate::check::CheckArgs;
use crate::cleanup::CleanupArgs;

/// What was written on the command line or into `PEAT_OPERATOR_*`.
#[derive(Debug, Clone, Parser)]
#[command(name = "peat-operator", version, about = "Gives annotated pods a node of a Peat mesh", max_term_width = 120)]
pub struct RawArgs {
    /// Namespace of the operator: its Secrets are here, and its pods are never injected
    #[arg(long, env = "PEAT_OPERATOR_NAMESPACE")]
    pub namespace: String,
    /// URL at which pods reach the membership server [default: the Service peat-operator-membership]
    #[arg(long, env = "PEAT_OPERATOR_MEMBERSHIP_URL")]
    pub membership_url: Option<String>,
    /// Where to listen.
    #[command(flatten)]
    pub listen: ListenAddresses,
    /// Image of the sidecar where neither mesh nor pod names one
    #[arg(long, env = "PEAT_OPERATOR_SIDECAR_IMAGE")]
    pub sidecar_image: String,
    /// MutatingWebhookConfiguration whose caBundle to keep current
    #[arg(long, env = "PEAT_OPERATOR_WEBHOOK_CONFIGURATION", default_value = "peat-operator")]
    pub webhook_configuration: String,
    /// Service of the webhook
    #[arg(long, env = "PEAT_OPERATOR_WEBHOOK_SERVICE", default_value = "peat-operator-webhook")]
    pub webhook_service: String,
    /// Service of the membership server
    #[arg(long, env = "PEAT_OPERATOR_MEMBERSHIP_SERVICE", default_value = "peat-operator-membership")]
    pub membership_service: String,
    /// Further DNS names and addresses for the TLS certificate
    #[arg(long, env = "PEAT_OPERATOR_EXTRA_SANS", value_delimiter = ',')]
    pub extra_sans: Vec<String>,
    /// Log filter, such as `info` or `info,peat_operator=debug`
    #[arg(long, env = "PEAT_OPERATOR_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// How log lines look
    #[arg(long, env = "PEAT_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    pub log_format: LogFormat,
}

/// Where the operator listens; port 0 takes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct ListenAddresses {
    /// Address of the admission webhook
    #[arg(long = "webhook-listen", env = "PEAT_OPERATOR_WEBHOOK_LISTEN", default_value_t = any(port::WEBHOOK))]
    pub webhook: SocketAddr,
    /// Address of the membership server
    #[arg(long = "membership-listen", env = "PEAT_OPERATOR_MEMBERSHIP_LISTEN", default_value_t = any(port::MEMBERSHIP))]
    pub membership: SocketAddr,
    /// Address of health and metrics
    #[arg(long = "admin-listen", env = "PEAT_OPERATOR_ADMIN_LISTEN", default_value_t = any(port::OPERATOR_ADMIN))]
    pub admin: SocketAddr,
}

impl ListenAddresses {
    /// Errors: two listeners on one port.
    fn checked(self) -> Result<Self, ConfigError> {
        let [webhook, membership, admin] = [self.webhook, self.membership, self.admin].map(|address| address.port());
        let clash = |a: u16, b: u16| a == b && a != 0;
        if clash(webhook, membership) || clash(webhook, admin) || clash(membership, admin) {
            return Err(ConfigError::Ports);
        }
        Ok(self)
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line, for collectors.
    Json,
    /// For people.
    Text,
}

/// A value on the command line that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not the name of a namespace or Service.
    #[error("{flag} {value:?} is not a DNS label: write lower-case letters, digits and '-', at most 63")]
    Label {
        /// The flag.
        flag: &'static str,
        /// What was written.
        value: String,
    },
    /// Not a URL that nodes can dial.
    #[error("--membership-url {0:?} is not https://<host>[:<port>] without a path")]
    MembershipUrl(String),
    /// Empty or with white space.
    #[error("--sidecar-image {0:?} is not an image reference")]
    Image(String),
    /// Neither DNS name nor address.
    #[error("--extra-sans {0:?} is neither a DNS name nor an IP address")]
    San(String),
    /// Not a filter.
    #[error("--log-level {0:?} is not a log filter: write info, or info,peat_operator=debug")]
    LogLevel(String),
    /// Two listeners on one port.
    #[error("--webhook-listen, --membership-listen and --admin-listen need three different ports")]
    Ports,
}

/// Checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Namespace of the operator.
    pub namespace: String,
    /// `https://host:port` of the membership server, as pods reach it.
    pub membership_url: String,
    /// Where it listens.
    pub listen: ListenAddresses,
    /// Image of the sidecar where neither mesh nor pod names one.
    pub sidecar_image: String,
    /// Name of the MutatingWebhookConfiguration.
    pub webhook_configuration: String,
    /// DNS names and addresses of the TLS certificate.
    pub tls_names: Vec<String>,
    /// Log filter.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// EX_USAGE of sysexits.h: the configuration cannot work, starting again will not help.
const BAD_CONFIGURATION: u8 = 64;

/// What the process is to do.
#[derive(Debug)]
pub enum Command {
    /// Be the operator.
    Run(Config),
    /// Remove what an operator wrote, and end.
    Cleanup(CleanupArgs),
    /// Say whether an installation works, and end.
    Check(CheckArgs),
}

/// Reads the command line and the environment. On failure prints one line (or the help that was asked for) and returns
/// the exit code: 0 after help and version, else 64.
pub fn from_command_line() -> Result<Command, u8> {
    let mut words = std::env::args_os().peekable();
    let program = words.next();
    if words.next_if(|word| word == "cleanup").is_some() {
        return CleanupArgs::try_parse_from(program.into_iter().chain(words)).map(Command::Cleanup).map_err(refused);
    }
    if words.next_if(|word| word == "check").is_some() {
        return CheckArgs::try_parse_from(program.into_iter().chain(words)).map(Command::Check).map_err(refused);
    }
    let raw = RawArgs::try_parse_from(program.into_iter().chain(words)).map_err(refused)?;
    Config::try_from(raw).map(Command::Run).map_err(|error| {
        let _ = writeln!(std::io::stderr(), "peat-operator: {error}");
        BAD_CONFIGURATION
    })
}

fn refused(error: clap::Error) -> u8 {
    // Nothing is left to do when standard error is closed.
    let _ = error.print();
    if error.use_stderr() { BAD_CONFIGURATION } else { 0 }
}

impl TryFrom<RawArgs> for Config {
    type Error = ConfigError;

    fn try_from(raw: RawArgs) -> Result<Self, ConfigError> {
        let RawArgs {
            namespace,
            membership_url,
            listen,
            sidecar_image,
            webhook_configuration,
            webhook_service,
            membership_service,
            extra_sans,
            log_level,
            log_format,
        } = raw;
        let namespace = label("--namespace", namespace)?;
        let webhook_service = label("--webhook-service", webhook_service)?;
        let membership_service = label("--membership-service", membership_service)?;
        let default_url = || format!("https://{membership_service}.{namespace}.svc:{}", port::MEMBERSHIP);
        let membership_url =
            membership_url.filter(|url| !url.is_empty()).map_or_else(|| Ok(default_url()), self::membership_url)?;
        if sidecar_image.is_empty() || sidecar_image.contains(char::is_whitespace) {
            return Err(ConfigError::Image(sidecar_image));
        }
        if log_level.parse::<tracing_subscriber::EnvFilter>().is_err() {
            return Err(ConfigError::LogLevel(log_level));
        }
        let mut tls_names = service_names(&webhook_service, &namespace);
        tls_names.extend(service_names(&membership_service, &namespace));
        for san in extra_sans.into_iter().filter(|san| !san.is_empty()) {
            tls_names.push(subject_name(san)?);
        }
        tls_names.dedup();
        Ok(Self {
            namespace,
            membership_url,
            listen: listen.checked()?,
            sidecar_image,
            webhook_configuration,
            tls_names,
            log_level,
            log_format,
        })
    }
}

/// Every address, IPv6 and (by the kernel's default) IPv4.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

/// The names under which a Service can be dialled from inside the cluster.
fn service_names(service: &str, namespace: &str) -> Vec<String> {
    ["svc", "svc.cluster.local"].iter().map(|zone| format!("{service}.{namespace}.{zone}")).collect()
}

fn label(flag: &'static str, value: String) -> Result<String, ConfigError> {
    if is_label(&value) { Ok(value) } else { Err(ConfigError::Label { flag, value }) }
}

/// A DNS label, RFC 1123.
fn is_label(value: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&value.len()) && value.chars().all(allowed) && !value.starts_with('-') && !value.ends_with('-')
}

fn subject_name(value: String) -> Result<String, ConfigError> {
    let is_address = value.parse::<std::net::IpAddr>().is_ok();
    if is_address || value.split('.').all(is_label) { Ok(value) } else { Err(ConfigError::San(value)) }
}

/// `https://<host>[:<port>]`, without a slash at its end.
pub(crate) fn membership_url(value: String) -> Result<String, ConfigError> {
    // Comparing with what was understood refuses user names and ports that are no ports.
    let plain = |uri: &Uri| {
        let host = uri.host().unwrap_or_default();
        let authority = uri.port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        !host.is_empty() && uri.authority().is_some_and(|a| *a == authority.as_str())
    };
    let usable = value.parse::<Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some("https") && plain(&uri) && uri.path() == "/" && uri.query().is_none()
    });
    if usable { Ok(value.trim_end_matches('/').to_owned()) } else { Err(ConfigError::MembershipUrl(value)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(extra: &[&str]) -> RawArgs {
        let base = ["peat-operator", "--namespace", "peat-system", "--sidecar-image", "example/peat-node:1"];
        RawArgs::try_parse_from(base.iter().chain(extra)).unwrap()
    }

    fn parse(extra: &[&str]) -> Result<Config, ConfigError> {
        Config::try_from(raw(extra))
    }

    #[test]
    fn the_defaults_name_the_services_of_the_namespace() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.membership_url, "https://peat-operator-membership.peat-system.svc:8443");
        assert!(config.tls_names.contains(&"peat-operator-webhook.peat-system.svc".to_owned()));
        assert_eq!(config.listen.webhook.port(), 9443);
        assert_eq!(config.listen.admin.port(), 8080);
    }

    #[test]
    fn extra_names_are_names_or_addresses() {
        let config = parse(&["--extra-sans", "127.0.0.1,peat.example.org,::1"]).unwrap();
        assert!(config.tls_names.ends_with(&["127.0.0.1".into(), "peat.example.org".into(), "::1".into()]));
        assert_eq!(parse(&["--extra-sans", "no name"]), Err(ConfigError::San("no name".into())));
    }

    #[test]
    fn a_url_without_tls_or_with_a_path_is_refused() {
        for url in ["http://peat:8443", "https://", "peat:8443", "https://peat:8443/join", "https://peat:99999"] {
            assert_eq!(parse(&["--membership-url", url]), Err(ConfigError::MembershipUrl(url.into())), "{url}");
        }
        assert_eq!(
            parse(&["--membership-url", "https://10.0.0.1:8443/"]).unwrap().membership_url,
            "https://10.0.0.1:8443"
        );
    }

    #[test]
    fn what_cannot_work_is_refused_by_name() {
        assert_eq!(parse(&["--log-level", "nonsense=loud"]), Err(ConfigError::LogLevel("nonsense=loud".into())));
        let same = ["--webhook-listen", "0.0.0.0:9000", "--admin-listen", "0.0.0.0:9000"];
        assert_eq!(parse(&same), Err(ConfigError::Ports));
        let free = ["--webhook-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        assert!(parse(&free).is_ok());
    }

    #[test]
    fn an_image_has_no_white_space() {
        let raw = ["peat-operator", "--namespace", "n", "--sidecar-image", "a b"];
        let parsed = Config::try_from(RawArgs::try_parse_from(raw).unwrap());
        assert_eq!(parsed, Err(ConfigError::Image("a b".into())));
    }

    #[test]
    fn a_namespace_is_a_label() {
        let raw = ["peat-operator", "--namespace", "Peat_System", "--sidecar-image", "i"];
        let error = Config::try_from(RawArgs::try_parse_from(raw).unwrap()).unwrap_err();
        assert!(error.to_string().starts_with("--namespace \"Peat_System\" is not a DNS label"), "{error}");
    }
}
