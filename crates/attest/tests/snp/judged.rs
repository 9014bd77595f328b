//! What a policy says about genuine reports.

use mse_attest::{
    CheckName, Claims, Policy, Reason,
    snp::{SnpProduct, SnpTcb},
};

use super::pki::{Case, REPORT_DATA};

/// The good case under a guest policy with other bits.
fn guest_policy(policy: u64) -> Case {
    Case::with_report(|report| report[0x08..0x10].copy_from_slice(&policy.to_le_bytes()))
}

#[test]
fn a_guest_in_debug_mode_is_refused() {
    let refusal = guest_policy(0xb_0000).refused(CheckName::Debug, "debug mode");
    assert_eq!(refusal.reason, Reason::Policy);
    let appraisal = guest_policy(0xb_0000)
        .policy(Policy::allow_debug)
        .accepted();
    assert_eq!(appraisal.tolerated().count(), 1);
}

#[test]
fn a_guest_that_can_be_moved_is_refused() {
    guest_policy(0x7_0000).refused(CheckName::Attributes, "moved to a machine");
    let appraisal = guest_policy(0x7_0000)
        .policy(Policy::allow_snp_migration_agent)
        .accepted();
    assert_eq!(appraisal.tolerated().count(), 1);
}

#[test]
fn bits_without_meaning_are_refused() {
    guest_policy(0x1_0000).refused(CheckName::Attributes, "reserved bits");
    for bit in 26..64 {
        guest_policy(0x3_0000 | 1 << bit).refused(CheckName::Attributes, "reserved bits");
    }
    for bit in [16, 20, 21, 22, 23, 24, 25] {
        guest_policy(0x2_0000 | 1 << bit).accepted();
    }
}

#[test]
fn the_privilege_level_is_the_highest_one() {
    let at = |vmpl: u32| {
        Case::with_report(|report| report[0x30..0x34].copy_from_slice(&vmpl.to_le_bytes()))
    };
    for vmpl in [1, 2, 3, 4, u32::MAX] {
        at(vmpl).refused(CheckName::Vmpl, "privilege level");
    }
    let allowed = |max| move |policy: Policy| policy.allow_snp_vmpl(max);
    assert_eq!(at(2).policy(allowed(2)).accepted().tolerated().count(), 1);
    at(3)
        .policy(allowed(2))
        .refused(CheckName::Vmpl, "privilege level");
    // No policy lets through what only the host asks for.
    at(u32::MAX)
        .policy(allowed(u8::MAX))
        .refused(CheckName::Vmpl, "");
    at(4).policy(allowed(u8::MAX)).refused(CheckName::Vmpl, "");
}

#[test]
fn demands_of_the_policy_are_held() {
    let case = || guest_policy(0x3_001f);
    for (demand, satisfied) in [
        (Policy::require_snp_no_smt as fn(Policy) -> Policy, 0x2_0000),
        (Policy::require_snp_single_socket, 0x13_0000),
    ] {
        case()
            .policy(demand)
            .refused(CheckName::Attributes, "the policy asks for this");
        guest_policy(satisfied).policy(demand).accepted();
    }
    // Asked for by the guest and there on the platform: one without the other is nothing.
    let hiding = Policy::require_snp_ciphertext_hiding;
    guest_policy(0x103_0000)
        .policy(hiding)
        .refused(CheckName::Attributes, "ciphertext");
    Case::with_report(|report| report[0x40] = 0x10)
        .policy(hiding)
        .refused(CheckName::Attributes, "ciphertext");
    Case::with_report(|report| {
        report[0x40] = 0x10;
        report[0x08..0x10].copy_from_slice(&0x103_0000_u64.to_le_bytes());
    })
    .policy(hiding)
    .accepted();
    case().policy(Policy::require_snp_alias_check).accepted();
    Case::with_report(|report| report[0x40] = 5)
        .policy(Policy::require_snp_alias_check)
        .refused(CheckName::Attributes, "aliases");
}

#[test]
fn versions_have_floors() {
    let abi = |major, minor| move |policy: Policy| policy.require_snp_min_abi(major, minor);
    Case::good().policy(abi(0, 31)).accepted();
    Case::good()
        .policy(abi(0, 32))
        .refused(CheckName::Attributes, "older firmware");
    Case::good()
        .policy(abi(1, 0))
        .refused(CheckName::Attributes, "older firmware");
    let svn = |svn| move |policy: Policy| policy.require_snp_min_guest_svn(svn);
    let guest = || Case::with_report(|report| report[0x04] = 5);
    guest().policy(svn(5)).accepted();
    guest()
        .policy(svn(6))
        .refused(CheckName::Attributes, "older security version");
}

