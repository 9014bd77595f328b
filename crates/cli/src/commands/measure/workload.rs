//! `mse measure workload`

use std::path::{Path, PathBuf};

use clap::Args;
use mse_crypto::Digest;
use mse_manifest::{CloudSection, Manifest};
use mse_workload::{Measured as _, Measurement, Workload};
use serde::Serialize;

use crate::app_name::AppName;
use crate::cli::Scene;
use crate::commands::deployed;
use crate::context::{Context, ContextStore};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reference::EnclaveReference;
use crate::ui::{Report, counted, pairs};
use crate::verification::{SourceCheck, check_image, check_source, expected_measurement};

/// The digest of an app's workload, and the measurement of its enclave
///
/// The workload is all that decides what runs: code, image, names, expiry, environment. The code
/// is compared with it first. Without a context, that of the running app in `mse.toml` is taken.
/// Needs neither a login nor a network.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse measure workload --context context.mse --code mse_src
  mse measure workload                      the app of ./mse.toml, deployed from this machine
  mse measure workload --context context.mse --code mse_src --enclave ./mse-enclave --json")]
pub(super) struct WorkloadDigest {
    /// The context that the app's owner exported
    #[arg(long, value_name = "FILE", requires = "code", conflicts_with = "path")]
    context: Option<PathBuf>,
    /// The folder with the app's code [default: that of `mse.toml`]
    #[arg(long, value_name = "DIR")]
    code: Option<PathBuf>,
    /// The app's `mse.toml`
    #[arg(long, value_name = "FILE", default_value = "mse.toml")]
    path: PathBuf,
}

impl WorkloadDigest {
    pub(super) fn run(&self, scene: &Scene<'_>) -> Result<(), Failure> {
        let (context, code) = self.inputs(scene)?;
        let known = deployed(&context)?;
        let Some(record) = &context.record else {
            return Err(Failure::other("the context has no record"));
        };
        check_image(&known.workload)?;
        let source = check_source(&code, &known.workload, &context, record)?;
        let enclave = match scene.enclave_reference() {
            Ok(enclave) => Some(enclave),
            Err(failure) => {
                scene
                    .ui
                    .warn(format!("no measurement was computed: {failure}"));
                None
            }
        };
        let measurement = match &enclave {
            Some(enclave) => Some(expected_measurement(
                &known.tee,
                &enclave.digest,
                &known.workload,
            )?),
            None => None,
        };
        scene.ui.report(&Measured {
            workload: known.workload.digest().0,
            image: known.workload.image.digest,
            description: known.workload.clone(),
            source,
            tee: known.tee.clone(),
            enclave,
            measurement,
        })
    }

    /// The context, and where the code is.
    fn inputs(&self, scene: &Scene<'_>) -> Result<(Context, PathBuf), Failure> {
        if let (Some(context), Some(code)) = (&self.context, &self.code) {
            return Ok((Context::read(context)?, code.clone()));
        }
        let loaded = Manifest::load(&self.path, CloudSection::Required)?;
        let written = loaded.manifest.cloud.as_ref().map(|cloud| &cloud.code);
        let code = match (&self.code, written) {
            (Some(code), _) => code.clone(),
            (None, Some(written)) => loaded.resolve(written),
            (None, None) => return Err(no_code(&self.path)),
        };
        let name = AppName::Name(loaded.manifest.name.clone());
        let context = ContextStore::of(&scene.conf)
            .find(&name)
            .map_err(|failure| match failure.exit() {
                Exit::NotFound => Failure::new(Exit::NotFound, failure.message()).with_hint(
                    "the app's id and salt are made when it is deployed: deploy it first, or give its owner's context with `--context FILE --code DIR`",
                ),
                _ => failure,
            })?;
        Ok((context, code))
    }
}

fn no_code(path: &Path) -> Failure {
    Failure::new(
        Exit::InvalidConfiguration,
        format!("`{}` has no section `[cloud]`", path.display()),
    )
    .with_hint("give the folder with the code: `--code DIR`")
}

#[derive(Serialize)]
struct Measured {
    workload: Digest,
    image: Digest,
    /// The workload itself, whose canonical form is digested.
    description: Workload,
    source: SourceCheck,
    tee: String,
    enclave: Option<EnclaveReference>,
    measurement: Option<Measurement>,
}

impl Report for Measured {
    fn text(&self) -> String {
        let files = counted(self.source.files, "file", "files");
        let mut rows = vec![
            (
                "Code",
                format!(
                    "{files}, as in the workload: {}",
                    self.source.source_commitment
                ),
            ),
            (
                "Image",
                format!("{} {}", self.description.image.name, self.image),
            ),
        ];
        if let Some(enclave) = &self.enclave {
            rows.push(("Enclave program", enclave.to_string()));
        }
        let mut parts = vec![
            pairs(&rows),
            format!("The workload digest is {}", self.workload),
        ];
        if let Some(measurement) = &self.measurement {
            parts.push(format!(
                "The measurement on the TEE `{}` is {measurement}",
                self.tee
            ));
        }
        parts.join("\n")
    }
}
