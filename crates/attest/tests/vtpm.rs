//! Genuine evidence of virtual TPMs from public projects, and what becomes of it when it is
//! changed in one place.
//!
//! The samples are third-party data and not part of this repository: they are looked for in
//! `MSE_EVIDENCE_DIR`, or in `shared/evidence` beside the workspace.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mse_attest::{
    Appraisal, CheckName, Collateral, Evidence, EvidenceKind, Outcome, Policy, Reason,
    ReferenceValues, Refusal, Tee, Verifier, appraise,
    vtpm::{VtpmEvidence, VtpmError, ak_fingerprint},
};
use serde_json::{Value, json};

fn read(path: &str) -> Vec<u8> {
    let dir = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
        PathBuf::from,
    );
    let path = dir.join(path);
    fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; set MSE_EVIDENCE_DIR to the directory of the evidence samples",
            path.display()
        )
    })
}

fn read_json(path: &str) -> Value {
    serde_json::from_slice(&read(path)).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Evidence with all that it is appraised with.
struct Case {
    evidence: Evidence,
    collateral: Collateral,
    policy: Policy,
    expected: ReferenceValues,
    now: SystemTime,
}

impl Case {
    fn of(bytes: &[u8]) -> Self {
        Self {
            evidence: Evidence::parse(bytes).unwrap(),
            collateral: Collateral::none(),
            policy: Policy::strict(),
            expected: ReferenceValues::default(),
            now: at(1_780_000_000),
        }
    }

    fn with_nonce(mut self, nonce: &[u8]) -> Self {
        self.expected.nonce = Some(nonce.to_vec());
        self
    }

    fn verdict(&self) -> Result<Appraisal, Refusal> {
        appraise(
            &self.evidence,
            &self.collateral,
            &self.policy,
            &self.expected,
            self.now,
        )
    }

    fn refusal(&self) -> Refusal {
        self.verdict().expect_err("this must be refused")
    }
}

/// The claims as `mse verify --json` prints them.
fn claims(appraisal: &Appraisal) -> Value {
    serde_json::to_value(&appraisal.claims).unwrap()
}

fn outcomes(checks: &[mse_attest::Check], name: CheckName) -> Vec<&Outcome> {
    checks
        .iter()
        .filter(|check| check.name == name)
        .map(|check| &check.outcome)
        .collect()
}

fn all_passed(checks: &[mse_attest::Check], name: CheckName) -> bool {
    let outcomes = outcomes(checks, name);
    !outcomes.is_empty() && outcomes.iter().all(|outcome| **outcome == Outcome::Passed)
}

/// The checks of the TPM itself and of its binding.
fn assert_vtpm_part_holds(checks: &[mse_attest::Check], path: &str) {
    for name in [
        CheckName::EvidenceFormat,
        CheckName::HardwareBinding,
        CheckName::PcrDigest,
        CheckName::Nonce,
    ] {
        assert!(all_passed(checks, name), "{path}: {name}: {checks:#?}");
    }
    assert!(
        outcomes(checks, CheckName::QuoteSignature).contains(&&Outcome::Passed),
        "{path}: {checks:#?}"
    );
}

// --- Azure on SEV-SNP

const SNP: &[(&str, &str, &str)] = &[
    (
        "azure-snp-vtpm/trustee-v0/evidence-v0.json",
        "6368616c6c656e6765",
        "e15c44796beabf46abcec7c57e590942041e47497e4ec27571c8b7664f48dced",
    ),
    (
        "azure-snp-vtpm/trustee-v1/evidence-v1.json",
        "6368616c6c656e6765",
        "e15c44796beabf46abcec7c57e590942041e47497e4ec27571c8b7664f48dced",
    ),
    (
        "azure-snp-vtpm/trustee-v2/evidence-v2.json",
        "982f5c6e45df0ed3f10b6f60b02f0c8390e281300f3805e2279c16168cd6ae9aa398f647caa2338748cd0fd9f5f819ef",
        "84275b2f4312cd4fc6cbe6b152ad3c3683e513d9f1e23c34fca160c8cca7a6a7",
    ),
    (
        "azure-snp-vtpm/trustee-genoa/evidence-genoa.json",
        "0218488bae25d2509232bf676f1a66a30d7372add909109b36016ef136f2938ca05475f8b46094de6b64270ea35d950f",
        "afd689d0bb1c5f36f023fbaf574135f555a28a10c1f6b938d2a25e70c7783338",
    ),
];

#[test]
fn azure_snp_is_accepted_with_the_certificate_in_the_evidence() {
    for (path, nonce, pcr0) in SNP {
        let case = Case::of(&read(path)).with_nonce(&hex::decode(nonce).unwrap());
        assert_eq!(case.evidence.kind(), EvidenceKind::AzureSnpVtpm);
        let appraisal = case
            .verdict()
            .unwrap_or_else(|refusal| panic!("{path}: {refusal}: {:#?}", refusal.checks));
        assert_eq!(appraisal.tee, Tee::Snp, "{path}");
        assert_vtpm_part_holds(&appraisal.checks, path);
        let claims = claims(&appraisal);
        assert_eq!(claims["hcl_report_type"], "snp");
        assert_eq!(claims["pcr0"], *pcr0, "{path}");
        assert_eq!(claims["nonce"], *nonce, "{path}");
        assert_eq!(claims["vmpl"], 0, "{path}");
        assert!(claims["measurement"].is_string(), "{path}: {claims}");
    }
}

#[test]
fn user_data_is_a_claim_and_a_reference_value() {
    let (path, nonce, _) = SNP[2];
    let mut user_data = hex::decode(nonce).unwrap();
    user_data.resize(64, 0);
    let mut case = Case::of(&read(path));
    case.expected
        .claims
        .insert("user_data".into(), user_data.clone());
    let appraisal = case.verdict().unwrap();
    assert_eq!(claims(&appraisal)["user_data"], hex::encode(&user_data));

    case.expected
        .claims
        .insert("user_data".into(), vec![0x12, 0x3a, 0xbc]);
    let refusal = case.refusal();
    assert_eq!(refusal.failed, CheckName::ReferenceValue);
    assert_eq!(refusal.reason, Reason::Mismatch);
}

#[test]
fn reference_values_of_tpm_and_hardware_are_told_apart() {
    let (path, _, pcr0) = SNP[0];
    let mut case = Case::of(&read(path));
    let appraisal = case.verdict().unwrap();
    let measurement = hex::decode(claims(&appraisal)["measurement"].as_str().unwrap()).unwrap();
    let named = &mut case.expected.claims;
    named.insert("pcr0".into(), hex::decode(pcr0).unwrap());
    named.insert("measurement".into(), measurement);
    case.verdict().unwrap();

    named_wrong(&mut case, "measurement");
    named_wrong(&mut case, "pcr0");
    case.expected.claims.insert("mr_td".into(), vec![0; 48]);
    assert_eq!(case.refusal().failed, CheckName::ReferenceValue);
}

fn named_wrong(case: &mut Case, name: &str) {
    let right = case.expected.claims[name].clone();
    let wrong = right.iter().map(|byte| !byte).collect();
    case.expected.claims.insert(name.into(), wrong);
    let refusal = case.refusal();
    assert_eq!(refusal.failed, CheckName::ReferenceValue, "{name}");
    case.expected.claims.insert(name.into(), right);
}

/// The parts of trustee's own tests, joined: `change` may spoil report and quote first.
fn hcl_parts(change: impl FnOnce(&mut Vec<u8>, &mut Value)) -> Result<Case, VtpmError> {
    let mut report = read("azure-snp-vtpm/trustee-hcl-parts/hcl-report.bin");
    let mut quote = read_json("azure-snp-vtpm/trustee-hcl-parts/tpm-quote-v1.json");
    change(&mut report, &mut quote);
    let evidence = VtpmEvidence::parse(&report)?.with_part(quote.to_string().as_bytes())?;
    let mut case = Case::of(&read(SNP[0].0)).with_nonce(b"challenge");
    case.evidence = Evidence::Vtpm(Box::new(evidence));
    case.collateral.certificates = pem(&read("azure-snp-vtpm/trustee-hcl-parts/vcek.pem"));
    Ok(case)
}

fn pem(text: &[u8]) -> Vec<Vec<u8>> {
    use rustls_pki_types::{CertificateDer, pem::PemObject};

    CertificateDer::pem_slice_iter(text)
        .map(|der| der.unwrap().to_vec())
        .collect()
}

#[test]
fn parts_are_accepted_together() {
    let case = hcl_parts(|_, _| ()).unwrap();
    let appraisal = case
        .verdict()
        .unwrap_or_else(|refusal| panic!("{refusal}: {:#?}", refusal.checks));
    assert_eq!(appraisal.tee, Tee::Snp);
}

#[test]
fn a_report_without_a_quote_proves_no_pcr() {
    let mut case = hcl_parts(|_, _| ()).unwrap();
    let report = read("azure-snp-vtpm/trustee-hcl-parts/hcl-report.bin");
    case.evidence = Evidence::parse(&report).unwrap();
    assert_eq!(case.evidence.as_bytes(), report);
    case.expected.nonce = None;
    assert_eq!(case.refusal().failed, CheckName::QuoteSignature);
}

#[test]
fn each_recipe_of_trustee_is_refused() {
    // Chip id in the SNP report: no longer what was signed.
    let case = hcl_parts(|report, _| report[0x01a6] = 0).unwrap();
    assert!(case.verdict().is_err());
    // Runtime data.
    let case = hcl_parts(|report, _| report[0x06e0] = report[0x06e0].wrapping_add(1)).unwrap();
    let refusal = case.refusal();
    assert_eq!(refusal.failed, CheckName::HardwareBinding);
    assert_eq!(refusal.reason, Reason::Forged);
    // The attestation key in it.
    assert!(matches!(
        hcl_parts(|report, _| report[0x0540] = 0),
        Err(VtpmError::Hcl(_))
    ));
    // The signature.
    let case = hcl_parts(|_, quote| flip(&mut quote["signature"], 0)).unwrap();
    assert_eq!(case.refusal().failed, CheckName::QuoteSignature);
    // A PCR.
    let case = hcl_parts(|_, quote| flip(&mut quote["pcrs"][0], 0)).unwrap();
    assert_eq!(case.refusal().failed, CheckName::PcrDigest);
    // The challenge.
    let case = hcl_parts(|_, _| ()).unwrap().with_nonce(b"egnellahc");
    assert_eq!(case.refusal().failed, CheckName::Nonce);
}

/// Flips the last bit of a byte of hexadecimal text.
fn flip(text: &mut Value, at: usize) {
    let mut bytes = hex::decode(text.as_str().unwrap()).unwrap();
    bytes[at] ^= 1;
    *text = Value::String(hex::encode(bytes));
}

#[test]
fn a_nonce_is_compared_over_all_its_bytes() {
    for nonce in [&b"challenge\0"[..], b"challeng", b""] {
        let case = hcl_parts(|_, _| ()).unwrap().with_nonce(nonce);
        assert_eq!(case.refusal().failed, CheckName::Nonce);
    }
    let mut case = hcl_parts(|_, _| ()).unwrap();
    case.expected.report_data = Some([0; 64]);
    assert_eq!(case.refusal().failed, CheckName::ReportData);
}

#[test]
fn no_byte_of_the_hcl_report_can_be_changed() {
    let report = read("azure-snp-vtpm/trustee-hcl-parts/hcl-report.bin");
    let verifier = Verifier::new(Policy::strict());
    // Every byte of the headers, every 13th of what is hashed or signed.
    let headers = (0..0x20).chain(0x4c0..0x4d4);
    for at in headers.chain((0x20..report.len()).step_by(13)) {
        let Ok(case) = hcl_parts(|report, _| report[at] ^= 1) else {
            continue;
        };
        let verdict = verifier.appraise(
            &case.evidence,
            &case.collateral,
            &case.expected,
            case.now,
        );
        assert!(verdict.is_err(), "byte {at:#x}");
    }
}

// --- Azure on TDX

const FLASHBOTS: &str = "azure-tdx-vtpm/flashbots-ak-intermediates/azure-tdx-with-ak-intermediates-1780922561.yaml";

fn flashbots() -> Case {
    let collateral = read(
        "azure-tdx-vtpm/flashbots-ak-intermediates/azure-collateral-with-ak-intermediates-1780922561.yaml",
    );
    let mut case = Case::of(&read(FLASHBOTS));
    case.now = at(1_780_922_561);
    case.collateral = Collateral::parse(&collateral).unwrap();
    case
}

#[test]
fn azure_tdx_is_accepted_with_its_collateral() {
    let case = flashbots();
    assert_eq!(case.evidence.kind(), EvidenceKind::AzureTdxVtpm);
    let Evidence::Vtpm(evidence) = &case.evidence else {
        panic!("another kind");
    };
    let nonce = evidence.stated_nonce().unwrap().to_vec();
    let case = Case {
        policy: Policy::strict().allow_tdx_sept_ve(),
        ..case
    }
    .with_nonce(&nonce);
    let appraisal = case
        .verdict()
        .unwrap_or_else(|refusal| panic!("{refusal}: {:#?}", refusal.checks));
    assert_eq!(appraisal.tee, Tee::Tdx);
    assert_vtpm_part_holds(&appraisal.checks, FLASHBOTS);
    let claims = claims(&appraisal);
    assert_eq!(claims["hcl_report_type"], "tdx");
    assert_eq!(claims["user_data"], "00".repeat(64));
    assert_eq!(
        claims["pcr3"],
        "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969"
    );
    assert!(claims["mr_td"].is_string());
}

#[test]
fn without_collateral_only_the_vtpm_part_holds() {
    for (path, nonce) in [
        ("azure-tdx-vtpm/trustee-v0/evidence-v0.json", "challenge"),
        ("azure-tdx-vtpm/trustee-v1/evidence-v1.json", "challenge"),
        (
            "azure-tdx-vtpm/attestation-rs-live/live-evidence.json",
            "attestation-test-fixture",
        ),
    ] {
        let case = Case::of(&read(path)).with_nonce(nonce.as_bytes());
        assert_eq!(case.evidence.kind(), EvidenceKind::AzureTdxVtpm);
        let refusal = case.refusal();
        assert_eq!(refusal.failed, CheckName::CollateralFormat, "{path}");
        assert_eq!(refusal.tee, None, "{path}");
        assert_vtpm_part_holds(&refusal.checks, path);
    }
}

#[test]
fn an_envelope_around_the_evidence_is_read() {
    let inner = read_json("azure-tdx-vtpm/attestation-rs-live/live-evidence.json");
    let outer = json!({ "platform": "az-tdx", "evidence": inner });
    assert!(
        Evidence::parse(outer.to_string().as_bytes()).unwrap()
            == Evidence::parse(inner.to_string().as_bytes()).unwrap()
    );
    let twice = json!({ "platform": "az-tdx", "evidence": outer });
    assert!(Evidence::parse(twice.to_string().as_bytes()).is_err());
}

#[test]
fn the_td_quote_must_be_one_of_this_vm() {
    let mut mine = read_json("azure-tdx-vtpm/trustee-v1/evidence-v1.json");
    let other = read_json("azure-tdx-vtpm/attestation-rs-live/live-evidence.json");
    mine["td_quote"] = other["td_quote"].clone();
    let refusal = Case::of(mine.to_string().as_bytes()).refusal();
    let bindings = outcomes(&refusal.checks, CheckName::HardwareBinding);
    assert_eq!(bindings.len(), 2);
    assert!(
        bindings
            .iter()
            .all(|outcome| matches!(outcome, Outcome::Failed { .. })),
        "{bindings:?}"
    );
}

#[test]
fn another_td_quote_is_refused_even_with_genuine_collateral() {
    let Evidence::Vtpm(evidence) = flashbots().evidence else {
        panic!("another kind");
    };
    let quote = evidence.td_quote().unwrap().to_vec();
    let report = read("azure-tdx-vtpm/trustee-v1/hcl-report.bin");
    let tpm_quote = read("azure-tdx-vtpm/trustee-v1/tpm-quote-v1.json");
    let mixed = VtpmEvidence::parse(&report)
        .unwrap()
        .with_part(&tpm_quote)
        .unwrap()
        .with_part(&quote)
        .unwrap();
    let case = Case {
        evidence: Evidence::Vtpm(Box::new(mixed)),
        policy: Policy::strict().allow_tdx_sept_ve(),
        ..flashbots()
    };
    let refusal = case.refusal();
    assert_eq!(refusal.failed, CheckName::HardwareBinding);
}

#[test]
fn a_td_report_alone_is_not_signed() {
    let report = read("azure-tdx-vtpm/trustee-v1/hcl-report.bin");
    let tpm_quote = read("azure-tdx-vtpm/trustee-v1/tpm-quote-v1.json");
    let evidence = VtpmEvidence::parse(&report)
        .unwrap()
        .with_part(&tpm_quote)
        .unwrap();
    let case = Case {
        evidence: Evidence::Vtpm(Box::new(evidence)),
        ..flashbots()
    };
    let refusal = case.refusal();
    assert_eq!(refusal.failed, CheckName::RootOfTrust);
    assert_eq!(refusal.tee, None);
}

#[test]
fn padding_behind_a_td_quote_must_be_zero() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE};

    let mut file = read_json("azure-tdx-vtpm/trustee-v1/evidence-v1.json");
    let mut quote = URL_SAFE.decode(file["td_quote"].as_str().unwrap()).unwrap();
    *quote.last_mut().unwrap() = 1;
    file["td_quote"] = Value::String(URL_SAFE.encode(quote));
    let refusal = Case::of(file.to_string().as_bytes()).refusal();
    assert_eq!(refusal.failed, CheckName::EvidenceFormat);
}

