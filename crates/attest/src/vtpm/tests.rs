//! Quotes of TPMs that are made here: each bad one differs from the good one in one place.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaEncoding,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    VtpmError, VtpmEvidence,
    hcl::{HclError, HclReport},
    key::{AttestationKey, KeyError},
    tpm::{Attest, Signature, TpmError, parse_public},
};
use crate::{
    Appraisal, CheckName, Collateral, Evidence, Policy, Reason, ReferenceValues, Refusal, Tee,
    TrustAnchor, appraise, digest::sha256, vtpm,
};

const NONCE: &[u8] = b"a challenge of this verifier";

// --- A good quote

/// What goes into a `TPMS_ATTEST`.
#[derive(Clone)]
struct Quote {
    magic: u32,
    kind: u16,
    nonce: Vec<u8>,
    /// Bank and bits of the PCRs.
    selections: Vec<(u16, [u8; 3])>,
    digest: Vec<u8>,
    tail: Vec<u8>,
}

const SHA1: u16 = 4;
const SHA256: u16 = 11;

fn pcr(index: u8) -> [u8; 32] {
    [index; 32]
}

impl Quote {
    /// Of PCR 0 to 7 of the bank sha256.
    fn good() -> Self {
        Self::of(0..8)
    }

    fn of(pcrs: impl Iterator<Item = u8> + Clone) -> Self {
        let mut bits = [0; 3];
        for index in pcrs.clone() {
            bits[usize::from(index / 8)] |= 1 << (index % 8);
        }
        let values: Vec<u8> = pcrs.flat_map(pcr).collect();
        Self {
            magic: 0xff54_4347,
            kind: 0x8018,
            nonce: NONCE.to_vec(),
            selections: vec![(SHA256, bits)],
            digest: sha256(&[&values]).to_vec(),
            tail: Vec::new(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_be_bytes().to_vec();
        bytes.extend(self.kind.to_be_bytes());
        sized(&mut bytes, b"name of the signer");
        sized(&mut bytes, &self.nonce);
        bytes.extend(7_u64.to_be_bytes());
        bytes.extend(2_u32.to_be_bytes());
        bytes.extend(1_u32.to_be_bytes());
        bytes.push(1);
        bytes.extend(0x2024_0101_u64.to_be_bytes());
        bytes.extend(u32::try_from(self.selections.len()).unwrap().to_be_bytes());
        for (bank, bits) in &self.selections {
            bytes.extend(bank.to_be_bytes());
            bytes.push(3);
            bytes.extend(bits);
        }
        sized(&mut bytes, &self.digest);
        bytes.extend(&self.tail);
        bytes
    }
}

fn sized(bytes: &mut Vec<u8>, content: &[u8]) {
    bytes.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
    bytes.extend(content);
}

/// A TPM's RSA attestation key.
struct Tpm(RsaKeyPair);

impl Tpm {
    fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().unwrap();
        der.as_ref().to_vec()
    }

    fn sign(&self, message: &[u8], encoding: &'static dyn RsaEncoding) -> Vec<u8> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(encoding, &SystemRandom::new(), message, &mut signature)
            .unwrap();
        signature
    }

    /// A `TPMT_SIGNATURE`.
    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0x14, 0, 11];
        sized(&mut bytes, &self.sign(message, &RSA_PKCS1_SHA256));
        bytes
    }

    /// Evidence in the form that trustee gives it, with all 24 PCRs.
    fn evidence(&self, quote: &Quote) -> Value {
        let message = quote.bytes();
        json!({
            "ak_public": STANDARD.encode(self.spki()),
            "tpm_quote": {
                "message": STANDARD.encode(&message),
                "signature": STANDARD.encode(self.signature(&message)),
                "pcrs": (0..24).map(|index| hex::encode(pcr(index))).collect::<Vec<_>>(),
            },
        })
    }
}

fn parse(evidence: &Value) -> Result<VtpmEvidence, VtpmError> {
    VtpmEvidence::parse(evidence.to_string().as_bytes())
}

fn expecting_nonce() -> ReferenceValues {
    ReferenceValues {
        nonce: Some(NONCE.to_vec()),
        ..ReferenceValues::default()
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_780_000_000)
}

fn verdict(
    evidence: &Value,
    policy: &Policy,
    expected: &ReferenceValues,
) -> Result<Appraisal, Refusal> {
    let evidence = Evidence::Vtpm(Box::new(parse(evidence).unwrap()));
    appraise(&evidence, &Collateral::none(), policy, expected, now())
}

