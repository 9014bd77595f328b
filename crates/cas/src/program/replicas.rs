//! The giving side: which instances get the root key from this one.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_api::cas::{CasError, CasErrorCode};
use mse_attest::{Evidence, MeasuredProgram, ReferenceValues, Verifier};
use mse_audit::entry::{Event, KeyHash, Measurement};
use mse_crypto::hpke::PublicKey;
use mse_crypto::{Digest, Zeroizing};
use mse_ratls::binding::Nonce;
use mse_ratls::cas::join::{Inheritance, JoinAnswer, JoinRequest, MAX_JOIN, join_report_data};
use mse_ratls::cas::upgrade::UpgradeAuthorization;
use mse_ratls::wire::decode_certificates;
use mse_ratls::{ChannelBinding, CollateralSource as _};

use super::{Cas, join};
use crate::audit_log;
use crate::challenge::Challenges;
use crate::sessions::Limiter;
use crate::store::Write;

/// Gives the root key to instances of this very program, and to those that enough approvers let
/// have it.
pub(super) struct Replicas {
    cas: Arc<Cas>,
    challenges: Challenges,
    refusals: Limiter,
}

impl Replicas {
    pub(super) fn new(cas: Arc<Cas>, challenges: Challenges) -> Self {
        Self {
            cas,
            challenges,
            refusals: Limiter::new(),
        }
    }

    /// Answers an instance that wants to join.
    pub(super) async fn join(
        &self,
        body: &[u8],
        channel: &ChannelBinding,
    ) -> Result<JoinAnswer, CasError> {
        let asked = Asked::read(body)?;
        match self.decide(&asked, channel).await {
            Ok(program) => self.give(&asked, &program, channel).await,
            Err(refused) => {
                tracing::warn!(
                    check = refused.check,
                    "an instance may not join: {}",
                    refused.told.message
                );
                self.record_refusal(&asked, refused.check).await;
                Err(refused.told)
            }
        }
    }

    /// Which program it is, if it may have the key.
    async fn decide(
        &self,
        asked: &Asked,
        channel: &ChannelBinding,
    ) -> Result<MeasuredProgram, Refused> {
        let now = SystemTime::now();
        self.challenges
            .check(&asked.nonce, now)
            .map_err(|error| Refused::unnamed(CasErrorCode::Forbidden, error.to_string()))?;
        let own = self.cas.program.as_ref().ok_or_else(|| {
            Refused::unnamed(
                CasErrorCode::Unavailable,
                "this CAS cannot tell which program it is itself, so it lets nobody join; its operator finds the reason in its log".into(),
            )
        })?;
        let mut collateral = self
            .cas
            .collateral
            .collateral(&asked.evidence)
            .await
            .map_err(|error| {
                tracing::warn!(%error, "there is no collateral for the platform of an instance");
                Refused::unnamed(
                    CasErrorCode::Unavailable,
                    "this CAS has no collateral for your platform now: try again, or have its operator name a service that knows it".into(),
                )
            })?;
        if collateral.certificates.is_empty() {
            collateral.certificates.clone_from(&asked.certificates);
        }
        let expected = ReferenceValues {
            report_data: Some(join_report_data(&asked.nonce, channel, &asked.x25519)),
            ..ReferenceValues::default()
        };
        let appraisal = Verifier::new(join::policy(own, &self.cas.simulated))
            .appraise(&asked.evidence, &collateral, &expected, now)
            .map_err(|refusal| Refused {
                check: Some(refusal.failed.to_string()),
                told: CasError::new(CasErrorCode::Forbidden, refusal.to_string()),
            })?;
        let program = MeasuredProgram::of(&appraisal).ok_or_else(|| {
            Refused::named(
                "program",
                "evidence of this kind proves no program of a CAS".into(),
            )
        })?;
        if program != *own {
            self.admit(&program, asked.authorization.as_ref())?;
        }
        Ok(program)
    }

    /// Whether another program may have the key.
    fn admit(
        &self,
        program: &MeasuredProgram,
        authorization: Option<&UpgradeAuthorization>,
    ) -> Result<(), Refused> {
        let other = |why: &str| {
            let found = hex::encode(program.measurement());
            let what = format!(
                "measurement {found} on the TEE `{}` is another program or workload than this CAS, {why}",
                program.tee().as_str()
            );
            Refused::named("program", what)
        };
        let policy = (self.cas.workload.upgrade.as_ref())
            .ok_or_else(|| other("whose workload lets no other program ever have its root key"))?;
        let authorization = authorization
            .ok_or_else(|| other("and brings no signatures of those who approve upgrades"))?;
        authorization
            .verify(policy, self.cas.identity.key(), program)
            .map(drop)
            .map_err(|error| Refused::named("upgrade", error.to_string()))
    }

