//! `mse deploy`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use mse_api::{App, PartialApp};
use mse_manifest::TlsChoice;
use mse_workload::{AppId, TlsOrigin};
use serde::Serialize;

use crate::api::ApiClient;
use crate::cli::Scene;
use crate::context::ContextStore;
use crate::deploy::{Deployment, Options, Outcome, Plan, Reservation, Verify, stop_and_wait};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reference::EnclaveReference;
use crate::ui::{Report, Ui, caution, good, local, pairs};
use crate::verification::Collaterals;

/// Deploy the app: encrypt, upload, verify the enclave, and only then hand over its secrets
///
/// Everything that can be checked on this machine is checked before anything is stopped or
/// uploaded. If anything fails afterwards, or on Ctrl-C, the app is stopped again and nothing is
/// left running.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse deploy
  mse deploy -y --path shop/mse.toml        replace a running app of that name unasked
  mse deploy --json | jq -r .url")]
pub(crate) struct Deploy {
    /// The manifest
    #[arg(long, value_name = "FILE", default_value = "mse.toml")]
    path: PathBuf,
    /// Replace a running app of the same name without asking
    #[arg(short = 'y', long = "yes")]
    yes: bool,
    /// Do not compare the enclave's measurement: anything could run there
    #[arg(long)]
    no_verify: bool,
    /// Let the operator's gateway end TLS: the operator can read the traffic
    #[arg(long)]
    untrusted_ssl: bool,
    /// Also keep `app.tar` and `ratls.pem` in this folder
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// How long each wait for the platform may take, in minutes
    #[arg(long, value_name = "MIN", default_value_t = 1440, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    timeout: u64,
}

impl Deploy {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let ui = scene.ui;
        let tls = if self.untrusted_ssl {
            TlsChoice::Operator
        } else {
            TlsChoice::AsConfigured
        };
        let plan = Plan::of(&self.path, tls)?;
        let verify = if self.no_verify {
            Verify::Nothing
        } else {
            Verify::Against(scene.enclave_reference()?)
        };
        warn(ui, &plan, &verify);

        let api = scene.api()?;
        let reservation = Reservation::of(&plan, &api).await?;
        let pccs = &reservation.platform.pccs_path;
        let verifier = scene.verifier(Collaterals::of_platform(api.server(), pccs)?)?;
        verifier.check_tee(&reservation.platform.tee)?;
        if let Some(old) = &reservation.replaces
            && !self.yes
            && !ui.is_interactive()
        {
            return Err(must_ask(old));
        }

        let contexts = ContextStore::of(&scene.conf);
        let options = Options {
            verify,
            workspace: self.workspace,
            patience: Duration::from_mins(self.timeout),
        };
        let deployment = Deployment {
            ui,
            api: &api,
            contexts: &contexts,
            verifier: &verifier,
            plan: &plan,
            reservation: &reservation,
            options: &options,
        };
        let replaced = async {
            match &reservation.replaces {
                Some(old) => replace(ui, &api, &contexts, old, self.yes).await,
                None => Ok(()),
            }
        };
        let outcome = Box::pin(deployment.run(replaced)).await?;
        if let Some(warning) = cut_short(&plan, &outcome.app) {
            ui.warn(warning);
        }
        let deployed = Deployed {
            replaced: reservation.replaces.as_ref().map(|old| old.id),
            ..Deployed::of(outcome, &options.verify)
        };
        ui.report(&deployed)?;
        advise(ui, &deployed);
        Ok(())
    }
}

/// An app that runs.
#[derive(Serialize)]
struct Deployed {
    id: AppId,
    name: String,
    url: String,
    domain_name: String,
    config_domain_name: String,
    gateway: String,
    expires_at: jiff::Timestamp,
    ssl_certificate_origin: TlsOrigin,
    fingerprint: String,
    /// Whether the measurement was compared before the secrets were handed over.
    verified: bool,
    enclave: Option<EnclaveReference>,
    tee: String,
    simulated: bool,
    certificate: PathBuf,
    /// The app of the same name that was stopped for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaced: Option<AppId>,
    confinement: Vec<mse_workload::launch::Confinement>,
}

impl Deployed {
    fn of(outcome: Outcome, verify: &Verify) -> Self {
        let Outcome {
            app,
            deployed,
            certificate,
        } = outcome;
        Self {
            id: app.id,
            name: app.name,
            url: app.url,
            domain_name: app.domain_name,
            config_domain_name: app.config_domain_name,
            gateway: app.gateway,
            expires_at: app.expires_at,
            ssl_certificate_origin: app.ssl_certificate_origin,
            fingerprint: deployed.measurement.to_string(),
            verified: deployed.verified,
            enclave: match verify {
                Verify::Against(reference) => Some(reference.clone()),
                Verify::Nothing => None,
            },
            simulated: deployed.tee == "simulated",
            tee: deployed.tee,
            certificate,
            replaced: None,
            confinement: app.confinement,
        }
    }
}

