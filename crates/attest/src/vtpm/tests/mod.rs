//! Quotes of TPMs that are made here: each bad one differs from the good one in one place.

mod certificates;
mod files;
mod hcl;
mod structures;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{VtpmError, VtpmEvidence};
use crate::{
    Appraisal, CheckName, Collateral, Evidence, Policy, Reason, ReferenceValues, Refusal, Tee,
    appraise, digest::sha256,
};

const NONCE: &[u8] = b"a challenge of this verifier";

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
