//! What a CAS says of itself, and proves on each connection.

use std::time::Duration;

use mse_crypto::digest::sha512;
use mse_ratls::ChannelBinding;
use mse_ratls::binding::Nonce;
use mse_ratls::cas::recovery::Recovering;
use mse_ratls::cas::{AttestAnswer, CasDescription, DESCRIPTION_FORMAT, attest_report_data};
use mse_tee::attester::{Attester, AttesterError};
use mse_workload::CasWorkload;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::identity::{Identity, audit_key, session_encryption_key};
use crate::keys::{Purpose, RootKey};

/// Evidence is made for this many at once: strangers may ask for it.
const AT_ONCE: usize = 4;
/// Who waits longer for a turn is told to come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a description is made of.
pub(super) struct Facts<'a> {
    pub(super) root: &'a RootKey,
    pub(super) identity: &'a Identity,
    pub(super) store_id: String,
    pub(super) workload: &'a CasWorkload,
    /// Before there is a root key.
    pub(super) recovering: Option<Recovering>,
}

/// Proves what the CAS is.
pub struct Attestation {
    attester: Attester,
    description: CasDescription,
    turns: Semaphore,
}

impl Attestation {
    /// Asks the attester once, to know which TEE it is.
    pub(super) async fn new(attester: Attester, facts: Facts<'_>) -> Result<Self, AttesterError> {
        let Facts {
            root,
            identity,
            store_id,
            workload,
            recovering,
        } = facts;
        let probe = attester
            .evidence(&sha512(&[b"mse-cas-which-tee-v1\0"]))
            .await?;
        let simulated = matches!(attester, Attester::Simulated(_));
        let tee = if simulated {
            "simulated"
        } else {
            probe.evidence.kind().tee().as_str()
        };
        let encryption = session_encryption_key(&root.derive(Purpose::SessionEncryption));
        let description = CasDescription {
            format: DESCRIPTION_FORMAT,
            cas_key: identity.key(),
            audit_key: audit_key(&root.derive(Purpose::AuditSigning))
                .public()
                .to_pem(),
            session_encryption_key: hex::encode(encryption.public().0),
            owner: workload.owner,
            store_id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tee: tee.to_owned(),
            simulated,
            recovering,
        };
        Ok(Self {
            attester,
            description,
            turns: Semaphore::new(AT_ONCE),
        })
    }

    /// What the CAS says of itself.
    pub fn description(&self) -> &CasDescription {
        &self.description
    }

    /// Where its evidence and its sealing keys come from.
    pub fn attester(&self) -> &Attester {
        &self.attester
    }

    /// Evidence of the description, for the connection `channel` and this nonce; `None` if too many
    /// ask.
    pub async fn answer(
        &self,
        nonce: &Nonce,
        channel: &ChannelBinding,
    ) -> Result<Option<AttestAnswer>, AttesterError> {
        let Ok(Ok(_turn)) = timeout(PATIENCE, self.turns.acquire()).await else {
            return Ok(None);
        };
        let data = attest_report_data(nonce, channel, &self.description.digest());
        let attested = self.attester.evidence(&data).await?;
        Ok(Some(AttestAnswer::new(
            self.description.clone(),
            &attested.evidence,
            &attested.certificates,
        )))
    }
}
