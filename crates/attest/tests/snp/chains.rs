//! Chains and revocation lists: every certificate in its place, and none but AMD's.

use mse_attest::{CheckName, Outcome, Policy, Reason, Tee, TrustAnchor, Verifier};

use super::der::{element, integer, sequence};
use super::pki::{
    ASK_SERIAL, Case, CrlDraft, Draft, Extension, KEYS, P256, P384, Scheme, amd, ark, ask, asvk,
    ec_spki, published_at, trusting,
};

#[test]
fn the_good_case_is_good_and_says_that_it_is_simulated() {
    let appraisal = Case::good().accepted();
    assert_eq!(appraisal.tee, Tee::Simulated);
    let names: Vec<_> = appraisal.checks.iter().map(|check| check.name).collect();
    for name in [
        CheckName::EvidenceFormat,
        CheckName::CollateralFormat,
        CheckName::RootOfTrust,
        CheckName::CertificateChains,
        CheckName::Revocation,
        CheckName::QuoteSignature,
        CheckName::PlatformMatch,
        CheckName::CollateralValidity,
        CheckName::MinimumTcb,
        CheckName::Debug,
        CheckName::Attributes,
        CheckName::Vmpl,
        CheckName::ReferenceValue,
        CheckName::ReportData,
    ] {
        assert!(names.contains(&name), "{name}");
    }
}

#[test]
fn a_root_of_ones_own_is_refused() {
    // Names, extensions and signatures are as AMD's: only the key is not.
    let case = Case::good().policy(|_| Policy::strict());
    let refusal = case.refused(CheckName::RootOfTrust, "simulated");
    assert_eq!(refusal.reason, Reason::SimulatedEvidence);
    assert_eq!(refusal.tee, None);
    assert!(refusal.claims.is_some());

    // Without the root, AMD's stands in its place, and has not signed.
    let mut case = case;
    case.certificates.truncate(2);
    case.refused(CheckName::CertificateChains, "issued by");
    case.certificates.truncate(1);
    case.refused(CheckName::CertificateChains, "issued by");
}

#[test]
fn another_root_of_the_same_name_is_refused() {
    let other = Draft::ca("ARK-Milan", "ARK-Milan", 0x01_0000, &KEYS.other, None).sign(&KEYS.other);
    let mut case = Case::good();
    case.certificates[2] = other.clone();
    case.refused(CheckName::RootOfTrust, "");

    // Trusted, it still has not signed the ASK.
    case.policy = trusting(&other);
    case.refused(CheckName::CertificateChains, "is not signed by");

    // With both trusted and none given, the one that signed is found.
    case.certificates.truncate(2);
    case.policy = case
        .policy
        .with_simulated(TrustAnchor::simulated(&ark(), None).unwrap());
    case.accepted();
}

#[test]
fn a_root_that_was_issued_again_is_the_same_root() {
    let mut case = Case::good();
    let mut again = Draft::ca("ARK-Milan", "ARK-Milan", 0x01_00ff, &KEYS.ark, None);
    again.not_after = "20400101000000Z";
    case.certificates[2] = again.sign(&KEYS.ark);
    case.accepted();
}

#[test]
fn a_chain_has_three_certificates_at_most() {
    let mut case = Case::good();
    case.certificates.push(ark());
    case.refused(CheckName::CollateralFormat, "`4` certificates");
    case.certificates.clear();
    let refusal = case.refused(
        CheckName::CollateralFormat,
        "the VEK certificate is missing",
    );
    assert!(refusal.claims.is_some());
    case.certificates = vec![ask(), ark()];
    case.refused(
        CheckName::CollateralFormat,
        "is not the certificate of a VEK",
    );
    case.certificates = vec![vec![0x30, 0]];
    case.refused(CheckName::CollateralFormat, "not DER");
}

#[test]
fn each_certificate_stands_in_its_place() {
    let mut case = Case::good();
    case.certificates[1] = asvk();
    case.refused(
        CheckName::CertificateChains,
        "`SEV-VLEK-Milan` stands where `SEV-Milan`",
    );
    case.certificates = vec![case.certificates[0].clone(), ark()];
    case.refused(
        CheckName::CertificateChains,
        "`ARK-Milan` stands where `SEV-Milan`",
    );
    // Issued by the root itself.
    let mut case = Case::good();
    let mut vcek = Draft::vcek();
    vcek.issuer = "ARK-Milan".into();
    case.certificates = vec![vcek.sign(&KEYS.ark), ark()];
    case.refused(
        CheckName::CertificateChains,
        "is issued by `ARK-Milan` instead of `SEV-Milan`",
    );
    // Issued by another VCEK's key, which is none of a CA's.
    let mut case = Case::good();
    case.certificates[1] = case.certificates[0].clone();
    case.refused(CheckName::CertificateChains, "`SEV-VCEK` stands where");
}

