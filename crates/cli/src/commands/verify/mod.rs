//! `mse verify`

mod domain;
mod evidence;
mod target;

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use mse_workload::Measurement;

use crate::app_name::AppName;
use crate::cli::Scene;
use crate::context::ContextStore;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::policy_file::policy_with_anchors;
use crate::server_url::ServerUrl;
use crate::trust::{TrustPolicy, TrustStore};
use crate::verification::Domain;
use domain::Expectation;
use target::Target;

/// Verify what runs at a domain, the app of a context, or evidence in a file
///
/// Needs no login. Of a domain: with a context and the code, the code is compared with what runs;
/// with a fingerprint, the measurement is; with neither, it is only shown that some genuine enclave
/// answers. Of a context alone: its app is asked at its own domain, and is what the context says;
/// with the code, what the context says is that code. Of another file: a quote (SGX, TDX), a report (SEV-SNP), a document (AWS Nitro), vTPM
/// evidence, or a certificate that carries one of them; the kind is found out.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse verify app.example.com --context context.mse --code mse_src
  mse verify context.mse --code mse_src
  mse verify localhost:20000 --fingerprint 9f86d081… --explain
  mse verify app.example.com --collateral collateral.json        without a network but the app's
  mse verify quote.bin --collateral collateral.json --at 1792714008 --json
  mse verify report.bin --endorsement vcek.der --endorsement ask.der --endorsement ark.der
  mse verify document.cose --policy policy.toml --explain

Of a file, exit code 0 means accepted and 1 refused; `--json` prints the verdict in both cases.")]
pub(crate) struct Verify {
    /// Where the app is reached (the port is 443, or the gateway of the context, if not given), a
    /// context (`.mse`), or a file with evidence or a certificate
    #[arg(value_name = "DOMAIN[:PORT]|CONTEXT|FILE")]
    target: Target,
    /// The context that the app's owner exported
    #[arg(
        long,
        value_name = "FILE",
        requires = "code",
        conflicts_with = "fingerprint"
    )]
    context: Option<PathBuf>,
    /// The folder with the app's code
    #[arg(long, value_name = "DIR")]
    code: Option<PathBuf>,
    /// The measurement that the app must have
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<Measurement>,
    /// Show the evidence, the workload and every check, field by field
    #[arg(long)]
    explain: bool,
    /// The conditions under which evidence is accepted (`mse policy example` shows one)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Of a domain or context: where to save the verified certificate
    #[arg(long, value_name = "FILE", default_value = "cert.pem")]
    output: PathBuf,
    /// Where to get collateral [default: the platform of the context or of the login]
    #[arg(long, value_name = "URL", conflicts_with = "collateral")]
    pccs: Option<ServerUrl>,
    /// Collateral that was kept
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
    /// Keep the collateral in this file, for `--collateral`
    #[arg(long, value_name = "FILE")]
    save_collateral: Option<PathBuf>,
    /// Of a file: certificates (or CRLs) that vouch for the evidence, DER or PEM, in the order of
    /// their chain: VCEK or VLEK, then ASK, then ARK
    #[arg(long = "endorsement", value_name = "FILE")]
    endorsements: Vec<PathBuf>,
    /// Of a file: trust the TPM with this attestation key, a public key or a certificate
    #[arg(long = "trust-ak", value_name = "FILE")]
    trusted_aks: Vec<PathBuf>,
    /// Of a file: write the attestation result as EAR (EAT attestation result): plain claims, or
    /// a signed JWT with `--ear-key`
    #[arg(long, value_name = "FILE")]
    ear: Option<PathBuf>,
    /// The P-256 key (PKCS#8, PEM) to sign the attestation result with
    #[arg(long, value_name = "FILE", requires = "ear")]
    ear_key: Option<PathBuf>,
    /// Of a file: appraise at this time instead of now: unix seconds, or a date such as
    /// 2026-11-23T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Timestamp>,
    /// Of a file: the report data that it must have, 64 bytes
    #[arg(long, value_name = "HEX")]
    report_data: Option<String>,
    /// Of a file: the challenge that it must answer
    #[arg(long, value_name = "HEX")]
    nonce: Option<String>,
}

impl Verify {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        match &self.target {
            Target::Domain(domain) => {
                self.refuse_options_of_files()?;
                if let Some(expectation) = self.expectation_of_own_app(scene, domain)? {
                    let domain = expectation.own_domain()?;
                    return self.run_domain(scene, &domain, expectation).await;
                }
                let expectation = self.expectation_of_domain(scene)?;
                self.run_domain(scene, domain, expectation).await
            }
            Target::Context(file) => {
                self.refuse_options_of_files()?;
                self.refuse_other_references()?;
                let expectation = Expectation::of_context(scene, file, self.code.as_deref())?;
                let domain = expectation.own_domain()?;
                self.run_domain(scene, &domain, expectation).await
            }
            Target::File(file) => self.run_file(scene, file).await,
        }
    }

    /// A single word is the name of an app of the user's, as in all other commands: nothing says
    /// that it is in the DNS.
    fn expectation_of_own_app(
        &self,
        scene: &Scene<'_>,
        domain: &Domain,
    ) -> Result<Option<Expectation>, Failure> {
        let Some(name) = domain.as_word() else {
            return Ok(None);
        };
        if self.context.is_some() || self.fingerprint.is_some() {
            return Ok(None);
        }
        let Ok(name) = name.parse::<AppName>();
        let context = ContextStore::of(&scene.conf).find(&name).map_err(|failure| {
            if failure.exit() != Exit::NotFound {
                return failure;
            }
            failure.with_hint("`mse context --list` shows the apps that are known by name; of another app name the domain, such as `app.example.com`, with what it must be: `--context FILE` or `--fingerprint HEX`. A host that has only this name is meant with its port: `NAME:443`")
        })?;
        Expectation::of_known(scene, &context, self.code.as_deref()).map(Some)
    }

    fn policy(&self, scene: &Scene<'_>) -> Result<TrustPolicy, Failure> {
        policy_with_anchors(
            self.policy.as_deref(),
            &TrustStore::of(&scene.conf),
            scene.global.simulated.as_deref(),
        )
    }

    /// An enclave that answers is verified now, with evidence made for this connection.
    fn refuse_options_of_files(&self) -> Result<(), Failure> {
        let given = [
            ("--endorsement", !self.endorsements.is_empty()),
            ("--at", self.at.is_some()),
            ("--trust-ak", !self.trusted_aks.is_empty()),
            ("--ear", self.ear.is_some()),
            ("--report-data", self.report_data.is_some()),
            ("--nonce", self.nonce.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(Failure::new(
                Exit::Usage,
                format!("`{option}` is for evidence in a file, and a domain or context was named"),
            )
            .with_hint("leave it out: what answers is verified now, over its own connection")),
        }
    }

    /// The context says what must run, and where.
    fn refuse_other_references(&self) -> Result<(), Failure> {
        let given = [
            ("--context", self.context.is_some()),
            ("--fingerprint", self.fingerprint.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((option, _)) => Err(Failure::new(
                Exit::Usage,
                format!("`{option}` is for a domain, and a context was named"),
            )
            .with_hint("leave it out: the context says what must run")),
        }
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time = match text.parse::<i64>() {
        Ok(seconds) => Timestamp::from_second(seconds).ok(),
        Err(_) => text.parse().ok(),
    };
    time.filter(|time| time.as_second() >= 0).ok_or_else(|| {
        "write unix seconds, or a date and time such as 2026-11-23T12:00:00Z".to_owned()
    })
}
