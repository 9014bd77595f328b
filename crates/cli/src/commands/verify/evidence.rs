//! `mse verify FILE`: evidence that somebody kept, appraised without a connection.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mse_attest::{
    Appraisal, Check, CheckName, Claims, Collateral, EvidenceKind, Field, Outcome, Policy, Reason,
    ReferenceValues, Refusal, Tcb, Tee, appraise, vtpm::ak_fingerprint,
};
use serde::Serialize;
use serde_json::Value;

use super::Verify;
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::ui::{Report, bad, caution, good, heading, pairs};
use crate::verification::{
    Endorsements, EvidenceFile, Unreadable, checks_text, ear_claims, ear_token, evidence_text,
    read_collateral, save_collateral,
};

impl Verify {
    /// Appraises the evidence in `file`.
    pub(super) async fn run_file(&self, scene: &Scene<'_>, file: &Path) -> Result<(), Failure> {
        self.refuse_options_of_domains()?;
        let expected = self.expected()?;
        let policy = self.policy_for_files(scene)?;
        let now = self.at.map_or_else(SystemTime::now, |at| {
            UNIX_EPOCH + Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0))
        });
        let evidence = EvidenceFile::read(file)?;
        let endorsements = Endorsements::read(&self.endorsements)?;
        let verdict = match self.parts(scene, evidence, endorsements).await? {
            Ok((evidence, collateral)) => {
                let expected = evidence.expectation(expected);
                let result = appraise(&evidence.evidence, &collateral, &policy, &expected, now);
                if let Some(file) = &self.ear {
                    self.write_ear(file, &result, now)?;
                }
                let fields = self
                    .explain
                    .then(|| mse_attest::fields(&evidence.evidence).unwrap_or_default());
                if let Some(file) = &self.save_collateral {
                    save_collateral(&collateral, file)?;
                }
                Verdict::of(Some(evidence.evidence.kind()), result, now, fields)
            }
            Err(unreadable) => Verdict::of_unreadable(unreadable, now),
        };
        if verdict.accepted && !verdict.is_compared() {
            scene.ui.warn("what runs there was NOT compared with anything: the evidence is genuine, and that is all; give `--policy FILE` with reference values, or `--fingerprint HEX`");
        }
        let outcome = verdict.outcome();
        scene.ui.report(&verdict)?;
        outcome
    }

    /// Evidence and collateral, or what cannot be read: that is a refusal like any other, and no
    /// mistake in how the command was used.
    async fn parts(
        &self,
        scene: &Scene<'_>,
        evidence: Result<EvidenceFile, Unreadable>,
        endorsements: Result<Endorsements, Unreadable>,
    ) -> Result<Result<(EvidenceFile, Collateral), Unreadable>, Failure> {
        let (evidence, endorsements) = match (evidence, endorsements) {
            (Ok(evidence), Ok(endorsements)) => (evidence, endorsements),
            (Err(unreadable), _) | (_, Err(unreadable)) => return Ok(Err(unreadable)),
        };
        let evidence = match evidence.with_parts_of(&endorsements) {
            Ok(evidence) => evidence,
            Err(unreadable) => return Ok(Err(unreadable)),
        };
        let mut collateral = match (&self.collateral, &self.pccs) {
            (Some(file), _) => match read_collateral(file, &evidence.evidence)? {
                Ok(collateral) => collateral,
                Err(unreadable) => return Ok(Err(unreadable)),
            },
            (None, Some(_)) => {
                scene
                    .collaterals(None, self.pccs.as_ref(), None)
                    .await?
                    .fetch(&evidence.evidence)
                    .await?
            }
            (None, None) => Collateral::none(),
        };
        collateral.certificates.extend(endorsements.certificates);
        collateral.crls.extend(endorsements.crls);
        Ok(Ok((evidence, collateral)))
    }

    /// The policy file's, else the strict one. That asks for VMPL 0; here, where nothing is released
    /// to the code that asked for the report, the level is only said aloud.
    fn policy_for_files(&self, scene: &Scene<'_>) -> Result<Policy, Failure> {
        let mut policy = self.policy(scene)?.policy;
        if self.policy.is_none() {
            policy = policy.allow_snp_vmpl(3);
        }
        for file in &self.trusted_aks {
            let key = fs::read(file).map_err(|error| Failure::file("read", file, &error))?;
            let fingerprint = ak_fingerprint(&key).map_err(|error| {
                Failure::new(
                    Exit::InvalidConfiguration,
                    format!("`{}`: {error}", file.display()),
                )
            })?;
            policy = policy.trust_tpm_ak(fingerprint);
        }
        Ok(policy)
    }

    /// Writes the attestation result: signed if there is a key, else as plain claims.
    fn write_ear(
        &self,
        file: &Path,
        result: &Result<Appraisal, Refusal>,
        now: SystemTime,
    ) -> Result<(), Failure> {
        let text = match &self.ear_key {
            Some(key) => {
                let pem = private_file::read(key, 64 * 1024)?.ok_or_else(|| {
                    Failure::new(
                        Exit::NotFound,
                        format!("there is no key `{}`", key.display()),
                    )
                })?;
                ear_token(result, pem.as_bytes(), now).map_err(|error| {
                    Failure::new(Exit::InvalidConfiguration, error.to_string())
                        .with_hint("give a P-256 key as PKCS#8 in PEM")
                })?
            }
            None => format!("{:#}", ear_claims(result, now)),
        };
        private_file::write(file, text.as_bytes())
    }

    fn expected(&self) -> Result<ReferenceValues, Failure> {
        let bytes = |option: &str, text: &String| {
            hex::decode(text).map_err(|_| {
                Failure::new(
                    Exit::Usage,
                    format!("`{option}` is `{text}`, which is not hexadecimal"),
                )
            })
        };
        let report_data = match &self.report_data {
            None => None,
            Some(text) => Some(bytes("--report-data", text)?.try_into().map_err(|_| {
                Failure::new(
                    Exit::Usage,
                    format!(
                        "`--report-data` has `{}` hexadecimal digits instead of 128",
                        text.len()
                    ),
                )
                .with_hint("all 64 bytes are compared: pad it as the code that made it did")
            })?),
        };
        Ok(ReferenceValues {
            mrenclave: self.fingerprint.map(|measurement| measurement.0.0),
            report_data,
            nonce: self
                .nonce
                .as_ref()
                .map(|text| bytes("--nonce", text))
                .transpose()?,
            ..ReferenceValues::default()
        })
    }

    fn refuse_options_of_domains(&self) -> Result<(), Failure> {
        if self.context.is_some() {
            return Err(Failure::new(
                Exit::Usage,
                "`--context` is for a domain, and a file was named",
            )
            .with_hint("name the app's domain, or compare the measurement with `--fingerprint`"));
        }
        Ok(())
    }
}

