//! Which simulated platforms the user has chosen to trust, and the policy that follows.
//!
//! Hardware roots are compiled in. A simulated platform's anchor must be added on purpose: by
//! `mse trust add FILE`, or for one command by `--simulated FILE`; `this-machine` in place of a file
//! is the platform in the configuration folder.

use std::fs;
use std::path::{Path, PathBuf};

use mse_attest::{Policy, Tee, TrustAnchor};
use serde::Serialize;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::conf_dir::ConfDir;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::private_file;

/// A trust anchor file is one certificate and a few lines; more is not read.
const MAX_FILE: u64 = 64 * 1024;

/// Stands for the simulated platform in the configuration folder where a trust anchor is named.
pub(crate) const THIS_MACHINE: &str = "this-machine";

/// The trust anchors that were added, a file each, 0600.
pub(crate) struct TrustStore {
    folder: PathBuf,
    /// That of this machine's simulated platform.
    own_anchor: PathBuf,
}

/// An anchor that was added.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KeptAnchor {
    /// First 16 hex digits of the SHA-256 of the root certificate.
    pub(crate) id: String,
    /// `simulated`.
    pub(crate) tee: String,
    /// Subject of the root certificate.
    pub(crate) subject: String,
    /// The signer that its enclaves must have.
    pub(crate) mrsigner: Option<String>,
    #[serde(skip)]
    anchor: TrustAnchor,
}

impl TrustStore {
    pub(crate) fn of(conf: &ConfDir) -> Self {
        Self {
            folder: conf.trust(),
            own_anchor: conf.simulated_platform().join("trust-anchor.toml"),
        }
    }

    /// Adds the anchor in `file`. Adding one twice changes nothing.
    pub(crate) fn add(&self, file: &Path) -> Result<KeptAnchor, Failure> {
        let anchor = KeptAnchor::of(read_anchor(file)?);
        private_file::create_dir(&self.folder)?;
        private_file::write(&self.path(&anchor.id), anchor.anchor.to_toml().as_bytes())?;
        Ok(anchor)
    }

    /// All of them, by id. One that cannot be read is an error: what is trusted must be clear.
    pub(crate) fn list(&self) -> Result<Vec<KeptAnchor>, Failure> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::file("read the folder", &self.folder, &error)),
        };
        let mut anchors = Vec::new();
        for entry in entries {
            let path = entry
                .map_err(|error| Failure::file("read the folder", &self.folder, &error))?
                .path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                anchors.push(KeptAnchor::of(read_anchor(&path)?));
            }
        }
        anchors.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(anchors)
    }

    /// Removes the anchor whose id begins with `id`.
    pub(crate) fn remove(&self, id: &str) -> Result<KeptAnchor, Failure> {
        let mut found: Vec<KeptAnchor> = self
            .list()?
            .into_iter()
            .filter(|anchor| !id.is_empty() && anchor.id.starts_with(id))
            .collect();
        match (found.pop(), found.len()) {
            (Some(anchor), 0) => {
                let path = self.path(&anchor.id);
                fs::remove_file(&path).map_err(|error| Failure::file("remove", &path, &error))?;
                Ok(anchor)
            }
            (None, _) => Err(Failure::new(
                Exit::NotFound,
                format!("there is no trust anchor `{id}`"),
            )
            .with_hint("`mse trust list` shows them")),
            (Some(_), others) => Err(Failure::new(
                Exit::Usage,
                format!("`{id}` could be any of {} trust anchors", others + 1),
            )
            .with_hint("write more of its digits")),
        }
    }

    /// Hardware roots, the anchors that were added, and those in `extra`.
    pub(crate) fn policy(&self, extra: Option<&Path>) -> Result<TrustPolicy, Failure> {
        self.added_to(Policy::strict(), extra)
    }

    /// `policy` with the anchors that were added, and those in `extra`.
    pub(crate) fn added_to(
        &self,
        policy: Policy,
        extra: Option<&Path>,
    ) -> Result<TrustPolicy, Failure> {
        let mut anchors: Vec<TrustAnchor> =
            self.list()?.into_iter().map(|kept| kept.anchor).collect();
        if let Some(file) = extra {
            anchors.push(self.named(file)?);
        }
        let policy = anchors.into_iter().fold(policy, Policy::with_simulated);
        Ok(TrustPolicy {
            accepts_simulated: policy.accepts_simulated(),
            policy,
        })
    }

    /// The anchor in `file`, or this machine's own.
    fn named(&self, file: &Path) -> Result<TrustAnchor, Failure> {
        if file != Path::new(THIS_MACHINE) {
            return read_anchor(file);
        }
        if !self.own_anchor.is_file() {
            return Err(Failure::new(
                Exit::NotFound,
                format!(
                    "`{THIS_MACHINE}`: nothing has run on a simulated platform of this machine yet: there is no `{}`",
                    self.own_anchor.display()
                ),
            )
            .with_hint("`mse cas run` makes it, in the folder that `MSE_CONF_PATH` names if it is set; the trust anchor of another platform is a file: `--simulated FILE`"));
        }
        read_anchor(&self.own_anchor)
    }

    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.toml"))
    }
}

