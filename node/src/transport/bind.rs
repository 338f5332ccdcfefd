//! The UDP sockets and the QUIC parameters of the mesh.
//!
//! Inputs: our key and addresses. Outputs: an endpoint that talks to nobody by itself. What it does not do: connect.

use super::ALPN;
use crate::config::{MeshConfig, Relay};
use crate::identity::Identity;
use iroh::dns::{DnsResolver, FallbackMode};
use iroh::endpoint::{BindOpts, PortmapperConfig, QuicTransportConfig, VarInt, presets};
use iroh::tls::CaTlsConfig;
use iroh::{Endpoint, RelayMap, RelayMode};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// A silent link is pinged this often ...
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// ... and given up when a ping has gone unanswered for so long, so a dead one is noticed within 9 s.
const IDLE_LIMIT: Duration = Duration::from_secs(7);

/// Bytes in flight to one neighbour, and so the most memory that a neighbour that does not read can hold.
const WINDOW: u32 = 2 * 1024 * 1024;

/// On virtual Ethernet pairs the kernel may take segmented sends and lose them. Documents are small, so the gain is
/// too.
const SEGMENTATION_OFFLOAD: bool = false;

/// A transport that could not start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The UDP socket could not be bound.
    #[error("bind UDP {address} for the mesh")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

pub(super) async fn bind(identity: &Identity, config: &MeshConfig) -> Result<Endpoint, TransportError> {
    let address = SocketAddr::new(config.bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), config.udp_port);
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| TransportError::Bind { address, source };
    let mut builder = Endpoint::builder(presets::Minimal)
        .secret_key(identity.secret())
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .dns_resolver(DnsResolver::builder().with_system_defaults().with_fallback_mode(FallbackMode::Never).build())
        .clear_address_lookup()
        .portmapper_config(PortmapperConfig::Disabled)
        .transport_config(quic())
        .clear_ip_transports();
    if let Some(Relay { url, authorities }) = &config.relay {
        let roots = authorities.clone().map_or_else(CaTlsConfig::default, CaTlsConfig::custom_roots);
        builder = builder.relay_mode(RelayMode::Custom(RelayMap::from(url.clone()))).ca_tls_config(roots);
    }
    builder = builder.bind_addr(address).map_err(|error| failed(Box::new(error)))?;
    if config.bind.is_none() {
        // A host without IPv6 is fine.
        let six = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), config.udp_port);
        let optional = BindOpts::default().set_is_required(false);
        builder = builder.bind_addr_with_opts(six, optional).map_err(|error| failed(Box::new(error)))?;
    }
    builder.bind().await.map_err(|error| failed(Box::new(error)))
}

fn quic() -> QuicTransportConfig {
    let window = VarInt::from_u32(WINDOW);
    QuicTransportConfig::builder()
        .keep_alive_interval(KEEP_ALIVE)
        .default_path_keep_alive_interval(KEEP_ALIVE)
        .max_idle_timeout(IDLE_LIMIT.try_into().ok())
        .default_path_max_idle_timeout(IDLE_LIMIT)
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(window)
        .receive_window(window)
        .send_window(WINDOW.into())
        .enable_segmentation_offload(SEGMENTATION_OFFLOAD)
        .build()
}
