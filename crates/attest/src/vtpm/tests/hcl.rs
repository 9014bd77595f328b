//! HCL reports that are made here.

use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use serde_json::{Value, json};

use super::{Quote, Tpm, expecting_nonce, now, pcr, trusting};
use crate::{
    CheckName, Collateral, Evidence, Outcome, appraise,
    vtpm::{
        VtpmEvidence,
        hcl::{HclError, HclReport},
        key::{AttestationKey, KeyError},
    },
};

/// The runtime data of a paravisor with this key.
fn runtime_data(n: &[u8]) -> Value {
    let n = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(n);
    json!({
        "keys": [
            {"kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB", "n": n},
            {"kid": "HCLEkPub", "key_ops": ["encrypt"], "kty": "RSA", "e": "AQAB", "n": n},
        ],
        "vm-configuration": {"secure-boot": true},
        "user-data": "ab".repeat(64),
    })
}

fn hcl(report_type: u32, runtime_data: &str) -> Vec<u8> {
    let length = u32::try_from(runtime_data.len()).unwrap();
    let mut bytes = b"HCLA".to_vec();
    for word in [2, 0x4d4 + length, 2, 0, 0, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    if report_type == 4 {
        bytes.extend(crate::vtpm::td_report::blank());
    }
    bytes.resize(0x4c0, 0);
    for word in [20 + length, 1, report_type, 1, length] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(runtime_data.as_bytes());
    bytes.resize(2600, 0);
    bytes
}

pub(super) fn good_hcl() -> Vec<u8> {
    hcl(2, &runtime_data(&[0xff; 256]).to_string())
}

#[test]
fn an_hcl_report_has_its_exact_layout() {
    let report = HclReport::parse(good_hcl()).unwrap();
    assert_eq!(report.user_data, Some(vec![0xab; 64]));
    assert_eq!(report.hardware_report().len(), 1184);

    let with = |at: usize, value: u32| {
        let mut bytes = good_hcl();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        HclReport::parse(bytes)
            .err()
            .expect("this is no HCL report")
    };
    assert!(matches!(with(0, 0), HclError::Magic));
    for (at, value) in [
        (4, 3),
        (12, 1),
        (16, 1),
        (20, 1),
        (28, 1),
        (0x4c4, 2),
        (0x4c8, 3),
        (0x4c8, 0),
        (0x4cc, 2),
    ] {
        assert!(matches!(with(at, value), HclError::Value { .. }), "{at:#x}");
    }
    assert!(matches!(with(8, 0), HclError::Size { .. }));
    assert!(matches!(with(0x4c0, 0), HclError::Size { .. }));
    // A size that takes in the zeros behind the runtime data, or more than there is.
    assert!(matches!(with(0x4d0, 1300), HclError::Size { .. }));
    assert!(matches!(with(0x4d0, u32::MAX), HclError::Truncated { .. }));
    assert!(matches!(with(2596, 1), HclError::Unsigned));
    // Behind a TD report, which is shorter than the space for it.
    let mut td = hcl(4, &runtime_data(&[0xff; 256]).to_string());
    HclReport::parse(td.clone()).unwrap();
    td[0x20 + 1024] = 1;
    assert!(matches!(HclReport::parse(td), Err(HclError::Unsigned)));
    let whole = good_hcl();
    for end in 4..0x4d4 {
        assert!(HclReport::parse(whole[..end].to_vec()).is_err());
    }
}

#[test]
fn the_runtime_data_names_exactly_one_attestation_key() {
    let error = |change: &dyn Fn(&mut Value)| {
        let mut data = runtime_data(&[0xff; 256]);
        change(&mut data);
        HclReport::parse(hcl(2, &data.to_string()))
            .err()
            .expect("this is no runtime data")
    };
    let twice = error(&|data| data["keys"][1]["kid"] = "HCLAkPub".into());
    assert!(matches!(twice, HclError::Keys { found: 2 }));
    let none = error(&|data| data["keys"][0]["kid"] = "HCLAKPub".into());
    assert!(matches!(none, HclError::Keys { found: 0 }));
    let short = error(&|data| *data = runtime_data(&[0xff; 255]));
    assert!(matches!(short, HclError::Key(KeyError::RsaSize { .. })));
    let kind = error(&|data| data["keys"][0]["kty"] = "oct".into());
    assert!(matches!(kind, HclError::KeyType { .. }));
    let purpose = error(&|data| data["keys"][0]["key_ops"] = json!(["encrypt"]));
    assert!(matches!(purpose, HclError::KeyUse));
    let numbers = error(&|data| data["keys"][0]["n"] = "+/".into());
    assert!(matches!(numbers, HclError::KeyNumbers));
    let user_data = error(&|data| data["user-data"] = "x".into());
    assert!(matches!(user_data, HclError::UserData));
    // A second list of keys behind the first.
    let data = runtime_data(&[0xff; 256]).to_string();
    let doubled = data.replacen('{', "{\"keys\":[],", 1);
    assert!(matches!(
        HclReport::parse(hcl(2, &doubled)),
        Err(HclError::RuntimeData(_))
    ));
}

/// The guest makes a runtime data of its own, with a key of its own, around a hardware report
/// that is about another one.
#[test]
fn an_attestation_key_that_the_hardware_does_not_vouch_for_is_refused() {
    let tpm = Tpm::new();
    let AttestationKey::Rsa { n, .. } = AttestationKey::from_spki(&tpm.spki()).unwrap() else {
        panic!("another kind of key");
    };
    let message = Quote::good().bytes();
    let quote = json!({
        "message": hex::encode(&message),
        "signature": hex::encode(tpm.sign(&message, &RSA_PKCS1_SHA256)),
        "pcrs": (0..24).map(|index| hex::encode(pcr(index))).collect::<Vec<_>>(),
    });
    for report_type in [2, 4] {
        let report = hcl(report_type, &runtime_data(&n).to_string());
        let evidence = VtpmEvidence::parse(&report)
            .unwrap()
            .with_part(quote.to_string().as_bytes())
            .unwrap();
        let refusal = appraise(
            &Evidence::Vtpm(Box::new(evidence)),
            &Collateral::none(),
            // That the key is pinned does not help: it says that it is Azure's.
            &trusting(&tpm),
            &expecting_nonce(),
            now(),
        )
        .unwrap_err();
        let failed = |name| {
            refusal
                .checks
                .iter()
                .any(|check| check.name == name && matches!(check.outcome, Outcome::Failed { .. }))
        };
        assert!(failed(CheckName::HardwareBinding), "{refusal:?}");
        assert!(!failed(CheckName::QuoteSignature), "{refusal:?}");
        assert!(!failed(CheckName::PcrDigest), "{refusal:?}");
        assert_eq!(refusal.tee, None);
    }
}