#[test]
fn a_platform_that_was_rolled_back_is_refused() {
    for (at, name) in [(0x1e0, "committed"), (0x180, "reported")] {
        for part in [0, 1, 6, 7] {
            let case = Case::with_report(|report| report[at + part] += 1);
            // What the VEK was derived for differs then, too: that is found before.
            let refusal = case.appraise().unwrap_err();
            assert!(
                refusal
                    .checks
                    .iter()
                    .any(|check| check.name == CheckName::MinimumTcb
                        && check.compared.contains(name)
                        && matches!(check.outcome, mse_attest::Outcome::Failed { .. })),
                "{refusal}"
            );
        }
    }
    Case::with_report(|report| report[0x1e7] += 1)
        .refused(CheckName::MinimumTcb, "older TCB version");
}

#[test]
fn each_part_of_the_tcb_has_a_floor_for_its_product() {
    let met = SnpTcb {
        bootloader: 4,
        snp: 24,
        microcode: 219,
        ..SnpTcb::default()
    };
    let reported =
        |floor| move |policy: Policy| policy.require_snp_min_tcb(SnpProduct::Milan, floor);
    let launch =
        |floor| move |policy: Policy| policy.require_snp_min_launch_tcb(SnpProduct::Milan, floor);
    Case::good().policy(reported(met)).accepted();
    Case::good().policy(launch(met)).accepted();
    for floor in [
        SnpTcb {
            bootloader: 5,
            ..met
        },
        SnpTcb { tee: 1, ..met },
        SnpTcb { snp: 25, ..met },
        SnpTcb {
            microcode: 220,
            ..met
        },
    ] {
        Case::good()
            .policy(reported(floor))
            .refused(CheckName::MinimumTcb, "of the reported TCB");
        Case::good()
            .policy(launch(floor))
            .refused(CheckName::MinimumTcb, "of the launch TCB");
    }
    // Launched before an update: what is reported now does not help.
    let updated = || Case::with_report(|report| report[0x1f6] -= 1);
    updated().policy(reported(met)).accepted();
    updated()
        .policy(launch(met))
        .refused(CheckName::MinimumTcb, "`snp` of the launch TCB");
    // Another product has its own numbers.
    Case::good()
        .policy(|policy| policy.require_snp_min_tcb(SnpProduct::Genoa, SnpTcb { snp: 255, ..met }))
        .accepted();
}

#[test]
fn measured_values_are_held_against_those_expected() {
    let with = |name: &'static str, value: Vec<u8>| {
        let mut case = Case::good();
        case.expected.claims.insert(name.into(), value);
        case
    };
    with("measurement", vec![0x5e; 48]).accepted();
    with("measurement", vec![0x5e; 47]).refused(CheckName::ReferenceValue, "`measurement` differs");
    with("measurement", vec![0x5f; 48]).refused(CheckName::ReferenceValue, "`measurement` differs");
    for (name, size) in [
        ("host_data", 32),
        ("family_id", 16),
        ("image_id", 16),
        ("id_key_digest", 48),
        ("author_key_digest", 48),
        ("report_id", 32),
    ] {
        with(name, vec![0; size]).accepted();
        with(name, vec![1; size]).refused(CheckName::ReferenceValue, name);
    }
    with("report_id_ma", vec![0xff; 32]).accepted();
    with("chip_id", super::pki::CHIP_ID.to_vec()).accepted();
    with("mr_td", vec![0; 48]).refused(CheckName::ReferenceValue, "`mr_td`");
    Case::good()
        .policy(|policy| policy.require_reference("snp.measurement", vec![0x5e; 48]))
        .accepted();
    Case::good()
        .policy(|policy| policy.require_reference("snp.measurement", vec![0; 48]))
        .refused(CheckName::ReferenceValue, "`measurement` differs");

    let mut case = Case::good();
    case.expected.mrenclave = Some([0; 32]);
    case.refused(CheckName::ReferenceValue, "`mrenclave`");
}

#[test]
fn all_bytes_of_the_report_data_are_compared() {
    let appraisal = Case::good().accepted();
    assert!(matches!(&appraisal.claims, Claims::Snp(claims) if claims.report_data == REPORT_DATA));
    for at in [0, 32, 63] {
        let mut case = Case::good();
        let mut expected = REPORT_DATA;
        expected[at] ^= 1;
        case.expected.report_data = Some(expected);
        case.refused(CheckName::ReportData, "other keys");
    }
    let mut case = Case::good();
    case.expected.nonce = Some(REPORT_DATA.to_vec());
    case.refused(CheckName::Nonce, "nonce");
}