fn trusting(tpm: &Tpm) -> Policy {
    Policy::strict().trust_tpm_ak(sha256(&[&tpm.spki()]))
}

fn refusal(tpm: &Tpm, evidence: &Value) -> Refusal {
    verdict(evidence, &trusting(tpm), &expecting_nonce()).expect_err("this must be refused")
}

#[test]
fn a_good_quote_of_a_pinned_key_is_accepted() {
    let tpm = Tpm::new();
    let evidence = tpm.evidence(&Quote::good());
    let appraisal = verdict(&evidence, &trusting(&tpm), &expecting_nonce()).unwrap();
    assert_eq!(appraisal.tee, Tee::Tpm);
    let claims = serde_json::to_value(&appraisal.claims).unwrap();
    assert_eq!(claims["pcr7"], hex::encode(pcr(7)));
    // Given, but not signed.
    assert_eq!(claims.get("pcr8"), None);
    assert_eq!(claims["nonce"], hex::encode(NONCE));
    assert_eq!(claims["tpm_reset_count"], 2);
}

#[test]
fn an_unknown_key_is_refused() {
    let tpm = Tpm::new();
    let evidence = tpm.evidence(&Quote::good());
    let refusal = verdict(&evidence, &trusting(&Tpm::new()), &expecting_nonce()).unwrap_err();
    assert_eq!(refusal.failed, CheckName::RootOfTrust);
    assert_eq!(refusal.reason, Reason::UnknownRoot);
    assert_eq!(refusal.tee, None);
}

#[test]
fn a_signature_of_another_key_is_refused() {
    let (tpm, other) = (Tpm::new(), Tpm::new());
    let mut evidence = tpm.evidence(&Quote::good());
    evidence["tpm_quote"]["signature"] =
        other.evidence(&Quote::good())["tpm_quote"]["signature"].clone();
    let refusal = refusal(&tpm, &evidence);
    assert_eq!(refusal.failed, CheckName::QuoteSignature);
    assert_eq!(refusal.reason, Reason::Forged);
}

#[test]
fn a_signature_over_another_quote_is_refused() {
    let tpm = Tpm::new();
    let mut evidence = tpm.evidence(&Quote::good());
    let stale = Quote {
        nonce: b"a challenge of yesterday    ".to_vec(),
        ..Quote::good()
    };
    evidence["tpm_quote"]["signature"] = tpm.evidence(&stale)["tpm_quote"]["signature"].clone();
    assert_eq!(refusal(&tpm, &evidence).failed, CheckName::QuoteSignature);
}

#[test]
fn a_replayed_quote_is_refused() {
    let tpm = Tpm::new();
    for nonce in [&b""[..], &NONCE[1..], &[NONCE, b"\0"].concat()] {
        let stale = Quote {
            nonce: nonce.to_vec(),
            ..Quote::good()
        };
        let refusal = refusal(&tpm, &tpm.evidence(&stale));
        assert_eq!(refusal.failed, CheckName::Nonce);
        assert_eq!(refusal.reason, Reason::Mismatch);
    }
}

#[test]
fn a_changed_pcr_is_refused() {
    let tpm = Tpm::new();
    let mut evidence = tpm.evidence(&Quote::good());
    evidence["tpm_quote"]["pcrs"][7] = Value::String(hex::encode([0xaa; 32]));
    let refusal = refusal(&tpm, &evidence);
    assert_eq!(refusal.failed, CheckName::PcrDigest);
    assert_eq!(refusal.reason, Reason::Forged);
}

#[test]
fn pcrs_that_are_not_signed_cannot_meet_a_policy() {
    let tpm = Tpm::new();
    let evidence = tpm.evidence(&Quote::good());
    let signed = trusting(&tpm).require_reference("vtpm.pcr7", pcr(7).to_vec());
    verdict(&evidence, &signed, &expecting_nonce()).unwrap();
    let unsigned = trusting(&tpm).require_reference("vtpm.pcr8", pcr(8).to_vec());
    let refusal = verdict(&evidence, &unsigned, &expecting_nonce()).unwrap_err();
    assert_eq!(refusal.failed, CheckName::ReferenceValue);

    let mut expected = expecting_nonce();
    expected.claims.insert("pcr8".into(), pcr(8).to_vec());
    let refusal = verdict(&evidence, &trusting(&tpm), &expected).unwrap_err();
    assert_eq!(refusal.failed, CheckName::ReferenceValue);
}