// --- Plain TPMs

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
    let chain = file["attestation"]["gcp"]["ak_cert_chain"].as_str().unwrap();
    let ders = pem(chain.as_bytes());
    assert_eq!(ders.len(), 3);
    // The leaf and what issued it are there, but not in a chain up to the root.
    let leaf_only = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
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
    assert_eq!(claims["pcr4"], file["pcrs"]["sha384"]["4"].as_str().unwrap());
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

// --- All of them

const ALL: &[&str] = &[
    "azure-snp-vtpm/trustee-v0/evidence-v0.json",
    "azure-snp-vtpm/trustee-v1/evidence-v1.json",
    "azure-snp-vtpm/trustee-v2/evidence-v2.json",
    "azure-snp-vtpm/trustee-genoa/evidence-genoa.json",
    "azure-snp-vtpm/trustee-hcl-parts/hcl-report.bin",
    "azure-tdx-vtpm/trustee-v0/evidence-v0.json",
    "azure-tdx-vtpm/trustee-v1/evidence-v1.json",
    "azure-tdx-vtpm/attestation-rs-live/live-evidence.json",
    FLASHBOTS,
    "tpm/vaportpm-gcp-amd/test-gcp-amd-fixture.json",
    "tpm/vaportpm-nitro/test-nitro-fixture.json",
    "tpm/trustee-tpm/tpm_evidence.json",
    "tpm/go-tpm-tools-gce-cos-85-no-nonce/gce-cos-85-no-nonce.pb",
];

