//! Real QUIC on loopback between two transports, or a transport and a bare endpoint.

mod bare;

use super::certificate::TrustBundle;
use super::*;
use crate::config::{SharedKey, SharedKeys};
use iroh::RelayMode;
use iroh::endpoint::presets;
use peat_node_core::sync::frame::LONGEST;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SignatureAlgorithm,
};
use std::net::Ipv4Addr;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(6);
const MESH: &str = "0f9a3c5d-1111-2222-3333-444455556666";

/// None: `--allow-empty-key`.
fn with_key(app_id: &str, key: Option<u8>) -> Credentials {
    let keys = key.map(|key| SharedKeys { first: SharedKey::from([key; 32]), others: Vec::new() });
    Credentials::SharedKey(Arc::new(Keyring::new(app_id.to_owned(), keys.as_ref())))
}

/// A transport whose driver is the test.
struct End {
    transport: Transport,
    inputs: mpsc::Receiver<Message>,
    identity: Identity,
    metrics: Arc<Metrics>,
    _folder: TempDir,
}

impl End {
    async fn new(credentials: impl FnOnce(&Identity) -> Credentials) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::generate(folder.path()).unwrap();
        let (messages, inputs) = mpsc::channel(crate::driver::INPUTS);
        let metrics = Arc::<Metrics>::default();
        let config = MeshConfig {
            udp_port: 0,
            bind: Some(Ipv4Addr::LOCALHOST.into()),
            auto_sync: true,
            rights_file: None,
            relay: None,
        };
        let setup = Setup {
            identity: &identity,
            config: &config,
            credentials: credentials(&identity),
            messages,
            traffic: Arc::default(),
            metrics: Arc::clone(&metrics),
            stop: CancellationToken::new(),
        };
        let transport = Transport::bind(setup).await.unwrap();
        transport.listen();
        Self { transport, inputs, identity, metrics, _folder: folder }
    }

    async fn with_key(app_id: &str, key: u8) -> Self {
        Self::new(|_| with_key(app_id, Some(key))).await
    }

    fn dial(&self, other: &Self) {
        let addresses = other.transport.bound().iter().map(ToString::to_string).collect();
        self.transport.act(Output::Dial { peer: other.identity.id(), addresses, patience: PATIENCE });
    }

    async fn next(&mut self) -> Input {
        loop {
            match tokio::time::timeout(LIMIT, self.inputs.recv()).await.unwrap().unwrap() {
                Message::Event(input) | Message::Frame { input, .. } => return input,
                // Dropped: nothing is to be persisted here.
                Message::View(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    async fn connected(&mut self) -> ConnId {
        match self.next().await {
            Input::Connected { conn, .. } => conn,
            other => panic!("not connected: {other:?}"),
        }
    }

    async fn failure(&mut self) -> String {
        match self.next().await {
            Input::DialFailed { failure, .. } => failure.to_string(),
            other => panic!("no failure: {other:?}"),
        }
    }

    fn refused(&self, reason: &str) -> bool {
        self.counts("handshake_refusals", reason)
    }

    fn counts(&self, what: &str, reason: &str) -> bool {
        let node = crate::handle::NodeHandle::starting(self.identity.id());
        let text = self.metrics.encode(&node).unwrap();
        text.contains(&format!("peat_node_{what}_total{{reason=\"{reason}\"}} 1"))
    }

    fn silent(&mut self) -> bool {
        self.inputs.try_recv().is_err()
    }
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

struct NodeKey([u8; 32]);

impl PublicKeyData for NodeKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ED25519).unwrap()).unwrap())
    }

    /// A certificate for `peer` that ends `ends` from now.
    fn leaf(&self, peer: &PeerId, ends: i64) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = format!("spiffe://{MESH}/ns/pier/sa/ferry/pod/ferry-0");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs((now + ends) as u64);
        params.signed_by(&NodeKey(peer.0), &self.0).unwrap().der().to_vec()
    }

    fn held(&self, certificate: Vec<u8>) -> Held {
        let (trust, _) = TrustBundle::load([self.0.der().as_ref()]);
        Held { certificate, trust, grace: Duration::from_secs(3600) }
    }

    async fn member(&self, ends: i64, knows: bool) -> (End, Arc<Certificates>) {
        let certificates = Arc::new(Certificates::new(MESH.to_owned(), move |_| knows));
        let end = End::new(|identity| {
            certificates.hold(self.held(self.leaf(&identity.id(), ends)));
            Credentials::Certificates(Arc::clone(&certificates))
        });
        (end.await, certificates)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_every_size_cross_in_order_and_are_reported_as_sent() {
    let (mut a, mut b) = (End::with_key("harbour", 1).await, End::with_key("harbour", 1).await);
    a.dial(&b);
    let (conn, theirs) = (a.connected().await, b.connected().await);
    let sizes = [0, 1, 70_000, LONGEST, 5];
    for size in sizes {
        a.transport.act(Output::Send { conn, peer: b.identity.id(), frame: vec![size as u8; size].into() });
    }
    for size in sizes {
        let Input::Frame { frame, conn, peer } = b.next().await else { panic!("no frame") };
        assert_eq!((frame.len(), conn, peer), (size, theirs, a.identity.id()));
        assert!(frame.iter().all(|byte| *byte == size as u8));
    }
    let mut sent = 0;
    while sent < sizes.iter().sum() {
        let Input::Sent { bytes, .. } = a.next().await else { panic!("no report") };
        sent += bytes;
    }
    for (end, conn, other) in [(&a, conn, &b), (&b, theirs, &a)] {
        let link = end.transport.0.traffic.link(conn).unwrap();
        assert_eq!((link.remote, link.version), (Some(other.transport.bound()[0].to_string()), VERSIONS.1));
        assert!(link.round_trip.is_some() && link.certificate.is_none());
    }
    let (ours, other) = (a.transport.0.traffic.totals(), b.transport.0.traffic.totals());
    assert!(ours.bytes_sent > LONGEST as u64 && other.bytes_received > LONGEST as u64, "{ours:?} {other:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_reaches_both_drivers_once() {
    let (mut a, mut b) = (End::with_key("harbour", 1).await, End::with_key("harbour", 1).await);
    a.dial(&b);
    let (conn, _) = (a.connected().await, b.connected().await);
    a.transport.act(Output::Close { conn, peer: b.identity.id(), reason: CloseReason::Requested });
    assert!(matches!(a.next().await, Input::Disconnected { conn: closed, .. } if closed == conn));
    assert!(matches!(b.next().await, Input::Disconnected { .. }));
    assert!(a.silent() && b.silent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_or_app_id_is_refused_with_a_reason_and_sees_nothing() {
    for (app_id, key) in [("harbour", 2), ("harbor", 1)] {
        let (mut a, mut b) = (End::with_key("harbour", 1).await, End::with_key(app_id, key).await);
        a.dial(&b);
        assert_eq!(a.failure().await, "refused by the peer: wrong shared key or app id");
        assert!(b.refused("proof"));
        assert!(b.silent());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_two_modes_and_a_node_without_a_key_do_not_meet() {
    let mut keyed = End::with_key("harbour", 1).await;
    let (mut managed, _) = Authority::new().member(3600, true).await;
    let mut nobody = End::new(|_| Credentials::Nobody).await;
    keyed.dial(&managed);
    assert_eq!(
        keyed.failure().await,
        "refused by the peer: one side proves membership by shared key, the other by certificate"
    );
    keyed.dial(&nobody);
    assert_eq!(keyed.failure().await, "refused by the peer: no shared key is set on this node: it peers with nobody");
    nobody.dial(&keyed);
    assert_eq!(
        nobody.failure().await,
        "this node refuses the peer: no shared key is set on this node: it peers with nobody"
    );
    assert!(keyed.silent() && managed.silent());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_key_meets_an_empty_key_only() {
    let empty = || End::new(|_| with_key("harbour", None));
    let (mut a, mut b, mut keyed) = (empty().await, empty().await, End::with_key("harbour", 0).await);
    a.dial(&b);
    a.connected().await;
    b.connected().await;
    keyed.dial(&b);
    assert_eq!(keyed.failure().await, "refused by the peer: wrong shared key or app id");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_one_authority_meet_and_others_do_not() {
    let (ours, other) = (Authority::new(), Authority::new());
    let ((mut a, _), (mut b, _), (mut stranger, _)) =
        (ours.member(3600, false).await, ours.member(3600, false).await, other.member(3600, false).await);
    a.dial(&b);
    for (end, conn) in [(&a.transport, a.inputs.recv()), (&b.transport, b.inputs.recv())] {
        let Some(Message::Event(Input::Connected { conn, .. })) = conn.await else { panic!("not connected") };
        let certificate = end.0.traffic.link(conn).unwrap().certificate.unwrap();
        assert_eq!(certificate.uri, format!("spiffe://{MESH}/ns/pier/sa/ferry/pod/ferry-0"));
        assert!(certificate.not_before < certificate.not_after, "{certificate:?}");
    }
    stranger.dial(&b);
    let reason = stranger.failure().await;
    assert!(reason.starts_with("refused by the peer: certificate is not signed by an authority"), "{reason}");
    assert!(b.refused("certificate") && b.silent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_node_is_refused_though_it_is_valid() {
    let authority = Authority::new();
    let (mut b, _) = authority.member(3600, false).await;
    let stolen = authority.held(authority.leaf(&PeerId([9; 32]), 3600));
    let mut thief = End::new(|_| {
        let certificates = Certificates::new(MESH.to_owned(), |_| true);
        certificates.hold(stolen);
        Credentials::Certificates(Arc::new(certificates))
    })
    .await;
    thief.dial(&b);
    assert_eq!(thief.failure().await, "refused by the peer: certificate is for another key than this connection's");
    assert!(b.silent());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_accepted_by_those_who_know_its_owner_and_by_no_others() {
    let authority = Authority::new();
    let (mut expired, _) = authority.member(-60, false).await;
    let ((mut knows, _), (mut ignorant, _)) = (authority.member(3600, true).await, authority.member(3600, false).await);
    expired.dial(&knows);
    expired.connected().await;
    knows.connected().await;
    expired.dial(&ignorant);
    assert_eq!(expired.failure().await, "refused by the peer: certificate has expired");
    assert!(ignorant.silent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_peer_is_refused_also_within_its_grace() {
    let authority = Authority::new();
    let ((mut a, _), (mut b, of_b)) = (authority.member(-60, true).await, authority.member(3600, true).await);
    of_b.revoke([a.identity.id()]);
    a.dial(&b);
    assert_eq!(a.failure().await, "refused by the peer: revoked");
    assert!(b.refused("revoked") && b.silent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_reinstated_is_met_again_with_the_certificate_that_it_has() {
    let authority = Authority::new();
    let ((mut a, _), (mut b, of_b)) = (authority.member(3600, false).await, authority.member(3600, false).await);
    let peers = std::collections::BTreeSet::from([a.identity.id()]);
    of_b.revoke(peers.iter().copied());
    a.dial(&b);
    assert_eq!(a.failure().await, "refused by the peer: revoked");
    of_b.reinstate(&peers);
    a.dial(&b);
    a.connected().await;
    b.connected().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_certificate_says_so_and_meets_others_once_it_has_one() {
    let authority = Authority::new();
    let (mut b, _) = authority.member(3600, false).await;
    let waiting = Arc::new(Certificates::new(MESH.to_owned(), |_| false));
    let mut new = End::new(|_| Credentials::Certificates(Arc::clone(&waiting))).await;
    new.dial(&b);
    assert_eq!(new.failure().await, "this node refuses the peer: this node has no certificate yet");
    b.dial(&new);
    assert_eq!(b.failure().await, "refused by the peer: this node has no certificate yet");
    waiting.hold(authority.held(authority.leaf(&new.identity.id(), 3600)));
    b.dial(&new);
    b.connected().await;
    new.connected().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_without_an_answer_or_an_address_fails_with_what_was_tried() {
    let mut a = End::with_key("harbour", 1).await;
    let peer = End::with_key("harbour", 1).await.identity.id();
    a.transport.act(Output::Dial { peer, addresses: vec!["no-such-host.invalid:1".to_owned()], patience: PATIENCE });
    assert_eq!(a.failure().await, "no address of no-such-host.invalid:1 could be resolved");
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    a.transport.act(Output::Dial { peer, addresses: vec![closed.to_string()], patience: PATIENCE });
    assert_eq!(a.failure().await, format!("no answer from {closed}"));
    assert!(a.counts("dial_failures", "unresolved") && a.counts("dial_failures", "silent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_were_queued_arrive_before_a_node_leaves() {
    let (mut a, mut b) = (End::with_key("harbour", 1).await, End::with_key("harbour", 1).await);
    a.dial(&b);
    let (conn, _) = (a.connected().await, b.connected().await);
    for number in 0..200_u32 {
        let frame = number.to_be_bytes().repeat(2000).into();
        a.transport.act(Output::Send { conn, peer: b.identity.id(), frame });
    }
    let leaving = tokio::spawn(async move {
        a.transport.close(LIMIT).await;
        a
    });
    for number in 0..200_u32 {
        let Input::Frame { frame, .. } = b.next().await else { panic!("frame {number} is lost") };
        assert_eq!(frame[..4], number.to_be_bytes());
    }
    assert!(matches!(b.next().await, Input::Disconnected { .. }));
    leaving.await.unwrap();
}
