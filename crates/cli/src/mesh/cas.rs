//! The CAS of a Meshfile: found among those that are known, and attested anew.

use std::num::NonZeroU16;
use std::path::Path;
use std::time::SystemTime;

use clap::Args;
use mse_attest::{Collateral, Evidence, Policy, TcbStatus, TrustAnchor};
use mse_mesh::{Cas, CasTolerance, Meshfile, Role, SimulatedTrust};
use mse_ratls::CollateralSource;
use mse_ratls::cas::ExpectedCas;
use mse_ratls::cas::client::first_contact;
use mse_simtee::Platform;
use mse_workload::CasKey;
use serde::Serialize;

use crate::cas::{CasName, CasPin, CasPins, ClientKey, KnownCas};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;
use crate::server_url::ServerUrl;
use crate::trust::TrustStore;
use crate::verification::{CollateralChoice, Collaterals};

/// How the CAS of a Meshfile is found and attested.
#[derive(Args)]
pub(crate) struct CasArgs {
    /// The CAS, by its name in `mse cas list`, whatever `cas_url` says [default: the one at `cas_url`]
    #[arg(
        long,
        value_name = "NAME",
        env = "MSE_CAS_NAME",
        hide_env_values = true
    )]
    cas: Option<CasName>,
    /// Attest the CAS only as strictly as the Meshfile's `tolerance` asks. What that gives up is
    /// shown; without this, such a Meshfile is refused
    #[arg(long)]
    allow_insecure_cas: bool,
    /// The provisioning certificate service that knows the platform of the CAS
    #[arg(long, value_name = "URL")]
    pccs: Option<ServerUrl>,
}

/// What the Meshfile's tolerance gives up.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CasTolerances(Vec<Tolerated>);

#[derive(Clone, Debug, Serialize)]
struct Tolerated {
    what: &'static str,
    harm: &'static str,
    #[serde(skip)]
    tolerance: CasTolerance,
}

impl CasTolerances {
    pub(crate) fn of(cas: &Cas) -> Self {
        let tolerated = cas.trust.tolerate.iter();
        Self(
            tolerated
                .map(|one| Tolerated {
                    what: one.what.as_str(),
                    harm: one.what.harm(),
                    tolerance: one.what,
                })
                .collect(),
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is given up, in single words.
    pub(crate) fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|one| one.what).collect()
    }

    fn relax(&self, policy: Policy) -> Policy {
        self.0
            .iter()
            .fold(policy, |policy, one| match one.tolerance {
                CasTolerance::ConfigurationNeeded => {
                    policy.accept_status(TcbStatus::ConfigurationNeeded)
                }
                CasTolerance::SoftwareHardeningNeeded => {
                    policy.accept_status(TcbStatus::SWHardeningNeeded)
                }
                CasTolerance::OutdatedTcb => policy.accept_status(TcbStatus::OutOfDate),
                CasTolerance::DebugMode => policy.allow_debug(),
                // No signer is asked for anyway: the measurement is.
                CasTolerance::AnySigner | CasTolerance::AnyEnclave => policy,
            })
    }

    fn lets_any_enclave(&self) -> bool {
        let mut all = self.0.iter();
        all.any(|one| one.tolerance == CasTolerance::AnyEnclave)
    }
}

/// A CAS that has just proven what it is.
pub(crate) struct MeshCas {
    pub(crate) known: KnownCas,
    /// What was given up for it.
    pub(crate) tolerances: CasTolerances,
}

impl CasArgs {
    /// Attests the CAS for the services' sessions.
    pub(crate) async fn attest(
        &self,
        scene: &Scene<'_>,
        mesh: &Meshfile,
    ) -> Result<MeshCas, Failure> {
        let cas = one_cas(mesh)?;
        let tolerances = CasTolerances::of(cas);
        self.permit(&tolerances)?;
        let (name, pin) = self.find(scene, cas)?;
        let expected = expected(scene, cas, &pin, &tolerances)?;
        let step = scene.ui.step(format!("Attesting the CAS `{name}`"));
        let key = ClientKey::load(&scene.conf)?;
        let identity = key.as_ref().map(|key| &key.identity);
        let contact = first_contact(&pin.address()?, identity).await?;
        // Before its evidence: what else is different about another CAS is beside the point.
        if contact.root_key() != pin.cas_key {
            return Err(another(&name, &pin, contact.root_key()));
        }
        let collateral = self.collateral(scene, &pin).await?;
        let (client, attested) = Box::pin(contact.attest(&expected, &collateral)).await?;
        prove_pins(cas, &attested)?;
        step.done(&format!("The CAS `{name}` has proven what it is"));
        if attested.description.simulated {
            scene.ui.warn("SIMULATED: no hardware protects this CAS; whoever owns its machine can read every secret in it");
        }
        let mut known = KnownCas::attested(scene, name, pin, client);
        known.prove_position().await?;
        Ok(MeshCas { known, tolerances })
    }

