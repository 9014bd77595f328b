//! Reading the documents that are applied.

use std::path::Path;

use mse_mesh::{Document, Outcome, check_text};
use mse_session::MAX_BYTES;

use crate::cli::Scene;
use crate::failure::Failure;
use crate::findings::Findings;
use crate::text_input::{VariableArgs, text_of};

/// Reads documents; faults are the failure, warnings are shown.
pub(crate) struct Documents<'a> {
    pub(crate) variables: &'a VariableArgs,
}

/// A document without faults.
pub(crate) type MeshDocument = Document;

impl Documents<'_> {
    pub(crate) fn read(&self, scene: &Scene<'_>, file: &Path) -> Result<MeshDocument, Failure> {
        let variables = self.variables.variables()?;
        let text = text_of(file, MAX_BYTES)?;
        let Outcome {
            document,
            diagnostics,
            ..
        } = check_text(&text, &variables);
        let findings = Findings::of(diagnostics);
        let Some(document) = document.filter(|_| findings.errors.is_empty()) else {
            return Err(findings.into_failure(file, "manifest"));
        };
        for warning in &findings.warnings {
            scene.ui.warn(warning.line());
        }
        Ok(document)
    }
}
