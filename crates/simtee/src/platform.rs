//! The platform: its keys in memory, and what it signs with them.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use mse_attest::{DcapCollateral, TrustAnchor, TrustAnchorError};
use mse_crypto::{Digest, sealing::SealingKey};
use mse_workload::launch::SealPolicy;
use mse_workload::measurement::{self, EnclaveDigest, Measurement, WorkloadDigest};
use rcgen::SerialNumber;
use thiserror::Error;

use crate::{
    authority::{Authority, serial_of},
    collateral::CollateralOptions,
    quote::{self, QuoteOptions, QuotingEnclave},
    state::{State, StateError},
};

/// FMSPC of every simulated platform: `SIM`, then 000001.
pub const FMSPC: [u8; 6] = [b'S', b'I', b'M', 0, 0, 1];

/// One simulated platform.
///
/// Holds private keys; it has no `Debug`, and its directory is readable by its owner only.
pub struct Platform {
    pub(crate) root: Authority,
    pub(crate) pck_ca: Authority,
    pub(crate) tcb_signer: Signer,
    pub(crate) pck: Signer,
    attestation_key: EcdsaKeyPair,
    mrsigner: [u8; 32],
    /// What sealing keys are derived from.
    seal_root: SealingKey,
    /// What vouches for the attestation key: the same in every quote, so signed once.
    endorsed: Vec<u8>,
    issued: Mutex<Option<Issued>>,
    trust_anchor: TrustAnchor,
}

impl Platform {
    /// Makes a new platform in `dir`, which must not exist yet or be empty: all of it or nothing.
    ///
    /// `now` is when its certificates become valid. Takes some hundred milliseconds, for an RSA
    /// key.
    pub fn create(dir: &Path, now: SystemTime) -> Result<Self, PlatformError> {
        let state = State::generate(now)?;
        state.store(dir)?;
        Self::of(state)
    }

    /// Opens the platform in `dir`. Refuses private keys that others can read.
    pub fn open(dir: &Path) -> Result<Self, PlatformError> {
        Self::of(State::load(dir)?)
    }

    /// Opens the platform in `dir`, or makes one if there is none. Any number of processes may do
    /// so at once: all get the same platform.
    pub fn open_or_create(dir: &Path, now: SystemTime) -> Result<Self, PlatformError> {
        match Self::open(dir) {
            Err(error) if error.is_absent() => (),
            other => return other,
        }
        let exists = match Self::create(dir, now) {
            Err(error @ PlatformError::State(StateError::Exists { .. })) => error,
            other => return other,
        };
        // Either another process was faster, or something else is in the way.
        match Self::open(dir) {
            Err(error) if error.is_absent() => Err(exists),
            other => other,
        }
    }

    /// What this platform measures when it launches the `enclave` program for `workload`.
    pub fn measure(enclave: &EnclaveDigest, workload: &WorkloadDigest) -> Measurement {
        measurement::simulated(enclave, workload)
    }

    /// Signs a quote for an enclave of this measurement that put `report_data` into its report.
    ///
    /// The enclave is a production one (no debug), product 1, version 1. Costs one signature.
    pub fn quote(
        &self,
        mrenclave: [u8; 32],
        report_data: &[u8; 64],
    ) -> Result<Vec<u8>, PlatformError> {
        let signed = quote::signed_part(
            mrenclave,
            self.mrsigner,
            report_data,
            &QuoteOptions::default(),
        );
        self.seal(&signed, &self.endorsed)
    }

    /// As [`Platform::quote`], with `options` that an honest platform would not choose.
    pub fn quote_with(
        &self,
        mrenclave: [u8; 32],
        report_data: &[u8; 64],
        options: &QuoteOptions,
    ) -> Result<Vec<u8>, PlatformError> {
        let signed = quote::signed_part(mrenclave, self.mrsigner, report_data, options);
        let endorsed = self.endorse(&options.quoting_enclave)?;
        self.seal(&signed, &endorsed)
    }

    /// The sealing key of an enclave of this measurement: the same whenever this platform launches
    /// an enclave that `policy` takes for the same, and of no use elsewhere.
    pub fn seal_key(&self, mrenclave: &[u8; 32], policy: SealPolicy) -> SealingKey {
        match policy {
            SealPolicy::Measurement => self
                .seal_root
                .derive("mse-sim-seal-measurement-v1", mrenclave),
            SealPolicy::Signer => self
                .seal_root
                .derive("mse-sim-seal-signer-v1", &self.mrsigner),
        }
    }

    /// Signer of every enclave that this platform quotes: SHA-256 of an RSA-3072 modulus, 384
    /// bytes, little-endian.
    pub fn mrsigner(&self) -> [u8; 32] {
        self.mrsigner
    }

