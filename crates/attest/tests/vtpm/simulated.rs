//! A paravisor on a simulated SEV-SNP platform: signatures and hashes are right, and one thing is
//! not.

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mse_attest::{
    Appraisal, CheckName, Collateral, Evidence, Policy, Reason, ReferenceValues, Refusal, Tee,
    appraise, snp::REPORT_BYTES, vtpm::VtpmEvidence,
};
use serde_json::json;

use super::{
    claims,
    pki::{Draft, KEYS, ark, ask, now, report, sign_report, trusting},
};

const NONCE: &[u8] = b"a challenge";

/// What a confidential VM is made of. The default is accepted.
struct Vm {
    key_of_runtime_data: RsaKeyPair,
    key_of_tpm: Option<RsaKeyPair>,
    spoil: fn(&mut [u8; REPORT_BYTES]),
    policy: Policy,
}

impl Vm {
    fn good() -> Self {
        Self {
            key_of_runtime_data: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            key_of_tpm: None,
            spoil: |_| (),
            policy: trusting(&ark()),
        }
    }

    fn verdict(&self) -> Result<Appraisal, Refusal> {
        let runtime_data = json!({
            "keys": [{
                "kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "e": "AQAB",
                "n": URL_SAFE_NO_PAD.encode(modulus(&self.key_of_runtime_data)),
            }],
            "user-data": "00".repeat(64),
        })
        .to_string();
        let mut report = report();
        report[0x50..0x90].fill(0);
        report[0x50..0x70].copy_from_slice(
            aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, runtime_data.as_bytes()).as_ref(),
        );
        (self.spoil)(&mut report);
        let message = quote();
        let key = self
            .key_of_tpm
            .as_ref()
            .unwrap_or(&self.key_of_runtime_data);
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            &message,
            &mut signature,
        )
        .unwrap();
        let part = json!({
            "message": hex::encode(&message),
            "signature": hex::encode(&signature),
            "pcrs": [hex::encode([9; 32])],
        });
        let evidence = VtpmEvidence::parse(&hcl(&sign_report(&report, &KEYS.vek), &runtime_data))
            .unwrap()
            .with_part(part.to_string().as_bytes())
            .unwrap();
        appraise(
            &Evidence::Vtpm(Box::new(evidence)),
            &Collateral {
                certificates: vec![Draft::vcek().sign(&KEYS.ask), ask(), ark()],
                ..Collateral::none()
            },
            &self.policy,
            &ReferenceValues {
                nonce: Some(NONCE.to_vec()),
                ..ReferenceValues::default()
            },
            now(),
        )
    }

    #[track_caller]
    fn refused(&self) -> Refusal {
        self.verdict().expect_err("it is accepted")
    }
}

fn modulus(key: &RsaKeyPair) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    // The modulus stands before the exponent: INTEGER of three bytes.
    let der = der.as_ref();
    der[der.len() - 5 - 256..der.len() - 5].to_vec()
}

/// A quote over PCR 4, whose value is 9 throughout.
fn quote() -> Vec<u8> {
    let mut bytes = vec![0xff, 0x54, 0x43, 0x47, 0x80, 0x18, 0, 0];
    bytes.extend([0, u8::try_from(NONCE.len()).unwrap()]);
    bytes.extend(NONCE);
    bytes.extend([0; 8 + 4 + 4 + 1 + 8]);
    bytes.extend([0, 0, 0, 1, 0, 11, 3, 1 << 4, 0, 0]);
    bytes.extend([0, 32]);
    bytes.extend(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &[9; 32]).as_ref());
    bytes
}

fn hcl(report: &[u8], runtime_data: &str) -> Vec<u8> {
    let length = u32::try_from(runtime_data.len()).unwrap();
    let mut bytes = b"HCLA".to_vec();
    for word in [2, 0x4d4 + length, 2, 0, 0, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(report);
    for word in [20 + length, 1, 2, 1, length] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(runtime_data.as_bytes());
    bytes.resize(2600, 0);
    bytes
}

#[test]
fn a_simulated_paravisor_is_accepted_with_its_anchor_only() {
    let mut vm = Vm::good();
    let appraisal = vm
        .verdict()
        .unwrap_or_else(|refusal| panic!("{refusal}: {:#?}", refusal.checks));
    assert_eq!(appraisal.tee, Tee::Simulated);
    assert_eq!(claims(&appraisal)["pcr4"], hex::encode([9; 32]));
    vm.policy = Policy::strict();
    assert_eq!(vm.refused().failed, CheckName::RootOfTrust);
}

/// The guest can have the hardware sign anything, but only with its own VMPL in the report.
#[test]
fn a_report_that_the_guest_asked_for_is_refused_whatever_the_policy_says() {
    let mut vm = Vm::good();
    vm.spoil = |report| report[0x30] = 2;
    assert_eq!(vm.refused().failed, CheckName::Vmpl);
    vm.policy = vm.policy.allow_snp_vmpl(3);
    let refusal = vm.refused();
    assert_eq!(refusal.failed, CheckName::Vmpl);
    assert_eq!(refusal.reason, Reason::Forged);
}

#[test]
fn the_hash_must_be_the_whole_report_data() {
    for spoil in [
        (|report| report[0x50] ^= 1) as fn(&mut [u8; REPORT_BYTES]),
        |report| report[0x70] = 1,
        |report| report[0x8f] = 1,
    ] {
        let vm = Vm {
            spoil,
            ..Vm::good()
        };
        let refusal = vm.refused();
        assert_eq!(refusal.failed, CheckName::HardwareBinding);
        assert_eq!(refusal.reason, Reason::Forged);
        assert_eq!(refusal.tee, Some(Tee::Simulated));
    }
}

#[test]
fn another_tpm_cannot_use_the_report() {
    let vm = Vm {
        key_of_tpm: Some(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()),
        ..Vm::good()
    };
    assert_eq!(vm.refused().failed, CheckName::QuoteSignature);
}
