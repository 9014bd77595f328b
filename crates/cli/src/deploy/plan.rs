//! What is deployed, checked as far as this machine can tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mse_api::CreateApp;
use mse_crypto::Zeroizing;
use mse_manifest::{CheckOptions, Checked, Cloud, CloudSection, Diagnostic, Manifest, TlsChoice};
use mse_ratls::wire;
use mse_runtime::images::Catalogue;
use mse_workload::bundle::{CodeTree, SealedBundle};
use mse_workload::{HealthEndpoint, ImageIdentity, TlsOrigin};

use crate::context::{Config, Tests};
use crate::exit::Exit;
use crate::failure::Failure;

/// A manifest and the files it names: all there, and all as they must be.
pub(crate) struct Plan {
    pub(crate) manifest: Manifest,
    pub(crate) cloud: Cloud,
    pub(crate) checked: Checked,
    pub(crate) image: ImageIdentity,
    pub(crate) tree: CodeTree,
    pub(crate) health: HealthEndpoint,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) origin: TlsOrigin,
    /// The file of [`Checked::secrets`].
    pub(crate) secrets_file: Option<PathBuf>,
    /// What the user should know.
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Plan {
    /// Reads the manifest at `path` and checks everything that it names.
    pub(crate) fn of(path: &Path, tls: TlsChoice) -> Result<Self, Failure> {
        let loaded = Manifest::load(path, CloudSection::Required)?;
        let options = CheckOptions {
            tls,
            zone: TimeZone::system(),
        };
        let mut checked = loaded.check(Timestamp::now(), &options)?;
        let manifest = loaded.manifest.clone();
        check_secrets(&checked)?;
        let secrets_file = manifest
            .cloud
            .as_ref()
            .and_then(|cloud| cloud.secrets.as_ref())
            .map(|secrets| absolute(&loaded.resolve(secrets)));
        let mut warnings = loaded.warnings;
        warnings.append(&mut checked.warnings);
        let cloud = manifest.cloud.clone().ok_or_else(|| {
            Failure::new(
                Exit::InvalidConfiguration,
                "`mse.toml` has no section `[cloud]`",
            )
        })?;
        let invalid = |message: String| Failure::new(Exit::InvalidConfiguration, message);
        let name = cloud.docker.to_string();
        let image = Catalogue::builtin()
            .resolve(&name)
            .map_err(|error| invalid(format!("{}: `cloud.docker`: {error}", path.display())))?;
        let image = ImageIdentity {
            digest: image.digest(),
            name,
        };
        let tree = CodeTree::collect(&checked.code).map_err(|error| invalid(error.to_string()))?;
        let health = HealthEndpoint::try_from(manifest.healthcheck_endpoint.clone())
            .map_err(|error| invalid(error.to_string()))?;
        let environment = cloud
            .environment
            .iter()
            .map(|(name, value)| (name.to_string(), value.clone()))
            .collect();
        let origin = match (&checked.ssl, tls) {
            (_, TlsChoice::Operator) => TlsOrigin::Operator,
            (Some(_), _) => TlsOrigin::Owner,
            (None, _) => TlsOrigin::Enclave,
        };
        Ok(Self {
            manifest,
            cloud,
            checked,
            image,
            tree,
            health,
            environment,
            origin,
            secrets_file,
            warnings,
        })
    }

    /// Whether the code asks for packages that only their names and versions pin.
    pub(crate) fn has_unpinned_requirements(&self) -> bool {
        self.tree
            .files()
            .iter()
            .filter(|file| file.path == "requirements.txt")
            .any(|file| {
                std::fs::read_to_string(self.tree.locate(file))
                    .is_ok_and(|text| !text.contains("--hash="))
            })
    }

    /// The request for the platform: never a key, never a secret.
    pub(crate) fn request(&self, sealed: &SealedBundle) -> CreateApp {
        let ssl = self.checked.ssl.as_ref();
        CreateApp {
            name: self.manifest.name.clone(),
            project: self.cloud.project.clone(),
            dev_mode: self.origin == TlsOrigin::Operator,
            healthcheck_endpoint: self.manifest.healthcheck_endpoint.clone(),
            python_application: self.manifest.python_application.to_string(),
            expires_at: self.checked.expires_at,
            ssl_certificate: ssl.map(|ssl| ssl.chain_pem.clone()),
            domain_name: ssl.map(|ssl| ssl.domain_name.clone()),
            hardware: self.cloud.hardware.clone(),
            docker: self.image.name.clone(),
            image_digest: Some(self.image.digest.to_string()),
            bundle_digest: Some(sealed.digest.to_string()),
            source_commitment: Some(sealed.commitment.to_string()),
            code_key_check: Some(sealed.key_check.to_string()),
            environment: self.environment.clone(),
        }
    }

    /// The part of a context that is known from the beginning, without the key.
    pub(crate) fn context_config(&self) -> Config {
        Config {
            name: self.manifest.name.clone(),
            project: self.cloud.project.clone(),
            docker: self.image.name.clone(),
            python_application: self.manifest.python_application.to_string(),
            tests: Some(Tests {
                folder: absolute(&self.checked.tests),
                command: self.manifest.tests_cmd.clone(),
                requirements: self.manifest.tests_requirements.clone(),
            }),
            code_key: None,
            certificate: self.checked.ssl.as_ref().map(|ssl| ssl.chain_pem.clone()),
        }
    }
}

/// What the enclave takes is bounded, sealed and encoded as it is: better to know now than after
/// the upload.
fn check_secrets(checked: &Checked) -> Result<(), Failure> {
    let Some(secrets) = &checked.secrets else {
        return Ok(());
    };
    let refuse = |why: &str| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("the file that `cloud.secrets` names {why}"),
        )
    };
    let text =
        std::str::from_utf8(secrets.expose()).map_err(|_| refuse("is not encoded in UTF-8"))?;
    let quoted = serde_json::to_string(text)
        .map(Zeroizing::new)
        .map_err(|_| refuse("cannot be written as JSON"))?;
    let key = checked
        .ssl
        .as_ref()
        .map_or(0, |ssl| ssl.private_key.expose().len());
    // What stands beside it, doubled where it is quoted; base64 adds a third.
    let sent = (quoted.len() + 2 * key + 4096) * 4 / 3;
    if sent > wire::MAX_PROVISIONING {
        return Err(refuse("is too large to be sealed to an enclave").with_hint(
            "keep there what is secret, and large data in the code, which is encrypted too",
        ));
    }
    Ok(())
}

/// The path from the root; as it is, if the current folder is gone.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