/// What was found of the evidence in a file.
#[derive(Serialize)]
struct Verdict {
    accepted: bool,
    /// What the trust anchor vouches for; of evidence without a trusted root, what it claims to be.
    tee: Option<Tee>,
    kind: Option<EvidenceKind>,
    simulated: bool,
    /// The TCB status, for TEEs that have one.
    status: Option<&'static str>,
    advisories: Vec<String>,
    /// What the evidence says: proven if it was accepted, else only stated.
    claims: Option<Claims>,
    /// The check that refused it.
    failed: Option<CheckName>,
    reason: Option<Reason>,
    why: Option<String>,
    hint: Option<&'static str>,
    /// What passed only because the policy tolerates it.
    tolerated: Vec<String>,
    tcb: Option<Tcb>,
    /// The time of the appraisal, unix seconds.
    at: u64,
    checks: Vec<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<Vec<Field>>,
}

impl Verdict {
    fn of(
        kind: Option<EvidenceKind>,
        result: Result<Appraisal, Refusal>,
        now: SystemTime,
        evidence: Option<Vec<Field>>,
    ) -> Self {
        let at = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let tolerated = |checks: &[Check]| {
            checks
                .iter()
                .filter_map(|check| match &check.outcome {
                    Outcome::Tolerated { why } => Some(format!("{}: {why}", check.name)),
                    _ => None,
                })
                .collect()
        };
        match result {
            Ok(appraisal) => Self {
                accepted: true,
                simulated: appraisal.tee == Tee::Simulated,
                tee: Some(appraisal.tee),
                kind,
                status: appraisal.tcb.as_ref().map(|tcb| tcb.status.as_str()),
                advisories: advisories(appraisal.tcb.as_ref()),
                failed: None,
                reason: None,
                why: None,
                hint: None,
                tolerated: tolerated(&appraisal.checks),
                claims: Some(appraisal.claims),
                tcb: appraisal.tcb,
                at,
                checks: appraisal.checks,
                evidence,
            },
            Err(refusal) => {
                let tee = match refusal.reason {
                    Reason::SimulatedEvidence => Some(Tee::Simulated),
                    _ => refusal.tee.or_else(|| kind.map(EvidenceKind::tee)),
                };
                let tcb = refusal.tcb.map(|tcb| *tcb);
                Self {
                    accepted: false,
                    simulated: tee == Some(Tee::Simulated),
                    tee,
                    kind,
                    status: tcb.as_ref().map(|tcb| tcb.status.as_str()),
                    advisories: advisories(tcb.as_ref()),
                    claims: refusal.claims.map(|claims| *claims),
                    failed: Some(refusal.failed),
                    reason: Some(refusal.reason),
                    why: Some(refusal.why),
                    hint: Some(refusal.hint),
                    tolerated: tolerated(&refusal.checks),
                    tcb,
                    at,
                    checks: refusal.checks,
                    evidence,
                }
            }
        }
    }

