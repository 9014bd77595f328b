//! TPMs that nothing binds to a confidential VM.

use mse_attest::{CheckName, Evidence, EvidenceKind, Policy, Reason, Tee, vtpm::ak_fingerprint};
use serde_json::Value;

use super::{Case, at, claims, flip, pem, read, read_json};

#[test]
fn a_google_vtpm_is_accepted_by_its_certificate() {
    let file = read_json("tpm/vaportpm-gcp-amd/test-gcp-amd-fixture.json");
    let nonce = hex::decode(file["nonce"].as_str().unwrap()).unwrap();
    let mut case = Case::of(file.to_string().as_bytes()).with_nonce(&nonce);
    case.now = at(1_770_019_200);
    assert_eq!(case.evidence.kind(), EvidenceKind::Tpm);
    let appraisal = case
        .verdict()
        .unwrap_or_else(|refusal| panic!("{refusal}: {:#?}", refusal.checks));
    assert_eq!(appraisal.tee, Tee::Tpm);
    assert_eq!(claims(&appraisal)["pcr_bank"], "sha256");
    assert_eq!(
        claims(&appraisal)["pcr0"],
        file["pcrs"]["sha256"]["0"].as_str().unwrap()
    );

    case.now = at(1_700_000_000);
    let refusal = case.refusal();
    assert_eq!(refusal.failed, CheckName::CollateralValidity);
    assert_eq!(refusal.reason, Reason::Stale);
}

#[test]
fn a_google_vtpm_with_a_root_of_its_own_is_refused() {
    let mut file = read_json("tpm/vaportpm-gcp-amd/test-gcp-amd-fixture.json");
    let chain = file["attestation"]["gcp"]["ak_cert_chain"]
        .as_str()
        .unwrap();
    let ders = pem(chain.as_bytes());
    assert_eq!(ders.len(), 3);
    // The leaf and what issued it are there, but not in a chain up to the root.
    let leaf_only = chain
        .split_inclusive("-----END CERTIFICATE-----\n")
        .next()
        .unwrap();
    file["attestation"]["gcp"]["ak_cert_chain"] = leaf_only.into();
    let mut case = Case::of(file.to_string().as_bytes());
    case.now = at(1_770_019_200);
    assert_eq!(case.refusal().reason, Reason::UnknownRoot);
    // What is missing may come from elsewhere, and the root itself need not come at all.
    case.collateral.certificates = vec![ders[1].clone()];
    case.verdict().unwrap();
}

#[test]
fn the_certificate_must_be_one_of_the_key_that_signs() {
    let mut file = read_json("tpm/vaportpm-gcp-amd/test-gcp-amd-fixture.json");
    let other = read_json("tpm/vaportpm-nitro/test-nitro-fixture.json");
    file["ak_pubkeys"] = other["ak_pubkeys"].clone();
    let mut case = Case::of(file.to_string().as_bytes());
    case.now = at(1_770_019_200);
    assert_eq!(case.refusal().reason, Reason::Mismatch);
}

#[test]
fn the_challenge_that_the_file_states_must_be_the_signed_one() {
    let mut file = read_json("tpm/vaportpm-gcp-amd/test-gcp-amd-fixture.json");
    flip(&mut file["nonce"], 0);
    let mut case = Case::of(file.to_string().as_bytes());
    case.now = at(1_770_019_200);
    assert_eq!(case.refusal().failed, CheckName::Nonce);
}

#[test]
fn a_nitrotpm_is_accepted_by_its_document() {
    let file = read_json("tpm/vaportpm-nitro/test-nitro-fixture.json");
    let nonce = hex::decode(file["nonce"].as_str().unwrap()).unwrap();
    let mut case = Case::of(file.to_string().as_bytes()).with_nonce(&nonce);
    case.now = at(1_770_116_400);
    let appraisal = case
        .verdict()
        .unwrap_or_else(|refusal| panic!("{refusal}: {:#?}", refusal.checks));
    assert_eq!(appraisal.tee, Tee::Tpm);
    let claims = claims(&appraisal);
    assert_eq!(claims["pcr_bank"], "sha384");
    assert_eq!(
        claims["pcr4"],
        file["pcrs"]["sha384"]["4"].as_str().unwrap()
    );
    assert!(claims["nitro"]["module_id"].is_string(), "{claims}");
}

