//! The genuine samples that are accepted, each under a policy that accepts it.

use mse_attest::{
    Appraisal, Claims, Collateral, Evidence, Policy, ReferenceValues, Refusal, Tcb, Tee, Verifier,
    appraise,
};
use std::time::SystemTime;

use crate::{
    certificates,
    corpus::{Corpus, Sample, at, permissive},
    dcap,
    mutant::{Change, Effort, Mutant, Sink, flipped},
    vtpm,
};

/// A genuine sample that is accepted.
pub(crate) struct Positive {
    pub(crate) id: String,
    /// As the manifest has it.
    pub(crate) kind: &'static str,
    /// Number among the samples of its kind.
    pub(crate) index: usize,
    pub(crate) evidence: Vec<u8>,
    pub(crate) collateral: Collateral,
    /// The collateral's file, if it is one of JSON.
    pub(crate) json: Option<Vec<u8>>,
    /// The evidence as it is.
    pub(crate) genuine: Evidence,
    now: SystemTime,
    policy: Policy,
    verifier: Verifier,
}

/// What is proven: a harmless change does not change it.
#[derive(PartialEq, Eq)]
pub(crate) struct Proven(Tee, Claims, Option<Tcb>);

impl From<Appraisal> for Proven {
    fn from(appraisal: Appraisal) -> Self {
        Self(appraisal.tee, appraisal.claims, appraisal.tcb)
    }
}

/// The accepted samples of all kinds whose mutants are tried.
pub(crate) fn positives(corpus: &Corpus) -> Vec<Positive> {
    let mut positives = Vec::new();
    for kind in ["sgx-v3", "tdx-v4", "tdx-v5"] {
        let samples = corpus.samples(kind).filter_map(|sample| {
            let case = sample
                .case
                .iter()
                .find(|case| case.expected_status.is_some())?;
            let evidence = corpus.read(&sample.file("quote").path);
            let json = corpus.read(&case.collateral);
            let collateral = corpus.collateral(&case.collateral);
            Some(Source {
                json: Some(json),
                ..Source::of(sample, evidence, collateral, at(case.now))
            })
        });
        positives.extend(
            samples
                .enumerate()
                .map(|(index, sample)| Positive::new(kind, index, sample)),
        );
    }
    positives.extend(
        corpus
            .samples("snp")
            .filter(|sample| is_accepted(sample))
            .map(|sample| {
                let certificates = sample
                    .files
                    .iter()
                    .filter(|file| file.role != "report")
                    .map(|file| corpus.read(&file.path))
                    .collect();
                let collateral = Collateral {
                    certificates,
                    ..Collateral::none()
                };
                let report = corpus.read(&sample.file("report").path);
                Source::of(sample, report, collateral, a_day_in_validity(sample))
            })
            .enumerate()
            .map(|(index, sample)| Positive::new("snp", index, sample)),
    );
    positives.extend(
        corpus
            .samples("nitro")
            .filter(|sample| is_accepted(sample))
            .map(|sample| {
                let document = corpus.read(&sample.files[0].path);
                let now = sample.other["now"].as_integer().unwrap();
                let now = at(now.try_into().unwrap());
                Source::of(sample, document, Collateral::none(), now)
            })
            .enumerate()
            .map(|(index, sample)| Positive::new("nitro", index, sample)),
    );
    positives.extend(vtpm::positives(corpus));
    positives
}

fn is_accepted(sample: &Sample) -> bool {
    let expected = sample.other.get("expected").and_then(toml::Value::as_str);
    expected.is_some_and(|expected| expected.starts_with("accept"))
}

/// A day after the VEK's first.
fn a_day_in_validity(sample: &Sample) -> SystemTime {
    let date = sample.other["vek_not_before"].as_str().unwrap();
    let from: jiff::Timestamp = format!("{date}T00:00:00Z").parse().unwrap();
    at(u64::try_from(from.as_second()).unwrap() + 48 * 3600)
}

/// What a sample is made of.
pub(crate) struct Source<'a> {
    pub(crate) id: String,
    /// As the manifest expects them.
    pub(crate) claims: &'a toml::Table,
    pub(crate) evidence: Vec<u8>,
    pub(crate) collateral: Collateral,
    pub(crate) json: Option<Vec<u8>>,
    pub(crate) now: SystemTime,
}

impl<'a> Source<'a> {
    fn of(sample: &'a Sample, evidence: Vec<u8>, collateral: Collateral, now: SystemTime) -> Self {
        Self {
            id: sample.id.clone(),
            claims: &sample.claims,
            evidence,
            collateral,
            json: None,
            now,
        }
    }
}

impl Positive {
    pub(crate) fn new(kind: &'static str, index: usize, source: Source<'_>) -> Self {
        let Source {
            id,
            claims,
            evidence,
            collateral,
            json,
            now,
        } = source;
        let parsed = Evidence::parse(&evidence).unwrap_or_else(|e| panic!("{id}: {e}"));
        let expected = ReferenceValues::default();
        let advisories = match appraise(&parsed, &collateral, &Policy::strict(), &expected, now) {
            Err(Refusal { tcb: Some(tcb), .. }) => tcb.advisory_ids,
            _ => Vec::new(),
        };
        let mut policy = permissive(&advisories, now)
            .allow_debug()
            .allow_tdx_sept_ve()
            .allow_tdx_migration()
            .allow_snp_migration_agent()
            .allow_snp_masked_chip_id()
            .allow_snp_vmpl(3);
        if let Evidence::Vtpm(evidence) = &parsed
            && vtpm::has_a_pinned_key(&id)
        {
            policy = policy.trust_tpm_ak(evidence.ak_sha256().unwrap());
        }
        if let Some(service_td) = claims.get("mr_service_td") {
            let bytes = hex::decode(service_td.as_str().unwrap()).unwrap();
            policy = policy.allow_tdx_service_td(bytes.try_into().unwrap());
        }
        let positive = Self {
            id,
            kind,
            index,
            genuine: parsed,
            verifier: Verifier::new(policy.clone()),
            evidence,
            collateral,
            json,
            now,
            policy,
        };
        positive
            .appraise_cold(&positive.genuine, &positive.collateral)
            .unwrap_or_else(|refusal| panic!("{}: {refusal}", positive.id));
        positive
    }

