//! The verdict on every sample, as one table: printed here, and kept in `docs/verification.md`.
//!
//! `UPDATE_VERDICTS=1 cargo test -p mse-attest --test verdicts` rewrites the document's table.

mod corpus;

use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use corpus::{Corpus, Sample, at};
use mse_attest::{Collateral, Evidence, Policy, ReferenceValues, Refusal, Tee, appraise};

#[test]
fn the_table_of_verdicts_is_the_one_in_the_documentation() {
    let corpus = Corpus::open();
    let mut rows = Vec::new();
    for sample in &corpus.manifest.sample {
        rows.extend(verdicts(&corpus, sample));
    }
    let mut table =
        String::from("| sample | expected | verdict | as expected |\n| --- | --- | --- | --- |\n");
    let mut wrong = Vec::new();
    for row in &rows {
        let agrees = if row.agrees { "yes" } else { "NO" };
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {agrees} |",
            row.id, row.expected, row.verdict
        );
        if !row.agrees {
            wrong.push(row.id.clone());
        }
    }
    println!("{table}");
    println!("{} verdicts, {} not as expected", rows.len(), wrong.len());
    assert!(rows.len() >= 199, "only {} verdicts", rows.len());
    assert!(wrong.is_empty(), "not as expected: {wrong:?}");

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/verification.md");
    let text = std::fs::read_to_string(&file).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the table's begin");
    let (kept, after) = rest.split_once(END).expect("the table's end");
    if std::env::var_os("UPDATE_VERDICTS").is_some() {
        std::fs::write(&file, format!("{before}{BEGIN}\n{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(
            kept.trim(),
            table.trim(),
            "docs/verification.md is out of date: run with UPDATE_VERDICTS=1"
        );
    }
}

struct Row {
    id: String,
    expected: String,
    verdict: String,
    agrees: bool,
}

/// What the manifest expects of a sample, and what is found, once for each set of collateral.
fn verdicts(corpus: &Corpus, sample: &Sample) -> Vec<Row> {
    let bytes = corpus.read(&sample.files[0].path);
    let evidence = Evidence::parse(&bytes).unwrap_or_else(|e| panic!("{}: {e}", sample.id));
    match sample.kind.as_str() {
        "sgx-v3" | "tdx-v4" | "tdx-v5" => dcap_verdicts(corpus, sample, &evidence),
        _ => vec![other_verdict(corpus, sample, evidence)],
    }
}

/// Of a quote it is the TCB status that is expected; whether the policy lets it pass is another
/// matter, and said beside it.
fn dcap_verdicts(corpus: &Corpus, sample: &Sample, evidence: &Evidence) -> Vec<Row> {
    sample
        .case
        .iter()
        .enumerate()
        .map(|(number, case)| {
            let collateral = corpus.collateral(&case.collateral);
            let (status, text) = strict(evidence, &collateral, at(case.now));
            let expected = case.expected_status.clone();
            Row {
                id: format!("{} #{number}", sample.id),
                agrees: match &expected {
                    Some(expected) => status.as_deref() == Some(expected),
                    None => text.starts_with("refused"),
                },
                expected: expected.unwrap_or_else(|| "reject".into()),
                verdict: text,
            }
        })
        .collect()
}

fn strict(
    evidence: &Evidence,
    collateral: &Collateral,
    now: SystemTime,
) -> (Option<String>, String) {
    let expected = ReferenceValues::default();
    match appraise(evidence, collateral, &Policy::strict(), &expected, now) {
        Ok(appraisal) => {
            let status = appraisal.tcb.map(|tcb| tcb.status.to_string());
            let text = format!("accepted, {}", status.as_deref().unwrap_or("no TCB status"));
            (status, text)
        }
        Err(Refusal { failed, tcb, .. }) => {
            let status = tcb.map(|tcb| tcb.status.to_string());
            let text = match &status {
                Some(status) => format!("refused by `{failed}`, {status}"),
                None => format!("refused by `{failed}`"),
            };
            (status, text)
        }
    }
}

