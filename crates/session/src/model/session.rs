//! The session itself.

use std::fmt;
use std::str::FromStr;

use crate::model::{
    AccessPolicy, Hex, Identity, Image, InvalidHex, OrReference, Secret, SecretName, Security,
    Service, ServiceName, SessionName, Volume,
};

/// A session: which programs may run, what they must prove, and what they are then told.
///
/// Made by [`crate::check_text`] only; what comes from there has no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// Its name.
    pub name: SessionName,
    /// The version of the session that it replaces; None: there is none yet.
    pub predecessor: Option<SessionHash>,
    /// The version that its namespace must have when it is created.
    pub namespace_hash: Option<SessionHash>,
    /// What makes its hash unguessable.
    pub salt: Option<Hex<16>>,
    /// Who made it, where that is part of it.
    pub creator: Option<Identity>,
    /// Its services.
    pub services: Vec<Service>,
    /// Its images.
    pub images: Vec<Image>,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Its secrets.
    pub secrets: Vec<Secret>,
    /// Who may do what with it.
    pub access_policy: OrReference<AccessPolicy>,
    /// How strictly evidence is judged.
    pub security: OrReference<Security>,
    /// Where the values of its secrets are kept.
    pub secret_store: SecretStore,
}

impl Session {
    /// The service of this name.
    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.iter().find(|service| service.name == *name)
    }

    /// The image of a service.
    pub fn image_of(&self, service: &Service) -> Option<&Image> {
        let name = service.image.as_ref()?;
        self.images.iter().find(|image| image.name == *name)
    }

    /// The secret of this name.
    pub fn secret(&self, name: &SecretName) -> Option<&Secret> {
        self.secrets.iter().find(|secret| secret.name == *name)
    }

    /// Says who made it. Whoever stores a session that was sent over TLS calls this before the
    /// hash is computed.
    #[must_use]
    pub fn with_creator(mut self, creator: Identity) -> Self {
        self.creator = Some(creator);
        self
    }
}

/// The hash of a session: one version of it, and none other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionHash(pub [u8; 32]);

impl FromStr for SessionHash {
    type Err = InvalidHex;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Hex<32>>().map(|hex| Self(hex.0))
    }
}

impl fmt::Display for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.0).fmt(f)
    }
}

impl fmt::Debug for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionHash({self})")
    }
}

impl serde::Serialize for SessionHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for SessionHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Where the values of secrets are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SecretStore {
    /// In the CAS.
    #[default]
    Cas,
    /// In Azure's vault, encrypted by the CAS.
    Vault {
        /// The vault.
        vault: String,
        /// The aad-token to ask with.
        token: SecretName,
    },
}
