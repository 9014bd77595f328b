//! Azure's paravisor on SEV-SNP.

use mse_attest::{
    CheckName, Evidence, EvidenceKind, Policy, Reason, Tee, Verifier,
    vtpm::{VtpmError, VtpmEvidence},
};
use serde_json::Value;

use super::{Case, assert_vtpm_part_holds, claims, flip, pem, read, read_json};

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
    // But for the zeros behind it.
    assert!(report.starts_with(case.evidence.as_bytes()));
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
        let verdict = verifier.appraise(&case.evidence, &case.collateral, &case.expected, case.now);
        assert!(verdict.is_err(), "byte {at:#x}");
    }
}