#[test]
fn a_list_of_the_selected_pcrs_only_is_read_in_their_order() {
    let tpm = Tpm::new();
    let mut evidence = tpm.evidence(&Quote::of([3, 17].into_iter()));
    evidence["tpm_quote"]["pcrs"] = json!([hex::encode(pcr(3)), hex::encode(pcr(17))]);
    let appraisal = verdict(&evidence, &trusting(&tpm), &expecting_nonce()).unwrap();
    let claims = serde_json::to_value(&appraisal.claims).unwrap();
    assert_eq!(claims["pcr17"], hex::encode(pcr(17)));

    evidence["tpm_quote"]["pcrs"] = json!([hex::encode(pcr(17)), hex::encode(pcr(3))]);
    assert_eq!(refusal(&tpm, &evidence).failed, CheckName::PcrDigest);
    evidence["tpm_quote"]["pcrs"] = json!([hex::encode(pcr(3))]);
    assert!(matches!(parse(&evidence), Err(VtpmError::PcrList)));
}

#[test]
fn a_weak_bank_is_refused() {
    let tpm = Tpm::new();
    let quote = Quote {
        selections: vec![(SHA1, [0xff, 0, 0])],
        digest: sha256(&[&[7; 8 * 20]]).to_vec(),
        ..Quote::good()
    };
    let mut evidence = tpm.evidence(&quote);
    evidence["tpm_quote"]["pcrs"] = json!(vec![hex::encode([7; 20]); 8]);
    let refusal = refusal(&tpm, &evidence);
    assert_eq!(refusal.failed, CheckName::PcrDigest);
    assert_eq!(refusal.reason, Reason::Policy);
}

// --- The form of TPM structures

fn attest_error(change: impl FnOnce(&mut Quote)) -> TpmError {
    let mut quote = Quote::good();
    change(&mut quote);
    Attest::parse(&quote.bytes()).expect_err("this is no quote")
}

#[test]
fn only_quotes_that_a_tpm_generated_are_read() {
    Attest::parse(&Quote::good().bytes()).unwrap();
    // What the guest can have a key sign that is not restricted.
    let error = attest_error(|quote| quote.magic = 0xff54_4346);
    assert!(matches!(error, TpmError::Value { field: "magic", .. }));
    // TPM_ST_ATTEST_CERTIFY
    let error = attest_error(|quote| quote.kind = 0x8017);
    assert!(matches!(error, TpmError::Value { field: "type", .. }));
    let error = attest_error(|quote| quote.tail = vec![0]);
    assert!(matches!(error, TpmError::Trailing { count: 1, .. }));
    let error = attest_error(|quote| quote.selections.push((SHA256, [0, 0, 1])));
    assert!(matches!(error, TpmError::BankTwice { .. }));
    let error = attest_error(|quote| quote.selections = vec![(SHA256, [0; 3])]);
    assert!(matches!(error, TpmError::NoPcr));
    let error = attest_error(|quote| quote.selections = Vec::new());
    assert!(matches!(error, TpmError::NoPcr));
    let error = attest_error(|quote| quote.selections = vec![(0x12, [1, 0, 0])]);
    assert!(matches!(error, TpmError::Value { .. }));
    let error = attest_error(|quote| quote.selections = vec![(SHA256, [1, 0, 0]); 9]);
    assert!(matches!(error, TpmError::Value { .. }));
    let whole = Quote::good().bytes();
    for end in 0..whole.len() {
        assert!(matches!(
            Attest::parse(&whole[..end]),
            Err(TpmError::Truncated { .. })
        ));
    }
}

#[test]
fn signatures_have_a_known_scheme_and_hash() {
    let tpm = Tpm::new();
    let message = Quote::good().bytes();
    let good = tpm.signature(&message);
    let key = AttestationKey::from_spki(&tpm.spki()).unwrap();
    assert!(key.verifies(&message, &Signature::parse(&good).unwrap()));

    // The scheme is a part of what is verified.
    let mut pss = vec![0, 0x16, 0, 11];
    sized(&mut pss, &tpm.sign(&message, &RSA_PSS_SHA256));
    assert!(key.verifies(&message, &Signature::parse(&pss).unwrap()));
    let mut as_pss = good.clone();
    as_pss[1] = 0x16;
    assert!(!key.verifies(&message, &Signature::parse(&as_pss).unwrap()));
    let mut other_hash = good.clone();
    other_hash[3] = 12;
    assert!(!key.verifies(&message, &Signature::parse(&other_hash).unwrap()));
    // SHA-1 is a hash that TPMs have, and no scheme here uses it.
    let mut sha1 = good.clone();
    sha1[3] = 4;
    assert!(!key.verifies(&message, &Signature::parse(&sha1).unwrap()));

    let mut hmac = good.clone();
    hmac[1] = 0x05;
    assert!(matches!(
        Signature::parse(&hmac),
        Err(TpmError::Value { field: "sigAlg", .. })
    ));
    let trailing = [good.as_slice(), &[0]].concat();
    assert!(matches!(
        Signature::parse(&trailing),
        Err(TpmError::Trailing { .. })
    ));
}

