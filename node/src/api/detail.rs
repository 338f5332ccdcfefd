//! `Peers`: every peer with its connection, or with what keeps it from one.
//!
//! Inputs: details of the handle. Outputs: their messages. What it does not do: keep any history.

use super::service::Sidecar;
use crate::handle::PeerDetail;
use crate::traffic::Link;
use buffa_types::google::protobuf::{Duration as ProtoDuration, Timestamp};
use peat_node_core::event::{Direction, Source};
use peat_node_core::{PeerState, PeerView};
use peat_proto::sidecar::peat::node::v1 as proto;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

impl Sidecar {
    pub(super) fn peer_details(&self) -> Vec<proto::Peer> {
        self.handle.peer_details().into_iter().map(peer).collect()
    }
}

fn peer(detail: PeerDetail) -> proto::Peer {
    let PeerDetail { view, link, next_dial } = detail;
    let PeerView { peer, addresses, connected: _, sources, state, failures, failure, backlog, unconfirmed: _ } = view;
    let (state, direction) = match state {
        PeerState::Idle => (proto::PeerState::PEER_STATE_IDLE, None),
        PeerState::Banned => (proto::PeerState::PEER_STATE_BANNED, None),
        PeerState::Waiting(_) => (proto::PeerState::PEER_STATE_WAITING, None),
        PeerState::Dialing => (proto::PeerState::PEER_STATE_DIALING, None),
        PeerState::Connected(direction) => (proto::PeerState::PEER_STATE_CONNECTED, Some(direction)),
    };
    proto::Peer {
        endpoint_id: peer.to_string(),
        state: state.into(),
        sources: sources.into_iter().map(|from| source(from).into()).collect(),
        addresses,
        connection: direction.zip(link).map(|(direction, link)| connection(direction, link)).into(),
        backlog: backlog as u64,
        failures,
        last_failure: failure.unwrap_or_default(),
        next_dial: next_dial.map(timestamp).into(),
        ..Default::default()
    }
}

const fn source(source: Source) -> proto::PeerSource {
    match source {
        Source::Flag => proto::PeerSource::PEER_SOURCE_FLAG,
        Source::Api => proto::PeerSource::PEER_SOURCE_API,
        Source::Membership => proto::PeerSource::PEER_SOURCE_MEMBERSHIP,
    }
}

fn connection(direction: Direction, link: Link) -> proto::Connection {
    let Link { remote, round_trip, since, bytes, version, certificate } = link;
    let direction = match direction {
        Direction::Out => proto::Direction::DIRECTION_OUT,
        Direction::In => proto::Direction::DIRECTION_IN,
    };
    let certificate = certificate.map(|member| proto::Certificate {
        spiffe_id: member.uri,
        not_before: Some(timestamp(UNIX_EPOCH + member.not_before)).into(),
        not_after: Some(timestamp(UNIX_EPOCH + member.not_after)).into(),
        ..Default::default()
    });
    proto::Connection {
        remote_address: remote.unwrap_or_default(),
        direction: direction.into(),
        connected_since: Some(timestamp(since)).into(),
        round_trip: round_trip.map(duration).into(),
        bytes_sent: bytes.bytes_sent,
        bytes_received: bytes.bytes_received,
        protocol_version: version.into(),
        certificate: certificate.into(),
        ..Default::default()
    }
}

/// To the millisecond: more is noise for people who read it.
fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp { seconds: whole_seconds(since), nanos: nanos(since, 1_000_000), ..Default::default() }
}

/// To the microsecond.
fn duration(time: Duration) -> ProtoDuration {
    ProtoDuration { seconds: whole_seconds(time), nanos: nanos(time, 1_000), ..Default::default() }
}

fn whole_seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn nanos(time: Duration, grain: u32) -> i32 {
    let nanos = time.subsec_nanos() / grain * grain;
    i32::try_from(nanos).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::SyncStats;
    use crate::transport::certificate::Member;
    use peat_node_core::ids::{ConnId, PeerId};
    use std::collections::BTreeSet;

    #[test]
    fn times_are_told_as_people_and_programs_read_them() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let certificate = Member {
            uri: "spiffe://m/ns/n/sa/s/pod/p".to_owned(),
            not_before: Duration::from_secs(1_800_000_000),
            not_after: Duration::from_secs(1_800_086_400),
        };
        let link = Link {
            remote: Some("[::1]:7".to_owned()),
            round_trip: Some(Duration::from_nanos(1_234_567)),
            since: at(1_800_000_001) + Duration::from_micros(2_500),
            bytes: SyncStats { bytes_sent: 1, bytes_received: 2 },
            version: 1,
            certificate: Some(certificate),
        };
        let view = PeerView {
            peer: PeerId([1; 32]),
            addresses: vec!["ferry:7".to_owned()],
            connected: Some(ConnId(1)),
            sources: BTreeSet::from([Source::Membership]),
            state: PeerState::Connected(Direction::In),
            failures: 0,
            failure: None,
            backlog: 3,
            unconfirmed: false,
        };
        let told = serde_json::to_value(peer(PeerDetail { view, link: Some(link), next_dial: None })).unwrap();
        let expected = serde_json::json!({
            "endpointId": "01".repeat(32),
            "state": "PEER_STATE_CONNECTED",
            "sources": ["PEER_SOURCE_MEMBERSHIP"],
            "addresses": ["ferry:7"],
            "backlog": "3",
            "connection": {
                "remoteAddress": "[::1]:7",
                "direction": "DIRECTION_IN",
                "connectedSince": "2027-01-15T08:00:01.002Z",
                "roundTrip": "0.001234s",
                "bytesSent": "1",
                "bytesReceived": "2",
                "protocolVersion": 1,
                "certificate": {
                    "spiffeId": "spiffe://m/ns/n/sa/s/pod/p",
                    "notBefore": "2027-01-15T08:00:00Z",
                    "notAfter": "2027-01-16T08:00:00Z",
                },
            },
        });
        assert_eq!(told, expected);
    }
}
