//! `mse test`

use clap::Args;
use serde::Serialize;

use super::proxy::{Access, open};
use crate::app_name::AppName;
use crate::cli::Scene;
use crate::context::ContextStore;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::project_tests::{self, Verdict};
use crate::proxy::{ANY_PORT, LocalProxy};
use crate::server_url::ServerUrl;
use crate::ui::Report;

/// Run an app's tests against where it is deployed
///
/// The tests reach the app through a local port that verifies it, in the environment variable
/// `TEST_REMOTE_URL`. `TEST_VERIFIED_CERTIFICATE` names a file with the certificate that was
/// verified, for tests that connect by themselves.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse test hello")]
pub(crate) struct Test {
    /// Id of the app, or name of a running one
    #[arg(value_name = "APP")]
    app: AppName,
    /// Where to get collateral [default: the platform's]
    #[arg(long, value_name = "URL")]
    pccs: Option<ServerUrl>,
}

impl Test {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let context = ContextStore::of(&scene.conf).find(&self.app)?;
        let tests = context.config.tests.clone().ok_or_else(|| {
            Failure::new(
                Exit::InvalidConfiguration,
                format!(
                    "the context of `{}` does not say where its tests are",
                    self.app
                ),
            )
            .with_hint("deploy the app again with this `mse`")
        })?;
        let access = Access::of_context(scene, &context)?;
        let collaterals = scene
            .collaterals(None, self.pccs.as_ref(), access.server.as_ref())
            .await?;
        let step = scene.ui.step("Verifying the app");
        let (upstream, attestation) = open(scene, &access, collaterals).await?;
        step.done("The app was verified");
        let certificate = tempfile::NamedTempFile::with_suffix(".pem")
            .and_then(|mut file| {
                std::io::Write::write_all(&mut file, attestation.certificate.to_pem().as_bytes())?;
                Ok(file)
            })
            .map_err(|error| Failure::other(format!("no temporary file can be made: {error}")))?;
        let proxy = LocalProxy::bind(ANY_PORT, upstream).await?;
        let environment = [
            ("TEST_REMOTE_URL", proxy.url()),
            (
                "TEST_VERIFIED_CERTIFICATE",
                certificate.path().display().to_string(),
            ),
        ];
        let forwarding = proxy.serve(|failure| eprintln!("{failure}"));
        let verdict = tokio::select! {
            verdict = project_tests::run(scene.ui, &tests, &environment) => verdict?,
            () = forwarding => return Err(Failure::other("the local port was closed")),
            interruption = interrupted() => return Err(interruption),
        };
        scene.ui.report(&Tested {
            app: self.app.to_string(),
            tests: match verdict {
                Verdict::Passed => "passed",
                Verdict::NoTests => "none",
            },
        })
    }
}

#[derive(Serialize)]
struct Tested {
    app: String,
    /// `passed` or `none`.
    tests: &'static str,
}

impl Report for Tested {
    fn text(&self) -> String {
        match self.tests {
            "passed" => "Tests successful".to_owned(),
            _ => "The app was verified; `tests_cmd` is empty, so nothing was tested".to_owned(),
        }
    }
}
