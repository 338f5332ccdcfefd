//! `peat-node status`, `peers`, `drain` and `log-level`.
//!
//! Inputs: which node. Outputs: where it stands, with a row for each peer; the live peers; what a change came to.
//! What it does not do: watch.

use super::ClientError;
use super::api::Client;
use super::output::Printer;
use crate::cli::{ApiArgs, Format};
use peat_proto::sidecar::peat::node::v1 as node;
use peat_proto::sidecar::peat::sidecar::v1 as proto;
use serde::Serialize;
use serde_json::{Value, json};

/// Digits of an endpoint id in the table, as in the log.
const SHORT_ID: usize = 10;

const COLUMNS: [&str; 9] = ["PEER", "STATE", "ADDRESS", "RTT", "SENT", "RECEIVED", "BACKLOG", "SINCE", "NOTE"];

pub(super) async fn status(args: &ApiArgs) -> Result<(), ClientError> {
    let client = Client::new(args)?;
    let status =
        client.get_status_with_options(proto::GetStatusRequest::default(), client.deadline()).await?.into_owned();
    let traffic = client.get_sync_stats_with_options(proto::GetSyncStatsRequest::default(), client.deadline()).await?;
    let traffic = traffic.into_owned();
    let peers = client.node.peers_with_options(node::PeersRequest::default(), client.deadline()).await?.into_owned();
    let phase = status.phase.as_known().map_or_else(|| status.phase.to_i32().to_string(), |phase| name(&phase));
    let mut fields = vec![
        ("node", json!(status.node_id)),
        ("endpoint", json!(status.endpoint_addr)),
        ("phase", json!(phase)),
        ("sync", json!(status.sync_active)),
        ("peers", json!(status.connected_peers)),
        ("bytesSent", json!(traffic.bytes_sent)),
        ("bytesReceived", json!(traffic.bytes_received)),
    ];
    let mut printer = Printer::new(args.output);
    match args.output {
        Format::Json => {
            fields.push(("peerDetails", told(&peers.peers)));
            printer.fields(&fields)?;
        }
        Format::Text => {
            printer.fields(&fields)?;
            if !peers.peers.is_empty() {
                printer.table(&COLUMNS, &peers.peers.iter().map(row).collect::<Vec<_>>())?;
            }
        }
    }
    Ok(())
}

pub(super) async fn peers(args: &ApiArgs) -> Result<(), ClientError> {
    let client = Client::new(args)?;
    let response =
        client.list_peers_with_options(proto::ListPeersRequest::default(), client.deadline()).await?.into_owned();
    let mut printer = Printer::new(args.output);
    for peer in response.peers {
        let text = format!("{} {}", peer.endpoint_id, peer.addresses.join(","));
        printer.line(text.trim_end(), || json!({"endpoint": peer.endpoint_id, "addresses": peer.addresses}))?;
    }
    Ok(())
}

pub(super) async fn drain(args: &ApiArgs) -> Result<(), ClientError> {
    let client = Client::new(args)?;
    let (wait, options) = client.wait();
    let request = node::DrainRequest { wait: Some(wait).into(), ..Default::default() };
    client.node.drain_with_options(request, options).await?;
    Printer::new(args.output).line("some peer has everything", || json!({"drained": true}))?;
    Ok(())
}

pub(super) async fn set_log_level(args: &ApiArgs, level: String) -> Result<(), ClientError> {
    let client = Client::new(args)?;
    let request = node::SetLogLevelRequest { level, ..Default::default() };
    let previous = client.node.set_log_level_with_options(request, client.deadline()).await?.into_owned().previous;
    Printer::new(args.output).line(&format!("was {previous}"), || json!({"previous": previous}))?;
    Ok(())
}

fn row(peer: &node::Peer) -> [String; COLUMNS.len()] {
    let id = peer.endpoint_id.get(..SHORT_ID).unwrap_or(&peer.endpoint_id).to_owned();
    let state = peer.state.as_known().map_or_else(|| peer.state.to_i32().to_string(), |state| name(&state));
    let Some(connection) = peer.connection.as_option() else {
        let next = peer.next_dial.as_option().map(|next| format!("next dial {}", text(next)));
        let note = [Some(peer.last_failure.clone()).filter(|failure| !failure.is_empty()), next];
        let note = note.into_iter().flatten().collect::<Vec<_>>().join("; ");
        let none = || "-".to_owned();
        return [id, state, peer.addresses.join(","), none(), none(), none(), none(), none(), note];
    };
    let direction = connection.direction.as_known().map(|direction| name(&direction)).unwrap_or_default();
    let round_trip = connection.round_trip.as_option().map_or_else(
        || "-".to_owned(),
        |time| format!("{:.1} ms", time.seconds as f64 * 1e3 + f64::from(time.nanos) / 1e6),
    );
    let certificate = connection.certificate.as_option();
    let note = certificate.and_then(|certificate| certificate.not_after.as_option());
    [
        id,
        format!("{state} {direction}"),
        connection.remote_address.clone(),
        round_trip,
        size(connection.bytes_sent),
        size(connection.bytes_received),
        peer.backlog.to_string(),
        connection.connected_since.as_option().map(text).unwrap_or_default(),
        note.map(|end| format!("certificate until {}", text(end))).unwrap_or_default(),
    ]
}

/// A number of bytes for people, in units of 1,000.
fn size(bytes: u64) -> String {
    let units = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
    match units.into_iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// The last word of an enum value, as in `PEER_STATE_WAITING`.
fn name(value: &impl buffa::Enumeration) -> String {
    let full = value.proto_name();
    let word = ["NODE_PHASE_", "PEER_STATE_", "DIRECTION_"].iter().find_map(|prefix| full.strip_prefix(prefix));
    word.unwrap_or(full).to_lowercase()
}

/// Proto3 JSON; it cannot fail for messages without maps and floats.
fn told(message: &impl Serialize) -> Value {
    serde_json::to_value(message).unwrap_or_default()
}

/// A point in time as RFC 3339.
fn text(time: &impl Serialize) -> String {
    told(time).as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_cut_to_one_digit() {
        for (bytes, text) in
            [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (1_999_999, "1.9 MB"), (u64::MAX, "18446744073.7 GB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