    /// The audit log has it before anything leaves.
    async fn give(
        &self,
        asked: &Asked,
        program: &MeasuredProgram,
        channel: &ChannelBinding,
    ) -> Result<JoinAnswer, CasError> {
        let unavailable = |error: &dyn std::error::Error| {
            tracing::error!(%error, "an instance cannot join now");
            CasError::new(
                CasErrorCode::Unavailable,
                "this CAS cannot reach its store now: try again",
            )
        };
        let tee = program.tee().as_str().parse();
        let event = Event::ReplicaJoined {
            measurement: Measurement::from_bytes(program.measurement())
                .map_err(|error| unavailable(&error))?,
            replica: asked.name(),
            tee: tee.map_err(|error| unavailable(&error))?,
        };
        let leaf = audit_log::leaf(event, None, None);
        let store = &self.cas.store;
        let committed = store
            .commit(Write::new().audit(leaf))
            .await
            .map_err(|error| unavailable(&error))?;
        let inheritance = Inheritance {
            root_key: Zeroizing::new(hex::encode(self.cas.root.expose())),
            store_id: store.id().to_string(),
            sequence: committed.position.sequence,
            head: committed.position.head.to_string(),
        };
        let sealed = inheritance
            .seal(&asked.x25519, channel)
            .map_err(|error| malformed(&format!("`x25519`: {error}")))?;
        tracing::info!(
            tee = program.tee().as_str(),
            measurement = hex::encode(program.measurement()),
            "an instance joins this CAS"
        );
        Ok(JoinAnswer {
            sealed: BASE64.encode(sealed),
        })
    }

    /// Tells the audit log of a refusal, as long as it is not one of very many.
    async fn record_refusal(&self, asked: &Asked, check: Option<String>) {
        let Some(Ok(check)) = check.map(|check| check.parse()) else {
            return;
        };
        if !self.refusals.admit("replica") {
            return;
        }
        let event = Event::ReplicaRefused {
            check,
            replica: asked.name(),
        };
        let leaf = audit_log::leaf(event, None, None);
        if let Err(error) = self.cas.store.commit(Write::new().audit(leaf)).await {
            tracing::error!(%error, "a refusal is missing in the audit log");
        }
    }
}

/// Why an instance gets nothing, and what the audit log calls it: nothing for what is no attempt.
struct Refused {
    check: Option<String>,
    told: CasError,
}

impl Refused {
    fn unnamed(code: CasErrorCode, message: String) -> Self {
        Self {
            check: None,
            told: CasError::new(code, message),
        }
    }

    fn named(check: &str, message: String) -> Self {
        Self {
            check: Some(check.to_owned()),
            told: CasError::new(CasErrorCode::Forbidden, message),
        }
    }
}

/// What an instance sent, read strictly. Nothing of it is proven yet.
struct Asked {
    nonce: Nonce,
    x25519: PublicKey,
    evidence: Evidence,
    certificates: Vec<Vec<u8>>,
    authorization: Option<UpgradeAuthorization>,
}

impl Asked {
    fn read(body: &[u8]) -> Result<Self, CasError> {
        if body.len() > MAX_JOIN {
            return Err(CasError::new(
                CasErrorCode::TooLarge,
                format!("the request has more than {MAX_JOIN} bytes"),
            ));
        }
        let request: JoinRequest = serde_json::from_slice(body)
            .map_err(|error| malformed(&format!("the request is not as specified: {error}")))?;
        let evidence = BASE64
            .decode(&request.evidence)
            .map_err(|_| malformed("`evidence` is not base64"))?;
        Ok(Self {
            nonce: Nonce(fixed("nonce", &request.nonce)?),
            x25519: PublicKey(fixed("x25519", &request.x25519)?),
            evidence: Evidence::parse(&evidence)
                .map_err(|error| malformed(&format!("`evidence`: {error}")))?,
            certificates: decode_certificates(&request.certificates)
                .ok_or_else(|| malformed("`certificates` is over its bounds, or not base64"))?,
            authorization: request.authorization,
        })
    }

    /// What the audit log calls it: by the key that it asked with.
    fn name(&self) -> KeyHash {
        KeyHash(Digest::of(&self.x25519.0))
    }
}

fn malformed(message: &str) -> CasError {
    CasError::new(CasErrorCode::Malformed, message)
}

fn fixed<const N: usize>(field: &str, text: &str) -> Result<[u8; N], CasError> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)
        .map_err(|_| malformed(&format!("`{field}` is not `{N}` bytes in hexadecimal")))?;
    Ok(bytes)
}
