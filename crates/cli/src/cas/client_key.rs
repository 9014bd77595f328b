//! Who the user is to CASes: a TLS key with a self-made certificate around it.

use std::path::PathBuf;

use mse_crypto::Zeroizing;
use mse_ratls::cas::client::ClientIdentity;
use mse_session::KeyHash;

use crate::conf_dir::ConfDir;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file::{self, Creation};

/// A key and a certificate are much shorter.
const MAX_FILE: u64 = 64 * 1024;

/// The user's key. It has no `Debug`.
pub(crate) struct ClientKey {
    pub(crate) identity: ClientIdentity,
    /// What access rules and CASes' owners are named by.
    pub(crate) hash: KeyHash,
    pub(crate) file: PathBuf,
}

impl ClientKey {
    /// A new one, unless there is one.
    pub(crate) fn create(conf: &ConfDir) -> Result<Self, Failure> {
        conf.create()?;
        let file = conf.cas_client();
        let pem = ClientIdentity::generate_pem()
            .map_err(|error| Failure::other(format!("no key can be made: {error}")))?;
        match private_file::write_new(&file, pem.as_bytes())? {
            Creation::Written => Self::parse(&pem, file),
            Creation::Exists => Err(Failure::new(
                Exit::Conflict,
                format!("you have a key already: `{}`", file.display()),
            )
            .with_hint("`mse cas whoami` shows its hash. With another key you are nobody to the CASes that know this one; move the file away if you want that")),
        }
    }

    /// The key, if there is one.
    pub(crate) fn load(conf: &ConfDir) -> Result<Option<Self>, Failure> {
        let file = conf.cas_client();
        let pem = private_file::read(&file, MAX_FILE)?.map(Zeroizing::new);
        pem.map(|pem| Self::parse(&pem, file)).transpose()
    }

    /// The key.
    pub(crate) fn required(conf: &ConfDir) -> Result<Self, Failure> {
        Self::load(conf)?.ok_or_else(|| {
            Failure::new(Exit::NotFound, "you have no key for CASes yet")
                .with_hint("`mse cas keygen` makes one")
        })
    }

    fn parse(pem: &str, file: PathBuf) -> Result<Self, Failure> {
        let invalid = |why: String| {
            Failure::new(
                Exit::InvalidConfiguration,
                format!("`{}`: {why}", file.display()),
            )
            .with_hint("it is a certificate and its private key, as `mse cas keygen` makes them")
        };
        let identity = ClientIdentity::from_pem(pem).map_err(|error| invalid(error.to_string()))?;
        let hash = KeyHash::of_certificate(identity.certificate())
            .map_err(|error| invalid(error.to_string()))?;
        Ok(Self {
            identity,
            hash,
            file,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_stays_who_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let conf = ConfDir::at(dir.path());
        assert!(ClientKey::load(&conf).unwrap().is_none());
        assert_eq!(
            ClientKey::required(&conf).err().unwrap().exit(),
            Exit::NotFound
        );
        let made = ClientKey::create(&conf).unwrap();
        assert_eq!(ClientKey::required(&conf).unwrap().hash, made.hash);
        let again = ClientKey::create(&conf).err().unwrap();
        assert_eq!(again.exit(), Exit::Conflict);
        assert_eq!(ClientKey::required(&conf).unwrap().hash, made.hash);
        std::fs::write(&made.file, "x").unwrap();
        assert!(ClientKey::load(&conf).is_err());
    }
}
