//! `mse localtest`

use std::path::PathBuf;

use clap::Args;
use mse_manifest::TlsChoice;
use serde::Serialize;

use crate::cli::Scene;
use crate::context::Tests;
use crate::deploy::Plan;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::localapp::{AppOutput, LocalApp};
use crate::project_tests::{self, Verdict};
use crate::ui::Report;

/// Run the app and its tests on this machine, in clear
///
/// The app runs in the same runtime as in the enclave, with the files that would be packed, and
/// with its secrets. Neither a login nor a platform is needed. The tests get the address of the
/// app in the environment variable `TEST_REMOTE_URL`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse localtest
  mse localtest --no-tests        run the app until Ctrl-C, and show what it writes")]
pub(crate) struct Localtest {
    /// The manifest
    #[arg(long, value_name = "FILE", default_value = "mse.toml")]
    path: PathBuf,
    /// Only run the app
    #[arg(long)]
    no_tests: bool,
}

impl Localtest {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        // The owner's certificate is not used here, so it is not looked at either.
        let plan = Plan::of(&self.path, TlsChoice::Operator)?;
        for warning in &plan.warnings {
            scene.ui.diagnostic(warning);
        }
        let work = async {
            if self.no_tests {
                serve(scene, &plan).await
            } else {
                test(scene, &plan).await
            }
        };
        tokio::select! {
            outcome = work => outcome,
            interruption = interrupted() => {
                // Ctrl-C is how this is meant to end.
                if self.no_tests { Ok(()) } else { Err(interruption) }
            }
        }
    }
}

async fn serve(scene: &Scene<'_>, plan: &Plan) -> Result<(), Failure> {
    let mut app = LocalApp::start(scene.ui, plan, AppOutput::Shown).await?;
    scene.ui.report(&Tested {
        url: app.url(),
        tests: "not run",
    })?;
    Err(app.ended().await)
}

async fn test(scene: &Scene<'_>, plan: &Plan) -> Result<(), Failure> {
    let app = LocalApp::start(scene.ui, plan, AppOutput::Kept).await?;
    let tests = Tests {
        folder: std::path::absolute(&plan.checked.tests)
            .unwrap_or_else(|_| plan.checked.tests.clone()),
        command: plan.manifest.tests_cmd.clone(),
        requirements: plan.manifest.tests_requirements.clone(),
    };
    let environment = [("TEST_REMOTE_URL", app.url())];
    let outcome = project_tests::run(scene.ui, &tests, &environment).await;
    match outcome {
        Ok(verdict) => scene.ui.report(&Tested {
            url: app.url(),
            tests: match verdict {
                Verdict::Passed => "passed",
                Verdict::NoTests => "none",
            },
        }),
        Err(failure) => {
            let log = app.log();
            if !scene.ui.is_json() && !log.trim().is_empty() {
                eprintln!("The app wrote:\n{}", log.trim_end());
            }
            Err(failure)
        }
    }
}

#[derive(Serialize)]
struct Tested {
    url: String,
    /// `passed`, `none` or `not run`.
    tests: &'static str,
}

impl Report for Tested {
    fn text(&self) -> String {
        match self.tests {
            "passed" => "Tests successful".to_owned(),
            "none" => "The app answers; `tests_cmd` is empty, so nothing was tested".to_owned(),
            _ => format!("The app runs at {}; Ctrl-C ends it", self.url),
        }
    }
}
