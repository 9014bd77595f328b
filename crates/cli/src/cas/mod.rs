//! What this machine's user knows of CASes: which are pinned, and as whom to speak to them.

mod client_key;
mod known;
mod pccs;
mod pin;
mod seen;
mod upstream;

use mse_api::cas::CasErrorCode;
use mse_attest::{CheckName, Reason, Refusal};
use mse_ratls::cas::AttestError;
use mse_ratls::cas::client::{CasClient, CasError, connect_pinned};
use serde_json::json;

use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::findings;

pub(crate) use client_key::ClientKey;
pub(crate) use known::{CasChoice, KnownCas, Span};
pub(crate) use pccs::LocalPccs;
pub(crate) use pin::{CasName, CasPin, CasPins};
pub(crate) use upstream::CasUpstream;

/// A pinned connection to the CAS that was attested as `name`, as this user if there is a key
/// (`mse cas keygen`).
pub(crate) async fn connect(
    scene: &Scene<'_>,
    name: &CasName,
) -> Result<(CasClient, CasPin), Failure> {
    let pin = CasPins::of(&scene.conf).required(name)?;
    let key = ClientKey::load(&scene.conf)?;
    let client = key.as_ref().map(|key| &key.identity);
    let client = connect_pinned(&pin.address()?, pin.cas_key, client).await?;
    Ok((client, pin))
}

impl From<CasError> for Failure {
    fn from(error: CasError) -> Self {
        let text = error.to_string();
        match error {
            CasError::Attest(error) => error.into(),
            CasError::Timeout(..) => Self::new(Exit::TimedOut, text).with_hint("try again"),
            CasError::Identity(_) => Self::new(Exit::Refused, text).with_hint(
                "another CAS is at this address, or somebody is in between: do not send anything there",
            ),
            CasError::Client(_) => Self::new(Exit::InvalidConfiguration, text)
                .with_hint("`mse cas keygen` makes a key"),
            CasError::Answer(_) | CasError::Status(_) => Self::new(Exit::Platform, text)
                .with_hint("is a CAS of the same version at this address?"),
            CasError::Refused {
                status,
                code,
                hint,
                faults,
                ..
            } => {
                let failure = Self::new(exit_of(&code), text.clone())
                    .details(json!({"status": status, "code": code, "faults": faults}));
                let failure = match findings::text_of_faults(&faults) {
                    Some(findings) => failure.rendered_after(&findings),
                    None => failure,
                };
                match hint.as_deref().or_else(|| hint_of(&code)) {
                    Some(hint) => failure.with_hint(hint),
                    None => failure,
                }
            }
            CasError::Collateral(_) => Self::new(Exit::Platform, text).with_hint(
                "name a service that knows the platform with `--pccs URL`, or a file that was kept with `--collateral FILE`",
            ),
            _ => Self::new(Exit::Platform, text)
                .with_hint("does the CAS run, and is `HOST:PORT` its address?"),
        }
    }
}

/// How a command ends that the CAS refuses.
fn exit_of(code: &str) -> Exit {
    let Ok(code) = serde_json::from_value(code.into()) else {
        return Exit::Platform;
    };
    match code {
        CasErrorCode::Forbidden => Exit::Forbidden,
        CasErrorCode::NotFound => Exit::NotFound,
        CasErrorCode::Exists | CasErrorCode::Conflict | CasErrorCode::Revoked => Exit::Conflict,
        CasErrorCode::RolledBack => Exit::RolledBack,
        CasErrorCode::Malformed | CasErrorCode::TooLarge | CasErrorCode::Invalid => {
            Exit::InvalidConfiguration
        }
        CasErrorCode::Internal | CasErrorCode::Unavailable => Exit::Platform,
    }
}

/// What to do where the CAS does not say it.
fn hint_of(code: &str) -> Option<&'static str> {
    match exit_of(code) {
        Exit::RolledBack => Some(
            "give this CAS nothing and take nothing from it before its owner has told you why. What you saw is kept; if the owner restored a backup on purpose: `mse cas position --accept`",
        ),
        Exit::Forbidden => Some("`mse cas whoami` shows who you are to a CAS"),
        _ => None,
    }
}

/// What to do about a refusal, where a CAS is another matter than an app.
fn refusal_hint(refusal: &Refusal) -> Option<&'static str> {
    match (refusal.reason, refusal.failed) {
        (Reason::SimulatedEvidence, _) => Some(
            "no hardware stands behind simulated evidence. To accept that on purpose: `--simulated this-machine` if the CAS runs on this machine's simulated platform, else `--simulated FILE` with that platform's trust anchor",
        ),
        (_, CheckName::MrEnclave) => Some(
            "what a CAS measures includes its program, its owner, and what it was run with: give `--owner`, `--accept-simulated`, `--memory`, `--cores`, approvers, custodians and token libraries as `mse cas run` had them, which prints the whole command. If they are the same, it is another program: do not give it anything",
        ),
        _ => None,
    }
}

impl From<AttestError> for Failure {
    fn from(error: AttestError) -> Self {
        let text = error.to_string();
        match error {
            AttestError::Refused(refusal) => {
                let hint = refusal_hint(&refusal);
                let failure = Self::of_refusal("the evidence of the CAS", &refusal);
                match hint {
                    Some(hint) => failure.with_hint(hint),
                    None => failure,
                }
            }
            AttestError::Owner { .. } => Self::new(Exit::Refused, text)
                .with_hint("it is somebody else's: do not give it anything"),
            AttestError::Key { .. } => Self::new(Exit::Refused, text)
                .with_hint("it is another CAS, or somebody is in between: do not give it anything"),
            AttestError::Report(_) => Self::new(Exit::InvalidConfiguration, text)
                .with_hint("`mse cas attest ADDRESS --report FILE` makes one"),
            AttestError::Stage(_) => Self::new(Exit::Refused, text)
                .with_hint("`mse cas recovery give` is for a CAS that waits for shares, everything else for one that runs"),
            AttestError::Evidence(_) | AttestError::Description(_) => {
                Self::new(Exit::Refused, text).with_hint("do not give it anything")
            }
        }
    }
}
