//! Real SGX and TDX quotes from public projects, with the verdicts of the samples' manifest.

mod corpus;

use std::time::SystemTime;

use corpus::{Case, Corpus, Sample, Table, at, claim_problems, permissive};
use mse_attest::{
    Appraisal, CheckName, Collateral, Evidence, Outcome, Policy, Reason, ReferenceValues, Refusal,
    Tee, TrustAnchor, appraise,
};

#[test]
fn genuine_quotes_get_their_status_and_claims() {
    let corpus = Corpus::open();
    let mut table = Table::default();
    for (kind, tee) in [
        ("sgx-v3", Tee::Sgx),
        ("tdx-v4", Tee::Tdx),
        ("tdx-v5", Tee::Tdx),
    ] {
        for sample in corpus.samples(kind) {
            let quote = corpus.read(&sample.file("quote").path);
            let evidence = Evidence::parse(&quote).unwrap_or_else(|e| panic!("{}: {e}", sample.id));
            for case in &sample.case {
                table.cases += 1;
                let verdict = verdict(&corpus, &evidence, case);
                if let Err(problem) = compare(sample, case, tee, verdict) {
                    table.problem(&case.collateral, problem);
                }
                if let Err(problem) = compare_strict(&corpus, &evidence, sample, case) {
                    table.problem(&case.collateral, problem);
                }
            }
            if sample.case.is_empty() {
                table.cases += 1;
                let claims = stated_claims(&evidence);
                for problem in claim_problems(&claims, &sample.claims) {
                    table.problem(&sample.id, problem);
                }
            }
        }
    }
    table.conclude(133 + 6);
}

/// Under a policy that lets everything through that a policy can let through.
fn verdict(corpus: &Corpus, evidence: &Evidence, case: &Case) -> Result<Appraisal, Refusal> {
    let now = at(case.now);
    let refused = appraise(
        evidence,
        &corpus.collateral(&case.collateral),
        &Policy::strict(),
        &ReferenceValues::default(),
        now,
    );
    let advisories = match &refused {
        Err(Refusal { tcb: Some(tcb), .. }) => tcb.advisory_ids.clone(),
        _ => Vec::new(),
    };
    let mut policy = permissive(&advisories, now)
        .allow_debug()
        .allow_tdx_sept_ve()
        .allow_tdx_migration();
    if let Some(service_td) = stated_claims(evidence)["mr_service_td"].as_str() {
        let bytes = hex::decode(service_td).unwrap().try_into().unwrap();
        policy = policy.allow_tdx_service_td(bytes);
    }
    appraise(
        evidence,
        &corpus.collateral(&case.collateral),
        &policy,
        &ReferenceValues::default(),
        now,
    )
}

fn compare(
    sample: &Sample,
    case: &Case,
    tee: Tee,
    verdict: Result<Appraisal, Refusal>,
) -> Result<(), String> {
    let Some(expected) = &case.expected_status else {
        return match verdict {
            Err(_) => Ok(()),
            Ok(_) => Err("must be refused".into()),
        };
    };
    let appraisal =
        verdict.map_err(|refusal| format!("expected {expected}, refused: {refusal}"))?;
    if appraisal.tee != tee {
        return Err(format!("tee is {}", appraisal.tee));
    }
    let tcb = appraisal.tcb.ok_or("there is no TCB status")?;
    if tcb.status.as_str() != expected {
        return Err(format!(
            "status is {}, expected {expected} ({:?})",
            tcb.status, case.advisories
        ));
    }
    if let Some(expected) = &case.advisories {
        let sorted = |ids: &[String]| {
            let mut ids = ids.to_vec();
            ids.sort();
            ids
        };
        if sorted(expected) != sorted(&tcb.advisory_ids) {
            return Err(format!(
                "advisories are {:?}, expected {expected:?}",
                tcb.advisory_ids
            ));
        }
    }
    let claims = serde_json::to_value(&appraisal.claims).unwrap();
    match claim_problems(&claims, &sample.claims).as_slice() {
        [] => Ok(()),
        problems => Err(problems.join("; ")),
    }
}

/// The strict policy accepts what is up to date, in production mode, and open to nobody else; and
/// a refusal has status and claims all the same.
fn compare_strict(
    corpus: &Corpus,
    evidence: &Evidence,
    sample: &Sample,
    case: &Case,
) -> Result<(), String> {
    let verdict = appraise(
        evidence,
        &corpus.collateral(&case.collateral),
        &Policy::strict(),
        &ReferenceValues::default(),
        at(case.now),
    );
    let up_to_date = case.expected_status.as_deref() == Some("UpToDate");
    let claims = &sample.claims;
    let text = |name: &str| claims.get(name).and_then(toml::Value::as_str);
    let is_closed = text("td_attributes").is_none_or(|attributes| {
        // SEPT_VE_DISABLE is there, MIGRATABLE is not: bits 28 and 29, little-endian.
        matches!(attributes.as_bytes()[6], b'1' | b'5' | b'9' | b'd')
    }) && text("mr_service_td")
        .is_none_or(|service_td| service_td.bytes().all(|digit| digit == b'0'));
    let expected = up_to_date && !sample.is_debug() && is_closed;
    match verdict {
        Ok(_) if expected => Ok(()),
        Err(refusal) if !expected => {
            let found = refusal.tcb.map(|tcb| tcb.status.as_str());
            match &case.expected_status {
                Some(status) if found != Some(status) => {
                    Err(format!("the refusal has status {found:?}"))
                }
                _ => Ok(()),
            }
        }
        Ok(_) => Err("the strict policy accepts it".into()),
        Err(refusal) => Err(format!("the strict policy refuses it: {refusal}")),
    }
}

