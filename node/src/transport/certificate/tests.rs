//! Certificates that are accepted and, one by one, each reason to refuse one.

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, PublicKeyData, SanType, SignatureAlgorithm,
};

const MESH: &str = "0f9a3c5d-1111-2222-3333-444455556666";
const NOW: Duration = Duration::from_secs(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3600);
const PEER: PeerId = PeerId([7; 32]);

struct NodeKey([u8; 32]);

impl PublicKeyData for NodeKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + (NOW - 24 * HOUR);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + (NOW + 1000 * HOUR);
    change(&mut params);
    CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ED25519).unwrap()).unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.to_owned().try_into().unwrap())
}

fn leaf(authority: &Authority, change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri(&format!("spiffe://{MESH}/ns/pier/sa/ferry/pod/ferry-0"))];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + (NOW - HOUR);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + (NOW + HOUR);
    change(&mut params);
    params.signed_by(&NodeKey(PEER.0), authority).unwrap().der().to_vec()
}

fn bundle(authorities: &[&Authority]) -> TrustBundle {
    let (bundle, refused) = TrustBundle::load(authorities.iter().map(|authority| authority.der().as_ref()));
    assert_eq!(refused, []);
    bundle
}

fn verify(bundle: &TrustBundle, leaf: &[u8]) -> Result<Member, CertificateError> {
    bundle.verify(leaf, &PEER, MESH, NOW, Duration::ZERO)
}

#[test]
fn a_certificate_of_the_mesh_makes_a_member() {
    let authority = authority("one", |_| {});
    let member = verify(&bundle(&[&authority]), &leaf(&authority, |_| {})).unwrap();
    assert_eq!(member.uri, format!("spiffe://{MESH}/ns/pier/sa/ferry/pod/ferry-0"));
    assert_eq!(member.not_after, NOW + HOUR);
}

#[test]
fn one_of_several_overlapping_roots_is_enough() {
    let (old, new) = (authority("one", |_| {}), authority("two", |_| {}));
    let both = bundle(&[&old, &new]);
    verify(&both, &leaf(&old, |_| {})).unwrap();
    verify(&both, &leaf(&new, |_| {})).unwrap();
}

#[test]
fn another_key_than_the_proven_one_is_refused() {
    let authority = authority("one", |_| {});
    let refused = bundle(&[&authority]).verify(&leaf(&authority, |_| {}), &PeerId([8; 32]), MESH, NOW, Duration::ZERO);
    assert_eq!(refused, Err(CertificateError::Key));
}

#[test]
fn a_root_past_its_date_vouches_for_nothing() {
    let expired = authority("one", |params| params.not_after = rcgen::date_time_ymd(1970, 1, 1) + (NOW - HOUR));
    let refused = verify(&bundle(&[&expired]), &leaf(&expired, |_| {}));
    assert!(matches!(refused, Err(CertificateError::Chain(_))), "{refused:?}");
    let future = authority("two", |params| params.not_before = rcgen::date_time_ymd(1970, 1, 1) + (NOW + HOUR));
    assert!(matches!(verify(&bundle(&[&future]), &leaf(&future, |_| {})), Err(CertificateError::Chain(_))));
}

#[test]
fn a_leaf_is_not_taken_as_a_root() {
    let authority = authority("one", |_| {});
    let leaf = leaf(&authority, |_| {});
    let (bundle, refused) = TrustBundle::load([&leaf[..], b"nonsense", authority.der().as_ref()]);
    assert_eq!(refused, [(0, RootError::NoAuthority), (1, RootError::Unreadable)]);
    verify(&bundle, &leaf).unwrap();
}

