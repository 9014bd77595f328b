//! Genuine evidence and collateral.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mse_attest::{DcapCollateral, Evidence, EvidenceError, Policy, TcbStatus};
use serde::Deserialize;

/// The folder of samples, which is no part of this repository.
pub(crate) fn dir() -> PathBuf {
    let dir = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
        PathBuf::from,
    );
    assert!(
        dir.join("MANIFEST.toml").is_file(),
        "the evidence samples are not in `{}`; name their folder with MSE_EVIDENCE_DIR",
        dir.display()
    );
    dir
}

pub(crate) fn read(path: &str) -> Vec<u8> {
    fs::read(dir().join(path)).unwrap()
}

#[derive(Deserialize)]
struct Manifest {
    sample: Vec<Sample>,
}

/// A sample, as the manifest has it.
#[derive(Clone, Deserialize)]
pub(crate) struct Sample {
    pub(crate) id: String,
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) genuine: bool,
    pub(crate) files: Vec<File>,
    pub(crate) fmspc: Option<String>,
    pub(crate) pck_ca: Option<String>,
    pub(crate) product: Option<String>,
    #[serde(default)]
    pub(crate) case: Vec<Case>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct File {
    path: String,
    role: String,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Case {
    collateral: String,
    now: u64,
    pub(crate) expected_status: Option<String>,
    tcb_info_version: Option<u32>,
    #[serde(default)]
    advisories: Vec<String>,
}

impl Sample {
    pub(crate) fn all() -> Vec<Self> {
        let text = fs::read_to_string(dir().join("MANIFEST.toml")).unwrap();
        toml::from_str::<Manifest>(&text).unwrap().sample
    }

    /// The genuine ones of a kind of quote, with cases of collateral in the form of API v4.
    pub(crate) fn of_kind(kind: &str) -> Vec<Self> {
        let mut samples = Self::all();
        samples.retain(|sample| sample.kind == kind && sample.genuine);
        for sample in &mut samples {
            sample
                .case
                .retain(|case| case.tcb_info_version.is_none_or(|version| version == 3));
        }
        samples
    }

    pub(crate) fn file(&self, role: &str) -> Option<Vec<u8>> {
        let file = self.files.iter().find(|file| file.role == role)?;
        Some(read(&file.path))
    }

    pub(crate) fn evidence(&self) -> Evidence {
        self.parsed()
            .unwrap_or_else(|error| panic!("{}: {error}", self.id))
    }

    /// The evidence, unless it is of a form that nobody here can appraise.
    pub(crate) fn parsed(&self) -> Result<Evidence, EvidenceError> {
        let bytes = self.file("quote").or_else(|| self.file("report")).unwrap();
        Evidence::parse(&bytes)
    }
}

impl Case {
    pub(crate) fn collateral(&self) -> DcapCollateral {
        DcapCollateral::from_json(&read(&self.collateral)).unwrap()
    }

    /// A policy that accepts the case: it tolerates what is known of the platform.
    pub(crate) fn policy(&self) -> Policy {
        let year = Duration::from_hours(365 * 24);
        self.advisories.iter().fold(
            Policy::strict().accept_status(TcbStatus::SWHardeningNeeded),
            |policy, advisory| policy.tolerate_advisory(advisory, self.now() + year),
        )
    }

    pub(crate) fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.now)
    }
}

/// A sample of this kind, and collateral with which it is accepted: as up to date if there is
/// such a case, else as in want of hardening.
pub(crate) fn accepted(kind: &str) -> (Sample, Case) {
    let samples = Sample::of_kind(kind);
    ["UpToDate", "SWHardeningNeeded"]
        .iter()
        .find_map(|status| {
            samples.iter().find_map(|sample| {
                let case = sample
                    .case
                    .iter()
                    .find(|case| case.expected_status.as_deref() == Some(status))?;
                Some((sample.clone(), case.clone()))
            })
        })
        .unwrap_or_else(|| panic!("no sample of kind {kind} is accepted"))
}
