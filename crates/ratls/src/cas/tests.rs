use std::time::Duration;

use mse_attest::{CheckName, Reason};
use mse_crypto::signing::{Algorithm, SigningKey};
use mse_simtee::Platform;

use super::*;

fn description() -> CasDescription {
    CasDescription {
        format: DESCRIPTION_FORMAT,
        cas_key: CasKey::of(b"key"),
        audit_key: SigningKey::ed25519_of_seed(&[7; 32]).public().to_pem(),
        session_encryption_key: "07".repeat(32),
        owner: Digest::of(b"owner"),
        store_id: "00".repeat(16),
        version: "0.1.0".into(),
        tee: "simulated".into(),
        simulated: true,
        recovering: None,
    }
}

struct Scene {
    report: CasReport,
    expected: ExpectedCas,
    folder: tempfile::TempDir,
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let platform = Platform::create(&folder.path().join("tee"), now).unwrap();
    let (nonce, channel) = (Nonce([1; 32]), ChannelBinding([2; 32]));
    let data = attest_report_data(&nonce, &channel, &description().digest());
    let quote = platform.quote([9; 32], &data).unwrap();
    let collateral = Collateral::from(platform.collateral(now).unwrap());
    Scene {
        report: CasReport {
            format: REPORT_FORMAT,
            attested_at: 0,
            nonce: hex::encode(nonce.0),
            exporter: hex::encode(channel.0),
            description: description(),
            evidence: BASE64.encode(&quote),
            collateral: serde_json::from_str(&collateral.to_json()).unwrap(),
        },
        expected: ExpectedCas {
            policy: Policy::strict().with_simulated(platform.trust_anchor().clone()),
            measurement: Some(Measurement(Digest([9; 32]))),
            owner: Some(Digest::of(b"owner")),
            cas_key: Some(CasKey::of(b"key")),
        },
        folder,
    }
}

#[test]
fn the_digest_of_a_description_is_fixed() {
    // It is a public format: every report rests on it.
    let pem = description().audit_key;
    let json = format!(
        r#"{{"audit_key":{},"cas_key":"{}","format":1,"owner":"{}","session_encryption_key":"{}","simulated":true,"store_id":"{}","tee":"simulated","version":"0.1.0"}}"#,
        serde_json::to_string(&pem).unwrap(),
        Digest::of(b"key"),
        Digest::of(b"owner"),
        "07".repeat(32),
        "00".repeat(16),
    );
    assert_eq!(description().digest(), Digest::of(json.as_bytes()));
}

#[test]
fn every_part_of_the_report_data_counts() {
    let data = |nonce, channel, digest| {
        attest_report_data(
            &Nonce([nonce; 32]),
            &ChannelBinding([channel; 32]),
            &Digest([digest; 32]),
        )
    };
    let base = data(1, 2, 3);
    for changed in [data(0, 2, 3), data(1, 0, 3), data(1, 2, 0)] {
        assert_ne!(base, changed);
    }
}

#[test]
fn a_report_survives_its_file_and_verifies_offline() {
    let Scene {
        report, expected, ..
    } = scene();
    let json = serde_json::to_vec(&report).unwrap();
    let again = CasReport::from_json(&json).unwrap();
    let appraisal = again.verify(&expected, SystemTime::now()).unwrap();
    assert_eq!(measurement_of(&appraisal), expected.measurement);
    // Collateral has an end.
    let later = SystemTime::now() + Duration::from_secs(20 * 365 * 24 * 3600);
    assert!(again.verify(&expected, later).is_err());
}

#[test]
fn no_changed_member_of_a_report_verifies() {
    let Scene {
        report, expected, ..
    } = scene();
    type Change = fn(&mut CasReport);
    let other_key = || SigningKey::generate(Algorithm::Ed25519).public().to_pem();
    let mut changed = report.clone();
    changed.description.audit_key = other_key();
    let changes: [(&str, Change); 8] = [
        ("nonce", |r| r.nonce = "03".repeat(32)),
        ("exporter", |r| r.exporter = "03".repeat(32)),
        ("cas_key", |r| r.description.cas_key.0.0[0] ^= 1),
        ("encryption", |r| {
            r.description.session_encryption_key = "08".repeat(32);
        }),
        ("owner", |r| r.description.owner.0[0] ^= 1),
        ("store", |r| r.description.store_id = "01".repeat(16)),
        ("version", |r| r.description.version = "9".into()),
        ("tee", |r| {
            r.description.tee = "sgx".into();
            r.description.simulated = false;
        }),
    ];
    let mut changed = vec![("audit_key", changed)];
    for (name, change) in changes {
        let mut one = report.clone();
        change(&mut one);
        changed.push((name, one));
    }
    for (name, changed) in changed {
        match changed.verify(&expected, SystemTime::now()) {
            Err(AttestError::Refused(refusal)) => {
                assert_eq!(refusal.failed, CheckName::ReportData, "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn another_measurement_owner_or_key_is_refused_and_so_is_simulation_unasked() {
    let Scene {
        report, expected, ..
    } = scene();
    let refused = |change: fn(&mut ExpectedCas)| {
        let mut expected = expected.clone();
        change(&mut expected);
        report.verify(&expected, SystemTime::now()).unwrap_err()
    };
    let measured = refused(|e| e.measurement = Some(Measurement(Digest([8; 32]))));
    assert!(
        matches!(measured, AttestError::Refused(refusal) if refusal.failed == CheckName::MrEnclave)
    );
    let owner = refused(|e| e.owner = Some(Digest::of(b"mallory")));
    assert!(matches!(owner, AttestError::Owner { .. }));
    let key = refused(|e| e.cas_key = Some(CasKey::of(b"other")));
    assert!(matches!(key, AttestError::Key { .. }));
    let simulated = refused(|e| e.policy = Policy::strict());
    assert!(
        matches!(simulated, AttestError::Refused(refusal) if refusal.reason == Reason::SimulatedEvidence)
    );
}

#[test]
fn a_lie_about_the_tee_is_refused_though_it_is_signed() {
    let Scene {
        mut report,
        expected,
        folder,
    } = scene();
    let platform = Platform::open(&folder.path().join("tee")).unwrap();
    report.description.tee = "sgx".into();
    report.description.simulated = false;
    let data = attest_report_data(
        &Nonce([1; 32]),
        &ChannelBinding([2; 32]),
        &report.description.digest(),
    );
    report.evidence = BASE64.encode(platform.quote([9; 32], &data).unwrap());
    let refused = report.verify(&expected, SystemTime::now()).unwrap_err();
    assert!(matches!(refused, AttestError::Description(_)), "{refused}");
}

proptest::proptest! {
    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = CasReport::from_json(&bytes);
    }
}