    /// What is proven of the sample as it is.
    pub(crate) fn honest(&self) -> Proven {
        self.appraise_warm(&self.genuine, &self.collateral)
            .unwrap_or_else(|refusal| panic!("{}: {refusal}", self.id))
            .into()
    }

    /// What is proven of a mutant, if it is accepted.
    pub(crate) fn verdict_on(&self, mutant: &Mutant) -> Option<Proven> {
        let parsed;
        let (evidence, collateral) = match &mutant.change {
            Change::Evidence(evidence) => (evidence, &self.collateral),
            Change::EvidenceFile(file) => {
                parsed = Evidence::parse(file).ok()?;
                (&parsed, &self.collateral)
            }
            Change::Collateral(collateral) => (&self.genuine, &**collateral),
            Change::Json(json) => {
                let collateral = Collateral::from_json(json).ok()?;
                // Costs no appraisal: it is what the genuine file holds.
                if collateral == self.collateral {
                    return Some(self.honest());
                }
                return self
                    .appraise_cold(&self.genuine, &collateral)
                    .ok()
                    .map(Proven::from);
            }
        };
        // Of changed evidence, the verifier that remembers verifies only what it does not know:
        // that it answers as the other does is what `verifier.rs` shows. Without it the sweep
        // would take ten times as long.
        self.appraise_warm(evidence, collateral)
            .ok()
            .map(Proven::from)
    }

    /// Bytes taken for evidence of this sample's kind, as a hostile caller could do it: those that
    /// are malformed too get through to the appraisal, and are refused there.
    pub(crate) fn as_given(&self, bytes: Vec<u8>) -> Evidence {
        match &self.genuine {
            Evidence::SgxDcap(_) => Evidence::SgxDcap(bytes),
            Evidence::TdxDcap(_) => Evidence::TdxDcap(bytes),
            Evidence::Snp(_) => Evidence::Snp(bytes),
            Evidence::Nitro(_) => Evidence::Nitro(bytes),
            other => panic!("mutants of {other:?} are files"),
        }
    }

    fn appraise_cold(
        &self,
        evidence: &Evidence,
        collateral: &Collateral,
    ) -> Result<Appraisal, Refusal> {
        let expected = ReferenceValues::default();
        appraise(evidence, collateral, &self.policy, &expected, self.now)
    }

    fn appraise_warm(
        &self,
        evidence: &Evidence,
        collateral: &Collateral,
    ) -> Result<Appraisal, Refusal> {
        let expected = ReferenceValues::default();
        self.verifier
            .appraise(evidence, collateral, &expected, self.now)
    }

    /// Makes all mutants of this sample; certificates are replaced by those of `all` others.
    pub(crate) fn each_mutant(&self, all: &[Self], effort: Effort, sink: Sink<'_>) {
        match self.genuine {
            Evidence::Vtpm(_) => vtpm::mutate(self, effort, sink),
            _ => self.mutate_evidence(effort, sink),
        }
        certificates::mutate(self, all, effort, sink);
        if self.collateral.dcap.is_some() {
            dcap::mutate(self, effort, sink);
        }
    }

    fn mutate_evidence(&self, effort: Effort, sink: Sink<'_>) {
        let bytes = &self.evidence;
        // Each byte of one quote of each version; of other kinds each byte is flipped by tests of
        // their own too.
        let dense = if self.collateral.dcap.is_some() { 1 } else { 5 };
        let mut give = |part, what: String, bytes| {
            sink(Mutant {
                part,
                what,
                change: Change::Evidence(self.as_given(bytes)),
            });
        };
        for at in effort.positions(self.index, bytes.len(), (dense, 197)) {
            give(
                "evidence, a bit",
                format!("bit {} of byte {at} of the evidence flipped", at % 8),
                flipped(bytes, at),
            );
        }
        if let Some(begin) = certificates::pem_begin(bytes) {
            for at in effort.positions(self.index, bytes.len() - begin, (13, 397)) {
                let at = begin + at;
                for value in [b' ', b'\n', b'A', 0] {
                    if bytes[at] != value {
                        let mut changed = bytes.clone();
                        changed[at] = value;
                        give(
                            "evidence, a character of PEM",
                            format!("byte {at} of the evidence set to {value:#04x}"),
                            changed,
                        );
                    }
                }
            }
        }
        let borders = dcap::field_borders(bytes);
        let lengths = effort.positions(self.index, bytes.len(), (7, 49));
        for length in lengths.chain(borders) {
            if length < bytes.len() {
                give(
                    "evidence, cut short",
                    format!("only {length} bytes of the evidence"),
                    bytes[..length].to_vec(),
                );
            }
        }
        for value in [0, b'\n', 0xff] {
            let mut longer = bytes.clone();
            longer.push(value);
            give(
                "evidence, a byte appended",
                format!("byte {value:#04x} behind the evidence"),
                longer,
            );
        }
        // One byte taken out, so that all behind it moves.
        for at in effort.positions(self.index, bytes.len(), (11, 397)) {
            let mut shorter = bytes.clone();
            shorter.remove(at);
            give(
                "evidence, a byte removed",
                format!("byte {at} of the evidence removed"),
                shorter,
            );
        }
    }
}
