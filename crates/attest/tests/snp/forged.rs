//! Reports and VEK certificates that do not belong together, or are not as AMD makes them.

use mse_attest::{CheckName, Outcome, Policy, Reason};
use proptest::prelude::*;

use super::der::{ia5, integer, octets};
use super::pki::{CHIP_ID, Case, CrlDraft, Draft, KEYS, amd, report, sign_report};

#[test]
fn the_signature_is_one_of_this_vek_over_this_report() {
    let mut case = Case::good();
    case.report[0x90] ^= 1;
    case.refused(
        CheckName::QuoteSignature,
        "not signed with the key of this VCEK",
    );

    case.report = sign_report(&report(), &KEYS.other_vek);
    case.refused(
        CheckName::QuoteSignature,
        "not signed with the key of this VCEK",
    );

    // r and s change places.
    let mut case = Case::good();
    let r = case.report[0x2a0..0x2e8].to_vec();
    case.report.copy_within(0x2e8..0x330, 0x2a0);
    case.report[0x2e8..0x330].copy_from_slice(&r);
    case.refused(CheckName::QuoteSignature, "not signed");

    // Big-endian, as other formats have it.
    let mut case = Case::good();
    case.report[0x2a0..0x2d0].reverse();
    case.report[0x2e8..0x318].reverse();
    case.refused(CheckName::QuoteSignature, "not signed");

    let mut case = Case::good();
    case.report[0x2a0..].fill(0);
    case.refused(CheckName::QuoteSignature, "has no signature");
}

#[test]
fn a_report_is_of_the_exact_layout() {
    for (at, byte, why) in [
        (0x00, 1, "version `1`"),
        (0x00, 6, "version `6`"),
        (0x34, 0, "signature algorithm `0`"),
        (0x34, 2, "signature algorithm `2`"),
        (0x48, 2 << 2, "no signing key"),
        (0x49, 1, "`flags`"),
        (0x4c, 1, "reserved (0x4c)"),
        (0x19f, 1, "reserved (0x18b)"),
        (0x1f8, 1, "reserved (0x1f8)"),
        (0x29f, 1, "reserved (0x208)"),
    ] {
        let case = Case::with_report(|report| {
            report[at] = byte;
            if at == 0 {
                // Version 1 has no CPUID.
                report[0x188..0x18b].fill(0);
            }
        });
        case.refused(CheckName::EvidenceFormat, why);
    }
    for (at, why) in [
        (0x2d0, "signature.r"),
        (0x32f, "signature.s"),
        (0x49f, "signature.reserved"),
    ] {
        let mut case = Case::good();
        case.report[at] = 1;
        case.refused(CheckName::EvidenceFormat, why);
    }
    let mut case = Case::good();
    case.report.push(0);
    case.refused(CheckName::EvidenceFormat, "`1185`");
    case.report.truncate(1183);
    case.refused(CheckName::EvidenceFormat, "`1183`");
}

#[test]
fn all_versions_are_accepted() {
    for version in 2..=5 {
        Case::with_report(|report| {
            report[0] = version;
            if version < 3 {
                report[0x188..0x18b].fill(0);
            }
            if version >= 4 {
                report[0x1f8] = 0x0b;
                report[0x200] = 0x0b;
            }
        })
        .accepted();
    }
}

#[test]
fn a_report_that_no_key_signed_is_refused() {
    Case::with_report(|report| report[0x48] = 7 << 2)
        .refused(CheckName::CertificateChains, "no key signed it");
}

#[test]
fn the_chip_is_the_one_of_the_vcek() {
    let mut other = CHIP_ID;
    other[63] ^= 1;
    Case::with_vcek(|vcek| vcek.set("4", &other)).refused(CheckName::PlatformMatch, "another chip");
    // A prefix is not enough, nor is the form that DER would have.
    for hwid in [&CHIP_ID[..8], &CHIP_ID[..63], &octets(&CHIP_ID), &[]] {
        Case::with_vcek(|vcek| vcek.set("4", hwid)).refused(
            CheckName::CertificateChains,
            "`hwID` of the VEK certificate is not as",
        );
    }
    Case::with_vcek(|vcek| vcek.remove("4"))
        .refused(CheckName::CertificateChains, "no extension `hwID`");
    // Under an OID that only begins like the right one.
    Case::with_vcek(|vcek| {
        vcek.remove("4");
        vcek.set("4.1", &CHIP_ID);
    })
    .refused(CheckName::CertificateChains, "no extension `hwID`");
}