    fn of_unreadable(unreadable: Unreadable, now: SystemTime) -> Self {
        Self {
            accepted: false,
            tee: None,
            kind: None,
            simulated: false,
            status: None,
            advisories: Vec::new(),
            claims: None,
            failed: Some(unreadable.check),
            reason: Some(Reason::Malformed),
            why: Some(unreadable.why),
            hint: Some("give the file as the TEE or its vendor made it, complete and unchanged"),
            tolerated: Vec::new(),
            tcb: None,
            at: now
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            checks: Vec::new(),
            evidence: None,
        }
    }

    /// Whether some measured value was held against an expected one.
    fn is_compared(&self) -> bool {
        self.checks.iter().any(|check| {
            matches!(check.name, CheckName::MrEnclave | CheckName::ReferenceValue)
                && check.outcome == Outcome::Passed
        })
    }

    /// How the command ends.
    fn outcome(&self) -> Result<(), Failure> {
        let (Some(check), Some(why)) = (self.failed, &self.why) else {
            return Ok(());
        };
        let failure = Failure::new(
            Exit::Refused,
            format!("the evidence is refused: {why} (check `{check}`)"),
        );
        Err(match self.hint {
            Some(_) if check == CheckName::CollateralFormat && self.tcb.is_none() => failure
                .with_hint("give the platform's collateral with `--collateral FILE`, or a service that has it with `--pccs URL`"),
            Some(hint) => failure.with_hint(hint),
            None => failure,
        })
    }
}

fn advisories(tcb: Option<&Tcb>) -> Vec<String> {
    tcb.map_or_else(Vec::new, |tcb| tcb.advisory_ids.clone())
}

impl Report for Verdict {
    fn text(&self) -> String {
        let mut parts = vec![self.headline()];
        let mut rows: Vec<(&str, String)> = Vec::new();
        if let Some(kind) = self.kind {
            rows.push(("Evidence", kind.to_string()));
        }
        if let Some(tee) = self.tee {
            rows.push(("TEE", tee.to_string()));
        }
        if let Some(status) = self.status {
            rows.push(("TCB status", status.to_owned()));
        }
        if !self.advisories.is_empty() {
            rows.push(("Advisories", self.advisories.join(", ")));
        }
        rows.push(("Appraised at", rfc3339(self.at)));
        for tolerance in &self.tolerated {
            rows.push(("Tolerated", caution(tolerance)));
        }
        parts.push(pairs(&rows));
        if let Some(claims) = &self.claims {
            parts.push(heading(if self.accepted {
                "Claims"
            } else {
                "Claims that the evidence states (NOT proven)"
            }));
            parts.push(claims_text(claims));
        }
        if let Some(fields) = &self.evidence {
            parts.push(heading("Evidence, field by field"));
            parts.push(evidence_text(fields.iter()));
            parts.push(heading("Checks, in the order in which they decide"));
            parts.push(checks_text(&self.checks));
        }
        parts.join("\n")
    }
}

impl Verdict {
    fn headline(&self) -> String {
        match (self.accepted, self.simulated) {
            (true, true) => caution("accepted, SIMULATED: no hardware stands behind it"),
            (true, false) if self.tee == Some(Tee::Tpm) => caution(
                "accepted, as a TPM only: nothing says that the machine is a confidential VM",
            ),
            (true, false) if self.tolerated.is_empty() => good("accepted"),
            (true, false) => caution("accepted, under tolerances of the policy"),
            (false, _) => bad("refused"),
        }
    }
}

/// One claim a line.
fn claims_text(claims: &Claims) -> String {
    let Ok(Value::Object(members)) = serde_json::to_value(claims) else {
        return String::new();
    };
    let rows: Vec<(String, String)> = members
        .into_iter()
        .map(|(name, value)| {
            let text = match value {
                Value::String(text) => text,
                Value::Object(members) => {
                    let mut text = String::new();
                    for (name, value) in members {
                        let value = value
                            .as_str()
                            .map_or_else(|| value.to_string(), str::to_owned);
                        let _ = write!(text, "\n    {name}: {value}");
                    }
                    text
                }
                other => other.to_string(),
            };
            (name, text)
        })
        .collect();
    let rows: Vec<(&str, String)> = rows
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    pairs(&rows)
}

fn rfc3339(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| seconds.to_string(), |time| time.to_string())
}