#[test]
fn a_nitrotpm_document_vouches_for_one_key_one_challenge_and_its_pcrs() {
    let file = read_json("tpm/vaportpm-nitro/test-nitro-fixture.json");
    let other = read_json("tpm/vaportpm-gcp-amd/test-gcp-amd-fixture.json");
    let verdict = |change: &dyn Fn(&mut Value)| {
        let mut file = file.clone();
        change(&mut file);
        let mut case = Case::of(file.to_string().as_bytes());
        case.now = at(1_770_116_400);
        case.refusal().failed
    };
    assert_eq!(
        verdict(&|file| file["ak_pubkeys"] = other["ak_pubkeys"].clone()),
        CheckName::HardwareBinding
    );
    assert_eq!(
        verdict(&|file| file["attestation"]["tpm"] = other["attestation"]["tpm"].clone()),
        CheckName::HardwareBinding
    );
    assert_eq!(
        verdict(&|file| flip(&mut file["pcrs"]["sha384"]["4"], 0)),
        CheckName::HardwareBinding
    );
}

#[test]
fn a_tpm_is_accepted_only_if_its_key_is_pinned() {
    for path in [
        "tpm/trustee-tpm/tpm_evidence.json",
        "tpm/go-tpm-tools-gce-cos-85-no-nonce/gce-cos-85-no-nonce.pb",
    ] {
        let mut case = Case::of(&read(path));
        let Evidence::Vtpm(evidence) = case.evidence.clone() else {
            panic!("another kind");
        };
        let nonce = evidence.stated_nonce().unwrap().to_vec();
        let refusal = case.refusal();
        assert_eq!(refusal.failed, CheckName::RootOfTrust, "{path}");
        assert_eq!(refusal.reason, Reason::UnknownRoot, "{path}");

        case.policy = Policy::strict().trust_tpm_ak(evidence.ak_sha256().unwrap());
        case.expected.nonce = Some(nonce);
        let appraisal = case
            .verdict()
            .unwrap_or_else(|refusal| panic!("{path}: {refusal}: {:#?}", refusal.checks));
        assert_eq!(appraisal.tee, Tee::Tpm);
        assert_eq!(claims(&appraisal)["pcr_bank"], "sha256");

        case.policy = Policy::strict().trust_tpm_ak([0; 32]);
        assert_eq!(case.refusal().failed, CheckName::RootOfTrust);
    }
}

#[test]
fn a_key_can_be_pinned_by_certificate_or_public_key() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    let file = read_json("tpm/trustee-tpm/tpm_evidence.json");
    let base64 = file["ak_public"].as_str().unwrap();
    let der = STANDARD.decode(base64).unwrap();
    let fingerprint = ak_fingerprint(&der).unwrap();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
    assert_eq!(ak_fingerprint(pem.as_bytes()).unwrap(), fingerprint);

    // The last field of this attestation is the key's certificate.
    let attestation = read("tpm/go-tpm-tools-gce-cos-85-no-nonce/gce-cos-85-no-nonce.pb");
    let Evidence::Vtpm(evidence) = Evidence::parse(&attestation).unwrap() else {
        panic!("another kind");
    };
    let certificate = &attestation[attestation.len() - 1340..];
    assert_eq!(
        Some(ak_fingerprint(certificate).unwrap()),
        evidence.ak_sha256()
    );
    assert!(ak_fingerprint(b"-----BEGIN NOTHING-----").is_err());
    assert!(ak_fingerprint(b"").is_err());
}
