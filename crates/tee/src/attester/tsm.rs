//! Evidence from the Linux kernel: `configfs-tsm`, for TDX and SEV-SNP guests.
//!
//! The interface is `Documentation/ABI/testing/configfs-tsm` of Linux 6.7 and newer. An entry
//! directory of one's own is made below `/sys/kernel/config/tsm/report`; its attributes are:
//!
//! - `provider`, read: whose evidence it is, `tdx_guest` or `sev_guest`.
//! - `privlevel_floor`, read, and `privlevel`, written, where there are any: the VMPL.
//! - `inblob`, written: the 64 bytes of report data.
//! - `outblob`, read: the evidence. `auxblob`, read: SEV-SNP's certificate table.
//! - `generation`, read: a counter of all writes.
//!
//! The SVSM's attributes (`service_*`, `manifestblob`) are left alone.
//!
//! # What can go between
//!
//! Entries belong to whoever may write to configfs, so another process can write into ours. Each
//! try therefore reads the counter first, and it must have gone up by exactly our writes both
//! before and after the evidence was read. That also shows a write of ours that was lost: a
//! binary attribute is stored when the file is closed, and the kernel has no way left to report
//! an error then. A try that was disturbed is repeated, [`Tries::most`] times. Last, the evidence
//! itself says what report data it is about.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mse_attest::MeasuredProgram;
use rustix::io::Errno;
use tokio::sync::Mutex;

use super::certificates::{self, CertificateTableError};
use super::files::Files;
use super::layout::{self, Form, LayoutError};
use super::turn::{self, NoTurn};

/// Where the kernel has it, below the root directory.
pub(super) const REPORT: &str = "sys/kernel/config/tsm/report";

/// Where the kernel has the registers of a TDX guest as the module reports them to itself, below the
/// root directory (Linux 6.16, `sysfs-devices-virtual-misc-tdx_guest`).
const TDX_REGISTERS: &str = "sys/devices/virtual/misc/tdx_guest/measurements";
const TDX_REGISTER_BYTES: usize = 48;

/// Linux has TSM_PRIVLEVEL_MAX 3: SEV-SNP has four VMPLs.
pub const MAX_PRIVILEGE_LEVEL: u8 = 3;
/// Most of `outblob` and of `auxblob`: the kernel's own limit was 32 KiB in Linux 6.7, evidence
/// has less than 8 KiB, and certificate tables have 16 KiB at most.
const MAX_BLOB: usize = 64 * 1024;
/// Most of an attribute that is a name or a number.
const MAX_TEXT: usize = 256;
/// Names that are tried for an entry. They are random, so even a second one is a wonder.
const MAX_NAMES: u32 = 3;

/// The kernel's reports.
#[derive(Clone)]
pub struct Tsm {
    files: Arc<dyn Files>,
    report: PathBuf,
    registers: PathBuf,
    /// `None`: the least that the kernel permits.
    privilege_level: Option<u8>,
    tries: Tries,
    /// The kernel makes one report at a time anyway.
    turn: Arc<Mutex<()>>,
}

/// How often a disturbed try is repeated.
#[derive(Debug, Clone, Copy)]
struct Tries {
    most: u32,
    /// Doubled after each try: a TDX host that was too slow last time is still busy now.
    pause: Duration,
}

impl Tsm {
    /// The kernel whose file system is at `root`.
    pub(super) fn new(root: &Path, files: Arc<dyn Files>, privilege_level: Option<u8>) -> Self {
        Self {
            files,
            report: root.join(REPORT),
            registers: root.join(TDX_REGISTERS),
            privilege_level,
            tries: Tries {
                most: 6,
                pause: Duration::from_millis(20),
            },
            turn: Arc::default(),
        }
    }

    /// A report about `report_data`, as the kernel gave it.
    pub(super) async fn report(&self, report_data: &[u8; 64]) -> Result<TsmReport, TsmError> {
        let this = self.clone();
        let report_data = *report_data;
        turn::take(&self.turn, move || this.report_blocking(&report_data)).await?
    }

