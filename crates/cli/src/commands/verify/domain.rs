//! `mse verify DOMAIN` and `mse verify CONTEXT`: what runs there, over a connection of its own.

use std::fs;
use std::path::{Path, PathBuf};

use mse_crypto::Digest;
use mse_ratls::certificate::EnclaveCertificate;
use mse_ratls::{Attestation, Endpoint};
use mse_workload::{Measurement, TlsOrigin, Workload};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde::Serialize;
use x509_parser::extensions::GeneralName;

use super::Verify;
use crate::cli::Scene;
use crate::commands::deployed;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::reference::EnclaveReference;
use crate::server_url::ServerUrl;
use crate::ui::{Report, Ui, caution, counted, good, pairs};
use crate::verification::{
    Domain, Explanation, SourceCheck, Verifier, check_image, check_source, expected_measurement,
    measurement_of, save_collateral, tee_of,
};

impl Verify {
    /// What the options say of the app at a domain.
    pub(super) fn expectation_of_domain(&self, scene: &Scene<'_>) -> Result<Expectation, Failure> {
        match (&self.context, &self.code, self.fingerprint) {
            (Some(context), Some(code), _) => {
                Expectation::of_context(scene, context, Some(code.as_path()))
            }
            (_, Some(_), _) => Err(Failure::new(
                Exit::Usage,
                "`--code` was given without `--context`",
            )
            .with_hint("the context that the app's owner exported says how the code was measured")),
            (_, _, Some(fingerprint)) => Ok(Expectation::of_fingerprint(fingerprint)),
            _ => Ok(Expectation::default()),
        }
    }

    /// Connects to the enclave at `domain`, and says what it is.
    pub(super) async fn run_domain(
        &self,
        scene: &Scene<'_>,
        domain: &Domain,
        expectation: Expectation,
    ) -> Result<(), Failure> {
        let ui = scene.ui;
        let (endpoint, reach) = endpoint(domain, &expectation)?;
        if reach == Reach::EnclaveOnly {
            ui.warn(format!(
                "`{domain}` is served with a certificate that proves nothing about the enclave: verified is the enclave at `{}`, not who answers at this name",
                endpoint.server_name
            ));
        }
        let collaterals = scene
            .collaterals(
                self.collateral.as_deref(),
                self.pccs.as_ref(),
                expectation.server.as_ref(),
            )
            .await?;
        let verifier = Verifier::new(self.policy(scene)?, collaterals);
        let step = ui.step(format!("Verifying {domain}"));
        let channel = verifier.connect(&endpoint, expectation.measurement).await?;
        let attestation = channel.attestation();
        step.done(match expectation.measurement {
            Some(_) => "Verification successful",
            None => "The evidence is genuine",
        });
        match expectation.measurement {
            None => ui.warn("the code was NOT compared: a genuine enclave answers, but what it runs is not known; give `--context FILE --code DIR` or `--fingerprint HEX`"),
            Some(_) if expectation.is_of_context_alone() => ui.warn("the code was NOT compared: what runs is what the context says, whoever wrote that; give `--code DIR` to compare it with code that you have read"),
            _ => (),
        }
        let certificate = save_certificate(ui, &self.output, attestation)?;
        if let Some(file) = &self.save_collateral {
            save_collateral(&attestation.collateral, file)?;
        }
        ui.report(&Verdict::of(
            domain,
            endpoint,
            expectation,
            attestation,
            certificate,
            reach,
            self.explain,
        ))
    }
}

/// Where to connect, and what that says of the domain that was asked about. With a context the
/// domain must be the app's own: a genuine enclave says nothing about other names.
fn endpoint(domain: &Domain, expectation: &Expectation) -> Result<(Endpoint, Reach), Failure> {
    let mut endpoint = domain.endpoint(expectation.gateway.as_deref());
    let (Some(workload), Some(enclave_name)) =
        (&expectation.workload, &expectation.config_domain_name)
    else {
        return Ok((endpoint, Reach::Domain));
    };
    let host = &domain.host;
    let owners = expectation
        .owner_names
        .iter()
        .any(|name| covers(name, host));
    if !owners && !workload.tls.names.contains(host) {
        return Err(Failure::new(
            Exit::Refused,
            format!("`{host}` is not a name of the app in this context"),
        )
        .with_hint(format!("its names: {}", workload.tls.names.join(", "))));
    }
    if workload.tls.origin == TlsOrigin::Enclave || host == enclave_name {
        return Ok((endpoint, Reach::Domain));
    }
    endpoint.server_name.clone_from(enclave_name);
    Ok((endpoint, Reach::EnclaveOnly))
}

