//! The evidence samples: genuine ones of public projects, and forged ones, with their verdicts.
//!
//! They are third-party data and not part of this repository: they are looked for in
//! `MSE_EVIDENCE_DIR`, or in `shared/evidence` beside the workspace.
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mse_attest::{Collateral, Policy, TcbStatus};
use serde::Deserialize;

pub(crate) struct Corpus {
    root: PathBuf,
    pub(crate) manifest: Manifest,
}

impl Corpus {
    pub(crate) fn open() -> Self {
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

    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.root.join(path)).unwrap_or_else(|error| panic!("sample `{path}`: {error}"))
    }

    pub(crate) fn collateral(&self, path: &str) -> Collateral {
        Collateral::from_json(&self.read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn samples(&self, kind: &str) -> impl Iterator<Item = &Sample> {
        self.manifest
            .sample
            .iter()
            .filter(move |sample| sample.kind == kind)
    }
}

/// A policy that lets every status but a revoked one through, so that the status itself is what
/// is compared.
pub(crate) fn permissive(advisories: &[String], now: SystemTime) -> Policy {
    let policy = [
        TcbStatus::SWHardeningNeeded,
        TcbStatus::ConfigurationNeeded,
        TcbStatus::ConfigurationAndSWHardeningNeeded,
        TcbStatus::OutOfDate,
        TcbStatus::OutOfDateConfigurationNeeded,
        TcbStatus::TDRelaunchAdvised,
        TcbStatus::TDRelaunchAdvisedConfigurationNeeded,
    ]
    .into_iter()
    .fold(Policy::strict(), Policy::accept_status);
    advisories
        .iter()
        .fold(policy, |policy, id| policy.tolerate_advisory(id, now))
}

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// Each member of `expected` that is not the same in `found`.
pub(crate) fn claim_problems(found: &serde_json::Value, expected: &toml::Table) -> Vec<String> {
    expected
        .iter()
        .filter_map(|(name, expected)| {
            let expected = serde_json::to_value(expected).unwrap();
            let found = &found[name];
            (*found != expected).then(|| format!("{name} is `{found}`, expected `{expected}`"))
        })
        .collect()
}

/// Collects what is wrong, so that one run shows all of it.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) cases: usize,
    pub(crate) problems: Vec<String>,
}

impl Table {
    pub(crate) fn problem(&mut self, id: &str, problem: impl std::fmt::Display) {
        self.problems.push(format!("{id}: {problem}"));
    }

    pub(crate) fn conclude(self, at_least: usize) {
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
pub(crate) struct Manifest {
    pub(crate) sample: Vec<Sample>,
    pub(crate) negative: Vec<Negative>,
    pub(crate) generated: Vec<Generated>,
}

#[derive(Deserialize)]
pub(crate) struct Sample {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) files: Vec<Entry>,
    #[serde(default)]
    pub(crate) claims: toml::Table,
    #[serde(default)]
    pub(crate) case: Vec<Case>,
    /// Everything else.
    #[serde(flatten)]
    pub(crate) other: toml::Table,
}

impl Sample {
    pub(crate) fn file(&self, role: &str) -> &Entry {
        self.files
            .iter()
            .find(|file| file.role == role)
            .unwrap_or_else(|| panic!("{} has no file with the role `{role}`", self.id))
    }

    pub(crate) fn is_debug(&self) -> bool {
        self.claims
            .get("debug")
            .and_then(toml::Value::as_bool)
            .unwrap_or(false)
    }
}

#[derive(Deserialize)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) role: String,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) collateral: String,
    pub(crate) now: u64,
    /// Absent: to be refused.
    pub(crate) expected_status: Option<String>,
    pub(crate) advisories: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(crate) struct Negative {
    pub(crate) id: String,
    pub(crate) files: Vec<Entry>,
    pub(crate) now: Option<u64>,
    pub(crate) expected: String,
}

#[derive(Deserialize)]
pub(crate) struct Generated {
    pub(crate) id: String,
    pub(crate) root: String,
    pub(crate) files: Vec<String>,
    pub(crate) now: u64,
    pub(crate) expected: String,
}