#[test]
fn ecdsa_signatures_are_read_from_both_forms() {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let point = key.public_key().as_ref();
    let ak = AttestationKey::p256(&point[1..33], &point[33..]).unwrap();
    let message = Quote::good().bytes();
    let der = key.sign(&SystemRandom::new(), &message).unwrap();
    let signature = Signature::ecdsa_der(super::tpm::Hash::Sha256, der.as_ref()).unwrap();
    assert!(ak.verifies(&message, &signature));
    assert!(!ak.verifies(&message[1..], &signature));

    let super::tpm::SignatureValue::Ecdsa { r, s } = &signature.value else {
        panic!("another scheme");
    };
    let mut structure = vec![0, 0x18, 0, 11];
    sized(&mut structure, r);
    sized(&mut structure, s);
    assert!(ak.verifies(&message, &Signature::parse(&structure).unwrap()));
    // A key of another kind does not verify it.
    let rsa = AttestationKey::from_spki(&Tpm::new().spki()).unwrap();
    assert!(!rsa.verifies(&message, &signature));
    let trailing = [der.as_ref(), &[0]].concat();
    assert!(Signature::ecdsa_der(super::tpm::Hash::Sha256, &trailing).is_err());
}

#[test]
fn short_and_odd_keys_are_refused() {
    assert_eq!(
        AttestationKey::rsa(&[0xff; 128], &[1, 0, 1]),
        Err(KeyError::RsaSize { bits: 1024 })
    );
    assert_eq!(
        AttestationKey::rsa(&[0xff; 256], &[2]),
        Err(KeyError::RsaExponent)
    );
    assert_eq!(
        AttestationKey::rsa(&[0xff; 256], &[1]),
        Err(KeyError::RsaExponent)
    );
    assert_eq!(
        AttestationKey::p256(&[1; 33], &[1; 32]),
        Err(KeyError::Point)
    );
}

#[test]
fn a_public_key_is_one_of_a_restricted_signing_key() {
    let public = |attributes: u32| {
        let mut bytes = vec![0, 1, 0, 11];
        bytes.extend(attributes.to_be_bytes());
        sized(&mut bytes, b"");
        bytes.extend([0, 0x10, 0, 0x14, 0, 11, 8, 0, 0, 0, 0, 0]);
        sized(&mut bytes, &[0xff; 256]);
        bytes
    };
    // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign
    parse_public(&public(0x0005_0072)).unwrap();
    for without in [1 << 1, 1 << 16, 1 << 18] {
        assert!(matches!(
            parse_public(&public(0x0005_0072 & !without)),
            Err(TpmError::Value {
                field: "objectAttributes",
                ..
            })
        ));
    }
    assert!(parse_public(&public(0x0007_0072)).is_err());
    assert!(matches!(
        parse_public(&[public(0x0005_0072), vec![0]].concat()),
        Err(TpmError::Trailing { .. })
    ));
}

// --- Files

#[test]
fn a_member_that_stands_twice_is_refused() {
    let tpm = Tpm::new();
    let good = tpm.evidence(&Quote::good()).to_string();
    let twice = good.replacen("{\"ak_public\":", "{\"ak_public\":\"\",\"ak_public\":", 1);
    assert!(matches!(
        VtpmEvidence::parse(twice.as_bytes()),
        Err(VtpmError::Json(_))
    ));
}