#[test]
fn an_authority_that_may_not_sign_is_not_taken_as_a_root() {
    let silent = authority("one", |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    let (bundle, refused) = TrustBundle::load([silent.der().as_ref()]);
    assert_eq!(refused, [(0, RootError::NoAuthority)]);
    assert!(bundle.is_empty());
}

#[test]
fn a_leaf_without_its_usages_is_refused() {
    let authority = authority("one", |_| {});
    let bundle = bundle(&[&authority]);
    let no_extended = leaf(&authority, |params| params.extended_key_usages.clear());
    assert_eq!(verify(&bundle, &no_extended), Err(CertificateError::Usage));
    let no_usage = leaf(&authority, |params| params.key_usages.clear());
    assert_eq!(verify(&bundle, &no_usage), Err(CertificateError::Usage));
    let wrong = leaf(&authority, |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    assert_eq!(verify(&bundle, &wrong), Err(CertificateError::Usage));
}

#[test]
fn a_leaf_has_exactly_one_name_and_that_is_a_uri() {
    let authority = authority("one", |_| {});
    let bundle = bundle(&[&authority]);
    let named = |names: Vec<SanType>| verify(&bundle, &leaf(&authority, |params| params.subject_alt_names = names));
    let ours = || uri(&format!("spiffe://{MESH}/ns/a/sa/b/pod/c"));
    let dns = || SanType::DnsName("ferry.example".to_owned().try_into().unwrap());
    assert_eq!(named(vec![]), Err(CertificateError::Names { names: 0, uris: 0 }));
    assert_eq!(named(vec![ours(), ours()]), Err(CertificateError::Names { names: 2, uris: 2 }));
    assert_eq!(named(vec![ours(), dns()]), Err(CertificateError::Names { names: 2, uris: 1 }));
    assert_eq!(named(vec![dns()]), Err(CertificateError::Names { names: 1, uris: 0 }));
}

#[test]
fn the_trust_domain_is_compared_whole() {
    let authority = authority("one", |_| {});
    let bundle = bundle(&[&authority]);
    let named = |text: String| verify(&bundle, &leaf(&authority, |params| params.subject_alt_names = vec![uri(&text)]));
    for other in [
        format!("spiffe://{MESH}0/ns/a/sa/b/pod/c"),
        format!("spiffe://{MESH}.evil/ns/a"),
        format!("spiffe://{}/ns/a", &MESH[..35]),
        format!("spiffe://{MESH}"),
        format!("spiffe://{MESH}/"),
        format!("https://{MESH}/ns/a"),
    ] {
        assert_eq!(named(other.clone()), Err(CertificateError::TrustDomain(MESH.to_owned())), "{other}");
    }
}

#[test]
fn an_expired_leaf_is_accepted_within_the_grace_only() {
    let authority = authority("one", |_| {});
    let bundle = bundle(&[&authority]);
    let expired = leaf(&authority, |params| params.not_after = rcgen::date_time_ymd(1970, 1, 1) + (NOW - HOUR / 2));
    assert_eq!(verify(&bundle, &expired), Err(CertificateError::Expired));
    let within = |grace| bundle.verify(&expired, &PEER, MESH, NOW, grace);
    assert!(within(HOUR).is_ok());
    assert_eq!(within(HOUR / 4), Err(CertificateError::Expired));
}

#[test]
fn a_leaf_before_its_date_is_refused() {
    let authority = authority("one", |_| {});
    let early = leaf(&authority, |params| params.not_before = rcgen::date_time_ymd(1970, 1, 1) + (NOW + HOUR / 2));
    assert_eq!(verify(&bundle(&[&authority]), &early), Err(CertificateError::NotYet));
}

#[test]
fn what_another_authority_signed_is_refused_also_under_the_same_name() {
    let (ours, other) = (authority("one", |_| {}), authority("two", |_| {}));
    let namesake = authority("one", |_| {});
    for stranger in [&other, &namesake] {
        let refused = verify(&bundle(&[&ours]), &leaf(stranger, |_| {}));
        assert!(matches!(refused, Err(CertificateError::Chain(_))), "{refused:?}");
    }
    assert!(matches!(verify(&TrustBundle::default(), &leaf(&ours, |_| {})), Err(CertificateError::Chain(_))));
}

#[test]
fn an_authority_is_not_a_member() {
    let authority = authority("one", |_| {});
    let shown = leaf(&authority, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    let refused = verify(&bundle(&[&authority]), &shown);
    assert!(matches!(refused, Err(CertificateError::Chain(_))), "{refused:?}");
}

#[test]
fn damaged_and_oversized_bytes_are_refused() {
    let authority = authority("one", |_| {});
    let bundle = bundle(&[&authority]);
    let good = leaf(&authority, |_| {});
    for cut in 0..good.len() {
        assert!(verify(&bundle, &good[..cut]).is_err());
    }
    for at in 0..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        assert!(verify(&bundle, &flipped).is_err(), "byte {at}");
    }
    assert_eq!(verify(&bundle, &vec![0; LONGEST + 1]), Err(CertificateError::Unreadable));
}
