//! QUIC by itself: how long a message there and back takes between two endpoints of one machine, without anything on
//! top.
//!
//! Inputs: how many; outputs: latencies. The endpoints are those of the mesh's transport library with no public
//! service. What it does not do: cross a process, which costs a little more.

use super::latency::Latencies;
use anyhow::{Context as _, Result};
use iroh::endpoint::{PortmapperConfig, presets};
use iroh::{Endpoint, EndpointAddr, RelayMode};
use std::time::Instant;

const ALPN: &[u8] = b"peat/bench/1";
/// About the size of one change with its frame.
const MESSAGE: [u8; 350] = [7; 350];
/// Not counted: the congestion window opens, paths settle.
const WARM_UP: usize = 200;

/// Sends a message and waits for it to come back, `count` times on one stream.
pub(super) async fn ping_pong(count: usize) -> Result<Latencies> {
    let (here, there) = (endpoint().await?, endpoint().await?);
    let address = there.bound_sockets().into_iter().find(std::net::SocketAddr::is_ipv4).context("no address")?;
    let target = EndpointAddr::new(there.id()).with_ip_addr(address);
    let echo = tokio::spawn(echo(there));
    let connection = here.connect(target, ALPN).await?;
    let (mut send, mut receive) = connection.open_bi().await?;
    let mut back = MESSAGE;
    let mut latencies = Vec::with_capacity(count);
    for n in 0..WARM_UP + count {
        let began = Instant::now();
        send.write_all(&MESSAGE).await?;
        receive.read_exact(&mut back).await?;
        if n >= WARM_UP {
            latencies.push(began.elapsed());
        }
    }
    connection.close(0u32.into(), b"done");
    here.close().await;
    echo.await.context("the echo panicked")??;
    Ok(Latencies::of(latencies))
}

async fn endpoint() -> Result<Endpoint> {
    let builder = Endpoint::builder(presets::Minimal)
        .alpns(vec![ALPN.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_address_lookup()
        .portmapper_config(PortmapperConfig::Disabled)
        .clear_ip_transports();
    Ok(builder.bind_addr("127.0.0.1:0")?.bind().await?)
}

async fn echo(endpoint: Endpoint) -> Result<()> {
    let connection = endpoint.accept().await.context("the endpoint ended")?.await?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let mut message = MESSAGE;
    while receive.read_exact(&mut message).await.is_ok() {
        if send.write_all(&message).await.is_err() {
            break;
        }
    }
    endpoint.close().await;
    Ok(())
}