    /// What each of them gives up was shown when the Meshfile was read.
    fn permit(&self, tolerances: &CasTolerances) -> Result<(), Failure> {
        if tolerances.is_empty() || self.allow_insecure_cas {
            return Ok(());
        }
        Err(Failure::new(
            Exit::Refused,
            "the Meshfile asks to believe a CAS that does not prove what it must: `cas.tolerance`",
        )
        .with_hint("remove `tolerance`: a CAS in order needs none. To do it all the same, say so: `--allow-insecure-cas`"))
    }

    fn find(&self, scene: &Scene<'_>, cas: &Cas) -> Result<(CasName, CasPin), Failure> {
        let pins = CasPins::of(&scene.conf);
        if let Some(name) = &self.cas {
            let pin = pins.required(name)?;
            if !is_at(&pin, cas) {
                scene.ui.warn(format!(
                    "the Meshfile names the CAS at `{}`; taken is `{name}` at `{}`, as `--cas` says",
                    cas.url, pin.address
                ));
            }
            return Ok((name.clone(), pin));
        }
        let mut found: Vec<_> = pins.list()?;
        found.retain(|(_, pin)| is_at(pin, cas));
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(Failure::new(
                Exit::NotFound,
                format!("no CAS at `{}` was attested yet", cas.url),
            )
            .with_hint(format!(
                "attest it: `mse cas attest {}:{} --name NAME`; or take one that is known: `--cas NAME`",
                cas.url.host(),
                cas.url.port().map_or(CAS_PORT, NonZeroU16::get)
            ))),
            _ => Err(Failure::new(
                Exit::Usage,
                format!("several CASes at `{}` are known", cas.url),
            )
            .with_hint("say which with `--cas NAME`")),
        }
    }

    async fn collateral(&self, scene: &Scene<'_>, pin: &CasPin) -> Result<MeshCollateral, Failure> {
        if let Some(url) = &self.pccs {
            let choice = CollateralChoice::Pccs(url.clone());
            return Collaterals::of(choice).await.map(MeshCollateral::Asked);
        }
        if pin.simulated && scene.conf.simulated_platform().is_dir() {
            return Ok(MeshCollateral::Own(Box::new(this_machine(scene)?)));
        }
        let asked = scene.collaterals(None, None, None).await?;
        Ok(MeshCollateral::Asked(asked))
    }
}

/// What the CAS must prove.
fn expected(
    scene: &Scene<'_>,
    cas: &Cas,
    pin: &CasPin,
    tolerances: &CasTolerances,
) -> Result<ExpectedCas, Failure> {
    if let Some(key) = &cas.key
        && key.0 != pin.cas_key.0.0
    {
        return Err(Failure::new(
            Exit::Refused,
            format!(
                "the Meshfile expects the CAS with the key {}, and the one that is known has {}",
                mse_crypto::Digest(key.0),
                pin.cas_key
            ),
        )
        .with_hint("correct `cas_key`, or attest the right CAS"));
    }
    let mut policy = TrustStore::of(&scene.conf)
        .policy(scene.global.simulated.as_deref())?
        .policy;
    match &cas.trust.simulated {
        None => {}
        Some(SimulatedTrust::ThisMachine) => {
            policy = policy.with_simulated(this_machine(scene)?.trust_anchor().clone());
        }
        Some(SimulatedTrust::Anchor(file)) => {
            policy = policy.with_simulated(anchor(Path::new(file))?);
        }
    }
    Ok(ExpectedCas {
        policy: tolerances.relax(policy),
        measurement: pin.measurement.filter(|_| !tolerances.lets_any_enclave()),
        owner: Some(pin.owner),
        cas_key: Some(pin.cas_key),
    })
}

