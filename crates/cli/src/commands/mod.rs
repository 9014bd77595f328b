//! The commands, one file each: its arguments, what it does, its result.

pub(crate) mod apply;
pub(crate) mod cas;
pub(crate) mod collateral;
pub(crate) mod completions;
pub(crate) mod context;
pub(crate) mod deploy;
pub(crate) mod image;
pub(crate) mod init;
pub(crate) mod list;
pub(crate) mod localtest;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod manifest;
pub(crate) mod measure;
pub(crate) mod mesh;
pub(crate) mod policy;
pub(crate) mod proxy;
pub(crate) mod scaffold;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod session;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod test;
pub(crate) mod trust;
pub(crate) mod verify;

use std::path::Path;

use mse_workload::AppId;

use crate::api::ApiClient;
use crate::app_name::AppName;
use crate::cli::Scene;
use crate::context::{Context, Deployed};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reference::EnclaveReference;
use crate::server_url::ServerUrl;
use crate::session::Session;
use crate::trust::TrustStore;
use crate::verification::{CollateralChoice, Collaterals, Verifier};

/// The image that new projects run in unless they say otherwise.
pub(crate) const DEFAULT_IMAGE: &str = "mse-flask:20261123000000";
/// The hardware that every project has.
pub(crate) const DEFAULT_HARDWARE: &str = "4g-eu-001";
/// The project that every account has.
pub(crate) const DEFAULT_PROJECT: &str = "default";

impl Scene<'_> {
    /// The API of the platform where the user is logged in.
    fn api(&self) -> Result<ApiClient, Failure> {
        ApiClient::of(Session::required(&self.conf)?)
    }

    /// The API, and the app that `name` means there.
    async fn api_and_app(&self, name: &AppName) -> Result<(ApiClient, AppId), Failure> {
        let api = self.api()?;
        let id = name.resolve_any(&api).await?;
        Ok((api, id))
    }

    /// The program that enclaves must run.
    fn enclave_reference(&self) -> Result<EnclaveReference, Failure> {
        EnclaveReference::find(self.global.enclave.as_deref())
    }

    /// Verifies with collateral from `collaterals`.
    fn verifier(&self, collaterals: Collaterals) -> Result<Verifier, Failure> {
        let policy = TrustStore::of(&self.conf).policy(self.global.simulated.as_deref())?;
        Ok(Verifier::new(policy, collaterals))
    }

    /// Collateral as the user asked for it, else from the platform of `context`, else from the one
    /// where the user is logged in.
    pub(crate) async fn collaterals(
        &self,
        file: Option<&Path>,
        pccs: Option<&ServerUrl>,
        context: Option<&ServerUrl>,
    ) -> Result<Collaterals, Failure> {
        let choice = match (file, pccs, context) {
            (Some(file), _, _) => CollateralChoice::File(file),
            (None, Some(url), _) => CollateralChoice::Pccs(url.clone()),
            (None, None, Some(platform)) => CollateralChoice::Platform(platform.clone()),
            (None, None, None) => match Session::load(&self.conf)? {
                Some(session) => CollateralChoice::Platform(session.server),
                None => {
                    return Err(Failure::new(
                        Exit::InvalidConfiguration,
                        "nothing says where to get the collateral to check evidence with",
                    )
                    .with_hint("name a provisioning certificate service with `--pccs URL` (a platform's is at `URL/pccs`), or a file that was kept with `--collateral FILE`"));
                }
            },
        };
        Collaterals::of(choice).await
    }
}

/// What a context knows of the deployment; contexts of other tools know too little.
pub(crate) fn deployed(context: &Context) -> Result<&Deployed, Failure> {
    context.deployed().ok_or_else(|| {
        let (message, hint) = match &context.record {
            Some(_) => (
                format!("the deployment of `{}` did not come to its end", context.config.name),
                "deploy again; `mse context --remove ID` removes this context",
            ),
            None => (
                format!(
                    "the context of `{}` was made by a tool that did not keep what a verification needs",
                    context.config.name
                ),
                "deploy the app again with this `mse`",
            ),
        };
        Failure::new(Exit::InvalidConfiguration, message).with_hint(hint)
    })
}

#[cfg(test)]
mod tests {
    use mse_runtime::images::Catalogue;

    use super::*;

    #[test]
    fn the_default_image_is_in_the_catalogue() {
        Catalogue::builtin().resolve(DEFAULT_IMAGE).unwrap();
    }

    /// What a manifest without a version is told to write can be deployed.
    #[test]
    fn the_image_that_a_hint_names_is_in_the_catalogue() {
        use mse_manifest::{CloudSection, Manifest};

        for docker in [
            "docker = \"mse-flask\"",
            "docker = \"mse-flask:latest\"",
            "",
        ] {
            let text = format!(
                "name = \"x\"\npython_application = \"a:b\"\nhealthcheck_endpoint = \"/\"\n\
                 tests_cmd = \"\"\ntests_requirements = []\n[cloud]\ncode = \"c\"\ntests = \"t\"\n\
                 project = \"p\"\nhardware = \"h\"\n{docker}\n"
            );
            let faults = Manifest::parse(Path::new("mse.toml"), &text, CloudSection::Required)
                .err()
                .unwrap();
            let said = faults.to_string();
            let at = said.find("mse-flask:2").unwrap_or_else(|| panic!("{said}"));
            let image: String = said[at..]
                .chars()
                .take_while(|c| !"`\"".contains(*c))
                .collect();
            Catalogue::builtin().resolve(&image).unwrap();
        }
    }
}
