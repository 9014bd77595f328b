//! Reading the documents that are applied.

use std::path::Path;

use mse_mesh::{Document, FileContent, MeshText, Meshfile, Outcome, check_text};
use mse_session::{Code, MAX_BYTES};

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings::Findings;
use crate::private_file;
use crate::text_input::{VariableArgs, text_of};
use crate::ui::bad;

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
            let line = warning.line();
            if warning.code == Code::WeakAttestation.as_str() {
                scene.ui.warn(bad(line));
            } else {
                scene.ui.warn(line);
            }
        }
        Ok(document)
    }
}

/// Puts the files beside a Meshfile that it gives to services into it. Nothing is replaced in them
/// but what the mesh builder replaces.
pub(crate) fn read_files(mesh: &mut Meshfile, folder: &Path) -> Result<(), Failure> {
    for service in &mut mesh.services {
        for file in &mut service.files {
            let FileContent::From(name) = &file.content else {
                continue;
            };
            let path = folder.join(name);
            let text = private_file::read(&path, MAX_BYTES as u64)?.ok_or_else(|| {
                Failure::new(
                    Exit::NotFound,
                    format!(
                        "the service `{}` has the file `{}` from `{}`, which is not there",
                        service.name,
                        file.path,
                        path.display()
                    ),
                )
            })?;
            file.content = FileContent::Text(MeshText::parse(&text));
        }
    }
    Ok(())
}
