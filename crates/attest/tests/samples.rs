//! Real evidence from public projects, with the verdicts of its manifest.
//!
//! The samples are third-party data and not part of this repository: they are looked for in
//! `MSE_EVIDENCE_DIR`, or in `shared/evidence` beside the workspace.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mse_attest::{
    Appraisal, CheckName, Collateral, Evidence, Policy, Reason, ReferenceValues, Refusal,
    TcbStatus, Tee, TrustAnchor, appraise,
};
use serde::Deserialize;

#[test]
fn genuine_sgx_quotes_get_their_status_and_claims() {
    let corpus = Corpus::open();
    let mut table = Table::default();
    for sample in corpus.manifest.sample.iter().filter(|s| s.kind == "sgx-v3") {
        let quote = corpus.read(&sample.file("quote").path);
        let evidence = Evidence::parse(&quote).unwrap_or_else(|e| panic!("{}: {e}", sample.id));
        let claims = sample.claims.as_ref().expect("an SGX sample has claims");
        for case in &sample.case {
            table.cases += 1;
            let verdict = corpus.appraise(&evidence, case, claims.debug);
            if let Err(problem) = compare(case, claims, &verdict) {
                table
                    .problems
                    .push(format!("{} {}: {problem}", sample.id, case.collateral));
            }
        }
    }
    table.conclude(56);
}

/// The check that refuses each negative SGX quote.
const NEGATIVE: &[(&str, CheckName)] = &[
    ("intel/sgx-quote_td-qe-identity", CheckName::QeIdentity),
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
    ("quote/oasis-eppid", CheckName::RootOfTrust),
    ("quote/intel-sampledata-quote", CheckName::RootOfTrust),
    ("quote/intel-qvs-sgx-v4", CheckName::EvidenceFormat),
];

#[test]
fn negative_quotes_are_refused_by_the_check_that_is_for_it() {
    let corpus = Corpus::open();
    let mut table = Table::default();
    for negative in &corpus.manifest.negative {
        // Reports of other vendors and whole certificates are for later.
        let Some(quote) = negative.files.iter().find(|file| file.role == "quote") else {
            continue;
        };
        table.cases += 1;
        let quote = corpus.read(&quote.path);
        let is_sgx = quote.get(4..8) == Some(&[0, 0, 0, 0]);
        let expected = NEGATIVE
            .iter()
            .find(|(id, _)| *id == negative.id)
            .map(|(_, check)| *check);
        let expected = match (is_sgx, expected) {
            (true, Some(check)) => check,
            (true, None) => panic!("{} is not in the table", negative.id),
            // TDX is not appraised yet.
            (false, _) => CheckName::EvidenceFormat,
        };
        // Where no collateral was given, none may help it: the quote meets that of every sample.
        let own = negative.files.iter().find(|file| file.role == "collateral");
        let collaterals = match (own, negative.now) {
            (Some(file), Some(now)) => vec![(corpus.collateral(&file.path), at(now))],
            _ => corpus.sgx_collaterals(),
        };
        let evidence = Evidence::SgxDcap(quote);
        let mut failed = Vec::new();
        for (collateral, now) in collaterals {
            let policy = permissive(&[], now);
            match appraise(
                &evidence,
                &collateral,
                &policy,
                &ReferenceValues::default(),
                now,
            ) {
                Ok(_) => table.problems.push(format!("{} is accepted", negative.id)),
                Err(refusal) => failed.push(refusal.failed),
            }
        }
        if !failed.contains(&expected) {
            table.problems.push(format!(
                "{} is refused by {failed:?} and never by {expected}",
                negative.id
            ));
        }
    }
    table.conclude(16);
}

/// Every byte of a genuine quote up to its certificates matters.
#[test]
fn one_flipped_bit_in_a_genuine_quote_is_refused() {
    let corpus = Corpus::open();
    let (sample, case) = corpus
        .manifest
        .sample
        .iter()
        .filter(|sample| sample.kind == "sgx-v3")
        .find_map(|sample| {
            let case = sample
                .case
                .iter()
                .find(|case| case.tcb_info_version == Some(3) && case.expected_status.is_some())?;
            Some((sample, case))
        })
        .expect("the manifest has an SGX sample with TCB info version 3");
    let quote = corpus.read(&sample.file("quote").path);
    let collateral = corpus.collateral(&case.collateral);
    let now = at(case.now);
    let advisories = case.advisories.as_deref().unwrap_or_default();
    let policy = permissive(advisories, now).allow_debug_enclaves();
    let is_accepted = |quote: &[u8]| {
        appraise(
            &Evidence::SgxDcap(quote.to_vec()),
            &collateral,
            &policy,
            &ReferenceValues::default(),
            now,
        )
        .is_ok()
    };
    assert!(is_accepted(&quote), "{} is genuine", sample.id);
    let certificates = quote
        .windows(10)
        .position(|window| window == b"-----BEGIN")
        .expect("the quote carries its certificates");
    for at in 0..certificates {
        let mut flipped = quote.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(!is_accepted(&flipped), "byte {at} does not matter");
    }
    assert!(!is_accepted(&[quote.as_slice(), &[0]].concat()));
}