#[test]
fn a_pcr_that_stands_twice_is_refused() {
    let file = |pcrs: &str| {
        format!(
            r#"{{"ak_pubkeys":{{"ecc_p256":{{"x":"01","y":"02"}}}},"pcrs":{{{pcrs}}},
                "attestation":{{"tpm":{{"ecc_p256":{{"attest_data":"{}",
                "signature":"3006020101020101"}}}}}}}}"#,
            hex::encode(Quote::of(0..1).bytes())
        )
    };
    let value = hex::encode(pcr(0));
    let parse = |pcrs: &str| VtpmEvidence::parse(file(pcrs).as_bytes());
    parse(&format!(r#""sha256":{{"0":"{value}"}}"#)).unwrap();
    assert!(matches!(
        parse(&format!(r#""sha256":{{"0":"{value}","0":"{value}"}}"#)),
        Err(VtpmError::PcrTwice { index: 0 })
    ));
    assert!(matches!(
        parse(&format!(r#""sha256":{{"0":"{value}","00":"{value}"}}"#)),
        Err(VtpmError::PcrIndex { .. })
    ));
    assert!(matches!(
        parse(&format!(r#""sha256":{{"0":"{value}"}},"sha256":{{}}"#)),
        Err(VtpmError::BankTwice { .. })
    ));
    assert!(matches!(
        parse(r#""sha256":{"0":"00"}"#),
        Err(VtpmError::PcrSize { .. })
    ));
    assert!(matches!(
        parse(r#""md5":{}"#),
        Err(VtpmError::Bank { .. })
    ));
}

#[test]
fn files_of_no_known_form_are_refused() {
    for text in ["{}", r#"{"report":"","hcl_report":""}"#, r#"{"tpm_quote":1}"#] {
        assert!(VtpmEvidence::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(matches!(
        VtpmEvidence::parse(b"{}"),
        Err(VtpmError::Form)
    ));
    assert!(matches!(
        VtpmEvidence::parse(br#"{"ak_public":"***","tpm_quote":{"signature":"","message":"","pcrs":[]}}"#),
        Err(VtpmError::Encoding { member: "ak_public" })
    ));
}

// --- HCL reports

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
    bytes.resize(0x4c0, 0);
    for word in [20 + length, 1, report_type, 1, length] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(runtime_data.as_bytes());
    bytes.resize(2600, 0);
    bytes
}

fn good_hcl() -> Vec<u8> {
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
        HclReport::parse(bytes).err().expect("this is no HCL report")
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
        assert!(
            matches!(with(at, value), HclError::Value { .. }),
            "{at:#x}"
        );
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
            refusal.checks.iter().any(|check| {
                check.name == name && matches!(check.outcome, crate::Outcome::Failed { .. })
            })
        };
        assert!(failed(CheckName::HardwareBinding), "{refusal:?}");
        assert!(!failed(CheckName::QuoteSignature), "{refusal:?}");
        assert!(!failed(CheckName::PcrDigest), "{refusal:?}");
        assert_eq!(refusal.tee, None);
    }
}

// --- Certificates

struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = name_of(name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = match above {
        Some(above) => params.signed_by(&key, &above.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    let issuer = rcgen::Issuer::new(params, key);
    Authority {
        certificate,
        issuer,
    }
}

fn name_of(name: &str) -> rcgen::DistinguishedName {
    let mut names = rcgen::DistinguishedName::new();
    names.push(rcgen::DnType::CommonName, name);
    names
}

/// A certificate for the key in `spki`.
fn certificate_for(spki: &[u8], issuer: &Authority, is_ca: rcgen::IsCa) -> Vec<u8> {
    let key = rcgen::SubjectPublicKeyInfo::from_der(spki).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = name_of("AK");
    params.is_ca = is_ca;
    params
        .signed_by(&key, &issuer.issuer)
        .unwrap()
        .der()
        .to_vec()
}

#[test]
fn a_certificate_chain_vouches_for_a_key() {
    let tpm = Tpm::new();
    let root = authority("root", None);
    let middle = authority("middle", Some(&root));
    let leaf = certificate_for(&tpm.spki(), &middle, rcgen::IsCa::NoCa);
    let evidence = parse(&tpm.evidence(&Quote::good())).unwrap();
    let evidence = Evidence::Vtpm(Box::new(evidence));
    let policy = Policy::strict()
        .trust_tpm_root(root.certificate.der())
        .unwrap();
    let verdict = |certificates: &[&[u8]], policy: &Policy| {
        let collateral = Collateral {
            certificates: certificates.iter().map(|der| der.to_vec()).collect(),
            ..Collateral::none()
        };
        appraise(&evidence, &collateral, policy, &expecting_nonce(), now())
    };
    let middle_der = middle.certificate.der().to_vec();
    // In any order, with the root or without it.
    let appraisal = verdict(&[&leaf, &middle_der], &policy).unwrap();
    assert_eq!(appraisal.tee, Tee::Tpm);
    verdict(&[root.certificate.der(), &middle_der, &leaf], &policy).unwrap();

    // A gap; a root that nobody trusts; a root of the same name.
    let refusal = verdict(&[&leaf], &policy).unwrap_err();
    assert_eq!(refusal.reason, Reason::UnknownRoot);
    let refusal = verdict(&[&leaf, &middle_der], &Policy::strict()).unwrap_err();
    assert_eq!(refusal.reason, Reason::UnknownRoot);
    let twin = authority("root", None);
    let policy_of_twin = Policy::strict()
        .trust_tpm_root(twin.certificate.der())
        .unwrap();
    let refusal = verdict(&[&leaf, &middle_der], &policy_of_twin).unwrap_err();
    assert_eq!(refusal.reason, Reason::UnknownRoot);

    // A certificate of another key; a CA in place of the key's certificate.
    let other = certificate_for(&Tpm::new().spki(), &middle, rcgen::IsCa::NoCa);
    let refusal = verdict(&[&other, &middle_der], &policy).unwrap_err();
    assert_eq!(refusal.reason, Reason::Mismatch);
    let ca = certificate_for(
        &tpm.spki(),
        &middle,
        rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
    );
    let refusal = verdict(&[&ca, &middle_der], &policy).unwrap_err();
    assert_eq!(refusal.failed, CheckName::CertificateChains);

    // One that another key of the same name has signed.
    let impostor = authority("middle", Some(&twin));
    let forged = certificate_for(&tpm.spki(), &impostor, rcgen::IsCa::NoCa);
    let refusal = verdict(&[&forged, &middle_der], &policy).unwrap_err();
    assert_eq!(refusal.failed, CheckName::CertificateChains);
    assert_eq!(refusal.reason, Reason::Forged);
}

#[test]
fn a_loop_of_certificates_ends() {
    let tpm = Tpm::new();
    let (a, b) = (authority("a", None), authority("b", None));
    let a_by_b = authority("a", Some(&b));
    let b_by_a = authority("b", Some(&a));
    let leaf = certificate_for(&tpm.spki(), &a, rcgen::IsCa::NoCa);
    let evidence = parse(&tpm.evidence(&Quote::good())).unwrap();
    let collateral = Collateral {
        certificates: vec![
            leaf,
            a_by_b.certificate.der().to_vec(),
            b_by_a.certificate.der().to_vec(),
        ],
        ..Collateral::none()
    };
    let refusal = appraise(
        &Evidence::Vtpm(Box::new(evidence)),
        &collateral,
        &Policy::strict(),
        &expecting_nonce(),
        now(),
    )
    .unwrap_err();
    assert_eq!(refusal.reason, Reason::UnknownRoot);
}

#[test]
fn the_compiled_in_root_is_what_its_table_says() {
    let digest = hex::encode(sha256(&[super::policy::GOOGLE_EK_AK_ROOT]));
    assert!(
        include_str!("../roots/README.md").contains(&digest),
        "{digest}"
    );
    let anchors: Vec<TrustAnchor> = vtpm::hardware_anchors();
    assert!(anchors.iter().all(|anchor| anchor.tee_of(Tee::Tpm) == Tee::Tpm));
}

// --- No input makes it panic

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        start in prop_oneof![
            Just(Vec::new()),
            Just(b"HCLA".to_vec()),
            Just(b"{".to_vec()),
            Just(b"tpm_attestation:\n".to_vec()),
            Just(vec![0x0a, 0x98, 0x02, 0x00, 0x01]),
        ],
    ) {
        let all = [start, bytes].concat();
        let _ = Evidence::parse(&all);
        let _ = VtpmEvidence::parse(&all);
        let _ = Attest::parse(&all);
        let _ = Signature::parse(&all);
        let _ = parse_public(&all);
        let _ = HclReport::parse(all.clone());
        let _ = AttestationKey::from_spki(&all);
        let _ = vtpm::ak_fingerprint(&all);
    }

    #[test]
    fn no_change_of_a_good_structure_makes_the_readers_panic(
        changes in proptest::collection::btree_map(0_usize..1500, any::<u8>(), 1..6),
    ) {
        let changes: BTreeMap<usize, u8> = changes;
        for good in [good_hcl(), Quote::good().bytes()] {
            let mut bytes = good;
            for (at, byte) in &changes {
                let at = at % bytes.len();
                bytes[at] = *byte;
            }
            let _ = HclReport::parse(bytes.clone());
            if let Ok(attest) = Attest::parse(&bytes) {
                prop_assert!(!attest.selections.is_empty());
            }
        }
    }
}