/// What a verified enclave says of the domain that was asked about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The enclave itself answered at it.
    Domain,
    /// The domain has a certificate of the owner's or the operator's; the enclave was reached by
    /// its own name.
    EnclaveOnly,
}

/// Whether a name of a certificate, which may be a wildcard, is for `host`.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host
            .split_once('.')
            .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
        None => name.eq_ignore_ascii_case(host),
    }
}

/// The DNS names of the owner's certificate, a PEM chain.
fn names_of(chain: &str) -> Vec<String> {
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(chain.as_bytes()) else {
        return Vec::new();
    };
    let Ok(leaf) = pem.parse_x509() else {
        return Vec::new();
    };
    let Ok(Some(san)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    san.value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// What the app must be, and how it is reached.
#[derive(Default)]
pub(super) struct Expectation {
    measurement: Option<Measurement>,
    enclave: Option<EnclaveReference>,
    workload: Option<Workload>,
    source: Option<SourceCheck>,
    gateway: Option<String>,
    config_domain_name: Option<String>,
    /// The names of the owner's certificate, which the workload measures.
    owner_names: Vec<String>,
    server: Option<ServerUrl>,
}

impl Expectation {
    fn of_fingerprint(fingerprint: Measurement) -> Self {
        Self {
            measurement: Some(fingerprint),
            ..Self::default()
        }
    }

    /// Compares the code, if there is some, with the context first: what the context says is then
    /// what the code is.
    pub(super) fn of_context(
        scene: &Scene<'_>,
        file: &Path,
        code: Option<&Path>,
    ) -> Result<Self, Failure> {
        Self::of_known(scene, &Context::read(file)?, code)
    }

    /// The same of a context that was read.
    pub(super) fn of_known(
        scene: &Scene<'_>,
        context: &Context,
        code: Option<&Path>,
    ) -> Result<Self, Failure> {
        let known = deployed(context)?;
        let (Some(record), Some(instance)) = (&context.record, &context.instance) else {
            return Err(Failure::other("the context has no instance"));
        };
        check_image(&known.workload)?;
        let enclave = scene.enclave_reference()?;
        let source = code
            .map(|code| check_source(code, &known.workload, context, record))
            .transpose()?;
        let measurement = expected_measurement(&known.tee, &enclave.digest, &known.workload)?;
        Ok(Self {
            measurement: Some(measurement),
            enclave: Some(enclave),
            workload: Some(known.workload.clone()),
            source,
            gateway: Some(known.gateway.clone()),
            config_domain_name: Some(instance.config_domain_name.clone()),
            owner_names: context
                .config
                .certificate
                .as_deref()
                .filter(|chain| {
                    known.workload.tls.certificate == Some(Digest::of(chain.as_bytes()))
                })
                .map(names_of)
                .unwrap_or_default(),
            server: Some(record.server.clone()),
        })
    }

    fn is_of_context_alone(&self) -> bool {
        self.workload.is_some() && self.source.is_none()
    }

    /// Where the context says that the enclave itself answers.
    pub(super) fn own_domain(&self) -> Result<Domain, Failure> {
        let name = self.config_domain_name.as_deref().unwrap_or_default();
        name.parse()
            .map_err(|error| Failure::new(Exit::InvalidConfiguration, format!("{error}")))
    }
}

/// What was found.
#[derive(Serialize)]
struct Verdict {
    /// `verified`; `enclave-verified` when the domain itself is served with a certificate of the
    /// owner's or the operator's; `as-context-says` when no code was compared with the context;
    /// `appraised` when nothing was compared with the measurement.
    #[serde(rename = "verdict")]
    kind: &'static str,
    simulated: bool,
    tee: String,
    domain: String,
    server_name: String,
    address: String,
    fingerprint: Option<Measurement>,
    tcb_status: Option<String>,
    advisories: Vec<String>,
    enclave: Option<EnclaveReference>,
    source: Option<SourceCheck>,
    expires_at: Option<u64>,
    certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Explanation>,
}

impl Verdict {
    fn of(
        domain: &Domain,
        endpoint: Endpoint,
        expectation: Expectation,
        attestation: &Attestation,
        certificate: Option<PathBuf>,
        reach: Reach,
        explain: bool,
    ) -> Self {
        let tcb = attestation.challenge_appraisal.tcb.as_ref();
        let tee = tee_of(attestation).to_string();
        Self {
            kind: match (expectation.measurement, reach) {
                (Some(_), _) if expectation.is_of_context_alone() => "as-context-says",
                (Some(_), Reach::Domain) => "verified",
                (Some(_), Reach::EnclaveOnly) => "enclave-verified",
                (None, _) => "appraised",
            },
            simulated: tee == "simulated",
            tee,
            domain: domain.to_string(),
            server_name: endpoint.server_name,
            address: endpoint.address,
            fingerprint: measurement_of(attestation),
            tcb_status: tcb.map(|tcb| tcb.status.to_string()),
            advisories: tcb.map_or_else(Vec::new, |tcb| tcb.advisory_ids.clone()),
            explanation: explain
                .then(|| Explanation::of(attestation, expectation.workload.as_ref())),
            expires_at: expectation
                .workload
                .as_ref()
                .and_then(|workload| workload.expires_at),
            enclave: expectation.enclave,
            source: expectation.source,
            certificate,
        }
    }
}

impl Report for Verdict {
    fn text(&self) -> String {
        let mut rows = vec![
            (
                "Verdict",
                match self.kind {
                    "verified" => good("verified: what runs there is what was expected"),
                    "as-context-says" => caution(
                        "what runs there is what the context says; no code was compared with it",
                    ),
                    "enclave-verified" => caution(
                        "the enclave is what was expected; who answers at the domain is not proven",
                    ),
                    _ => caution("genuine enclave, code not compared"),
                },
            ),
            (
                "TEE",
                if self.simulated {
                    caution("SIMULATED: the form is real, no hardware protects it")
                } else {
                    self.tee.clone()
                },
            ),
            (
                "TCB status",
                self.tcb_status.clone().unwrap_or_else(|| "none".to_owned()),
            ),
            (
                "Reached at",
                format!("{} as {}", self.address, self.server_name),
            ),
        ];
        if let Some(source) = &self.source {
            let how = match source.bundle {
                Some(_) => "source commitment and encrypted bundle agree",
                None => "the source commitment agrees",
            };
            let files = counted(source.files, "file", "files");
            rows.push(("Code", format!("{files}: {how}")));
        }
        if let Some(enclave) = &self.enclave {
            rows.push(("Enclave program", enclave.to_string()));
        }
        let mut parts = Vec::new();
        if let Some(explanation) = &self.explanation {
            parts.push(explanation.text());
        }
        parts.push(pairs(&rows));
        if let Some(fingerprint) = self.fingerprint {
            parts.push(format!("The code fingerprint is {fingerprint}"));
        }
        if let Some(certificate) = &self.certificate {
            let what = match self.kind {
                "appraised" | "as-context-says" => "The certificate (code NOT compared)",
                _ => "The verified certificate",
            };
            parts.push(format!(
                "{what} has been saved at: {}",
                certificate.display()
            ));
        }
        parts.join("\n")
    }
}

/// Saves the certificate, which was verified. A file that is no enclave's certificate is somebody
/// else's and stays.
fn save_certificate(
    ui: &Ui,
    path: &Path,
    attestation: &Attestation,
) -> Result<Option<PathBuf>, Failure> {
    if let Ok(existing) = fs::read(path)
        && !is_enclave_certificate(&existing)
    {
        ui.warn(format!(
            "the certificate was not saved: `{}` exists and is no enclave's certificate; name another file with `--output`",
            path.display()
        ));
        return Ok(None);
    }
    private_file::write(path, attestation.certificate.to_pem().as_bytes())?;
    Ok(Some(path.to_owned()))
}

fn is_enclave_certificate(pem: &[u8]) -> bool {
    CertificateDer::from_pem_slice(pem).is_ok_and(|der| EnclaveCertificate::parse(&der).is_ok())
}
