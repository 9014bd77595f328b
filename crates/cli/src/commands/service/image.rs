//! Images on this machine: unpacked into a folder, or only what they say about themselves.

use std::fs;
use std::path::{Path, PathBuf};

use mse_workload::image::{ENCLAVE, FACTS, ImageFacts};

use super::existing;
use crate::exit::Exit;
use crate::failure::Failure;

/// A folder that is the root file system of an image, with its `/mse`.
pub(super) struct UnpackedImage {
    folder: PathBuf,
    facts: ImageFacts,
}

impl UnpackedImage {
    /// Reads what the image in `folder` says about itself.
    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let folder = existing(folder)?;
        let facts = read_facts(&folder.join(FACTS.trim_start_matches('/')))?;
        Ok(Self { folder, facts })
    }

    /// What it says about itself.
    pub(super) fn facts(&self) -> &ImageFacts {
        &self.facts
    }

    /// Its root file system.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The enclave program that it was built with: another one has another measurement.
    pub(super) fn enclave(&self) -> PathBuf {
        self.folder.join(ENCLAVE.trim_start_matches('/'))
    }
}

/// Reads a file with what an image says about itself.
pub(super) fn read_facts(file: &Path) -> Result<ImageFacts, Failure> {
    let name = file.display();
    let json = fs::read(file).map_err(|error| {
        Failure::new(
            Exit::NotFound,
            format!("what the image says about itself cannot be read: `{name}`: {error}"),
        )
        .with_hint("every image of a service has it at `/mse/image.json`")
    })?;
    ImageFacts::from_json(&json).map_err(|error| {
        Failure::new(Exit::InvalidConfiguration, format!("`{name}`: {error}"))
            .with_hint("build the image with the same version as mse")
    })
}
