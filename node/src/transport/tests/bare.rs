//! Peers that say what no node would.

use super::*;
use peat_node_core::event::DialFailure;

/// A socket, and its connection to `b`.
async fn bare_connection(b: &End) -> (Endpoint, iroh::endpoint::Connection) {
    let bare = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).bind().await.unwrap();
    let target = iroh::EndpointAddr::from_parts(
        iroh::EndpointId::from_bytes(&b.identity.id().0).unwrap(),
        b.transport.bound().into_iter().map(iroh::TransportAddr::Ip),
    );
    let connection = bare.connect(target, ALPN).await.unwrap();
    (bare, connection)
}

/// A member of `b`'s mesh that is only a socket, and its connection to `b`.
async fn bare_member(b: &mut End) -> (Endpoint, iroh::endpoint::Connection, iroh::endpoint::SendStream) {
    let (bare, connection) = bare_connection(b).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let mut exporter = [0; 32];
    connection.export_keying_material(&mut exporter, EXPORTER_LABEL, b"").unwrap();
    let me = PeerId(*bare.id().as_bytes());
    let channel = Channel { role: Role::Dialer, me, peer: b.identity.id(), exporter };
    let credentials = with_key("harbour", Some(1));
    handshake(&mut send, &mut recv, &credentials, &channel, Duration::ZERO).await.unwrap();
    b.connected().await;
    (bare, connection, send)
}

/// A socket that can be dialled, and the order to dial it.
async fn bare_listener() -> (Endpoint, Output) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let builder = Endpoint::builder(presets::Minimal).relay_mode(RelayMode::Disabled).alpns(vec![ALPN.to_vec()]);
    let bare = builder.clear_ip_transports().bind_addr(address).unwrap().bind().await.unwrap();
    let addresses = bare.bound_sockets().iter().map(ToString::to_string).collect();
    let dial = Output::Dial { peer: PeerId(*bare.id().as_bytes()), addresses, patience: PATIENCE };
    (bare, dial)
}

/// The connection and the stream of the first that dials `bare`. Nothing was read of it.
async fn caller(bare: &Endpoint) -> (Connection, SendStream, RecvStream) {
    let incoming = tokio::time::timeout(LIMIT, bare.accept()).await.unwrap().unwrap();
    let connection = incoming.accept().unwrap().await.unwrap();
    let (send, recv) = connection.accept_bi().await.unwrap();
    (connection, send, recv)
}

/// The first word of a peer that speaks these versions and has a shared key.
fn hello((min, max): (u16, u16)) -> Vec<u8> {
    let ([a, b], [c, d]) = (min.to_be_bytes(), max.to_be_bytes());
    vec![0, 0, 0, 6, 1, a, b, c, d, 1]
}

/// Versions that this release does not speak: later ones, and earlier ones.
fn foreign() -> [(u16, u16); 2] {
    let (min, max) = VERSIONS;
    [(max + 1, max + 6), (0, min - 1)]
}

/// What one says that speaks `ours` to one that speaks `theirs`.
fn no_version((ours_min, ours_max): (u16, u16), (theirs_min, theirs_max): (u16, u16)) -> Refusal {
    Refusal::Version { ours_min, ours_max, theirs_min, theirs_max }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_dials_with_other_versions_only_is_told_both_ranges_and_counted() {
    for theirs in foreign() {
        let mut b = End::with_key("harbour", 1).await;
        let (bare, connection) = bare_connection(&b).await;
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(&hello(theirs)).await.unwrap();
        let closed = tokio::time::timeout(LIMIT, connection.closed()).await.unwrap();
        let ((min, max), (low, high)) = (VERSIONS, theirs);
        let reason = format!("no common protocol version: this node speaks {min} to {max}, the peer {low} to {high}");
        assert!(closed.to_string().contains(&reason), "{closed}");
        assert!(b.refused("version") && b.silent());
        bare.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_with_other_versions_only_is_refused_by_the_dialer_and_told_why() {
    for theirs in foreign() {
        let mut a = End::with_key("harbour", 1).await;
        let (bare, dial) = bare_listener().await;
        a.transport.act(dial);
        let (connection, mut send, _recv) = caller(&bare).await;
        send.write_all(&hello(theirs)).await.unwrap();
        let reason = no_version(VERSIONS, theirs).to_string();
        assert_eq!(a.failure().await, format!("this node refuses the peer: {reason}"));
        assert!(a.refused("version") && a.counts("dial_failures", "refused"));
        let closed = tokio::time::timeout(LIMIT, connection.closed()).await.unwrap();
        assert!(closed.to_string().contains(&reason), "{closed}");
        bare.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dialer_that_is_refused_because_of_its_version_says_so_and_does_not_hope() {
    let mut a = End::with_key("harbour", 1).await;
    let (bare, dial) = bare_listener().await;
    a.transport.act(dial);
    let (connection, _send, _recv) = caller(&bare).await;
    let [later, _] = foreign();
    let refusal = no_version(later, VERSIONS);
    connection.close(refusal.code(), refusal.to_string().as_bytes());
    let Input::DialFailed { failure, .. } = a.next().await else { panic!("no failure") };
    assert_eq!(failure, DialFailure::Refused(format!("refused by the peer: {refusal}")));
    assert!(a.counts("dial_failures", "refused_by_peer") && !a.refused("version"));
    bare.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_in_place_of_a_handshake_is_closed_and_the_node_goes_on() {
    let mut b = End::with_key("harbour", 1).await;
    let (bare, connection) = bare_connection(&b).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&[0xff; 64]).await.unwrap();
    let closed = tokio::time::timeout(LIMIT, connection.closed()).await.unwrap();
    assert!(closed.to_string().contains("malformed handshake"), "{closed}");
    assert!(b.silent());
    let mut a = End::with_key("harbour", 1).await;
    a.dial(&b);
    a.connected().await;
    b.connected().await;
    bare.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_send_the_longest_frames_slowly_do_not_keep_others_from_being_heard() {
    let mut b = End::with_key("harbour", 1).await;
    let mut slow = Vec::new();
    for _ in 0..5 {
        let (bare, connection, mut send) = bare_member(&mut b).await;
        send.write_all(&[&(LONGEST as u32).to_be_bytes()[..], &[0; 1000]].concat()).await.unwrap();
        slow.push((bare, connection, send));
    }
    let (bare, _connection, mut send) = bare_member(&mut b).await;
    send.write_all(&[0, 0, 0, 3, 1, 2, 3]).await.unwrap();
    let Input::Frame { frame, .. } = b.next().await else { panic!("the frame") };
    assert_eq!(frame[..], [1, 2, 3]);
    bare.close().await;
    for (bare, ..) in slow {
        bare.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_over_the_limit_closes_its_connection_only() {
    let mut b = End::with_key("harbour", 1).await;
    let (bare, connection, mut send) = bare_member(&mut b).await;
    send.write_all(&(LONGEST as u32 + 1).to_be_bytes()).await.unwrap();
    let closed = tokio::time::timeout(LIMIT, connection.closed()).await.unwrap();
    assert!(closed.to_string().contains("malformed frame"), "{closed}");
    assert!(matches!(b.next().await, Input::Disconnected { .. }));
    bare.close().await;
}