fn stated_claims(evidence: &Evidence) -> serde_json::Value {
    let refusal = appraise(
        evidence,
        &Collateral::none(),
        &Policy::strict(),
        &ReferenceValues::default(),
        SystemTime::now(),
    )
    .expect_err("nothing is accepted without collateral");
    serde_json::to_value(refusal.claims.expect("the quote can be read")).unwrap()
}

/// The check that refuses each negative.
const NEGATIVE: &[(&str, CheckName)] = &[
    ("intel/tdx-quote_sgx-tcb-info", CheckName::PlatformMatch),
    ("intel/tdx-quote_sgx-qe-identity", CheckName::QeIdentity),
    ("intel/sgx-quote_td-qe-identity", CheckName::QeIdentity),
    ("intel/sgx-quote_tdx-tcb-info", CheckName::PlatformMatch),
    ("intel/platform-pck_processor-crl", CheckName::Revocation),
    ("intel/pck-crl_is_root-crl", CheckName::Revocation),
    ("intel/root-crl_is_pck-crl", CheckName::Revocation),
    ("intel/fmspc-mismatch", CheckName::PlatformMatch),
    ("intel/tcb-info_foreign-signature", CheckName::TcbInfo),
    ("intel/qe-identity_foreign-signature", CheckName::QeIdentity),
    ("intel/tcb-info_status-edited", CheckName::TcbInfo),
    (
        "intel/tcb-info_issuer-is-pck-ca",
        CheckName::CertificateChains,
    ),
    (
        "intel/tcb-info_old-tcb-signer",
        CheckName::CollateralValidity,
    ),
    (
        "intel/clock-after-next-update",
        CheckName::CollateralValidity,
    ),
    ("intel/clock-before-issue", CheckName::CollateralValidity),
    ("intel/clock-year-2035", CheckName::CollateralValidity),
    ("intel/clock-zero", CheckName::CollateralValidity),
    (
        "quote/openenclave-sgx-report-bad",
        CheckName::CertificateChains,
    ),
    (
        "quote/fortanix-quote-pck-cert-chain-corrupted",
        CheckName::RootOfTrust,
    ),
    (
        "quote/fortanix-quote-pck-cert-chain",
        CheckName::RootOfTrust,
    ),
    ("quote/fortanix-quote-raw-tcb", CheckName::RootOfTrust),
    ("quote/oasis-eppid", CheckName::RootOfTrust),
    ("quote/intel-sampledata-quote", CheckName::RootOfTrust),
    ("quote/intel-sampledata-tdx-quote", CheckName::RootOfTrust),
    ("quote/intel-qvs-tdx-quote-bad", CheckName::RootOfTrust),
    (
        "quote/edgeless-go-tdx-guest-v5-sample",
        CheckName::RootOfTrust,
    ),
    ("quote/intel-qvs-sgx-v4", CheckName::RootOfTrust),
    ("quote/oasis-trailing-data", CheckName::EvidenceFormat),
];

#[test]
fn negative_quotes_are_refused_by_the_check_that_is_for_it() {
    let corpus = Corpus::open();
    let mut table = Table::default();
    // Where no collateral was given, none may help it: the quote meets that of every sample.
    let all: Vec<_> = ["sgx-v3", "tdx-v4", "tdx-v5"]
        .iter()
        .flat_map(|kind| corpus.samples(kind))
        .flat_map(|sample| &sample.case)
        .map(|case| (corpus.collateral(&case.collateral), at(case.now)))
        .collect();
    for negative in &corpus.manifest.negative {
        let Some(quote) = negative.files.iter().find(|file| file.role == "quote") else {
            continue;
        };
        table.cases += 1;
        let quote = corpus.read(&quote.path);
        let Some((_, expected)) = NEGATIVE.iter().find(|(id, _)| *id == negative.id) else {
            table.problem(&negative.id, "is not in the table of expected checks");
            continue;
        };
        let own = negative.files.iter().find(|file| file.role == "collateral");
        let collaterals = match (own, negative.now) {
            (Some(file), Some(now)) => vec![(corpus.collateral(&file.path), at(now))],
            _ => all.clone(),
        };
        // Malformed quotes too must get through to the appraisal, and be refused there.
        let evidence = match quote.get(4) {
            Some(0x81) => Evidence::TdxDcap(quote),
            _ => Evidence::SgxDcap(quote),
        };
        let mut failed = Vec::new();
        for (collateral, now) in collaterals {
            match appraise(
                &evidence,
                &collateral,
                &permissive(&[], now),
                &ReferenceValues::default(),
                now,
            ) {
                Ok(_) => table.problem(&negative.id, "is accepted"),
                Err(refusal) => failed.push(refusal.failed),
            }
        }
        if !failed.contains(expected) {
            table.problem(
                &negative.id,
                format!("is refused by {failed:?} and never by {expected}"),
            );
        }
    }
    table.conclude(16);
}

