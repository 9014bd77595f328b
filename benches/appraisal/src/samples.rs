//! The evidence samples that are measured: genuine ones that both sides accept.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mse_attest::{Collateral, Evidence, Policy, ReferenceValues, TcbStatus, appraise};
use serde::Deserialize;

pub struct Sample {
    pub id: String,
    pub kind: &'static str,
    pub evidence: Vec<u8>,
    pub collateral: Collateral,
    pub policy: Policy,
    pub now: SystemTime,
    pub seconds: u64,
}

#[derive(Deserialize)]
struct Manifest {
    sample: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    kind: String,
    files: Vec<File>,
    #[serde(default)]
    case: Vec<Case>,
    vek_not_before: Option<String>,
}

#[derive(Deserialize)]
struct File {
    path: String,
    role: String,
}

#[derive(Deserialize)]
struct Case {
    collateral: String,
    now: u64,
}

/// All that ours accepts under a policy which lets every status pass, and the peer too.
pub fn read() -> Vec<Sample> {
    let root = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
        PathBuf::from,
    );
    let file = root.join("MANIFEST.toml");
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("the evidence samples are not at {}: {error}", file.display()));
    let manifest: Manifest = toml::from_str(&text).expect("the manifest");
    let bytes = |path: &str| std::fs::read(root.join(path)).expect("a file of the manifest");
    let mut samples = Vec::new();
    for entry in &manifest.sample {
        let kind = match entry.kind.as_str() {
            "sgx-v3" => "SGX v3",
            "tdx-v4" => "TDX v4",
            "tdx-v5" => "TDX v5",
            "snp" => "SEV-SNP",
            _ => continue,
        };
        let evidence = bytes(&entry.files[0].path);
        if kind == "SEV-SNP" {
            if entry.vek_not_before.is_none() {
                continue;
            }
            let collateral = Collateral {
                certificates: entry.files[1..].iter().map(|file| bytes(&file.path)).collect(),
                ..Collateral::none()
            };
            debug_assert!(entry.files[1].role.starts_with("SEV-V"));
            // VEKs live seven years from the beginning of 2022 on, or later.
            samples.push(sample(&entry.id, kind, evidence, collateral, 1_764_000_000));
            continue;
        }
        for case in &entry.case {
            let collateral =
                Collateral::from_json(&bytes(&case.collateral)).expect("collateral of the manifest");
            samples.push(sample(&entry.id, kind, evidence.clone(), collateral, case.now));
        }
    }
    samples.retain(|sample| is_accepted(sample) && crate::peers::accepts(sample));
    assert!(!samples.is_empty(), "no sample is accepted by both");
    samples
}

fn sample(id: &str, kind: &'static str, evidence: Vec<u8>, collateral: Collateral, seconds: u64) -> Sample {
    let now = UNIX_EPOCH + Duration::from_secs(seconds);
    let mut policy = [
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
        TcbStatus::TDRelaunchAdvised,
    ]
    .into_iter()
    .fold(Policy::strict().allow_debug(), Policy::accept_status);
    let parsed = Evidence::parse(&evidence).expect("a genuine sample");
    if let Err(refusal) = appraise(&parsed, &collateral, &policy, &ReferenceValues::default(), now)
        && let Some(tcb) = refusal.tcb
    {
        for id in tcb.advisory_ids {
            policy = policy.tolerate_advisory(id, now);
        }
    }
    Sample {
        id: id.to_owned(),
        kind,
        evidence,
        collateral,
        policy,
        now,
        seconds,
    }
}

fn is_accepted(sample: &Sample) -> bool {
    let evidence = Evidence::parse(&sample.evidence).expect("a genuine sample");
    appraise(
        &evidence,
        &sample.collateral,
        &sample.policy,
        &ReferenceValues::default(),
        sample.now,
    )
    .is_ok()
}
