//! Tests of authorities: round trip through a Secret, rotation with overlap, damage.

use super::*;

fn day(count: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + count * 86_400).unwrap()
}

#[test]
fn an_authority_survives_its_secret() {
    for kind in [Kind::Operator, Kind::Mesh] {
        let made = Authority::create(kind, "harbour", day(0)).unwrap();
        let read = Authority::from_data(kind, &made.to_data()).unwrap();
        assert_eq!(read.bundle_pem(), made.bundle_pem());
        assert_eq!(read.to_data(), made.to_data());
        assert_eq!(read.bundle_der().len(), 1);
    }
}

#[test]
fn a_new_generation_is_trusted_before_it_signs_and_the_old_one_leaves_when_it_expires() {
    let mut authority = Authority::create(Kind::Operator, "operator", day(0)).unwrap();
    let first = authority.bundle_pem();
    assert!(!authority.rotate("operator", day(200)).unwrap());
    assert!(authority.rotate("operator", day(250)).unwrap());
    assert_eq!(authority.bundle_der().len(), 2);
    assert_eq!(authority.signer_pem(day(250)), first);
    assert_ne!(authority.signer_pem(day(253)), first);
    assert!(!authority.rotate("operator", day(253)).unwrap());
    assert!(authority.rotate("operator", day(366)).unwrap());
    assert_eq!(authority.bundle_der().len(), 1);
    assert!(!authority.bundle_pem().contains(&first));
}

#[test]
fn an_expired_authority_is_replaced_not_emptied() {
    let mut authority = Authority::create(Kind::Operator, "operator", day(0)).unwrap();
    assert!(authority.rotate("operator", day(1000)).unwrap());
    assert_eq!(authority.bundle_der().len(), 1);
}

#[test]
fn a_damaged_secret_is_refused_without_showing_it() {
    let made = Authority::create(Kind::Mesh, "harbour", day(0)).unwrap();
    let other = Authority::create(Kind::Mesh, "harbour", day(0)).unwrap();
    let mut data = made.to_data();
    data.insert(KEYS.to_owned(), other.to_data()[KEYS].clone());
    let error = Authority::from_data(Kind::Mesh, &data).unwrap_err();
    assert!(error.to_string().contains("the key is not the certificate's"), "{error}");
    data.remove(KEYS);
    assert!(matches!(Authority::from_data(Kind::Mesh, &data), Err(AuthorityError::Missing(KEYS))));
    data.insert(KEYS.to_owned(), ByteString(b"nonsense".to_vec()));
    assert!(matches!(Authority::from_data(Kind::Mesh, &data), Err(AuthorityError::Damaged { .. })));
}

#[test]
fn nothing_secret_is_printed() {
    let made = Authority::create(Kind::Mesh, "harbour", day(0)).unwrap();
    assert_eq!(format!("{made:?}"), "Authority { kind: Mesh, generations: 1 }");
}
