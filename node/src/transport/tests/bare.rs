//! Peers that say what no node would.

use super::*;

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
