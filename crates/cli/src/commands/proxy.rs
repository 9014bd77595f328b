//! `mse proxy`

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use mse_ratls::{Attestation, Endpoint};
use mse_workload::Measurement;
use serde::Serialize;

use super::deployed;
use crate::app_name::AppName;
use crate::cli::Scene;
use crate::context::{Context, ContextStore};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::interrupted;
use crate::proxy::{ANY_PORT, LocalProxy, Upstream};
use crate::server_url::ServerUrl;
use crate::ui::{Report, caution};
use crate::verification::{
    Collaterals, Domain, check_image, expected_measurement, reachable, tee_of,
};

/// Open a local port that verifies an app before it forwards
///
/// Any program can then use the app over plain HTTP/1.1 on this machine. Every connection to the
/// app is verified before a byte is sent on it; if the app is not what it was, requests are
/// answered with status 502 and the reason. Websockets are not forwarded.
///
/// What the app must be comes from its context on this machine, from `--context FILE`, or from
/// `--fingerprint HEX`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  mse proxy hello
  mse proxy hello --listen 127.0.0.1:8080 &  curl http://127.0.0.1:8080/
  mse proxy app.example.com --context context.mse")]
pub(crate) struct Proxy {
    /// Id or name of one of your running apps, or the domain of any app
    #[arg(value_name = "APP|DOMAIN")]
    app: String,
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value_t = ANY_PORT)]
    listen: SocketAddr,
    /// What the app must be: a context that its owner exported
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    context: Option<PathBuf>,
    /// What the app must be: its measurement
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<Measurement>,
    /// Where to get collateral [default: the platform's]
    #[arg(long, value_name = "URL", conflicts_with = "collateral")]
    pccs: Option<ServerUrl>,
    /// Collateral that was kept
    #[arg(long, value_name = "FILE")]
    collateral: Option<PathBuf>,
}

impl Proxy {
    pub(crate) async fn run(self, scene: &Scene<'_>) -> Result<(), Failure> {
        let access = self.access(scene)?;
        let collaterals = scene
            .collaterals(
                self.collateral.as_deref(),
                self.pccs.as_ref(),
                access.server.as_ref(),
            )
            .await?;
        let step = scene.ui.step("Verifying the app");
        let (upstream, attestation) = open(scene, &access, collaterals).await?;
        step.done(if access.is_unverified {
            "What answers is what its context says"
        } else {
            "The app was verified"
        });
        if access.is_unverified {
            scene.ui.warn("the app was deployed with `--no-verify`: its keys and secrets were handed over before anything was compared, whatever answers now");
        }
        let proxy = LocalProxy::bind(self.listen, upstream).await?;
        let tee = tee_of(&attestation).to_string();
        scene.ui.report(&Listening {
            url: proxy.url(),
            app: access.endpoint.server_name.clone(),
            fingerprint: access.measurement.to_string(),
            simulated: tee == "simulated",
            tee,
        })?;
        let json = scene.ui.is_json();
        let forwarding = proxy.serve(move |failure| {
            if json {
                eprintln!("{}", failure.to_json());
            } else {
                eprintln!("error: {failure}");
            }
        });
        tokio::select! {
            () = forwarding => Err(Failure::other("the local port was closed")),
            // How this is meant to end.
            _ = interrupted() => Ok(()),
        }
    }

    fn access(&self, scene: &Scene<'_>) -> Result<Access, Failure> {
        if let Some(file) = &self.context {
            let mut access = Access::of_context(scene, &Context::read(file)?)?;
            let domain = self.domain()?;
            if let Some(port) = domain.port {
                access.endpoint.address = Domain {
                    port: Some(port),
                    ..domain
                }
                .endpoint(None)
                .address;
            }
            return Ok(access);
        }
        if let Some(measurement) = self.fingerprint {
            let domain = self.domain()?;
            return Ok(Access {
                endpoint: domain.endpoint(None),
                host: domain.to_string(),
                measurement,
                is_unverified: false,
                server: None,
            });
        }
        let Ok(name) = self.app.parse::<AppName>();
        match ContextStore::of(&scene.conf).find(&name) {
            Ok(context) => Access::of_context(scene, &context),
            Err(failure) if failure.exit() == Exit::NotFound => Err(failure.with_hint(
                "for an app of someone else give what it must be: `--context FILE` or `--fingerprint HEX`",
            )),
            Err(failure) => Err(failure),
        }
    }

    fn domain(&self) -> Result<Domain, Failure> {
        self.app
            .parse()
            .map_err(|error| Failure::new(Exit::Usage, format!("{error}")))
    }
}

/// How an app is reached, and what it must be.
pub(super) struct Access {
    pub(super) endpoint: Endpoint,
    pub(super) host: String,
    pub(super) measurement: Measurement,
    /// Whether it was given its secrets unverified (`mse deploy --no-verify`).
    pub(super) is_unverified: bool,
    /// The platform, if known.
    pub(super) server: Option<ServerUrl>,
}

impl Access {
    /// The app of `context`, at its configuration domain: that leads into the enclave whatever
    /// certificate its users see.
    pub(super) fn of_context(scene: &Scene<'_>, context: &Context) -> Result<Self, Failure> {
        let known = deployed(context)?;
        check_image(&known.workload)?;
        let reference = scene.enclave_reference()?;
        let measurement = expected_measurement(&known.tee, &reference.digest, &known.workload)?;
        let config_domain_name = context
            .instance
            .as_ref()
            .map(|instance| instance.config_domain_name.clone())
            .ok_or_else(|| Failure::other("the context has no instance"))?;
        Ok(Self {
            host: config_domain_name.clone(),
            endpoint: Endpoint {
                address: reachable(&known.gateway),
                server_name: config_domain_name,
            },
            measurement,
            is_unverified: !known.verified,
            server: context.record.as_ref().map(|record| record.server.clone()),
        })
    }
}

/// Verifies the app for the first time.
pub(super) async fn open(
    scene: &Scene<'_>,
    access: &Access,
    collaterals: Collaterals,
) -> Result<(Upstream, Attestation), Failure> {
    let verifier = scene.verifier(collaterals)?;
    Upstream::open(
        verifier,
        access.endpoint.clone(),
        access.measurement,
        &access.host,
    )
    .await
}

#[derive(Serialize)]
struct Listening {
    url: String,
    app: String,
    fingerprint: String,
    tee: String,
    simulated: bool,
}

impl Report for Listening {
    fn text(&self) -> String {
        let note = if self.simulated {
            format!(" [{}]", caution("SIMULATED: no hardware protects this app"))
        } else {
            String::new()
        };
        format!(
            "Forwarding {} to {}, verified on every connection{note}; Ctrl-C ends it",
            self.url, self.app
        )
    }
}