/// What evidence is accepted.
#[derive(Debug, Clone)]
pub(crate) struct TrustPolicy {
    /// For the appraisal.
    pub(crate) policy: Policy,
    /// Whether some simulated platform may pass.
    pub(crate) accepts_simulated: bool,
}

impl KeptAnchor {
    fn of(anchor: TrustAnchor) -> Self {
        let subject = X509Certificate::from_der(anchor.root_der())
            .map_or_else(|_| String::new(), |(_, root)| root.subject().to_string());
        Self {
            id: anchor.id(),
            tee: Tee::Simulated.to_string(),
            subject,
            mrsigner: anchor.mrsigner().map(hex::encode),
            anchor,
        }
    }
}

fn read_anchor(file: &Path) -> Result<TrustAnchor, Failure> {
    let invalid = |why: String| {
        Failure::new(
            Exit::InvalidConfiguration,
            format!("`{}` is no trust anchor: {why}", file.display()),
        )
    };
    let text = private_file::read(file, MAX_FILE)?.ok_or_else(|| {
        Failure::new(
            Exit::NotFound,
            format!("there is no file `{}`", file.display()),
        )
        .with_hint("name the trust anchor file that the simulated platform wrote")
    })?;
    TrustAnchor::from_toml(&text).map_err(|error| invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use mse_simtee::Platform;

    use super::*;

    #[test]
    fn anchors_are_kept_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = TrustStore::of(&ConfDir::at(dir.path()));
        assert!(!store.policy(None).unwrap().accepts_simulated);

        let platform = Platform::create(&dir.path().join("platform"), SystemTime::now()).unwrap();
        let file = dir.path().join("anchor.toml");
        fs::write(&file, platform.trust_anchor().to_toml()).unwrap();
        assert!(store.policy(Some(&file)).unwrap().accepts_simulated);
        let added = store.add(&file).unwrap();
        assert_eq!((added.id.len(), added.tee.as_str()), (16, "simulated"));
        store.add(&file).unwrap();
        assert_eq!(store.list().unwrap().len(), 1);
        assert!(store.policy(None).unwrap().accepts_simulated);

        assert_eq!(store.remove("").unwrap_err().exit(), Exit::NotFound);
        assert_eq!(store.remove(&added.id[..4]).unwrap().id, added.id);
        assert_eq!(store.remove(&added.id).unwrap_err().exit(), Exit::NotFound);
        assert!(!store.policy(None).unwrap().accepts_simulated);
    }

    #[test]
    fn this_machine_is_the_platform_in_the_configuration_folder() {
        let dir = tempfile::tempdir().unwrap();
        let conf = ConfDir::at(dir.path());
        let store = TrustStore::of(&conf);
        let this_machine = Some(Path::new(THIS_MACHINE));
        let failure = store.policy(this_machine).unwrap_err();
        assert_eq!(failure.exit(), Exit::NotFound);
        assert!(failure.hint().unwrap().contains("mse cas run"));
        Platform::create(&conf.simulated_platform(), SystemTime::now()).unwrap();
        assert!(store.policy(this_machine).unwrap().accepts_simulated);
        assert!(!store.policy(None).unwrap().accepts_simulated);
    }

    #[test]
    fn what_is_no_anchor_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = TrustStore::of(&ConfDir::at(dir.path()));
        let file = dir.path().join("anchor.toml");
        fs::write(&file, "tee = \"sgx\"\nroot_certificate = \"\"\n").unwrap();
        let failure = store.add(&file).unwrap_err();
        assert_eq!(failure.exit(), Exit::InvalidConfiguration);
        assert!(failure.message().contains("sgx"), "{failure}");
        assert!(store.list().unwrap().is_empty());
    }
}
