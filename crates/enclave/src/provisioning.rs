//! Taking the owner's secrets: everything is checked before anything is kept.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mse_crypto::hpke::KeyPair;
use mse_ratls::provisioning::PayloadError;
use mse_ratls::wire::{Problem, ProblemCode};
use mse_ratls::{ChannelBinding, ProvisioningPayload};
use mse_workload::bundle::{NoSink, UnsealError, unseal};
use mse_workload::{TlsOrigin, Workload};
use rustls::sign::CertifiedKey;
use tokio::sync::{Mutex, oneshot};

use crate::front::owner_certificate;

/// What was handed over and checked.
pub(crate) struct Provisioned {
    /// The owner's secrets and keys.
    pub(crate) payload: ProvisioningPayload,
    /// The owner's certificate with its key, with origin `owner`.
    pub(crate) certificate: Option<CertifiedKey>,
}

/// The one chance to provision this enclave. An attempt that fails a check leaves it open, so a
/// stranger who comes first only wastes their own time.
pub(crate) struct Provisioning {
    workload: Arc<Workload>,
    bundle: PathBuf,
    certificate_chain: Option<String>,
    done: AtomicBool,
    receiver: Arc<Mutex<Option<oneshot::Sender<Box<Provisioned>>>>>,
}

impl Provisioning {
    /// For the enclave of `workload`, whose bundle lies at `bundle`. What was provisioned comes
    /// out of the receiver.
    pub(crate) fn new(
        workload: Arc<Workload>,
        bundle: PathBuf,
        certificate_chain: Option<String>,
    ) -> (Self, oneshot::Receiver<Box<Provisioned>>) {
        let (sender, receiver) = oneshot::channel();
        let provisioning = Self {
            workload,
            bundle,
            certificate_chain,
            done: AtomicBool::new(false),
            receiver: Arc::new(Mutex::new(Some(sender))),
        };
        (provisioning, receiver)
    }

    /// Whether the secrets are there.
    pub(crate) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Refuses at once when there is nothing to provision any more.
    pub(crate) fn check_open(&self) -> Result<(), Problem> {
        if self.is_done() {
            Err(already_provisioned())
        } else {
            Ok(())
        }
    }

    /// Opens `sealed` and checks all of it: the app it names, the code key by its check value,
    /// the form of the secrets, the TLS key against the measured certificate, and that the code
    /// key opens the measured bundle. Only the last takes long, and only the owner gets there.
    pub(crate) async fn provision(
        &self,
        sealed: &[u8],
        key: &KeyPair,
        channel: &ChannelBinding,
    ) -> Result<(), Problem> {
        let payload = ProvisioningPayload::open(sealed, &self.workload.app_id, key, channel)
            .map_err(|error| problem(code_of(&error), error.to_string()))?;
        if payload.app_id != self.workload.app_id {
            return Err(problem(
                ProblemCode::WrongApp,
                format!("this is the enclave of the app `{}`", self.workload.app_id),
            ));
        }
        if payload.code_key.check_value() != self.workload.code_key_check {
            return Err(problem(
                ProblemCode::WrongCodeKey,
                "this is not the code key of the measured bundle",
            ));
        }
        check_secrets(&payload)?;
        let certificate = self.certificate(&payload)?;
        // Held by the check itself: a request that is given up does not let a second one start.
        let receiver = Arc::clone(&self.receiver).lock_owned().await;
        if receiver.is_none() {
            return Err(already_provisioned());
        }
        let (workload, bundle) = (Arc::clone(&self.workload), self.bundle.clone());
        let (mut receiver, payload) = tokio::task::spawn_blocking(move || {
            check_bundle(&workload, &bundle, &payload).map(|()| (receiver, payload))
        })
        .await
        .map_err(|_| problem(ProblemCode::WrongCodeKey, "the bundle cannot be checked"))??;
        let provisioned = Provisioned {
            payload,
            certificate,
        };
        if receiver
            .take()
            .is_some_and(|receiver| receiver.send(Box::new(provisioned)).is_ok())
        {
            self.done.store(true, Ordering::Release);
            return Ok(());
        }
        Err(problem(
            ProblemCode::Busy,
            "the enclave is ending: it was not provisioned in time",
        ))
    }

    fn certificate(&self, payload: &ProvisioningPayload) -> Result<Option<CertifiedKey>, Problem> {
        let wrong = |message: String| problem(ProblemCode::WrongTlsKey, message);
        match (
            self.workload.tls.origin,
            &self.certificate_chain,
            &payload.tls_private_key,
        ) {
            (TlsOrigin::Owner, Some(chain), Some(key)) => owner_certificate(chain, key)
                .map(Some)
                .map_err(|error| wrong(error.to_string())),
            (TlsOrigin::Owner, _, _) => Err(wrong(
                "this app is served with its owner's certificate: its private key is missing"
                    .into(),
            )),
            (_, _, Some(_)) => Err(wrong(
                "this app is not served with its owner's certificate: no private key is taken"
                    .into(),
            )),
            _ => Ok(None),
        }
    }
}

/// Opens the whole bundle and compares it with what was measured.
fn check_bundle(
    workload: &Workload,
    bundle: &Path,
    payload: &ProvisioningPayload,
) -> Result<(), Problem> {
    let wrong = |message: String| problem(ProblemCode::WrongCodeKey, message);
    let opened = File::open(bundle)
        .map_err(UnsealError::Read)
        .and_then(|file| unseal(file, &payload.code_key, &payload.source_salt, &mut NoSink))
        .map_err(|error| wrong(error.to_string()))?;
    if opened.digest != workload.bundle {
        return Err(wrong(format!(
            "the bundle has the digest `{}` and not the measured `{}`: it was changed on the platform",
            opened.digest, workload.bundle
        )));
    }
    if opened.commitment != workload.source_commitment {
        return Err(wrong(
            "the decrypted code does not have the measured source commitment".into(),
        ));
    }
    Ok(())
}

fn check_secrets(payload: &ProvisioningPayload) -> Result<(), Problem> {
    let Some(secrets) = &payload.secrets else {
        return Ok(());
    };
    serde_json::from_str::<serde::de::IgnoredAny>(secrets)
        .map(drop)
        .map_err(|_| problem(ProblemCode::Malformed, "the secrets are not JSON"))
}

fn already_provisioned() -> Problem {
    problem(
        ProblemCode::AlreadyProvisioned,
        "this enclave has its secrets already; deploy the app again to change them",
    )
}

fn code_of(error: &PayloadError) -> ProblemCode {
    match error {
        PayloadError::TooLarge => ProblemCode::TooLarge,
        PayloadError::Seal(_) => ProblemCode::DoesNotOpen,
        PayloadError::Json | PayloadError::Field(_) => ProblemCode::Malformed,
    }
}

fn problem(code: ProblemCode, message: impl Into<String>) -> Problem {
    Problem {
        code,
        message: message.into(),
    }
}
