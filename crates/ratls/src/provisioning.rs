//! What the owner sends to the attested enclave, sealed; and its opening.
//!
//! HPKE to the enclave's attested X25519 key, with
//! `info = "mse-provisioning-v1" ‖ 0 ‖ app id ‖ 0` and
//! `aad = TLS exporter of the connection it is sent on`: what is overheard or relayed opens
//! nowhere else.

use mse_crypto::hpke::{self, HpkeError, KeyPair, PublicKey};
use mse_crypto::{CodeKey, Zeroizing};
use mse_workload::AppId;
use mse_workload::bundle::SourceSalt;
use serde::{Deserialize, Serialize};

use crate::binding::ChannelBinding;
use crate::wire::{MAX_PROVISIONING, MAX_SECRETS};

/// Everything an enclave needs to start its app.
pub struct ProvisioningPayload {
    /// The app it is for.
    pub app_id: AppId,
    /// Opens the bundle.
    pub code_key: CodeKey,
    /// Salt of the source commitment.
    pub source_salt: SourceSalt,
    /// The app's secrets, a JSON text.
    pub secrets: Option<Zeroizing<String>>,
    /// Private key of the owner's certificate as PEM, with origin `owner`.
    pub tls_private_key: Option<Zeroizing<String>>,
}

impl ProvisioningPayload {
    /// Seals the payload to the attested key `enclave`, for the connection `channel`.
    pub fn seal(
        &self,
        enclave: &PublicKey,
        channel: &ChannelBinding,
    ) -> Result<Vec<u8>, PayloadError> {
        let form = Form {
            uuid: self.app_id.to_string(),
            code_secret_key: self.code_key.to_hex(),
            source_salt: self.source_salt.to_hex(),
            app_secrets: self.secrets.clone(),
            ssl_private_key: self.tls_private_key.clone(),
        };
        let json = Zeroizing::new(serde_json::to_vec(&form)?);
        Ok(hpke::seal(enclave, &info(&self.app_id), &channel.0, &json)?)
    }

    /// Opens what was sealed for the app `app_id`, to `key`, for the connection `channel`.
    pub fn open(
        sealed: &[u8],
        app_id: &AppId,
        key: &KeyPair,
        channel: &ChannelBinding,
    ) -> Result<Self, PayloadError> {
        if sealed.len() > MAX_PROVISIONING {
            return Err(PayloadError::TooLarge);
        }
        let json = key.open(&info(app_id), &channel.0, sealed)?;
        let form: Form = serde_json::from_slice(&json)?;
        let named = form.uuid.parse().map_err(|_| PayloadError::Field("uuid"))?;
        if form
            .app_secrets
            .as_ref()
            .is_some_and(|secrets| secrets.len() > MAX_SECRETS)
        {
            return Err(PayloadError::TooLarge);
        }
        Ok(Self {
            app_id: named,
            code_key: CodeKey::from_hex(&form.code_secret_key)
                .map_err(|_| PayloadError::Field("code_secret_key"))?,
            source_salt: form
                .source_salt
                .parse()
                .map_err(|_| PayloadError::Field("source_salt"))?,
            secrets: form.app_secrets,
            tls_private_key: form.ssl_private_key,
        })
    }
}

/// The JSON inside the seal. The names are the existing clients', where they have one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    uuid: String,
    code_secret_key: Zeroizing<String>,
    source_salt: Zeroizing<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app_secrets: Option<Zeroizing<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssl_private_key: Option<Zeroizing<String>>,
}

fn info(app_id: &AppId) -> Vec<u8> {
    format!("mse-provisioning-v1\0{app_id}\0").into_bytes()
}

/// Why a payload cannot be sealed or opened. Never repeats what is inside.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// Over [`MAX_PROVISIONING`] or [`MAX_SECRETS`].
    #[error(
        "the provisioning payload is too large: at most {MAX_PROVISIONING} bytes, of which {MAX_SECRETS} of secrets"
    )]
    TooLarge,
    /// Another key, app or connection, or changed bytes.
    #[error(transparent)]
    Seal(#[from] HpkeError),
    /// The text inside is not of the right shape.
    #[error("the provisioning payload is malformed")]
    Json,
    /// A field with an impossible value.
    #[error("the provisioning payload's `{0}` is malformed")]
    Field(&'static str),
}

impl From<serde_json::Error> for PayloadError {
    /// The cause is dropped: serde's messages may quote the input.
    fn from(_: serde_json::Error) -> Self {
        Self::Json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(app_id: AppId) -> ProvisioningPayload {
        ProvisioningPayload {
            app_id,
            code_key: CodeKey::from_bytes([7; 32]),
            source_salt: SourceSalt::generate(),
            secrets: Some(Zeroizing::new(r#"{"password":"x"}"#.into())),
            tls_private_key: None,
        }
    }

    #[test]
    fn opens_for_the_same_app_key_and_channel_only() {
        let (app, key, channel) = (
            AppId::generate(),
            KeyPair::generate(),
            ChannelBinding([1; 32]),
        );
        let sealed = payload(app).seal(&key.public(), &channel).unwrap();
        let opened = ProvisioningPayload::open(&sealed, &app, &key, &channel).unwrap();
        assert_eq!(
            *opened.code_key.to_hex(),
            *CodeKey::from_bytes([7; 32]).to_hex()
        );
        assert_eq!(opened.secrets.unwrap().as_str(), r#"{"password":"x"}"#);
        let open = |app: &AppId, key: &KeyPair, channel: &ChannelBinding| {
            ProvisioningPayload::open(&sealed, app, key, channel).is_ok()
        };
        assert!(!open(&AppId::generate(), &key, &channel));
        assert!(!open(&app, &KeyPair::generate(), &channel));
        assert!(!open(&app, &key, &ChannelBinding([2; 32])));
    }

    #[test]
    fn oversized_payloads_are_refused_unopened() {
        let error = ProvisioningPayload::open(
            &vec![0; MAX_PROVISIONING + 1],
            &AppId::generate(),
            &KeyPair::generate(),
            &ChannelBinding([0; 32]),
        );
        assert!(matches!(error, Err(PayloadError::TooLarge)));
    }
}