    /// This trust domain, by what the guest's kernel has from the TDX module. A quote would not do:
    /// it comes from a service of the host, which could bring that of another domain.
    pub(super) async fn trust_domain(&self) -> Result<MeasuredProgram, TsmError> {
        let this = self.clone();
        turn::take(&self.turn, move || this.trust_domain_blocking()).await?
    }

    fn trust_domain_blocking(&self) -> Result<MeasuredProgram, TsmError> {
        Ok(MeasuredProgram::Tdx {
            mr_td: self.register("mrtd:sha384")?,
            mr_config_id: self.register("mrconfigid")?,
            rtmr0: self.register("rtmr0:sha384")?,
            rtmr1: self.register("rtmr1:sha384")?,
            rtmr2: self.register("rtmr2:sha384")?,
        })
    }

    fn register(&self, name: &str) -> Result<[u8; TDX_REGISTER_BYTES], TsmError> {
        let path = self.registers.join(name);
        let bytes = match self.files.read(&path, TDX_REGISTER_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(TsmError::NoRegister(path));
            }
            Err(source) => {
                return Err(TsmError::File {
                    action: "read",
                    path,
                    source,
                });
            }
        };
        let size = bytes.len();
        <[u8; TDX_REGISTER_BYTES]>::try_from(bytes)
            .map_err(|_| TsmError::RegisterSize { path, size })
    }

    fn report_blocking(&self, report_data: &[u8; 64]) -> Result<TsmReport, TsmError> {
        let entry = Entry::create(&*self.files, &self.report)?;
        let mut pause = self.tries.pause;
        let mut tried = 1;
        loop {
            let error = match self.attempt(&entry, report_data) {
                Err(error) if error.is_passing() => error,
                done => return done,
            };
            if tried == self.tries.most {
                return Err(TsmError::Disturbed {
                    tries: tried,
                    last: Box::new(error),
                });
            }
            tracing::debug!(%error, "the kernel's report is asked for again");
            std::thread::sleep(pause);
            pause *= 2;
            tried += 1;
        }
    }

    fn attempt(&self, entry: &Entry<'_>, report_data: &[u8; 64]) -> Result<TsmReport, TsmError> {
        let provider = entry.provider()?;
        let before = entry.generation()?;
        let writes = self.set_privilege_level(entry)? + 1;
        entry.write("inblob", report_data)?;
        let due = before.wrapping_add(writes);
        entry.expect_generation(due)?;
        let outblob = entry.read("outblob", MAX_BLOB)?;
        let auxblob = entry.read_if_there("auxblob", MAX_BLOB)?;
        entry.expect_generation(due)?;

        let stated = layout::read(provider.form(), outblob)
            .map_err(|source| TsmError::Malformed { provider, source })?;
        if stated.report_data != *report_data {
            return Err(TsmError::OtherReportData);
        }
        Ok(TsmReport {
            provider,
            outblob: stated.evidence,
            auxblob: auxblob.unwrap_or_default(),
            generation: due,
        })
    }

    /// Says how many writes it took.
    fn set_privilege_level(&self, entry: &Entry<'_>) -> Result<u64, TsmError> {
        let Some(floor) = entry.privilege_level_floor()? else {
            return match self.privilege_level {
                Some(asked) => Err(TsmError::NoPrivilegeLevels { asked }),
                None => Ok(0),
            };
        };
        let level = match self.privilege_level.map(u64::from) {
            // An entry starts with level 0, which only a guest at VMPL 0 may ask for.
            None if floor == 0 => return Ok(0),
            None => floor,
            Some(asked) if asked < floor => {
                return Err(TsmError::BelowFloor { asked, floor });
            }
            Some(asked) => asked,
        };
        entry.write("privlevel", level.to_string().as_bytes())?;
        Ok(1)
    }
}

/// What the kernel gave.
#[derive(Debug)]
pub(super) struct TsmReport {
    /// Who made it.
    pub provider: Provider,
    /// The evidence, which states the report data asked for.
    pub outblob: Vec<u8>,
    /// What came beside it; empty if nothing did.
    pub auxblob: Vec<u8>,
    /// The entry's counter while it was read.
    pub generation: u64,
}