/// Of all others it is expected that they are accepted or rejected.
fn other_verdict(corpus: &Corpus, sample: &Sample, evidence: Evidence) -> Row {
    let text = |name: &str| sample.other.get(name).and_then(toml::Value::as_str);
    let expected = text("expected").unwrap_or("accept");
    let note = text("expected_policy_note").unwrap_or("");
    let now = match (
        sample.other.get("now").and_then(toml::Value::as_integer),
        text("vek_not_before"),
    ) {
        (Some(seconds), _) => at(u64::try_from(seconds).unwrap()),
        // The report holds no time: any in the life of its VEK will do.
        (None, Some(date)) => format!("{date}T23:59:59Z")
            .parse::<jiff::Timestamp>()
            .unwrap()
            .try_into()
            .unwrap(),
        (None, None) => at(1_770_019_200),
    };
    let mut collateral = Collateral::none();
    let mut evidence = evidence;
    let mut policy = Policy::strict().allow_snp_vmpl(3);
    for file in &sample.files[1..] {
        let bytes = corpus.read(&file.path);
        match (file.role.as_str(), evidence) {
            ("DCAP collateral", kept) => {
                collateral = Collateral::parse(&bytes).unwrap();
                evidence = kept;
            }
            ("TPM quote", Evidence::Vtpm(vtpm)) if sample.kind == "azure-snp-vtpm" => {
                evidence = Evidence::Vtpm(Box::new(vtpm.with_part(&bytes).unwrap()));
            }
            ("SEV-VCEK" | "SEV-VLEK" | "intermediate" | "root", kept) => {
                collateral.certificates.push(bytes);
                evidence = kept;
            }
            ("vcek", kept) => {
                let pem = rustls_pki_types::pem::PemObject::pem_slice_iter(&bytes);
                collateral.certificates.extend(pem.map(
                    |der: Result<rustls_pki_types::CertificateDer<'_>, _>| der.unwrap().to_vec(),
                ));
                evidence = kept;
            }
            (_, kept) => evidence = kept,
        }
    }
    if let (Tee::Tpm, Evidence::Vtpm(vtpm)) = (evidence.kind().tee(), &evidence)
        && expected != "accept"
        && let Some(fingerprint) = vtpm.ak_sha256()
    {
        // These have no chain: their key is pinned, as the manifest says.
        policy = policy.trust_tpm_ak(fingerprint);
    }
    let result = appraise(
        &evidence,
        &collateral,
        &policy,
        &ReferenceValues::default(),
        now,
    );
    let has_vek = sample.kind != "snp" || sample.files.len() > 1;
    // A TD quote proves nothing without its collateral, which these samples do not have.
    let needs_collateral = sample.kind == "azure-tdx-vtpm" && collateral.dcap.is_none();
    let is_debug = note.contains("DEBUG");
    let wanted = expected.starts_with("accept") && has_vek && !needs_collateral && !is_debug;
    Row {
        id: sample.id.clone(),
        expected: match (note, needs_collateral) {
            (_, true) => "accept of the vTPM part; the TD quote's collateral is not there".into(),
            ("", false) => expected.split(" (").next().unwrap_or(expected).into(),
            (note, false) => format!(
                "{}; {note}",
                expected.split(" (").next().unwrap_or(expected)
            ),
        },
        agrees: result.is_ok() == wanted,
        verdict: match result {
            Ok(appraisal) => match appraisal.tolerated().count() {
                0 => format!("accepted, `{}`", appraisal.tee),
                _ => format!("accepted, `{}`, VMPL 1 tolerated", appraisal.tee),
            },
            Err(refusal) => format!("refused by `{}`", refusal.failed),
        },
    }
}

const BEGIN: &str = "<!-- verdicts: begin -->";
const END: &str = "<!-- verdicts: end -->";
