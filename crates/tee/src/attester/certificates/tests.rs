use proptest::prelude::*;

use super::super::emulated::{ARK, ASK, VCEK, VLEK, certificate_table, der};
use super::*;

#[test]
fn certificates_come_signer_first() {
    let (ark, ask, vcek) = (der(b"ark"), der(b"ask"), der(&[7; 1300]));
    let table = certificate_table(&[(ARK, &ark), (VCEK, &vcek), (ASK, &ask)]);
    assert_eq!(parse(&table).unwrap(), [vcek, ask, ark]);
    let vlek = der(&[8; 200]);
    let table = certificate_table(&[(VLEK, &vlek)]);
    assert_eq!(parse(&table).unwrap(), [vlek]);
}

#[test]
fn both_orders_of_a_guid_are_known() {
    let vcek = der(b"vcek");
    let mut guid = VCEK;
    guid[..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    assert_eq!(parse(&certificate_table(&[(guid, &vcek)])).unwrap(), [vcek]);
}

#[test]
fn a_host_without_certificates_gives_nothing() {
    assert!(parse(&[]).unwrap().is_empty());
    assert!(parse(&certificate_table(&[])).unwrap().is_empty());
    assert!(parse(&[0; 4096]).unwrap().is_empty());
}

#[test]
fn strangers_are_left_out_but_must_lie_within() {
    let vcek = der(b"vcek");
    let mut table = certificate_table(&[([9; 16], b"not DER at all"), (VCEK, &vcek)]);
    assert_eq!(parse(&table).unwrap(), [vcek]);
    table[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(
        parse(&table),
        Err(CertificateTableError::Outside { .. })
    ));
}

#[test]
fn a_table_without_end_is_refused() {
    let table = certificate_table(&[(VCEK, &der(b"x"))]);
    assert_eq!(parse(&table[..24]), Err(CertificateTableError::Unended(24)));
    assert_eq!(parse(b"x"), Err(CertificateTableError::Unended(1)));
    assert_eq!(
        parse(&[1; 24 * 40]),
        Err(CertificateTableError::TooManyEntries)
    );
}

#[test]
fn entries_that_point_elsewhere_are_refused() {
    let good = certificate_table(&[(VCEK, &der(b"content"))]);
    let size = u32::try_from(good.len()).unwrap();
    // Past the end, into the head, with an overflow, and at nothing.
    for (offset, length) in [
        (48, 12),
        (47, 11),
        (0, 24),
        (size, 1),
        (u32::MAX, u32::MAX),
        (48, 0),
    ] {
        let mut table = good.clone();
        table[16..20].copy_from_slice(&offset.to_le_bytes());
        table[20..24].copy_from_slice(&length.to_le_bytes());
        let outside_or_long = match parse(&table) {
            Err(CertificateTableError::Outside { .. }) => true,
            Err(CertificateTableError::TooLong(_)) => length == u32::MAX,
            _ => false,
        };
        assert!(outside_or_long, "{offset} {length}");
    }
}

#[test]
fn what_is_no_certificate_is_refused() {
    for content in [
        &b"-----BEGIN CERTIFICATE-----"[..],
        b"\x30",
        b"\x30\x80\0\0",
        b"\x30\x01",
        b"\x30\x01ab",
        b"\x31\x01a",
    ] {
        let table = certificate_table(&[(ASK, content)]);
        assert_eq!(parse(&table), Err(CertificateTableError::NotDer(Role::Ask)));
    }
    let long = der(&[0; 9000]);
    assert_eq!(
        parse(&certificate_table(&[(ASK, &long)])),
        Err(CertificateTableError::TooLong(9004))
    );
}

#[test]
fn two_of_a_kind_are_refused() {
    let table = certificate_table(&[(ASK, &der(b"a")), (ASK, &der(b"b"))]);
    assert_eq!(
        parse(&table),
        Err(CertificateTableError::Duplicate(Role::Ask))
    );
}

proptest! {
    #[test]
    fn no_table_makes_it_panic(table in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&table);
    }

    #[test]
    fn no_change_of_a_table_makes_it_panic(at in 0_usize..160, byte: u8, cut in 0_usize..160) {
        let (vcek, ask) = (der(&[1; 20]), der(&[2; 30]));
        let mut table = certificate_table(&[(VCEK, &vcek), (ASK, &ask)]);
        let at = at % table.len();
        table[at] = byte;
        table.truncate(cut.max(1));
        if let Ok(certificates) = parse(&table) {
            prop_assert!(certificates.iter().all(|der| table.windows(der.len()).any(|w| w == der)));
        }
    }
}