/// What the generator means to be accepted, and no verifier that checks everything can accept: its
/// PCK certificate is issued by the root itself, its PCK CRL by a CA that no chain contains, and
/// its TDX quotes name a PCK chain (5) where a QE report (6) stands. `dcap-qvl` looks at none of
/// the three. [`mse_simtee`] makes such quotes as the specification has them.
const MALFORMED: &[(&str, &str)] = &[
    ("cert_type_3_with_pck_chain", "`2` certificates"),
    ("cert_type_5_with_pck_chain", "`2` certificates"),
    ("component_svn_all_higher", "`2` certificates"),
    ("valid_sgx_v3", "`2` certificates"),
    ("tdx_kl_enabled", "certification data of type `5`"),
    ("tdx_pks_enabled", "certification data of type `5`"),
    ("valid_tdx_v4", "certification data of type `5`"),
];

#[test]
fn quotes_generated_for_dcap_qvl_are_refused_where_they_should_be() {
    let corpus = Corpus::open();
    let mut table = Table::default();
    for generated in &corpus.manifest.generated {
        let [quote, collateral] = generated.files.as_slice() else {
            panic!("{}: a quote and its collateral", generated.id);
        };
        let root = TrustAnchor::simulated(&corpus.read(&generated.root), None).unwrap();
        let now = at(generated.now);
        let verdict = Evidence::parse(&corpus.read(quote))
            .map_err(|error| error.to_string())
            .and_then(|evidence| {
                let collateral = Collateral::from_json(&corpus.read(collateral))
                    .map_err(|error| error.to_string())?;
                appraise(
                    &evidence,
                    &collateral,
                    &permissive(&[], now).with_simulated(root),
                    &ReferenceValues::default(),
                    now,
                )
                .map_err(|refusal| refusal.to_string())
            });
        table.cases += 1;
        match (verdict, generated.expected.as_str()) {
            (Ok(appraisal), "accept") if appraisal.tee == Tee::Simulated => (),
            (Err(_), "reject") => (),
            (Err(why), "accept")
                if MALFORMED
                    .iter()
                    .any(|(id, part)| generated.id.ends_with(id) && why.contains(part)) => {}
            (verdict, expected) => table.problem(
                &generated.id,
                format!("expected {expected}: {:?}", verdict.map(|v| v.tee)),
            ),
        }
    }
    table.conclude(54);
}

#[test]
fn a_test_root_is_unknown_and_not_simulated() {
    let corpus = Corpus::open();
    let generated = corpus
        .manifest
        .generated
        .iter()
        .find(|generated| generated.id.ends_with("/valid_sgx_v3"))
        .expect("the generated set has a valid SGX quote");
    let refusal = appraise(
        &Evidence::SgxDcap(corpus.read(&generated.files[0])),
        &corpus.collateral(&generated.files[1]),
        &Policy::strict(),
        &ReferenceValues::default(),
        at(generated.now),
    )
    .unwrap_err();
    assert_eq!(refusal.failed, CheckName::RootOfTrust);
    assert_eq!(refusal.reason, Reason::UnknownRoot);
}

/// What passes only by a tolerance says so.
#[test]
fn a_verdict_under_a_tolerance_says_so() {
    let corpus = Corpus::open();
    let sample = corpus
        .samples("sgx-v3")
        .find(|sample| {
            !sample.is_debug()
                && sample
                    .case
                    .iter()
                    .any(|case| case.expected_status.as_deref() == Some("SWHardeningNeeded"))
        })
        .expect("some genuine platform needs software hardening");
    let case = sample
        .case
        .iter()
        .find(|case| case.expected_status.as_deref() == Some("SWHardeningNeeded"))
        .unwrap();
    let evidence = Evidence::parse(&corpus.read(&sample.file("quote").path)).unwrap();
    let appraisal = verdict(&corpus, &evidence, case).unwrap();
    let tolerated: Vec<_> = appraisal.tolerated().map(|check| check.name).collect();
    assert!(tolerated.contains(&CheckName::TcbStatus), "{tolerated:?}");
    assert!(
        appraisal
            .checks
            .iter()
            .all(|check| !matches!(check.outcome, Outcome::Failed { .. }))
    );
}
