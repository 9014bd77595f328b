//! Everything that a verdict rests on, field by field: for people who want to see it.

use mse_attest::{Check, Evidence, Field, Outcome};
use mse_ratls::Attestation;
use mse_workload::{Measured, Workload};
use serde::Serialize;

use crate::ui::{bad, caution, good, heading, pairs};

/// What `mse verify --explain` shows.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    /// The evidence in the server's certificate.
    certificate_evidence: Vec<Field>,
    /// The evidence that the enclave made for this very connection.
    challenge_evidence: Vec<Field>,
    /// The checks of the fresh evidence: what was compared with what.
    checks: Vec<Check>,
    /// What must run there, if a context says it.
    workload: Option<Workload>,
}

impl Explanation {
    pub(crate) fn of(attestation: &Attestation, workload: Option<&Workload>) -> Self {
        Self {
            certificate_evidence: fields(&attestation.certificate.evidence),
            challenge_evidence: fields(&attestation.challenge_evidence),
            checks: attestation.challenge_appraisal.checks.clone(),
            workload: workload.cloned(),
        }
    }

    /// The form for people.
    pub(crate) fn text(&self) -> String {
        let mut parts = vec![
            heading("Evidence made for this connection"),
            "  The enclave answered a fresh nonce over this TLS connection. Its hardware (or the\n  simulation of it) signed the answer; nobody else can have made it, or relayed it.".to_owned(),
            evidence_text(self.challenge_evidence.iter()),
            heading("Evidence in the certificate"),
            "  Made when the enclave started, for its TLS key. Clients that know nothing of the\n  challenge check this alone. All other fields are as above.".to_owned(),
            evidence_text(
                self.certificate_evidence
                    .iter()
                    .filter(|field| !self.challenge_evidence.contains(field)),
            ),
        ];
        if let Some(workload) = &self.workload {
            parts.push(heading("Workload"));
            parts.push(
                "  Everything that decides what runs. Its digest is part of the measurement: one\n  changed character, and the enclave would be refused.".to_owned(),
            );
            parts.push(workload_text(workload));
        }
        parts.push(heading("Checks, in the order in which they decide"));
        parts.push(checks_text(&self.checks));
        parts.join("\n")
    }
}

/// The checks of an appraisal or a refusal.
pub(crate) fn checks_text(checks: &[Check]) -> String {
    let lines: Vec<String> = checks
        .iter()
        .map(|check| {
            let (mark, why) = match &check.outcome {
                Outcome::Passed => (good("passed "), None),
                Outcome::Tolerated { why } => (caution("allowed"), Some(why)),
                Outcome::Skipped { why } => (caution("skipped"), Some(why)),
                Outcome::Failed { why } => (bad("FAILED "), Some(why)),
                other => (format!("{other:?}"), None),
            };
            let mut text = format!("  {mark} {}: `{}`", check.name, short(&check.compared));
            if !check.with.is_empty() && check.compared != check.with {
                text = format!("{text} with `{}`", short(&check.with));
            }
            match why {
                Some(why) => format!("{text} ({why})"),
                None => text,
            }
        })
        .collect();
    lines.join("\n")
}

fn fields(evidence: &Evidence) -> Vec<Field> {
    // It was parsed before: a failure here would only make the explanation shorter.
    mse_attest::fields(evidence).unwrap_or_default()
}

pub(crate) fn evidence_text<'a>(fields: impl Iterator<Item = &'a Field>) -> String {
    let rows: Vec<(&str, String)> = fields
        .flat_map(|field| {
            [
                (field.name.as_str(), short(&field.value)),
                ("", format!("  {}", field.meaning)),
            ]
        })
        .collect();
    pairs(&rows)
}

fn workload_text(workload: &Workload) -> String {
    let rows = [
        ("digest", workload.digest().to_string()),
        ("format", workload.format.to_string()),
        ("app_id", workload.app_id.to_string()),
        ("application", workload.application.clone()),
        ("image.name", workload.image.name.clone()),
        ("image.digest", workload.image.digest.to_string()),
        ("bundle", workload.bundle.to_string()),
        ("source_commitment", workload.source_commitment.to_string()),
        ("code_key_check", workload.code_key_check.to_string()),
        ("tls.origin", workload.tls.origin.to_string()),
        ("tls.names", workload.tls.names.join(", ")),
        (
            "tls.certificate",
            workload
                .tls
                .certificate
                .map_or_else(|| "none".to_owned(), |digest| digest.to_string()),
        ),
        (
            "expires_at",
            workload
                .expires_at
                .and_then(|seconds| i64::try_from(seconds).ok())
                .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
                .map_or_else(|| "never".to_owned(), |at| at.to_string()),
        ),
        (
            "resources",
            format!(
                "{} MiB, {} thousandths of a core",
                workload.resources.memory_mib, workload.resources.millicores
            ),
        ),
        (
            "health_endpoint",
            workload.health_endpoint.as_str().to_owned(),
        ),
        (
            "environment",
            match workload.environment.len() {
                0 => "none".to_owned(),
                _ => workload
                    .environment
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect::<Vec<_>>()
                    .join(", "),
            },
        ),
        (
            "provisioning",
            "by the owner, who holds the code key".to_owned(),
        ),
    ];
    pairs(&rows)
}

/// Long values are cut for people; `--json` has them whole.
fn short(value: &str) -> String {
    const MOST: usize = 140;
    let certificates = value.matches("-----BEGIN CERTIFICATE-----").count();
    if certificates > 0 {
        return format!("{certificates} certificates, {} bytes", value.len());
    }
    if value.chars().count() <= MOST {
        return value.to_owned();
    }
    let start: String = value.chars().take(MOST).collect();
    format!("{start}… ({} characters)", value.chars().count())
}
