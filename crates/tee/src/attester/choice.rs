//! Which attester it is.
//!
//! The launcher may say which. It is not trusted, and need not be: an attester decides only which
//! evidence is *shown*, and evidence verifies itself. A launcher that has a real TEE show
//! simulated evidence gets an enclave that nobody provisions, since verifiers take simulated
//! evidence only with that very platform's trust anchor. It could as well not start it.
//!
//! What must not happen is that a machine with a broken attester quietly goes on with a weaker
//! one: the owner would look for the reason on the wrong side. So what is there is taken, and
//! what is there and does not work is an error.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::Attester;
use super::files::{Disk, Files};
use super::gramine::{Gramine, GramineError, Kind};
use super::tsm::{self, Tsm};
use super::turn::{self, NoTurn};
use crate::host::HostLink;

/// What the launcher wishes for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// Which attester.
    pub kind: Choice,
    /// The privilege level (VMPL) that a report of SEV-SNP shall state.
    pub privilege_level: Option<u8>,
}

/// An attester by name, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first that is there of Gramine, the kernel and the launcher.
    #[default]
    Auto,
    /// The launcher's simulated quoting service.
    Simulated,
    /// The kernel's configfs-tsm.
    Tsm,
    /// Gramine's `/dev/attestation`.
    Gramine,
}

impl FromStr for Choice {
    type Err = UnknownChoice;

    fn from_str(name: &str) -> Result<Self, UnknownChoice> {
        match name {
            "auto" => Ok(Self::Auto),
            "simulated" => Ok(Self::Simulated),
            "tsm" => Ok(Self::Tsm),
            "gramine" => Ok(Self::Gramine),
            _ => Err(UnknownChoice(name.to_owned())),
        }
    }
}

/// No such attester.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no attester: choose `auto`, `simulated`, `tsm` or `gramine`")]
pub struct UnknownChoice(String);

/// Where attesters are looked for.
#[derive(Clone)]
pub struct Machine {
    root: PathBuf,
    files: Arc<dyn Files>,
}

impl Machine {
    /// The machine whose root directory is `root`.
    pub fn at(root: &Path) -> Self {
        Self::with(root, Arc::new(Disk))
    }

    pub(super) fn with(root: &Path, files: Arc<dyn Files>) -> Self {
        Self {
            root: root.to_owned(),
            files,
        }
    }

    /// The attester that is wished for, or that is there. `launcher` is the launch socket, if
    /// there is one to ask for simulated quotes.
    pub async fn attester(
        &self,
        wish: Wish,
        launcher: Option<HostLink>,
    ) -> Result<Attester, ChoiceError> {
        let this = self.clone();
        let attester = turn::take(&Arc::default(), move || this.look(wish, launcher)).await??;
        if wish.privilege_level.is_some() && !matches!(attester, Attester::Tsm(_)) {
            return Err(ChoiceError::LevelWithoutTsm(attester.name()));
        }
        Ok(attester)
    }

    fn look(&self, wish: Wish, launcher: Option<HostLink>) -> Result<Attester, ChoiceError> {
        let gramine = Gramine::new(&self.root, Arc::clone(&self.files));
        let tsm = Tsm::new(&self.root, Arc::clone(&self.files), wish.privilege_level);
        match wish.kind {
            Choice::Gramine => {
                gramine.check()?;
                Ok(Attester::Gramine(gramine))
            }
            Choice::Tsm if self.has_tsm()? => Ok(Attester::Tsm(tsm)),
            Choice::Tsm => Err(ChoiceError::NoTsm(self.tsm_folder())),
            Choice::Simulated => launcher
                .map(Attester::Simulated)
                .ok_or(ChoiceError::NoLauncher),
            Choice::Auto => self.first(gramine, tsm, launcher),
        }
    }

    fn first(
        &self,
        gramine: Gramine,
        tsm: Tsm,
        launcher: Option<HostLink>,
    ) -> Result<Attester, ChoiceError> {
        let kind = gramine.kind()?;
        match kind {
            Kind::Dcap => return Ok(Attester::Gramine(gramine)),
            Kind::Other(name) => return Err(GramineError::Type(name).into()),
            // `none` is the manifest's word that there is no attester, not one that fails.
            Kind::None | Kind::NotGramine => {}
        }
        if self.has_tsm()? {
            return Ok(Attester::Tsm(tsm));
        }
        launcher
            .map(Attester::Simulated)
            .ok_or_else(|| ChoiceError::Nothing {
                gramine: Looked {
                    path: gramine.attestation_type(),
                    found: match kind {
                        Kind::None => "`none`",
                        _ => "not there",
                    },
                },
                tsm: Looked {
                    path: self.tsm_folder(),
                    found: "not there",
                },
            })
    }

    fn has_tsm(&self) -> Result<bool, ChoiceError> {
        let path = self.tsm_folder();
        self.files
            .exists(&path)
            .map_err(|source| ChoiceError::Unseen { path, source })
    }

    fn tsm_folder(&self) -> PathBuf {
        self.root.join(tsm::REPORT)
    }
}

/// What was seen where.
#[derive(Debug)]
pub struct Looked {
    path: PathBuf,
    found: &'static str,
}

impl fmt::Display for Looked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.path.display(), self.found)
    }
}

/// Why there is no attester.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// None of all.
    #[error(
        "no attester was found. Looked for Gramine with DCAP ({gramine}), the kernel's configfs-tsm for TDX and SEV-SNP ({tsm}; it takes Linux 6.7, configfs mounted, and the driver `tdx_guest` or `sev-guest`), and the quoting service of a launcher (there is no launch socket)"
    )]
    Nothing {
        /// Gramine's file.
        gramine: Looked,
        /// The kernel's folder.
        tsm: Looked,
    },
    /// Wished for and not there.
    #[error(
        "the attester `tsm` needs `{}`, which is not there: it takes Linux 6.7, configfs mounted, and the driver `tdx_guest` or `sev-guest`", .0.display()
    )]
    NoTsm(PathBuf),
    /// Wished for and not there.
    #[error(
        "the attester `simulated` needs a launcher with a quoting service: start the enclave through mse-server or mse"
    )]
    NoLauncher,
    /// Not of use for anything else.
    #[error("`--vmpl` is for the attester `tsm`, and this is `{0}`: leave it out")]
    LevelWithoutTsm(&'static str),
    /// Neither there nor not there.
    #[error("cannot look at `{}`: {source}; if this machine has no TEE, choose with `--attester`", path.display())]
    Unseen {
        /// What was looked for.
        path: PathBuf,
        /// Why it was not seen.
        source: io::Error,
    },
    /// The look took too long.
    #[error(transparent)]
    Turn(#[from] NoTurn),
    /// Gramine is there and of no use.
    #[error(transparent)]
    Gramine(#[from] GramineError),
}

#[cfg(test)]
mod tests;
