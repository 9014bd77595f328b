//! An image that was built here, as commands report it.

use std::path::PathBuf;

use mse_image::{Built, Reference};
use mse_workload::image::ImageFacts;
use serde::Serialize;

use super::keys::SigningKeyFile;
use crate::ui::{Report, good, pairs};

/// What became of a build.
#[derive(Serialize)]
pub(crate) struct ReadyImage {
    /// What it is called on this machine.
    image: String,
    digest: String,
    root: String,
    enclave: String,
    encrypted: bool,
    unmeasured: Vec<String>,
    size: u64,
    /// As what a registry has it, with its digest.
    pushed: Option<String>,
    signed_by: Option<PathBuf>,
}

impl ReadyImage {
    /// On this machine.
    pub(crate) fn of(image: &Reference, built: &Built, facts: ImageFacts) -> Self {
        Self {
            image: image.to_string(),
            digest: built.digest.to_string(),
            root: facts.root.to_string(),
            enclave: facts.enclave.to_string(),
            encrypted: facts.sealed.is_some(),
            unmeasured: facts.unmeasured,
            size: built.size,
            pushed: None,
            signed_by: None,
        }
    }

    /// And in a registry.
    pub(crate) fn pushed(self, to: &Reference, built: &Built, key: SigningKeyFile) -> Self {
        Self {
            pushed: Some(to.with_digest(built.digest).to_string()),
            signed_by: Some(key.0),
            ..self
        }
    }
}

impl Report for ReadyImage {
    fn text(&self) -> String {
        let mut rows = vec![
            ("Image", self.image.clone()),
            ("Digest", self.digest.clone()),
            ("Measured root", self.root.clone()),
            ("Enclave program", self.enclave.clone()),
            ("Size", format!("{} KiB", self.size.div_ceil(1024))),
        ];
        if self.encrypted {
            rows.push(("Encrypted part", "yes".to_owned()));
        }
        if !self.unmeasured.is_empty() {
            rows.push(("NOT PROTECTED", self.unmeasured.join(", ")));
        }
        match (&self.pushed, &self.signed_by) {
            (Some(pushed), Some(key)) => {
                rows.push(("Pushed", pushed.clone()));
                rows.push(("Signed with", key.display().to_string()));
            }
            _ => rows.push(("Where", "on this machine only".to_owned())),
        }
        format!("{}\n{}", good("The image is ready"), pairs(&rows))
    }
}
