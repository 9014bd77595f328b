//! The joining side: how an instance gets the root key from one that runs.

use mse_attest::{MeasuredProgram, Policy, TrustAnchor};
use mse_crypto::Zeroizing;
use mse_crypto::hpke::KeyPair;
use mse_ratls::binding::Nonce;
use mse_ratls::cas::ExpectedCas;
use mse_ratls::cas::client::{CasError, InvalidAddress, connect_pinned};
use mse_ratls::cas::join::{
    Inheritance, JoinAnswer, JoinError, JoinRequest, REPLICA, join_report_data,
};
use mse_ratls::cas::upgrade::{UpgradeAuthorization, UpgradeError};
use mse_ratls::release::{CHALLENGE, ReleaseChallenge};
use mse_tee::attester::{Attester, AttesterError};
use mse_workload::{CasKey, CasWorkload};

use super::Collaterals;
use crate::keys::RootKey;
use crate::store::{Position, StoreId};

/// What a running instance gave.
pub(super) struct Inherited {
    pub(super) root: RootKey,
    pub(super) store: StoreId,
    /// The store must be there, or further.
    pub(super) position: Position,
}

/// Who asks, and by what it judges the instance that it asks.
pub(super) struct Heir<'a> {
    pub(super) workload: &'a CasWorkload,
    pub(super) simulated: &'a [TrustAnchor],
    pub(super) collateral: &'a Collaterals,
    pub(super) attester: &'a Attester,
}

/// How evidence of instances is appraised by an instance that is `own`: strictly, and simulated
/// platforms count only for what is simulated itself.
pub(super) fn policy(own: &MeasuredProgram, simulated: &[TrustAnchor]) -> Policy {
    match own {
        MeasuredProgram::Simulated { .. } => simulated
            .iter()
            .cloned()
            .fold(Policy::strict(), Policy::with_simulated),
        _ => Policy::strict(),
    }
}

impl Heir<'_> {
    /// Asks the instance at `address`, whose root key must be `cas_key`.
    pub(super) async fn inherit(
        &self,
        address: &str,
        cas_key: CasKey,
        authorization: Option<&str>,
    ) -> Result<Inherited, JoinFailure> {
        let own = self.attester.own_program().await?;
        let authorization = authorization
            .map(|json| UpgradeAuthorization::from_json(json.as_bytes()))
            .transpose()?;
        let mut running = connect_pinned(&address.parse()?, cas_key, None).await?;
        let expected = ExpectedCas {
            policy: policy(&own, self.simulated),
            measurement: None,
            owner: None,
            cas_key: Some(cas_key),
        };
        let attested = Box::pin(running.attest(&expected, self.collateral)).await?;
        if MeasuredProgram::of(&attested.appraisal) != Some(own) {
            self.vouched(cas_key, &own, authorization.as_ref())?;
        }
        let challenge: ReleaseChallenge = running.post(CHALLENGE, &()).await?;
        let mut nonce = Nonce([0; 32]);
        hex::decode_to_slice(&challenge.nonce, &mut nonce.0).map_err(|_| JoinError::Form)?;
        let key = KeyPair::generate();
        let channel = running.binding();
        let data = join_report_data(&nonce, &channel, &key.public());
        let evidence = self.attester.evidence(&data).await?;
        let request = JoinRequest::new(
            &nonce,
            &key.public(),
            &evidence.evidence,
            &evidence.certificates,
            authorization,
        );
        let answer: JoinAnswer = running.post(REPLICA, &request).await?;
        read(&Inheritance::open(&answer, &key, &channel)?)
    }

    /// Of another program only the approvers of this one's workload can say that it is a CAS whose
    /// root key nobody knows.
    fn vouched(
        &self,
        cas_key: CasKey,
        own: &MeasuredProgram,
        authorization: Option<&UpgradeAuthorization>,
    ) -> Result<(), JoinFailure> {
        let policy = self.workload.upgrade.as_ref().ok_or(JoinFailure::Other)?;
        let authorization = authorization.ok_or(JoinFailure::NotAuthorized)?;
        authorization.verify(policy, cas_key, own)?;
        Ok(())
    }
}

fn read(given: &Inheritance) -> Result<Inherited, JoinFailure> {
    let mut root = Zeroizing::new([0; 32]);
    let mut store = StoreId([0; 16]);
    hex::decode_to_slice(given.root_key.as_str(), root.as_mut()).map_err(|_| JoinError::Form)?;
    hex::decode_to_slice(&given.store_id, &mut store.0).map_err(|_| JoinError::Form)?;
    let head = given.head.parse().map_err(|_| JoinError::Form)?;
    Ok(Inherited {
        root: RootKey::from_bytes(*root),
        store,
        position: Position {
            sequence: given.sequence,
            head,
        },
    })
}

/// Why an instance did not get the root key.
#[derive(Debug, thiserror::Error)]
pub enum JoinFailure {
    /// Not an address.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// The running instance cannot be reached, is not what it must be, or refuses.
    #[error("the running CAS: {0}")]
    Running(#[from] CasError),
    /// What it sent.
    #[error(transparent)]
    Answer(#[from] JoinError),
    /// No evidence.
    #[error("the TEE: {0}")]
    Attester(#[from] AttesterError),
    /// Another program, and nobody who could vouch for it.
    #[error(
        "the running CAS is another program, workload or TEE than this one, and the workload of this one names no approvers of upgrades: nobody vouches that its root key is not known to somebody"
    )]
    Other,
    /// Another program, and nobody vouched for it.
    #[error(
        "the running CAS is another program, workload or TEE than this one: bring the approvers' signatures, `mse cas run --join … --upgrade FILE`"
    )]
    NotAuthorized,
    /// The signatures are not enough.
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
}
