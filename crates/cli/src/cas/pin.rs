//! CASes that were attested, by names of the user's own.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use mse_crypto::Digest;
use mse_ratls::cas::AttestedCas;
use mse_ratls::cas::client::CasAddress;
use mse_workload::{CasKey, Measurement};
use serde::{Deserialize, Serialize};

use super::seen;
use crate::conf_dir::ConfDir;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

/// A pin is much shorter.
const MAX_FILE: u64 = 64 * 1024;

/// A user's own name for a CAS: letters, digits, `-`, `_` and `.`, at most 64, no `.` first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CasName(String);

impl FromStr for CasName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let good = (1..=64).contains(&text.len())
            && !text.starts_with(['.', '-'])
            && text.chars().all(fits);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err("write letters, digits, `-`, `_` and `.`, at most 64".to_owned())
        }
    }
}

impl fmt::Display for CasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is remembered of a CAS that was attested.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CasPin {
    /// `host:port`.
    pub(crate) address: String,
    /// Its root key.
    pub(crate) cas_key: CasKey,
    /// Its measurement, on a TEE that has one of this form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) measurement: Option<Measurement>,
    /// Who owns it.
    pub(crate) owner: Digest,
    /// Which store it had.
    pub(crate) store_id: String,
    /// The public key of its audit log, PEM.
    pub(crate) audit_key: String,
    /// The X25519 key that sessions are encrypted to, hex.
    pub(crate) session_encryption_key: String,
    /// The TEE.
    pub(crate) tee: String,
    /// Whether that is a simulated one.
    pub(crate) simulated: bool,
    /// When it was attested, unix seconds.
    pub(crate) attested_at: u64,
}

impl CasPin {
    pub(crate) fn of(address: &CasAddress, attested: &AttestedCas) -> Self {
        let description = attested.description.clone();
        Self {
            address: address.to_string(),
            cas_key: description.cas_key,
            measurement: attested.measurement(),
            owner: description.owner,
            store_id: description.store_id,
            audit_key: description.audit_key,
            session_encryption_key: description.session_encryption_key,
            tee: description.tee,
            simulated: description.simulated,
            attested_at: attested.report.attested_at,
        }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> Result<CasAddress, Failure> {
        self.address
            .parse()
            .map_err(|error: mse_ratls::cas::client::InvalidAddress| {
                Failure::new(Exit::InvalidConfiguration, error.to_string())
            })
    }
}

/// The folder with a file for each name, 0600.
pub(crate) struct CasPins(PathBuf);

impl CasPins {
    pub(crate) fn of(conf: &ConfDir) -> Self {
        Self(conf.cas_pins())
    }

    /// What is pinned as `name`, if something is.
    pub(crate) fn get(&self, name: &CasName) -> Result<Option<CasPin>, Failure> {
        let path = self.path(name);
        let Some(text) = private_file::read(&path, MAX_FILE)? else {
            return Ok(None);
        };
        toml::from_str(&text).map(Some).map_err(|error| {
            Failure::new(
                Exit::InvalidConfiguration,
                format!("`{}`: {}", path.display(), error.message()),
            )
            .with_hint("remove the file and attest the CAS again: `mse cas attest`")
        })
    }

    /// What is pinned as `name`.
    pub(crate) fn required(&self, name: &CasName) -> Result<CasPin, Failure> {
        self.get(name)?.ok_or_else(|| unknown(name))
    }

    /// All of them, by name.
    pub(crate) fn list(&self) -> Result<Vec<(CasName, CasPin)>, Failure> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::file("read the folder", &self.0, &error)),
        };
        let mut pins = Vec::new();
        for entry in entries {
            let file = entry
                .map_err(|error| Failure::file("read the folder", &self.0, &error))?
                .file_name();
            let name = file
                .to_str()
                .and_then(|name| name.strip_suffix(".toml"))
                .and_then(|name| name.parse().ok());
            if let Some(name) = name {
                let pin = self.required(&name)?;
                pins.push((name, pin));
            }
        }
        pins.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(pins)
    }

    /// Pins it, in place of what was pinned as `name` before.
    pub(crate) fn put(&self, name: &CasName, pin: &CasPin) -> Result<(), Failure> {
        private_file::create_dir(&self.0)?;
        let text = toml::to_string(pin)
            .map_err(|error| Failure::other(format!("the pin cannot be written: {error}")))?;
        private_file::write(&self.path(name), text.as_bytes())
    }

    /// Forgets it.
    pub(crate) fn remove(&self, name: &CasName) -> Result<CasPin, Failure> {
        let pin = self.required(name)?;
        let path = self.path(name);
        fs::remove_file(&path).map_err(|error| Failure::file("remove", &path, &error))?;
        let seen = self.0.join(seen::file_name(name));
        match fs::remove_file(&seen) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Failure::file("remove", &seen, &error))
            }
            _ => Ok(pin),
        }
    }

    fn path(&self, name: &CasName) -> PathBuf {
        self.0.join(format!("{name}.toml"))
    }
}

fn unknown(name: &CasName) -> Failure {
    Failure::new(Exit::NotFound, format!("no CAS is known as `{name}`")).with_hint(
        "`mse cas list` shows those that are; `mse cas attest ADDRESS --name NAME` adds one",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin() -> CasPin {
        CasPin {
            address: "cas.example:18765".into(),
            cas_key: CasKey::of(b"key"),
            measurement: Some(Measurement(Digest([9; 32]))),
            owner: Digest::of(b"owner"),
            store_id: "00".repeat(16),
            audit_key: "-----BEGIN PUBLIC KEY-----\n".into(),
            session_encryption_key: "07".repeat(32),
            tee: "simulated".into(),
            simulated: true,
            attested_at: 1,
        }
    }

    #[test]
    fn pins_are_kept_listed_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let pins = CasPins::of(&ConfDir::at(dir.path()));
        let name: CasName = "prod".parse().unwrap();
        assert!(pins.list().unwrap().is_empty());
        assert_eq!(pins.required(&name).unwrap_err().exit(), Exit::NotFound);
        pins.put(&name, &pin()).unwrap();
        assert_eq!(pins.get(&name).unwrap(), Some(pin()));
        assert_eq!(pins.list().unwrap(), [(name.clone(), pin())]);
        assert_eq!(pins.remove(&name).unwrap(), pin());
        assert!(pins.list().unwrap().is_empty());
    }

    #[test]
    fn names_stay_in_their_folder() {
        for bad in ["", ".", "..", "a/b", ".x", "-x", "a b", &"x".repeat(65)] {
            assert!(bad.parse::<CasName>().is_err(), "{bad}");
        }
        for good in ["a", "prod-1", "cas.example.com", "A_b"] {
            assert!(good.parse::<CasName>().is_ok(), "{good}");
        }
    }
}