impl Report for Deployed {
    fn text(&self) -> String {
        let verified = if self.verified {
            good("yes")
        } else {
            caution("NO: --no-verify")
        };
        let tee = if self.simulated {
            caution("simulated: no hardware protects this app")
        } else {
            self.tee.clone()
        };
        let mut rows = vec![
            ("App", format!("{} ({})", self.name, self.id)),
            ("Verified", verified),
            ("TEE", tee),
        ];
        if let Some(old) = &self.replaced {
            rows.push(("Replaced", format!("{old}, which was stopped")));
        }
        if let Some(reference) = &self.enclave {
            rows.push(("Enclave program", reference.to_string()));
        }
        let missing: Vec<String> = self
            .confinement
            .iter()
            .filter(|one| !one.applied)
            .map(|one| format!("{} ({})", one.name, one.detail))
            .collect();
        if !missing.is_empty() {
            rows.push(("Not confined by", missing.join("; ")));
        }
        format!(
            "{}\nYour application is now deployed and ready to be used on {} until {}",
            pairs(&rows),
            self.url,
            local(self.expires_at)
        )
    }
}

fn warn(ui: &Ui, plan: &Plan, verify: &Verify) {
    for warning in &plan.warnings {
        ui.diagnostic(warning);
    }
    if plan.has_unpinned_requirements() {
        ui.warn("`requirements.txt` has packages without hashes: they are not covered by the measurement, so whoever serves them decides what runs; pin them with `pip-compile --generate-hashes` or `uv pip compile --generate-hashes`");
    }
    match plan.origin {
        TlsOrigin::Operator => ui.warn(
            "`--untrusted-ssl`: TLS ends at the operator's gateway, so the operator can read the traffic; use it for development only",
        ),
        TlsOrigin::Owner => ui.warn(
            "the app's TLS key is yours: its users must trust that you do not read their traffic",
        ),
        TlsOrigin::Enclave => {}
    }
    if let Verify::Nothing = verify {
        ui.warn(
            "`--no-verify`: your keys and secrets will be handed to an enclave whose code was NOT compared with yours; the context will say so",
        );
    }
}

/// The platform may end an app earlier than its owner asked: the owner should know now.
fn cut_short(plan: &Plan, app: &App) -> Option<String> {
    let asked = plan.checked.expires_at?;
    (app.expires_at.as_second() < asked.as_second()).then(|| {
        format!(
            "`cloud.expiration_date` asks for {}, and the platform ends the app on {}: the hardware `{}` is for no longer",
            local(asked),
            local(app.expires_at),
            app.hardware_name
        )
    })
}

fn advise(ui: &Ui, deployed: &Deployed) {
    let (certificate, proxy) = if deployed.verified {
        (
            "the verified certificate",
            "use it with any program, verified",
        )
    } else {
        (
            "the certificate that it showed, which was NOT verified",
            "verify it now, and use it with any program",
        )
    };
    if deployed.ssl_certificate_origin == TlsOrigin::Enclave {
        ui.advice(&format!(
            "use it with {certificate}: curl --cacert {} {}",
            deployed.certificate.display(),
            deployed.url
        ));
    }
    ui.advice(&format!("{proxy}: mse proxy {}", deployed.id));
    ui.advice(&format!(
        "let others verify it, without your key: mse context --export {}",
        deployed.id
    ));
}

/// Stops the app that gives way, once the user has agreed.
async fn replace(
    ui: &Ui,
    api: &ApiClient,
    contexts: &ContextStore,
    old: &PartialApp,
    agreed: bool,
) -> Result<(), Failure> {
    if !agreed {
        let question = format!(
            "`{}` is {} at {}. Stop it, for good, and deploy the new one?",
            old.name, old.status, old.domain_name
        );
        let answer = tokio::task::spawn_blocking(move || {
            dialoguer::Confirm::new()
                .with_prompt(question)
                .default(false)
                .interact()
        })
        .await;
        match answer {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => {
                return Err(Failure::new(
                    Exit::Cancelled,
                    "the deployment was cancelled; the running app was left alone",
                ));
            }
            _ => return Err(must_ask(old)),
        }
    }
    let step = ui.step(format!("Stopping the running `{}`", old.name));
    stop_and_wait(api, old.id).await?;
    contexts.dir(old.id.0).remove()?;
    step.done(&format!("The former app `{}` was stopped", old.id));
    Ok(())
}

fn must_ask(old: &PartialApp) -> Failure {
    Failure::new(
        Exit::Usage,
        format!(
            "an app named `{}` is {} already ({}), and there is no terminal to ask whether to replace it",
            old.name, old.status, old.id
        ),
    )
    .with_hint("`-y` replaces it; another `name` in `mse.toml` deploys beside it")
}
