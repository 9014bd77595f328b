//! Azure's paravisor: what binds its vTPM to the hardware of a confidential VM.

use super::{hcl::HclReport, td_report::REPORT_DATA_AT};
use crate::{
    CheckName, Collateral, Reason,
    appraise::Case,
    dcap,
    ledger::{Failure, Fault, Holds, Ledger, hint_for},
    snp,
    x509::Certificate,
};

/// SEV-SNP: the report itself is in the HCL report.
pub(super) fn judge_snp(ledger: &mut Ledger, hcl: &HclReport, vek: &[Vec<u8>], case: &Case<'_>) {
    let collateral = Collateral {
        dcap: None,
        certificates: certificates(vek, &case.collateral.certificates),
        crls: case.collateral.crls.clone(),
    };
    let report = hcl.hardware_report();
    snp::appraise(ledger, report, &case.with_collateral(&collateral));

    // The guest runs below the paravisor and can ask for reports too, but not for VMPL 0: without
    // this check it could name any key in the hash of a runtime data of its own.
    let vmpl = read_u32(report, SNP_VMPL_AT);
    ledger.compare(
        CheckName::Vmpl,
        vmpl.map_or_else(|| "none".to_owned(), |vmpl| format!("VMPL {vmpl}")),
        "VMPL 0, the paravisor",
        Holds(vmpl == Some(0)),
        || Failure {
            reason: Reason::Forged,
            why: "the paravisor did not ask for this report: it proves nothing about the vTPM"
                .into(),
            hint: hint_for(Reason::Forged),
        },
    );
    let report_data = report
        .get(SNP_REPORT_DATA_AT..)
        .and_then(<[u8]>::first_chunk);
    judge_report_data(ledger, "SNP report", report_data, hcl);
}

const SNP_VMPL_AT: usize = 0x30;
const SNP_REPORT_DATA_AT: usize = 0x50;

/// TDX: the HCL report has the TD report, which only the machine itself can check; the TD quote
/// is the same report, signed.
pub(super) fn judge_tdx(
    ledger: &mut Ledger,
    hcl: &HclReport,
    td_quote: Option<&[u8]>,
    case: &Case<'_>,
) {
    let report = hcl.hardware_report();
    let Some(quote) = td_quote else {
        ledger.failed(
            CheckName::RootOfTrust,
            "no TD quote".into(),
            "a TD quote for the TD report in the HCL report".into(),
            Failure {
                reason: Reason::Malformed,
                why: "a TD report is not signed: without a TD quote no hardware vouches for it"
                    .into(),
                hint: "have Azure's host turn the TD report into a TD quote, and add that",
            },
        );
        let report_data = report.get(REPORT_DATA_AT..).and_then(<[u8]>::first_chunk);
        judge_report_data(ledger, "TD report (unsigned)", report_data, hcl);
        return;
    };
    dcap::appraise(ledger, quote, case);

    let body = match dcap::Quote::parse(quote).map(|quote| quote.body) {
        Ok(dcap::Body::Tdx(body)) => body,
        Ok(dcap::Body::Sgx(_)) => {
            ledger.fault(
                "a quote of an SGX enclave",
                "a quote of a trust domain",
                Fault::mismatch(
                    CheckName::HardwareBinding,
                    "the quote is not one of a trust domain",
                ),
            );
            return;
        }
        Err(_) => {
            ledger.skipped(
                CheckName::HardwareBinding,
                "TD quote",
                "the quote cannot be read",
            );
            return;
        }
    };
    let signed = [
        ("TEE_TCB_SVN", body.tee_tcb_svn().as_slice()),
        ("MRSEAM", body.mr_seam()),
        ("MRSIGNERSEAM", body.mr_signer_seam()),
        ("SEAMATTRIBUTES", body.seam_attributes()),
        ("TDATTRIBUTES", body.td_attributes()),
        ("XFAM", body.xfam()),
        ("MRTD", body.mr_td()),
        ("MRCONFIGID", body.mr_config_id()),
        ("MROWNER", body.mr_owner()),
        ("MROWNERCONFIG", body.mr_owner_config()),
        ("RTMR0", body.rtmrs()[0]),
        ("RTMR1", body.rtmrs()[1]),
        ("RTMR2", body.rtmrs()[2]),
        ("RTMR3", body.rtmrs()[3]),
        ("REPORTDATA", body.report_data()),
    ];
    let different = signed
        .iter()
        .zip(TD_REPORT_FIELDS)
        .find(|((_, value), at)| report.get(*at..*at + value.len()) != Some(*value))
        .map(|((name, _), _)| *name);
    ledger.compare(
        CheckName::HardwareBinding,
        different.unwrap_or("TD report in the HCL report"),
        "TD quote",
        Holds(different.is_none()),
        || Failure {
            reason: Reason::Mismatch,
            why: "the TD quote is not one of the TD report in the HCL report".into(),
            hint: "ask for both again, together",
        },
    );
    judge_report_data(ledger, "TD quote", Some(body.report_data()), hcl);
}

/// Where a `TDREPORT_STRUCT` (Intel TDX Module ABI) has the fields of a quote's body, in their
/// order there: `TEE_TCB_INFO` starts at 256, `TDINFO` at 512.
const TD_REPORT_FIELDS: [usize; 15] = [
    264,
    280,
    328,
    376,
    512,
    520,
    528,
    576,
    624,
    672,
    720,
    768,
    816,
    864,
    REPORT_DATA_AT,
];

/// The hardware vouches for the runtime data, and with it for the attestation key: its report
/// data is the hash of the runtime data, and nothing else.
fn judge_report_data(
    ledger: &mut Ledger,
    source: &str,
    report_data: Option<&[u8; 64]>,
    hcl: &HclReport,
) {
    let expected = hcl.expected_report_data();
    let found = report_data.map_or_else(|| "none".to_owned(), hex::encode);
    ledger.compare(
        CheckName::HardwareBinding,
        format!("report data of the {source}: {found}"),
        format!("SHA-256 of the runtime data, then zeros: {}", hex::encode(expected)),
        Holds(report_data == Some(&expected)),
        || Failure {
            reason: Reason::Forged,
            why: "the hardware vouches for another runtime data: nothing binds the attestation key to it"
                .into(),
            hint: hint_for(Reason::Forged),
        },
    );
}

/// The certificates for the SNP report: the caller's; with those of the evidence where the caller
/// gave none of a signer.
fn certificates(stated: &[Vec<u8>], given: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let is_signer = |der: &Vec<u8>| Certificate::parse(der).is_ok_and(|found| !found.is_ca());
    if given.iter().any(is_signer) {
        return given.to_vec();
    }
    let mut all = stated.to_vec();
    all.extend(given.iter().filter(|der| !stated.contains(der)).cloned());
    all
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let chunk = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*chunk))
}
