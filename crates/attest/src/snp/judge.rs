//! What a policy says about a report. None of these checks needs trust in the report.

use super::{
    Report, SnpProduct, SnpTcb,
    policy::{Concession, Demand},
};
use crate::{
    CheckName, Reason,
    appraise::Case,
    judge::{
        Exception, judge_debug, judge_exception, judge_references, judge_report_data, was_tolerated,
    },
    ledger::{Failure, Holds, Ledger, hint_for},
};

/// TCB versions: rollback, and the floors of the policy.
pub(super) fn judge_platform(
    ledger: &mut Ledger,
    report: &Report<'_>,
    product: Option<SnpProduct>,
    case: &Case<'_>,
) {
    let current = report.current_tcb();
    for (name, version) in [
        ("committed", report.committed_tcb()),
        ("reported", report.reported_tcb()),
    ] {
        // Part by part in either layout: reserved parts are zero, or as good as any other.
        let holds = version.iter().zip(current).all(|(part, now)| part <= now);
        ledger.compare(
            CheckName::MinimumTcb,
            format!("{name} TCB {}", hex::encode(version)),
            format!("at most the current TCB {}", hex::encode(current)),
            Holds(holds),
            || Failure {
                reason: Reason::Policy,
                why: format!("the platform runs an older TCB version than the {name} one"),
                hint: hint_for(Reason::Policy),
            },
        );
    }
    let floors = &case.policy.snp;
    for (name, version, floors) in [
        ("reported", report.reported_tcb(), &floors.min_tcb),
        ("launch", report.launch_tcb(), &floors.min_launch_tcb),
    ] {
        if floors.is_empty() {
            continue;
        }
        match product.map(|product| (product, floors.get(&product))) {
            None => ledger.skipped(
                CheckName::MinimumTcb,
                format!("{name} TCB {}", hex::encode(version)),
                "the product is not proven, so the parts are not known",
            ),
            Some((product, None)) => ledger.skipped(
                CheckName::MinimumTcb,
                format!("{name} TCB {}", product.tcb(version)),
                "the policy asks for none of this product",
            ),
            Some((product, Some(floor))) => judge_floor(ledger, name, product.tcb(version), *floor),
        }
    }
}

fn judge_floor(ledger: &mut Ledger, name: &str, found: SnpTcb, floor: SnpTcb) {
    let below = found.below(floor);
    ledger.compare(
        CheckName::MinimumTcb,
        format!("{name} TCB: {found}"),
        format!("at least {floor}"),
        Holds(below.is_none()),
        || {
            let (part, found, asked) = below.unwrap_or_default();
            Failure {
                reason: Reason::Policy,
                why: format!("`{part}` of the {name} TCB is {found}, the policy asks for {asked}"),
                hint: hint_for(Reason::Policy),
            }
        },
    );
}

/// The guest: its policy, its privilege level, its measured values and its report data.
pub(super) fn judge_guest(ledger: &mut Ledger, report: &Report<'_>, case: &Case<'_>) {
    judge_debug(ledger, report.policy().debug(), case);
    judge_bits(ledger, report);
    judge_migration(ledger, report, case);
    judge_demands(ledger, report, case);
    judge_versions(ledger, report, case);
    judge_vmpl(ledger, report, case);
    judge_references(
        ledger,
        "snp",
        &[
            ("measurement", report.measurement()),
            ("host_data", report.host_data()),
            ("family_id", report.family_id()),
            ("image_id", report.image_id()),
            ("id_key_digest", report.id_key_digest()),
            ("author_key_digest", report.author_key_digest()),
            ("report_id", report.report_id()),
            ("report_id_ma", report.report_id_ma()),
            ("chip_id", report.chip_id()),
        ],
        case.policy,
        case.expected,
    );
    judge_report_data(ledger, report.report_data(), case.expected);
}

/// Bits of the guest policy without a meaning could let anything in.
fn judge_bits(ledger: &mut Ledger, report: &Report<'_>) {
    let policy = report.policy();
    ledger.compare(
        CheckName::Attributes,
        format!("guest policy {:#x}", policy.0),
        "bit 17 set, bits 26 to 63 clear",
        Holds(policy.has_fixed_bit() && policy.unknown_bits() == 0),
        || Failure {
            reason: Reason::Policy,
            why: "reserved bits of the guest policy are not as the ABI wants them".into(),
            hint: "the firmware is newer than this verifier, or the report is no report: update the verifier",
        },
    );
}