/// All roles are one CAS's here.
fn one_cas(mesh: &Meshfile) -> Result<&Cas, Failure> {
    let missing = |role: Role| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("no CAS of the Meshfile has the role `{role}`"),
        )
        .with_hint(format!("add `{role}` to its `alias`"))
    };
    let cas = mesh.cas_for(Role::Cas).ok_or_else(|| missing(Role::Cas))?;
    for role in Role::ALL {
        match mesh.cas_for(*role) {
            Some(other) if other == cas => {}
            None => {}
            Some(other) => {
                return Err(Failure::new(
                    Exit::InvalidConfiguration,
                    format!(
                        "`cas[]` has two CASes: `{}` for the role `{}`, and `{}` for `{role}`; a mesh has one",
                        cas.url,
                        Role::Cas,
                        other.url
                    ),
                )
                .with_hint("its sessions import from each other, and CASes do not give each other secrets: leave one in `cas`, with all roles (which it has without `alias`)"));
            }
        }
    }
    Ok(cas)
}

fn another(name: &CasName, pin: &CasPin, found: CasKey) -> Failure {
    Failure::new(
        Exit::Refused,
        format!(
            "another CAS is at `{}`: `{name}` is known with the key {}, and what is there has the key {found}",
            pin.address, pin.cas_key
        ),
    )
    .with_hint(format!(
        "nothing was sent there. If it is to take the place of the old one, whose sessions it does not have: `mse cas attest {} --name {name} --replace`",
        pin.address
    ))
}

/// Where a CAS listens if nobody says otherwise.
const CAS_PORT: u16 = 18765;

fn is_at(pin: &CasPin, cas: &Cas) -> bool {
    let (host, port) = pin.address.rsplit_once(':').unwrap_or((&pin.address, ""));
    let same_port = cas
        .url
        .port()
        .is_none_or(|wanted| wanted.to_string() == port);
    host == cas.url.host() && same_port
}

/// The pins of the Meshfile besides what is known already.
fn prove_pins(cas: &Cas, attested: &mse_ratls::cas::AttestedCas) -> Result<(), Failure> {
    let pins = &cas.trust.pins;
    let refused = |field: &str, found: String| {
        Failure::new(
            Exit::Refused,
            format!("the CAS does not have the `{field}` of the Meshfile, but {found}"),
        )
        .with_hint(
            "it is another program than the Meshfile's author expects: do not give it anything",
        )
    };
    if !pins.mrenclave.is_empty() {
        let found = attested.measurement();
        let matches =
            |found: &mse_workload::Measurement| pins.mrenclave.iter().any(|pin| pin.0 == found.0.0);
        if !found.as_ref().is_some_and(matches) {
            let found = found.map_or_else(|| "none of this form".to_owned(), |one| one.to_string());
            return Err(refused("mrenclave", found));
        }
    }
    if !pins.mrsigner.is_empty() || pins.isvprodid.is_some() || pins.isvsvn.is_some() {
        return Err(Failure::new(
            Exit::InvalidConfiguration,
            "`cas`: a CAS is known by its measurement here: `mrsigner`, `isvprodid` and `isvsvn` are not compared",
        )
        .with_hint("pin `mrenclave`, or leave the pins away: the CAS is compared with what was attested before"));
    }
    Ok(())
}

fn this_machine(scene: &Scene<'_>) -> Result<Platform, Failure> {
    Platform::open_or_create(&scene.conf.simulated_platform(), SystemTime::now())
        .map_err(|error| Failure::other(error.to_string()))
}

fn anchor(file: &Path) -> Result<TrustAnchor, Failure> {
    let invalid = |why: String| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}` is no trust anchor: {why}", file.display()),
        )
    };
    let text = private_file::read(file, 64 * 1024)?
        .ok_or_else(|| invalid("there is no such file".into()))?;
    TrustAnchor::from_toml(&text).map_err(|error| invalid(error.to_string()))
}

/// Where collateral for the CAS comes from.
enum MeshCollateral {
    /// The simulated platform of this machine, on which the CAS runs.
    Own(Box<Platform>),
    Asked(Collaterals),
}

impl CollateralSource for MeshCollateral {
    type Error = NoCollateral;

    async fn collateral(&self, evidence: &Evidence) -> Result<Collateral, NoCollateral> {
        match self {
            Self::Own(platform) => platform
                .collateral(SystemTime::now())
                .map(Into::into)
                .map_err(|error| NoCollateral(error.to_string())),
            Self::Asked(source) => source
                .collateral(evidence)
                .await
                .map_err(|error| NoCollateral(error.to_string())),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoCollateral(String);