#[test]
fn a_masked_chip_is_let_through_only_where_the_policy_says_so() {
    let masked = || Case::with_report(|report| report[0x1a0..0x1e0].fill(0));
    let refusal = masked().refused(CheckName::PlatformMatch, "does not say on which chip");
    assert_eq!(refusal.reason, Reason::Policy);
    let appraisal = masked().policy(Policy::allow_snp_masked_chip_id).accepted();
    assert_eq!(appraisal.tolerated().count(), 1);
}

#[test]
fn each_part_of_the_tcb_is_compared() {
    for (arc, name) in [
        ("3.1", "blSPL"),
        ("3.2", "teeSPL"),
        ("3.3", "snpSPL"),
        ("3.4", "spl4"),
        ("3.5", "spl5"),
        ("3.6", "spl6"),
        ("3.7", "spl7"),
        ("3.8", "ucodeSPL"),
    ] {
        let refusal = Case::with_vcek(|vcek| vcek.set(arc, &integer(99)))
            .refused(CheckName::PlatformMatch, "another TCB version");
        assert_eq!(refusal.reason, Reason::Mismatch);
        for bad in [
            &[2, 1][..],
            &[2, 1, 0x80],
            &[2, 2, 0, 1],
            &[2, 2, 1, 0],
            &[4, 1, 4],
            &[2, 1, 4, 0],
            &[],
        ] {
            Case::with_vcek(|vcek| vcek.set(arc, bad)).refused(CheckName::CertificateChains, name);
        }
        if !name.starts_with("spl") {
            Case::with_vcek(|vcek| vcek.remove(arc)).refused(CheckName::CertificateChains, name);
        }
    }
    Case::with_vcek(|vcek| vcek.set("3.9", &integer(0))).refused(
        CheckName::CertificateChains,
        "`fmcSPL` of the VEK certificate has no place",
    );
}

#[test]
fn the_reported_tcb_counts_and_not_the_current_one() {
    Case::with_report(|report| report[0x3f] += 1).accepted();
    Case::with_report(|report| report[0x187] -= 1)
        .refused(CheckName::PlatformMatch, "another TCB version");
}

#[test]
fn the_product_is_the_one_of_the_issuer_and_of_the_cpu() {
    for name in ["Genoa", "Turin-B1"] {
        let refusal = Case::with_vcek(|vcek| vcek.set("2", &ia5(name)))
            .refused(CheckName::CertificateChains, "");
        assert!(
            refusal.why.contains("SEV-") || refusal.why.contains("fmcSPL"),
            "{refusal}"
        );
    }
    for name in ["", "Milano", "Milan-B0x", "milan", "Venice"] {
        Case::with_vcek(|vcek| vcek.set("2", &ia5(name))).refused(CheckName::CertificateChains, "");
    }
    Case::with_vcek(|vcek| vcek.set("2", b"Milan-B0")).refused(
        CheckName::CertificateChains,
        "`productName` of the VEK certificate is not as",
    );
    Case::with_vcek(|vcek| vcek.remove("2"))
        .refused(CheckName::CertificateChains, "no extension `productName`");
    Case::with_vcek(|vcek| vcek.remove("1"))
        .refused(CheckName::CertificateChains, "no extension `structVersion`");
    for (family, model) in [(0x19, 0x11), (0x19, 0xa0), (0x1a, 0x02)] {
        Case::with_report(|report| report[0x188..0x18a].copy_from_slice(&[family, model]))
            .refused(CheckName::PlatformMatch, "another product");
    }
    // A model that nobody knows yet is no contradiction.
    Case::with_report(|report| report[0x189] = 0x50).accepted();
}

#[test]
fn a_vcek_and_a_vlek_are_not_taken_for_each_other() {
    Case::vlek(|_| ()).accepted();

    // The report says which one signed it.
    let mut case = Case::vlek(|_| ());
    case.report = sign_report(&report(), &KEYS.vek);
    let refusal = case.refused(CheckName::CertificateChains, "signed with the VCEK");
    assert_eq!(refusal.reason, Reason::Mismatch);
    let mut case = Case::with_report(|report| report[0x48] = 1 << 2);
    case.refused(CheckName::CertificateChains, "signed with the VLEK");

    // Renamed, each still lacks what is the other's, and carries what is its own.
    case.certificates = Case::vlek(|vlek| vlek.set("4", &CHIP_ID)).certificates;
    case.refused(
        CheckName::CertificateChains,
        "`hwID` of the VEK certificate has no place",
    );
    Case::with_vcek(|vcek| vcek.set("5", &ia5("CN=x"))).refused(
        CheckName::CertificateChains,
        "`cspID` of the VEK certificate has no place",
    );
    for name in ["SEV-VCEK2", "sev", "SEV-VCE", "SEV-vcek", "XSEV-VCEK"] {
        Case::with_vcek(|vcek| vcek.subject = name.into()).refused(
            CheckName::CollateralFormat,
            "is not the certificate of a VEK",
        );
    }
}

