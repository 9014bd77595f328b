//! The verifier that remembers gives the answers of the one that does not.

mod common;

use common::{Case, MRENCLAVE, REPORT_DATA, days, platform};
use mse_attest::{CheckName, Reason, Verifier};
use mse_simtee::testing::{CollateralOptions, Revoked};

#[test]
fn warm_and_cold_answers_are_the_same() {
    let case = Case::good();
    let verifier = Verifier::new(case.policy.clone());
    for quote in [
        case.quote.clone(),
        case.quote.clone(),
        platform().quote(MRENCLAVE, &REPORT_DATA).unwrap(),
    ] {
        let case = Case {
            quote,
            ..case.clone()
        };
        let appraisal = verifier
            .appraise(
                &case.evidence(),
                &case.collateral(),
                &case.expected,
                case.now,
            )
            .unwrap();
        let cold = case.appraise().unwrap();
        assert_eq!(appraisal.claims, cold.claims);
        assert_eq!(appraisal.checks, cold.checks);
    }
}

#[test]
fn a_warm_verifier_still_refuses() {
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
    appraise(&good).unwrap();

    let mut forged = good.clone();
    forged.quote[48 + 64] ^= 1;
    assert_eq!(
        appraise(&forged).unwrap_err().failed,
        CheckName::QuoteSignature
    );

    let mut replayed = good.clone();
    replayed.expected.report_data = Some([0; 64]);
    assert_eq!(
        appraise(&replayed).unwrap_err().failed,
        CheckName::ReportData
    );

    let expired = Case {
        now: good.now + days(31),
        ..good.clone()
    };
    assert_eq!(appraise(&expired).unwrap_err().reason, Reason::Stale);

    let early = Case {
        now: good.now - days(1),
        ..good.clone()
    };
    assert_eq!(appraise(&early).unwrap_err().reason, Reason::Stale);

    let revoked = Case {
        collateral: platform()
            .collateral_with(&CollateralOptions {
                revoked: vec![Revoked::Pck],
                ..CollateralOptions::honest(good.now)
            })
            .unwrap(),
        ..good.clone()
    };
    assert_eq!(appraise(&revoked).unwrap_err().reason, Reason::Revoked);

    let debug = Case::with_quote(|options| options.debug = true);
    assert_eq!(appraise(&debug).unwrap_err().failed, CheckName::Debug);
}

#[test]
fn what_is_shared_is_judged_by_each_policy() {
    let case = Case::good();
    let warm = Verifier::new(case.policy.clone());
    let appraise = |verifier: &Verifier| {
        verifier.appraise(
            &case.evidence(),
            &case.collateral(),
            &case.expected,
            case.now,
        )
    };
    appraise(&warm).unwrap();
    appraise(&warm.under(case.policy.clone())).unwrap();
    // The same root is no anchor there, and the same status is not enough.
    let without_anchor = warm.under(mse_attest::Policy::strict());
    assert_eq!(
        appraise(&without_anchor).unwrap_err().failed,
        CheckName::RootOfTrust
    );
    let newer = case
        .policy
        .clone()
        .require_min_tcb_evaluation_number(u32::MAX);
    assert_eq!(
        appraise(&warm.under(newer)).unwrap_err().failed,
        CheckName::TcbEvaluation
    );
}