#[test]
fn a_vek_of_another_issuer_key_is_refused() {
    let mut case = Case::good();
    case.certificates[0] = Draft::vcek().sign(&KEYS.other);
    case.refused(CheckName::CertificateChains, "is not signed by");
    let mut case = Case::good();
    case.certificates[1] =
        Draft::ca("SEV-Milan", "ARK-Milan", ASK_SERIAL, &KEYS.other, Some(0)).sign(&KEYS.other);
    case.certificates[0] = Draft::vcek().sign(&KEYS.other);
    case.refused(CheckName::CertificateChains, "is not signed by");
}

#[test]
fn only_rsassa_pss_signs() {
    Case::with_vcek(|vcek| vcek.scheme = Scheme::Pkcs1).refused(
        CheckName::CertificateChains,
        "algorithm that this chain does not use",
    );
}

#[test]
fn an_issuer_is_a_ca() {
    let mut case = Case::good();
    let mut no_ca = Draft::ca("SEV-Milan", "ARK-Milan", ASK_SERIAL, &KEYS.ask, None);
    no_ca.extensions[0] = Extension("2.5.29.19".into(), true, sequence(&[]));
    case.certificates[1] = no_ca.sign(&KEYS.ark);
    case.refused(CheckName::CertificateChains, "is not a CA");
    no_ca.extensions.clear();
    case.certificates[1] = no_ca.sign(&KEYS.ark);
    case.refused(CheckName::CertificateChains, "has no basic constraints");
}

#[test]
fn an_unknown_critical_extension_is_refused() {
    Case::with_vcek(|vcek| {
        vcek.extensions
            .push(Extension("1.3.6.1.4.1.3704.1.99".into(), true, integer(1)));
    })
    .refused(CheckName::CertificateChains, "critical extension");
}

#[test]
fn the_key_of_a_vek_is_on_p384() {
    Case::with_vcek(|vcek| vcek.key = ec_spki(&KEYS.p256, P256))
        .refused(CheckName::CertificateChains, "not one on P-384");
    Case::with_vcek(|vcek| vcek.key = ec_spki(&KEYS.other_vek, P384)).refused(
        CheckName::QuoteSignature,
        "not signed with the key of this VCEK",
    );
}

#[test]
fn certificates_are_valid_at_the_time() {
    for (from, until) in [
        ("20250101000000Z", "20261101000000Z"),
        ("20261201000000Z", "20320101000000Z"),
    ] {
        let vek = Case::with_vcek(|vcek| {
            vcek.not_before = from;
            vcek.not_after = until;
        });
        let mut intermediate = Case::good();
        let mut ask = Draft::ca("SEV-Milan", "ARK-Milan", ASK_SERIAL, &KEYS.ask, Some(0));
        ask.not_before = from;
        ask.not_after = until;
        intermediate.certificates[1] = ask.sign(&KEYS.ark);
        let mut root = Case::good();
        let mut ark = Draft::ca("ARK-Milan", "ARK-Milan", 0x01_0000, &KEYS.ark, None);
        ark.not_before = from;
        ark.not_after = until;
        root.certificates[2] = ark.sign(&KEYS.ark);
        for case in [vek, intermediate, root] {
            let refusal = case.refused(CheckName::CollateralValidity, "is valid from");
            assert_eq!(refusal.reason, Reason::Stale);
        }
    }
}

#[test]
fn a_certificate_does_not_carry_an_extension_twice() {
    Case::with_vcek(|vcek| {
        let again = Extension(amd("4"), false, vec![0; 64]);
        vcek.extensions.push(again);
    })
    .refused(CheckName::CollateralFormat, "twice");
}

#[test]
fn a_current_crl_that_revokes_nobody_else_passes() {
    for revoked in [&[][..], &[0x01_0002], &[0]] {
        let mut case = Case::good();
        // The VEK's serial is 0, as in all of AMD's: a CRL of the root does not speak of it.
        case.crls = vec![CrlDraft::of(revoked).sign(&KEYS.ark)];
        let appraisal = case.policy(Policy::require_crl).accepted();
        let revocation = appraisal
            .checks
            .iter()
            .find(|check| check.name == CheckName::Revocation)
            .unwrap();
        assert_eq!(revocation.outcome, Outcome::Passed);
    }
}

#[test]
fn a_missing_crl_is_said_and_refused_where_the_policy_wants_one() {
    let appraisal = Case::good().accepted();
    assert!(appraisal.checks.iter().any(|check| {
        check.name == CheckName::Revocation && matches!(check.outcome, Outcome::Skipped { .. })
    }));
    Case::good()
        .policy(Policy::require_crl)
        .refused(CheckName::Revocation, "none is given");
}

#[test]
fn a_revoked_intermediate_or_root_is_refused() {
    for serial in [ASK_SERIAL, 0x01_0000] {
        let mut case = Case::good();
        case.crls = vec![CrlDraft::of(&[7, serial]).sign(&KEYS.ark)];
        let refusal = case.refused(CheckName::Revocation, "AMD has revoked");
        assert_eq!(refusal.reason, Reason::Revoked);
    }
    let mut case = Case::vlek(|_| ());
    case.crls = vec![CrlDraft::of(&[0x01_0101]).sign(&KEYS.ark)];
    case.refused(CheckName::Revocation, "`SEV-VLEK-Milan`");
}

