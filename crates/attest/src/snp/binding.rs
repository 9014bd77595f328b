//! A report and the VEK that should have signed it: signature, chip, TCB version, product.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use super::{Report, SigningKey, SnpProduct, policy::Concession, vek::Vek};
use crate::{
    CheckName, Reason,
    appraise::Case,
    judge::{Exception, join, judge_exception},
    ledger::{Failure, Holds, Ledger, hint_for},
};

/// Holds `report` against `vek`, whose chain is verified; `key` is the VEK's public key.
pub(super) fn judge_binding(
    ledger: &mut Ledger,
    report: &Report<'_>,
    vek: &Vek,
    key: &[u8],
    case: &Case<'_>,
) {
    judge_signature(ledger, report, vek, key);
    judge_product(ledger, report, vek);
    judge_chip(ledger, report, vek, case);
    judge_tcb(ledger, report, vek);
    judge_csp(ledger, vek, case);
}

/// The report's own signature.
fn judge_signature(ledger: &mut Ledger, report: &Report<'_>, vek: &Vek, key: &[u8]) {
    let signature = report.signature();
    let is_signed = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key)
        .verify(report.signed(), &signature)
        .is_ok();
    ledger.compare(
        CheckName::QuoteSignature,
        "signature of the report",
        format!("the key of the {}", vek.kind),
        Holds(is_signed),
        || Failure {
            reason: Reason::Forged,
            why: if signature == [0; 96] {
                "the report has no signature: the host keeps firmware from signing".to_owned()
            } else {
                format!("the report is not signed with the key of this {}", vek.kind)
            },
            hint: "it was changed, or the certificate is one of another chip or TCB version: give the one of this report",
        },
    );
}

/// The VCEK is the one of this chip.
fn judge_chip(ledger: &mut Ledger, report: &Report<'_>, vek: &Vek, case: &Case<'_>) {
    match vek.kind {
        SigningKey::Vlek => ledger.skipped(
            CheckName::PlatformMatch,
            format!("chip {}", short(report.chip_id())),
            "a VLEK is not bound to a chip: it is the provider's, for all of its chips",
        ),
        _ if report.is_chip_id_masked() => judge_masked(ledger, vek, case),
        _ => ledger.compare(
            CheckName::PlatformMatch,
            format!("chip {}", short(report.chip_id())),
            format!(
                "chip {} of the VCEK",
                vek.hwid.as_deref().map_or_else(String::new, short)
            ),
            Holds(vek.is_of_chip(report.chip_id())),
            || mismatch("the VCEK is one of another chip"),
        ),
    }
}

/// The VEK was derived for the TCB version that the report states, all eight bytes.
fn judge_tcb(ledger: &mut Ledger, report: &Report<'_>, vek: &Vek) {
    ledger.compare(
        CheckName::PlatformMatch,
        format!("reported TCB {}", hex::encode(report.reported_tcb())),
        format!("TCB {} of the {}", hex::encode(vek.tcb), vek.kind),
        Holds(*report.reported_tcb() == vek.tcb),
        || mismatch("the certificate is for another TCB version than the report states"),
    );
}

/// The CPU is of the product line in whose PKI the VEK is.
fn judge_product(ledger: &mut Ledger, report: &Report<'_>, vek: &Vek) {
    let cpuid = hex::encode(report.cpuid());
    let found = SnpProduct::of_cpuid(*report.cpuid());
    match found {
        _ if report.version() < 3 => ledger.skipped(
            CheckName::PlatformMatch,
            format!("product {}", vek.product),
            "reports before version 3 do not name their CPU",
        ),
        None => ledger.skipped(
            CheckName::PlatformMatch,
            format!("CPUID {cpuid}"),
            "the CPU model is not known here; its certificates name the product",
        ),
        Some(found) => ledger.compare(
            CheckName::PlatformMatch,
            format!("{found} (CPUID {cpuid})"),
            format!("{} of the {}", vek.product, vek.kind),
            Holds(found == vek.product),
            || mismatch("the certificate is for another product than the report"),
        ),
    }
}

/// A VCEK's signature names its chip even so; but what the report says does not, and a host that
/// hides its chip usually signs with a VLEK.
fn judge_masked(ledger: &mut Ledger, vek: &Vek, case: &Case<'_>) {
    judge_exception(
        ledger,
        &Exception {
            check: CheckName::PlatformMatch,
            found: format!(
                "chip id masked by the host, chip {} of the VCEK",
                vek.hwid.as_deref().map_or_else(String::new, short)
            ),
            with: "the VCEK's chip",
            what: "a masked chip id: only the VCEK's key says which chip it is",
            why: "the report does not say on which chip it was made",
            hint: "have the host show it (MASK_CHIP_ID off), or allow masked chip ids",
        },
        case.policy.snp.concession(Concession::MaskedChip),
        case,
    );
}

/// The provider to which a VLEK was given, if the policy names some.
fn judge_csp(ledger: &mut Ledger, vek: &Vek, case: &Case<'_>) {
    let accepted = &case.policy.snp.csp_ids;
    let (Some(found), false) = (&vek.csp_id, accepted.is_empty()) else {
        return;
    };
    ledger.compare(
        CheckName::PlatformMatch,
        format!("VLEK of {found}"),
        join(accepted),
        Holds(accepted.contains(found)),
        || Failure {
            reason: Reason::Policy,
            why: "the VLEK is one of a provider that the policy does not name".into(),
            hint: "name the provider in the policy only if you mean to trust it",
        },
    );
}

fn mismatch(why: &str) -> Failure {
    Failure {
        reason: Reason::Mismatch,
        why: why.into(),
        hint: hint_for(Reason::Mismatch),
    }
}

/// The first bytes of a chip id, enough to tell chips apart in a message.
fn short(chip_id: &[u8]) -> String {
    format!("{}…", hex::encode(chip_id.get(..8).unwrap_or(chip_id)))
}