fn judge_migration(ledger: &mut Ledger, report: &Report<'_>, case: &Case<'_>) {
    let without = "no migration agent";
    if !report.policy().migrate_ma() {
        ledger.passed(CheckName::Attributes, without.into(), without);
        return;
    }
    judge_exception(
        ledger,
        &Exception {
            check: CheckName::Attributes,
            found: "a migration agent is allowed".into(),
            with: without,
            what: "migration: the agent can move the guest's memory elsewhere",
            why: "the guest's memory can be moved to a machine that nobody has attested",
            hint: "launch it with a policy without MIGRATE_MA",
        },
        case.policy.snp.concession(Concession::MigrationAgent),
        case,
    );
}

fn judge_demands(ledger: &mut Ledger, report: &Report<'_>, case: &Case<'_>) {
    let (policy, platform) = (report.policy(), report.platform_info());
    for demand in &case.policy.snp.demands {
        let (holds, what, hint) = match demand {
            Demand::NoSmt => (
                !policy.smt(),
                "no SMT",
                "launch the guest with a policy that forbids SMT",
            ),
            Demand::SingleSocket => (
                policy.single_socket(),
                "one socket only",
                "launch the guest with a policy that asks for one socket",
            ),
            Demand::CiphertextHiding => (
                policy.ciphertext_hiding() && platform.ciphertext_hiding(),
                "ciphertext hidden from the host",
                "launch the guest with a policy that asks for ciphertext hiding, on a platform that has it",
            ),
            Demand::AliasCheck => (
                platform.alias_check_complete(),
                "memory checked for aliases",
                "update the platform's firmware",
            ),
        };
        ledger.compare(
            CheckName::Attributes,
            format!("guest policy {:#x}, platform {:#x}", policy.0, platform.0),
            what,
            Holds(holds),
            || Failure {
                reason: Reason::Policy,
                why: format!("the policy asks for this: {what}"),
                hint,
            },
        );
    }
}

fn judge_versions(ledger: &mut Ledger, report: &Report<'_>, case: &Case<'_>) {
    let (policy, asked) = (report.policy(), &case.policy.snp);
    let abi = (policy.abi_major(), policy.abi_minor());
    if asked.min_abi > (0, 0) {
        ledger.compare(
            CheckName::Attributes,
            format!("firmware ABI {}.{}", abi.0, abi.1),
            format!("at least {}.{}", asked.min_abi.0, asked.min_abi.1),
            Holds(abi >= asked.min_abi),
            || Failure {
                reason: Reason::Policy,
                why: "the guest may run under older firmware than the policy asks for".into(),
                hint: "launch it with a policy that asks for a newer firmware ABI",
            },
        );
    }
    if asked.min_guest_svn > 0 {
        ledger.compare(
            CheckName::Attributes,
            format!("guest SVN {}", report.guest_svn()),
            format!("at least {}", asked.min_guest_svn),
            Holds(report.guest_svn() >= asked.min_guest_svn),
            || Failure {
                reason: Reason::Policy,
                why: "the guest is of an older security version than the policy asks for".into(),
                hint: "deploy the newer version of the guest",
            },
        );
    }
}

fn judge_vmpl(ledger: &mut Ledger, report: &Report<'_>, case: &Case<'_>) {
    let vmpl = report.vmpl();
    let found = match vmpl {
        u32::MAX => "asked for by the host".to_owned(),
        _ => format!("VMPL {vmpl}"),
    };
    if vmpl == 0 {
        ledger.passed(CheckName::Vmpl, found, "VMPL 0");
        return;
    }
    let allowed = case.policy.snp.vmpl.as_ref();
    let in_force = allowed.filter(|(_, tolerance)| tolerance.is_in_force(case.time()));
    match in_force {
        Some((max, tolerance)) if vmpl <= *max => ledger.tolerated(
            CheckName::Vmpl,
            found,
            "VMPL 0",
            format!(
                "the policy allows VMPL up to {max}, and what runs at VMPL 0 can read and change it{}",
                tolerance.terms()
            ),
        ),
        _ => ledger.failed(
            CheckName::Vmpl,
            found,
            format!("VMPL 0 to {}", in_force.map_or(0, |(max, _)| *max)),
            Failure {
                reason: Reason::Policy,
                why: format!(
                    "the report was asked for at a privilege level that the policy does not allow{}",
                    allowed
                        .filter(|(max, _)| in_force.is_none() && vmpl <= *max)
                        .map_or_else(String::new, |(_, expired)| was_tolerated(expired))
                ),
                hint: "allow the level only if you trust what runs in the guest at VMPL 0",
            },
        ),
    }
}
