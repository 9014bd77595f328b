//! Attestation reports of AMD SEV-SNP.
//!
//! A report is signed by the security processor with a *VEK*: the VCEK, a key of this very chip at
//! this very TCB version, or the VLEK, a key that AMD derives for a cloud provider. The VEK's
//! certificate does not come with the report: it is collateral, fetched from AMD's key
//! distribution service (KDS) or from the host. It is issued by the ASK (VCEK) or ASVK (VLEK) of
//! the product line, those by its root, the ARK. ARKs are pinned here, ASKs come along.
//!
//! Specifications: AMD 56860 *SEV-SNP Firmware ABI* (report), AMD 57230 *VCEK Certificate and KDS
//! Interface* (certificates, CRLs).

mod binding;
mod bits;
mod claims;
mod endorse;
mod explain;
mod judge;
mod policy;
mod product;
mod report;
mod roots;
mod vek;

pub use bits::{GuestPolicy, PlatformInfo};
pub use claims::SnpClaims;
pub use product::{SnpProduct, SnpTcb};
pub use report::{FirmwareVersion, REPORT_BYTES, Report, ReportError, SigningKey};

pub(crate) use explain::fields;
pub(crate) use policy::{Concession, Demand, SnpPolicy};
pub(crate) use roots::hardware_anchors;

use crate::{CheckName, Claims, appraise::Case, ledger::Ledger};

/// Appraises a report: all that [`crate::appraise`] promises, in its order.
pub(crate) fn appraise(ledger: &mut Ledger, raw: &[u8], case: &Case<'_>) {
    let report = Report::parse(raw);
    if let Ok(report) = &report {
        ledger.set_claims(Claims::Snp(Box::new(SnpClaims::of(report))));
    }
    let report = match report.and_then(|report| report.check_version().map(|()| report)) {
        Ok(report) => report,
        Err(error) => {
            ledger.malformed(
                CheckName::EvidenceFormat,
                format!("{} bytes", raw.len()),
                LAYOUT,
                error.to_string(),
            );
            return;
        }
    };
    ledger.passed(
        CheckName::EvidenceFormat,
        format!("SNP report of version {}", report.version()),
        LAYOUT,
    );

    let product = endorse::endorse(ledger, &report, case);
    judge::judge_platform(ledger, &report, product, case);
    judge::judge_guest(ledger, &report, case);
}

const LAYOUT: &str = "the layout of an SNP report of version 2 to 5";