#[test]
fn every_sample_is_described_field_by_field() {
    for path in ALL {
        let fields = mse_attest::fields(&Evidence::parse(&read(path)).unwrap()).unwrap();
        assert!(
            fields.iter().any(|field| field.name == "ak.sha256"),
            "{path}"
        );
        assert!(
            fields
                .iter()
                .all(|field| !field.meaning.is_empty() && !field.value.contains('\u{1b}')),
            "{path}"
        );
    }
}

#[test]
fn a_sample_that_is_cut_anywhere_is_never_accepted() {
    for path in ALL {
        let whole = read(path);
        for end in (0..whole.len()).step_by(61) {
            let Ok(evidence) = Evidence::parse(&whole[..end]) else {
                continue;
            };
            // What is still well formed lost its end: PCRs, a quote, or an event log that nobody
            // reads. Nothing but the last may be accepted.
            let verdict = appraise(
                &evidence,
                &Collateral::none(),
                &Policy::strict(),
                &ReferenceValues::default(),
                at(1_770_019_200),
            );
            assert!(verdict.is_err(), "{path} cut at {end}");
        }
    }
}

#[test]
fn an_oversized_file_is_refused_before_it_is_parsed() {
    let mut file = vec![b' '; 1024 * 1024];
    file.insert(0, b'{');
    assert!(matches!(
        VtpmEvidence::parse(&file),
        Err(VtpmError::TooLarge { .. })
    ));
}
