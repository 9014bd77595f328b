use proptest::prelude::*;

use super::*;

/// A report that parses, of `version`.
fn report(version: u8) -> [u8; REPORT_BYTES] {
    let mut report = [0; REPORT_BYTES];
    report[0] = version;
    report[0x34] = 1;
    report
}

#[test]
fn versions_1_to_5_are_read_and_1_is_not_accepted() {
    for version in 0..=u8::MAX {
        let raw = report(version);
        let expected = if (1..=5).contains(&version) {
            None
        } else {
            Some(ReportError::Version {
                version: version.into(),
            })
        };
        let parsed = Report::parse(&raw);
        if let Ok(report) = &parsed {
            assert_eq!(report.check_version().is_ok(), version >= 2, "{version}");
        }
        assert_eq!(parsed.err(), expected, "{version}");
    }
}

#[test]
fn nothing_may_be_cut_off_or_follow() {
    let mut raw = report(2).to_vec();
    raw.push(0);
    for size in [0, 1, 4, REPORT_BYTES - 1, REPORT_BYTES + 1] {
        assert_eq!(
            Report::parse(&raw[..size]).err(),
            Some(ReportError::Size { size })
        );
    }
}

#[test]
fn only_ecdsa_on_p384_signs() {
    for algorithm in [0, 2, 255] {
        let mut raw = report(3);
        raw[0x34] = algorithm;
        assert_eq!(
            Report::parse(&raw).err(),
            Some(ReportError::SignatureAlgorithm {
                algorithm: algorithm.into()
            })
        );
    }
}

#[test]
fn signing_keys_without_meaning_are_refused() {
    for value in 0..8 {
        let mut raw = report(3);
        raw[0x48] = value << 2;
        let parsed = Report::parse(&raw);
        match value {
            0 => assert_eq!(parsed.unwrap().signing_key(), SigningKey::Vcek),
            1 => assert_eq!(parsed.unwrap().signing_key(), SigningKey::Vlek),
            7 => assert_eq!(parsed.unwrap().signing_key(), SigningKey::None),
            _ => assert_eq!(parsed.err(), Some(ReportError::SigningKey { value })),
        }
    }
}

#[test]
fn each_reserved_byte_must_be_zero() {
    for version in 1..=5_u8 {
        for Reserved(field, from, until, versions) in RESERVED {
            for at in *from..*until {
                let mut raw = report(version);
                raw[at] = 1;
                let refused = Report::parse(&raw).err();
                if versions.contains(&version.into()) {
                    assert_eq!(refused, Some(ReportError::Reserved { field }), "{at:#x}");
                }
            }
        }
        for at in [0x48, 0x49, 0x4b] {
            let mut raw = report(version);
            raw[at] = 0x80;
            let refused = Report::parse(&raw).err();
            assert_eq!(refused, Some(ReportError::Reserved { field: "flags" }));
        }
    }
}

#[test]
fn fields_of_newer_versions_are_theirs() {
    for version in 1..=5_u8 {
        let mut raw = report(version);
        raw[0x188] = 0x19;
        assert_eq!(Report::parse(&raw).is_ok(), version >= 3, "{version}");
        let mut raw = report(version);
        raw[0x1f8] = 7;
        let parsed = Report::parse(&raw);
        assert_eq!(parsed.is_ok(), version >= 4, "{version}");
        assert_eq!(
            parsed.ok().and_then(|report| report.launch_mit_vector()),
            (version >= 4).then_some(7)
        );
    }
}

#[test]
fn the_signature_is_turned_round() {
    let mut raw = report(2);
    raw[R] = 1;
    raw[S + 47] = 2;
    let signature = Report::parse(&raw).unwrap().signature();
    assert_eq!((signature[47], signature[48]), (1, 2));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Report::parse(&bytes);
    }

    #[test]
    fn no_report_makes_its_description_panic(
        version in 1..=5_u8,
        changes in proptest::collection::vec((0..REPORT_BYTES, any::<u8>()), 0..64),
    ) {
        let mut raw = report(version);
        for (at, byte) in changes {
            raw[at] = byte;
        }
        if let Ok(report) = Report::parse(&raw) {
            let _ = crate::snp::fields(&report);
        }
    }
}