impl TsmReport {
    /// The certificates beside the evidence, as DER, the signer's first.
    pub(super) fn certificates(&self) -> Result<Vec<Vec<u8>>, CertificateTableError> {
        match self.provider {
            Provider::SevGuest => certificates::parse(&self.auxblob),
            // A quote of TDX holds its own.
            Provider::TdxGuest => Ok(Vec::new()),
        }
    }
}

/// Who makes the kernel's reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Intel TDX.
    TdxGuest,
    /// AMD SEV-SNP.
    SevGuest,
}

impl Provider {
    /// As the attribute spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TdxGuest => "tdx_guest",
            Self::SevGuest => "sev_guest",
        }
    }

    fn form(self) -> Form {
        match self {
            Self::TdxGuest => Form::TdxQuote,
            Self::SevGuest => Form::SnpReport,
        }
    }
}

/// An entry directory, removed when dropped.
struct Entry<'kernel> {
    files: &'kernel dyn Files,
    path: PathBuf,
}

impl<'kernel> Entry<'kernel> {
    fn create(files: &'kernel dyn Files, report: &Path) -> Result<Self, TsmError> {
        for _ in 0..MAX_NAMES {
            let path = report.join(format!("mse-{}", uuid::Uuid::new_v4().simple()));
            match files.create_dir(&path) {
                Ok(()) => return Ok(Self { files, path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                    return Err(TsmError::NoDriver);
                }
                Err(source) => {
                    return Err(TsmError::File {
                        action: "make",
                        path,
                        source,
                    });
                }
            }
        }
        Err(TsmError::NamesTaken {
            report: report.to_owned(),
        })
    }

    fn provider(&self) -> Result<Provider, TsmError> {
        let name = self
            .read_if_there("provider", MAX_TEXT)?
            .ok_or(TsmError::NoDriver)?;
        match name.trim_ascii() {
            b"tdx_guest" => Ok(Provider::TdxGuest),
            b"sev_guest" => Ok(Provider::SevGuest),
            b"" => Err(TsmError::NoDriver),
            other => Err(TsmError::UnknownProvider(other.escape_ascii().to_string())),
        }
    }

    fn privilege_level_floor(&self) -> Result<Option<u64>, TsmError> {
        self.read_if_there("privlevel_floor", MAX_TEXT)?
            .map(|text| self.number("privlevel_floor", &text))
            .transpose()
    }

    fn generation(&self) -> Result<u64, TsmError> {
        let text = self.read("generation", MAX_TEXT)?;
        self.number("generation", &text)
    }

    fn expect_generation(&self, due: u64) -> Result<(), TsmError> {
        let found = self.generation()?;
        if found == due {
            Ok(())
        } else {
            Err(TsmError::Raced { due, found })
        }
    }

    fn number(&self, attribute: &str, text: &[u8]) -> Result<u64, TsmError> {
        str::from_utf8(text)
            .ok()
            .and_then(|text| text.trim_ascii().parse().ok())
            .ok_or_else(|| TsmError::NoNumber {
                path: self.path.join(attribute),
                found: text.escape_ascii().to_string(),
            })
    }

    fn read_if_there(&self, attribute: &str, limit: usize) -> Result<Option<Vec<u8>>, TsmError> {
        match self.read(attribute, limit) {
            Err(TsmError::File { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
            read => read.map(Some),
        }
    }

    fn read(&self, attribute: &str, limit: usize) -> Result<Vec<u8>, TsmError> {
        let path = self.path.join(attribute);
        self.files.read(&path, limit).map_err(|source| {
            if source.kind() == ErrorKind::FileTooLarge {
                return TsmError::TooLarge { path, limit };
            }
            TsmError::File {
                action: "read",
                path,
                source,
            }
        })
    }

    fn write(&self, attribute: &str, bytes: &[u8]) -> Result<(), TsmError> {
        let path = self.path.join(attribute);
        self.files
            .write(&path, bytes)
            .map_err(|source| TsmError::File {
                action: "write",
                path,
                source,
            })
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        // What is left is a few KiB of the kernel's memory, and no reason to do without evidence.
        if let Err(error) = self.files.remove_dir(&self.path) {
            let path = self.path.display();
            tracing::warn!(%error, "the entry `{path}` cannot be removed");
        }
    }
}

/// Why the kernel gives no report.
#[derive(Debug, thiserror::Error)]
pub enum TsmError {
    /// Too many callers before, or the kernel hangs.
    #[error(transparent)]
    Turn(#[from] NoTurn),
    /// The kernel has the interface, but nobody behind it.
    #[error(
        "the kernel has configfs-tsm but no driver behind it: load `tdx_guest` or `sev-guest`, or choose another attester with `--attester`"
    )]
    NoDriver,
    /// Evidence of a kind that nothing here can read.
    #[error(
        "the kernel's reports come from `{0}`; mse-enclave knows `tdx_guest` and `sev_guest`: choose another attester with `--attester`"
    )]
    UnknownProvider(String),
    /// Every random name was there already.
    #[error(
        "`{}` had {MAX_NAMES} random names already: it does not behave as configfs", report.display()
    )]
    NamesTaken {
        /// The directory of entries.
        report: PathBuf,
    },
    /// Not what this driver has.
    #[error(
        "privilege level `{asked}` was asked for, but this driver has none: leave out `--vmpl`"
    )]
    NoPrivilegeLevels {
        /// The level asked for.
        asked: u8,
    },
    /// The guest may not speak for a more privileged level.
    #[error(
        "privilege level `{asked}` is more than this guest has: ask with `--vmpl` for `{floor}` to {MAX_PRIVILEGE_LEVEL}"
    )]
    BelowFloor {
        /// The level asked for.
        asked: u64,
        /// The least that the kernel permits.
        floor: u64,
    },
    /// The kernel refused a file operation.
    #[error("cannot {action} `{}`: {source}{}", path.display(), hint(source))]
    File {
        /// `make`, `read` or `write`.
        action: &'static str,
        /// What was not made, read or written.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// More than can be right.
    #[error("`{}` is larger than `{limit}` bytes", path.display())]
    TooLarge {
        /// The attribute.
        path: PathBuf,
        /// Its limit here.
        limit: usize,
    },
    /// An attribute that should be a number.
    #[error("`{}` says `{found}` instead of a number", path.display())]
    NoNumber {
        /// The attribute.
        path: PathBuf,
        /// What is there, escaped.
        found: String,
    },
    /// Another process wrote meanwhile, or a write of ours was lost.
    #[error(
        "another process wrote to the entry, or a write was lost: its generation is `{found}` instead of `{due}`"
    )]
    Raced {
        /// What our own writes make of the counter.
        due: u64,
        /// What it is.
        found: u64,
    },
    /// Every try was disturbed.
    #[error("gave up after {tries} tries: {last}")]
    Disturbed {
        /// How many there were.
        tries: u32,
        /// What was wrong with the last one.
        last: Box<TsmError>,
    },
    /// Evidence in another form than the provider's.
    #[error("what `{}` gave is no evidence: {source}", provider.name())]
    Malformed {
        /// Who gave it.
        provider: Provider,
        /// What is wrong with it.
        source: LayoutError,
    },
    /// An older kernel.
    #[error(
        "`{}` is not there: which program this is, a TDX guest learns without its host from Linux 6.16 on", .0.display()
    )]
    NoRegister(PathBuf),
    /// A register of another size.
    #[error("`{}` has `{size}` bytes, not {TDX_REGISTER_BYTES}", path.display())]
    RegisterSize {
        /// The file.
        path: PathBuf,
        /// Bytes.
        size: usize,
    },
    /// Evidence about something else.
    #[error("the kernel gave a report with other report data than asked for")]
    OtherReportData,
}

impl TsmError {
    /// Whether asking again may help: another process was in between, or the hardware is busy.
    fn is_passing(&self) -> bool {
        match self {
            Self::Raced { .. } => true,
            Self::File { source, .. } => matches!(
                source.kind(),
                ErrorKind::ResourceBusy | ErrorKind::WouldBlock | ErrorKind::Interrupted
            ),
            _ => false,
        }
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "; entries of configfs are root's: run mse-enclave as root in this guest"
        }
        ErrorKind::ReadOnlyFilesystem => "; mount configfs writable for mse-enclave",
        ErrorKind::TimedOut => "; the host does not answer requests for reports",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