#[test]
fn a_crl_that_is_not_current_is_refused() {
    for (this_update, next_update) in [
        ("20251101000000Z", "20261101000000Z"),
        ("20261201000000Z", "20271101000000Z"),
    ] {
        let mut case = Case::good();
        let mut crl = CrlDraft::of(&[]);
        crl.this_update = this_update;
        crl.next_update = next_update;
        case.crls = vec![crl.sign(&KEYS.ark)];
        let refusal = case.refused(CheckName::CollateralValidity, "the CRL of `ARK-Milan`");
        assert_eq!(refusal.reason, Reason::Stale);
    }
}

#[test]
fn a_crl_of_somebody_else_is_refused() {
    let mut case = Case::good();
    case.crls = vec![CrlDraft::of(&[]).sign(&KEYS.other)];
    case.refused(CheckName::Revocation, "is not signed by its issuer");
    let mut crl = CrlDraft::of(&[]);
    crl.issuer = "ARK-Genoa";
    case.crls = vec![crl.sign(&KEYS.ark)];
    case.refused(CheckName::Revocation, "is not one of");
    // One good list does not make up for a bad one.
    case.crls = vec![CrlDraft::of(&[]).sign(&KEYS.ark), vec![0x30, 0]];
    case.refused(CheckName::Revocation, "not DER");
}

#[test]
fn a_verifier_that_remembers_answers_the_same() {
    let good = Case::good();
    let verifier = Verifier::new(good.policy.clone());
    let appraise = |case: &Case| {
        verifier.appraise(
            &case.evidence(),
            &case.collateral(),
            &case.expected,
            case.now,
        )
    };
    let cold = appraise(&good).unwrap();
    let warm = appraise(&good).unwrap();
    assert_eq!(cold.checks, warm.checks);

    // What is new is judged anew: report, clock, CRLs, certificates.
    let mut changed = good.clone();
    changed.report[0x90] ^= 1;
    assert_eq!(
        appraise(&changed).unwrap_err().failed,
        CheckName::QuoteSignature
    );
    let mut late = good.clone();
    late.now += std::time::Duration::from_hours(24 * 365 * 10);
    assert_eq!(appraise(&late).unwrap_err().reason, Reason::Stale);
    let mut revoked = good.clone();
    revoked.crls = vec![CrlDraft::of(&[ASK_SERIAL]).sign(&KEYS.ark)];
    assert_eq!(appraise(&revoked).unwrap_err().reason, Reason::Revoked);
    let mut forged = good.clone();
    forged.certificates[0] = Draft::vcek().sign(&KEYS.other);
    assert_eq!(
        appraise(&forged).unwrap_err().failed,
        CheckName::CertificateChains
    );
    // A remembered chain does not vouch for another root.
    let mut other_root = good;
    other_root.certificates[2] =
        Draft::ca("ARK-Milan", "ARK-Milan", 1, &KEYS.other, None).sign(&KEYS.other);
    assert_eq!(
        appraise(&other_root).unwrap_err().failed,
        CheckName::RootOfTrust
    );
}

#[test]
fn a_crl_that_says_where_it_is_published_is_the_one_of_its_certificate() {
    const HERE: &str = "https://kdsintf.example/vcek/v1/Milan/crl";
    const THERE: &str = "https://kdsintf.example/vlek/v1/Milan/crl";
    let mut case = Case::good();
    let mut ask = Draft::ca("SEV-Milan", "ARK-Milan", ASK_SERIAL, &KEYS.ask, Some(0));
    let points = sequence(&[&sequence(&[&published_at(HERE)])]);
    ask.extensions
        .push(Extension("2.5.29.31".into(), false, points));
    case.certificates[1] = ask.sign(&KEYS.ark);
    let crl = |point: Vec<u8>, revoked: &[u32]| {
        let mut crl = CrlDraft::of(revoked);
        crl.published = Some(sequence(&[&point]));
        crl.sign(&KEYS.ark)
    };
    case.crls = vec![crl(published_at(HERE), &[])];
    case.accepted();
    case.crls = vec![crl(published_at(HERE), &[ASK_SERIAL])];
    case.refused(CheckName::Revocation, "AMD has revoked");
    // That of other certificates says nothing about this one.
    case.crls = vec![crl(published_at(THERE), &[])];
    case.refused(CheckName::Revocation, "is not the one that");
    // Nor does one of some certificates or reasons only.
    let only_users = [published_at(HERE), element(0x81, &[0xff])].concat();
    case.crls = vec![crl(only_users, &[])];
    case.refused(CheckName::Revocation, "is not the one that");
    case.crls = vec![crl(Vec::new(), &[])];
    case.refused(CheckName::Revocation, "is not the one that");
    // A certificate that names no place has the list without one.
    let mut case = Case::good();
    case.crls = vec![crl(published_at(HERE), &[])];
    case.refused(CheckName::Revocation, "is not the one that");
}