#[test]
fn a_vlek_names_its_provider() {
    Case::vlek(|vlek| vlek.remove("5"))
        .refused(CheckName::CertificateChains, "no extension `cspID`");
    for bad in [
        &[][..],
        &[0x16, 0],
        b"CN=x",
        &[0x16, 2, b'a', 0x1b],
        &[0x0c, 1, b'a'],
    ] {
        Case::vlek(|vlek| vlek.set("5", bad)).refused(
            CheckName::CertificateChains,
            "`cspID` of the VEK certificate is not as",
        );
    }
    let named = |id: &'static str| move |policy: Policy| policy.require_snp_csp_id(id);
    Case::vlek(|_| ())
        .policy(named("CN=cc-test.example"))
        .accepted();
    Case::vlek(|_| ())
        .policy(named("CN=cc-test.example.org"))
        .refused(
            CheckName::PlatformMatch,
            "a provider that the policy does not name",
        );
    // A chip's own key is nobody's but the chip's.
    Case::good().policy(named("CN=other")).accepted();
}

#[test]
fn turin_has_a_short_chip_id_and_its_own_tcb_layout() {
    Case::turin(&[7; 8]).accepted();
    let mut long = [0; 64];
    long[..8].fill(7);
    Case::turin(&long).accepted();
    Case::turin(&[8; 8]).refused(CheckName::PlatformMatch, "another chip");
    for hwid in [&[7; 7][..], &[7; 9], &[]] {
        Case::turin(hwid).refused(CheckName::CertificateChains, "hwID");
    }

    // The same numbers in the layout of the other products.
    let mut case = Case::turin(&[7; 8]);
    let mut vek = Draft::turin(&[7; 8], [2, 3, 4, 1, 0, 0, 0, 5]);
    case.certificates[0] = vek.sign(&KEYS.ask);
    case.refused(CheckName::PlatformMatch, "another TCB version");
    vek = Draft::turin(&[7; 8], [1, 2, 3, 4, 0, 0, 0, 5]);
    vek.set("3.5", &integer(1));
    case.certificates[0] = vek.sign(&KEYS.ask);
    case.refused(CheckName::CertificateChains, "spl4 to spl7");
    vek.remove("3.9");
    vek.set("3.5", &integer(0));
    case.certificates[0] = vek.sign(&KEYS.ask);
    case.refused(CheckName::CertificateChains, "no extension `fmcSPL`");
}

#[test]
fn an_asvk_that_is_not_compiled_in_is_asked_for() {
    // Genoa's ASVK: it has to come with the VLEK.
    let mut case = Case::vlek(|vlek| {
        vlek.issuer = "SEV-VLEK-Genoa".into();
        vlek.set("2", &ia5("Genoa"));
    });
    case.certificates.truncate(1);
    case.refused(
        CheckName::CertificateChains,
        "the certificate of `SEV-VLEK-Genoa` is missing",
    );
}

#[test]
fn what_is_not_of_amds_arc_is_ignored() {
    let appraisal = Case::with_vcek(|vcek| {
        vcek.set("3.10", &integer(7));
        vcek.set("99", &[1, 2, 3]);
    })
    .accepted();
    assert!(
        !appraisal
            .checks
            .iter()
            .any(|check| matches!(check.outcome, Outcome::Failed { .. }))
    );
    assert!(amd("3.1").len() < amd("3.10").len());
}

#[test]
fn every_bit_of_a_vek_certificate_matters() {
    let good = Case::good();
    for at in 0..good.certificates[0].len() {
        let mut case = good.clone();
        case.certificates[0][at] ^= 1 << (at % 8);
        assert!(case.appraise().is_err(), "{at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_collateral_makes_it_panic(
        which in 0_usize..4,
        at in any::<prop::sample::Index>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        cut in any::<bool>(),
    ) {
        let mut case = Case::good();
        case.crls = vec![CrlDraft::of(&[7]).sign(&KEYS.ark)];
        let document = match which {
            3 => &mut case.crls[0],
            place => &mut case.certificates[place],
        };
        let at = at.index(document.len());
        for (to, from) in document[at..].iter_mut().zip(&bytes) {
            *to = *from;
        }
        if cut {
            document.truncate(at);
        }
        let _ = case.appraise();
    }
}