    /// The collateral to appraise this platform's quotes with at `now`.
    ///
    /// Valid for 30 days, and signed anew once half of that is over, so a platform that runs for
    /// months always has some. Dated an hour back: clocks of verifiers may be behind.
    pub fn collateral(&self, now: SystemTime) -> Result<DcapCollateral, PlatformError> {
        let mut issued = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fresh) = issued.as_ref().filter(|issued| issued.is_fresh(now)) {
            return Ok(fresh.collateral.clone());
        }
        let collateral = self.collateral_with(&CollateralOptions::honest(now))?;
        *issued = Some(Issued {
            at: now,
            collateral: collateral.clone(),
        });
        Ok(collateral)
    }

    /// What a verifier needs to accept this platform, for those who choose to: its root and its
    /// enclave signer. [`TrustAnchor::to_toml`] gives the file, which is also in the platform's
    /// directory as `trust-anchor.toml`.
    pub fn trust_anchor(&self) -> &TrustAnchor {
        &self.trust_anchor
    }

    /// The root certificate, DER.
    pub fn root_der(&self) -> &[u8] {
        self.trust_anchor.root_der()
    }

    /// The root certificate, PEM.
    pub fn root_pem(&self) -> &str {
        self.root.pem()
    }

    fn of(state: State) -> Result<Self, PlatformError> {
        let mrsigner = state.mrsigner()?;
        let mut platform = Self {
            trust_anchor: state.trust_anchor()?,
            root: state.root,
            pck_ca: state.pck_ca,
            tcb_signer: Signer::load("tcb-signing", &state.tcb_signing_key, state.tcb_signing)?,
            pck: Signer::load("pck", &state.pck_key, state.pck)?,
            attestation_key: signing_key("attestation", &state.attestation_key)?,
            mrsigner,
            seal_root: SealingKey::from_bytes(Digest::of(&state.attestation_key).0),
            endorsed: Vec::new(),
            issued: Mutex::default(),
        };
        platform.endorsed = platform.endorse(&QuotingEnclave::default())?;
        Ok(platform)
    }

    /// The part of a quote that vouches for the attestation key.
    fn endorse(&self, enclave: &QuotingEnclave) -> Result<Vec<u8>, PlatformError> {
        let mut attestation_key = [0; 64];
        attestation_key.copy_from_slice(&self.attestation_key.public_key().as_ref()[1..]);
        let report = quote::qe_report(&attestation_key, enclave);
        let signature = self.pck.sign(&report)?;
        let chain = format!(
            "{}{}{}",
            self.pck.certificate,
            self.pck_ca.pem(),
            self.root.pem()
        );
        Ok(quote::endorsed_part(
            &attestation_key,
            &report,
            &signature,
            chain.as_bytes(),
        ))
    }

    fn seal(&self, signed: &[u8], endorsed: &[u8]) -> Result<Vec<u8>, PlatformError> {
        let signature = sign(&self.attestation_key, signed)?;
        Ok(quote::assemble(signed, &signature, endorsed))
    }
}

/// Why a platform could not be made, opened or used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlatformError {
    /// Its directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// A private key that does not parse.
    #[error(
        "the private key `{name}` of the simulated platform cannot be read; restore the platform's directory, or remove it to make another platform"
    )]
    Key {
        /// The key's name, that of its file.
        name: &'static str,
    },
    /// A certificate or CRL that cannot be read or made.
    #[error(
        "the certificates of the simulated platform cannot be used: {0}; restore the platform's directory, or remove it to make another platform"
    )]
    Certificate(#[from] rcgen::Error),
    /// The root cannot serve as a trust anchor.
    #[error(transparent)]
    TrustAnchor(#[from] TrustAnchorError),
    /// The cryptographic library failed, which it does only without randomness.
    #[error(
        "the simulated platform could not generate a key or a signature; check that the machine has a source of randomness"
    )]
    Crypto,
    /// A date that a certificate or document cannot hold.
    #[error("`{seconds}` s after 1970 cannot be written as a date; check the clock")]
    Date {
        /// The time, as unix seconds.
        seconds: u64,
    },
}

impl PlatformError {
    fn is_absent(&self) -> bool {
        matches!(self, Self::State(StateError::Absent { .. }))
    }
}

/// A key of the platform that signs raw `r ‖ s`, with its certificate.
pub(crate) struct Signer {
    key: EcdsaKeyPair,
    /// PEM.
    pub(crate) certificate: String,
}

impl Signer {
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], PlatformError> {
        sign(&self.key, message)
    }

    pub(crate) fn serial(&self) -> SerialNumber {
        serial_of(self.key.public_key().as_ref())
    }

    fn load(name: &'static str, pkcs8: &[u8], certificate: String) -> Result<Self, PlatformError> {
        Ok(Self {
            key: signing_key(name, pkcs8)?,
            certificate,
        })
    }
}

struct Issued {
    at: SystemTime,
    collateral: DcapCollateral,
}

impl Issued {
    /// A clock that was set back makes it stale too: what is dated later would be refused.
    fn is_fresh(&self, now: SystemTime) -> bool {
        now.duration_since(self.at)
            .is_ok_and(|age| age < COLLATERAL_LIFE / 2)
    }
}

/// How long collateral is valid.
pub(crate) const COLLATERAL_LIFE: Duration = Duration::from_hours(30 * 24);

fn signing_key(name: &'static str, pkcs8: &[u8]) -> Result<EcdsaKeyPair, PlatformError> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
        .map_err(|_| PlatformError::Key { name })
}

fn sign(key: &EcdsaKeyPair, message: &[u8]) -> Result<[u8; 64], PlatformError> {
    let signature = key
        .sign(&SystemRandom::new(), message)
        .map_err(|_| PlatformError::Crypto)?;
    signature
        .as_ref()
        .try_into()
        .map_err(|_| PlatformError::Crypto)
}