#[test]
fn quotes_generated_for_dcap_qvl_get_its_verdicts() {
    let corpus = Corpus::open();
    let mut table = Table::default();
    for generated in &corpus.manifest.generated {
        let [quote, collateral] = generated.files.as_slice() else {
            panic!("{}: a quote and its collateral", generated.id);
        };
        let root = TrustAnchor::simulated(&corpus.read(&generated.root), None).unwrap();
        let now = at(generated.now);
        let quote = corpus.read(quote);
        // TDX is not appraised yet: whatever it is, it must be refused.
        let is_sgx = quote.get(4..8) == Some(&[0, 0, 0, 0]);
        let accepted = Collateral::from_json(&corpus.read(collateral)).is_ok_and(|collateral| {
            appraise(
                &Evidence::SgxDcap(quote),
                &collateral,
                &permissive(&[], now).with_simulated(root),
                &ReferenceValues::default(),
                now,
            )
            .is_ok()
        });
        table.cases += 1;
        if accepted != (is_sgx && generated.expected == "accept") {
            table.problems.push(format!(
                "{}: expected {}, accepted is {accepted}",
                generated.id, generated.expected
            ));
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

/// What the manifest expects of one case, against the verdict.
fn compare(
    case: &Case,
    claims: &Claims,
    verdict: &Result<Appraisal, Refusal>,
) -> Result<(), String> {
    // TCB info of version 2 has been out of service since 2025: Intel's own library still reads
    // it, this one does not.
    if case.tcb_info_version == Some(2) {
        return match verdict {
            Err(refusal) if refusal.failed == CheckName::TcbInfo => Ok(()),
            other => Err(format!("TCB info version 2 must be refused: {other:?}")),
        };
    }
    let Some(expected_status) = &case.expected_status else {
        return match verdict {
            Err(_) => Ok(()),
            Ok(_) => Err("must be refused".into()),
        };
    };
    let appraisal = verdict
        .as_ref()
        .map_err(|refusal| format!("expected {expected_status}, refused: {refusal}"))?;
    let found = &appraisal.claims;
    let mut advisories = found.advisory_ids.clone();
    advisories.sort();
    let mut expected_advisories = case.advisories.clone().unwrap_or(advisories.clone());
    expected_advisories.sort();
    for (what, found, expected) in [
        ("tee", appraisal.tee.to_string(), Tee::Sgx.to_string()),
        (
            "status",
            found.tcb_status.to_string(),
            expected_status.clone(),
        ),
        (
            "advisories",
            advisories.join(" "),
            expected_advisories.join(" "),
        ),
        (
            "mrenclave",
            hex::encode(found.mrenclave),
            claims.mrenclave.clone(),
        ),
        (
            "mrsigner",
            hex::encode(found.mrsigner),
            claims.mrsigner.clone(),
        ),
        (
            "isv_prod_id",
            found.isv_prod_id.to_string(),
            claims.isv_prod_id.to_string(),
        ),
        (
            "isv_svn",
            found.isv_svn.to_string(),
            claims.isv_svn.to_string(),
        ),
        ("debug", found.debug.to_string(), claims.debug.to_string()),
        (
            "attributes",
            hex::encode(found.attributes),
            claims.attributes.clone(),
        ),
        (
            "cpu_svn",
            hex::encode(found.cpu_svn),
            claims.cpu_svn.clone(),
        ),
        (
            "report_data",
            hex::encode(found.report_data),
            claims.report_data.clone(),
        ),
    ] {
        if found != expected {
            return Err(format!("{what} is `{found}`, expected `{expected}`"));
        }
    }
    Ok(())
}

struct Corpus {
    root: PathBuf,
    manifest: Manifest,
}

impl Corpus {
    fn open() -> Self {
        let root = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
            PathBuf::from,
        );
        let manifest = root.join("MANIFEST.toml");
        let text = fs::read_to_string(&manifest).unwrap_or_else(|error| {
            panic!(
                "the evidence samples are not at `{}` ({error}): put them there, or set MSE_EVIDENCE_DIR to their folder",
                manifest.display()
            )
        });
        let manifest = toml::from_str(&text)
            .unwrap_or_else(|error| panic!("`{}`: {}", manifest.display(), error.message()));
        Self { root, manifest }
    }

    fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.root.join(path)).unwrap_or_else(|error| panic!("sample `{path}`: {error}"))
    }

    fn collateral(&self, path: &str) -> Collateral {
        Collateral::from_json(&self.read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// The collateral of every case of a genuine SGX quote, with its clock.
    fn sgx_collaterals(&self) -> Vec<(Collateral, SystemTime)> {
        self.manifest
            .sample
            .iter()
            .filter(|sample| sample.kind == "sgx-v3")
            .flat_map(|sample| &sample.case)
            .map(|case| (self.collateral(&case.collateral), at(case.now)))
            .collect()
    }

    /// Appraises under a policy that lets every status through, so that the status itself is what
    /// is compared; and once under the strict policy, which accepts exactly what is up to date.
    fn appraise(
        &self,
        evidence: &Evidence,
        case: &Case,
        debug: bool,
    ) -> Result<Appraisal, Refusal> {
        let collateral = self.collateral(&case.collateral);
        let now = at(case.now);
        let expected = ReferenceValues::default();
        let tolerated = case.advisories.as_deref().unwrap_or_default();
        let verdict = appraise(
            evidence,
            &collateral,
            &permissive(tolerated, now).allow_debug_enclaves(),
            &expected,
            now,
        );
        let strict = appraise(evidence, &collateral, &Policy::strict(), &expected, now);
        let up_to_date = verdict
            .as_ref()
            .is_ok_and(|appraisal| appraisal.claims.tcb_status == TcbStatus::UpToDate);
        assert_eq!(
            strict.is_ok(),
            up_to_date && !debug,
            "{}: the strict policy accepts what is up to date and not debug, and nothing else",
            case.collateral
        );
        verdict
    }
}

fn permissive(advisories: &[String], now: SystemTime) -> Policy {
    let policy = [
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
    ]
    .into_iter()
    .fold(Policy::strict(), Policy::accept_status);
    advisories
        .iter()
        .fold(policy, |policy, id| policy.tolerate_advisory(id, now))
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Collects what is wrong, so that one run shows all of it.
#[derive(Default)]
struct Table {
    cases: usize,
    problems: Vec<String>,
}

impl Table {
    fn conclude(self, at_least: usize) {
        assert!(
            self.problems.is_empty(),
            "{} of {} cases:\n{}",
            self.problems.len(),
            self.cases,
            self.problems.join("\n")
        );
        assert!(
            self.cases >= at_least,
            "only {} cases: is the manifest complete?",
            self.cases
        );
    }
}

#[derive(Deserialize)]
struct Manifest {
    sample: Vec<Sample>,
    negative: Vec<Negative>,
    generated: Vec<Generated>,
}

#[derive(Deserialize)]
struct Sample {
    id: String,
    kind: String,
    files: Vec<Entry>,
    #[serde(default, deserialize_with = "sgx_claims")]
    claims: Option<Claims>,
    #[serde(default)]
    case: Vec<Case>,
}

impl Sample {
    fn file(&self, role: &str) -> &Entry {
        self.files
            .iter()
            .find(|file| file.role == role)
            .unwrap_or_else(|| panic!("{} has no file with the role `{role}`", self.id))
    }
}

#[derive(Deserialize)]
struct Entry {
    path: String,
    role: String,
}

#[derive(Deserialize)]
struct Claims {
    mrenclave: String,
    mrsigner: String,
    isv_prod_id: u16,
    isv_svn: u16,
    debug: bool,
    attributes: String,
    cpu_svn: String,
    report_data: String,
}

/// Claims of other kinds of evidence have other names.
fn sgx_claims<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Claims>, D::Error> {
    let table = toml::Value::deserialize(deserializer)?;
    Ok(table.try_into().ok())
}

#[derive(Deserialize)]
struct Case {
    collateral: String,
    now: u64,
    tcb_info_version: Option<u32>,
    /// Absent: to be refused.
    expected_status: Option<String>,
    advisories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Negative {
    id: String,
    files: Vec<Entry>,
    now: Option<u64>,
}

#[derive(Deserialize)]
struct Generated {
    id: String,
    root: String,
    files: Vec<String>,
    now: u64,
    expected: String,
}
