//! Directories that behave as the kernel's and Gramine's do, and evidence to fill them with.
//!
//! The files are real, in a temporary directory. After each operation of the attester's the
//! emulation does what the kernel would have done by then: fills a new entry, bumps the counter,
//! makes the evidence anew. So there is no thread that might come too late.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;
use tempfile::TempDir;

use super::files::{Disk, Files};
use super::tsm::REPORT;

/// What an attester does to an entry or a file in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Make,
    Read(&'static str),
    Write(&'static str),
}

/// configfs-tsm: `<root>/sys/kernel/config/tsm/report`.
pub(super) struct Kernel {
    root: TempDir,
    state: Mutex<State>,
}

type Blob = Box<dyn Fn(&[u8]) -> Vec<u8> + Send>;

struct State {
    /// Attributes that each entry has from the start; one that is left out is invisible.
    attributes: HashMap<&'static str, Vec<u8>>,
    outblob: Blob,
    auxblob: Vec<u8>,
    has_driver: bool,
    /// An entry's name that somebody else took just before, so many times.
    names_taken: u32,
    /// Steps after which another process writes its own `inblob`, so many times.
    interferences: Vec<(Step, u32)>,
    /// Steps that fail, so many times.
    failures: Vec<(Step, Errno, u32)>,
    /// Writes of `inblob` that are lost, as one is whose error comes when the file is closed.
    lost_writes: u32,
    entries: HashMap<PathBuf, EntryState>,
    made: u32,
    removed: u32,
}

#[derive(Default)]
struct EntryState {
    inblob: Vec<u8>,
    write_generation: u64,
    read_generation: Option<u64>,
}

/// What another process asks for.
const FOREIGN: [u8; 64] = [0xEE; 64];

impl Kernel {
    /// A SEV-SNP guest at VMPL 0 whose host gives no certificates.
    pub(super) fn snp() -> Arc<Self> {
        let attributes = [
            ("provider", "sev_guest\n"),
            ("generation", "0\n"),
            ("privlevel_floor", "0\n"),
            ("privlevel", ""),
            ("inblob", ""),
            ("outblob", ""),
            ("auxblob", ""),
        ];
        Self::with(&attributes, Box::new(|inblob| snp_report(3, inblob)))
    }

    /// A TDX guest.
    pub(super) fn tdx() -> Arc<Self> {
        let attributes = [
            ("provider", "tdx_guest\n"),
            ("generation", "0\n"),
            ("inblob", ""),
            ("outblob", ""),
        ];
        Self::with(&attributes, Box::new(|inblob| tdx_quote(4, inblob)))
    }

    fn with(attributes: &[(&'static str, &str)], outblob: Blob) -> Arc<Self> {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join(REPORT)).unwrap();
        let attributes = attributes.iter();
        Arc::new(Self {
            root,
            state: Mutex::new(State {
                attributes: attributes
                    .map(|(name, text)| (*name, text.as_bytes().to_vec()))
                    .collect(),
                outblob,
                auxblob: Vec::new(),
                has_driver: true,
                names_taken: 0,
                interferences: Vec::new(),
                failures: Vec::new(),
                lost_writes: 0,
                entries: HashMap::new(),
                made: 0,
                removed: 0,
            }),
        })
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Each new entry has `name` with this content; with `None` it has no such attribute.
    pub(super) fn attribute(&self, name: &'static str, content: Option<&[u8]>) {
        let mut state = self.state();
        match content {
            Some(content) => state.attributes.insert(name, content.to_vec()),
            None => state.attributes.remove(name),
        };
    }

    pub(super) fn outblob(&self, make: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) {
        self.state().outblob = Box::new(make);
    }

    pub(super) fn auxblob(&self, blob: Vec<u8>) {
        self.state().auxblob = blob;
    }

    pub(super) fn no_driver(&self) {
        self.state().has_driver = false;
    }

    pub(super) fn names_taken(&self, times: u32) {
        self.state().names_taken = times;
    }

    pub(super) fn interfere_after(&self, step: Step, times: u32) {
        self.state().interferences.push((step, times));
    }

    pub(super) fn fail(&self, step: Step, error: Errno, times: u32) {
        self.state().failures.push((step, error, times));
    }

    pub(super) fn lose_writes(&self, times: u32) {
        self.state().lost_writes = times;
    }

    /// How many entries were made. All of them must be gone.
    pub(super) fn entries_made_and_removed(&self) -> u32 {
        let state = self.state();
        assert_eq!(state.made, state.removed, "an entry was left");
        assert!(state.entries.is_empty());
        state.made
    }

    /// Entries in the directory, whosever.
    pub(super) fn left(&self) -> usize {
        fs::read_dir(self.root().join(REPORT)).unwrap().count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn failure(&mut self, step: &dyn Fn(Step) -> bool) -> io::Result<()> {
        for (at, error, times) in &mut self.failures {
            if step(*at) && *times > 0 {
                *times -= 1;
                return Err((*error).into());
            }
        }
        Ok(())
    }

    fn interference(&mut self, entry: &Path, step: &dyn Fn(Step) -> bool) -> io::Result<()> {
        for (at, times) in &mut self.interferences {
            if step(*at) && *times > 0 {
                *times -= 1;
                return self.store_inblob(entry, &FOREIGN);
            }
        }
        Ok(())
    }

    fn store_inblob(&mut self, entry: &Path, bytes: &[u8]) -> io::Result<()> {
        self.entry(entry).inblob = bytes.to_vec();
        self.bump(entry)
    }

    fn bump(&mut self, entry: &Path) -> io::Result<()> {
        let state = self.entry(entry);
        state.write_generation = state.write_generation.wrapping_add(1);
        fs::write(
            entry.join("generation"),
            format!("{}\n", state.write_generation),
        )
    }

    fn entry(&mut self, path: &Path) -> &mut EntryState {
        self.entries.get_mut(path).expect("an entry of the kernel")
    }

    /// What the kernel does when a blob is read: makes both anew unless they are fresh.
    fn refresh(&mut self, path: &Path) -> io::Result<()> {
        let entry = self.entry(path);
        if entry.inblob.is_empty() {
            return Err(Errno::INVAL.into());
        }
        if entry.read_generation == Some(entry.write_generation) {
            return Ok(());
        }
        entry.read_generation = Some(entry.write_generation);
        let inblob = entry.inblob.clone();
        fs::write(path.join("outblob"), (self.outblob)(&inblob))?;
        if self.attributes.contains_key("auxblob") {
            fs::write(path.join("auxblob"), &self.auxblob)?;
        }
        Ok(())
    }
}

impl Files for Kernel {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Disk.exists(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.has_driver {
            return Err(Errno::NXIO.into());
        }
        state.failure(&|step| step == Step::Make)?;
        if state.names_taken > 0 {
            state.names_taken -= 1;
            Disk.create_dir(path)?;
        }
        Disk.create_dir(path)?;
        for (name, content) in &state.attributes {
            fs::write(path.join(name), content)?;
        }
        let mut entry = EntryState::default();
        if let Some(generation) = state.attributes.get("generation") {
            let text = String::from_utf8_lossy(generation).trim().parse();
            entry.write_generation = text.unwrap_or_default();
        }
        state.entries.insert(path.to_owned(), entry);
        state.made += 1;
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        assert!(state.entries.remove(path).is_some(), "not our entry");
        for name in state.attributes.keys() {
            fs::remove_file(path.join(name))?;
        }
        Disk.remove_dir(path)?;
        state.removed += 1;
        Ok(())
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        let (entry, name) = of_entry(path);
        let step = |step| matches!(step, Step::Read(at) if at == name);
        state.failure(&step)?;
        if matches!(name, "outblob" | "auxblob") && path.exists() {
            state.refresh(entry)?;
        }
        let bytes = Disk.read(path, limit)?;
        state.interference(entry, &step)?;
        Ok(bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let (entry, name) = of_entry(path);
        let step = |step| matches!(step, Step::Write(at) if at == name);
        state.failure(&step)?;
        Disk.write(path, bytes)?;
        if name == "inblob" {
            if state.lost_writes > 0 {
                state.lost_writes -= 1;
            } else {
                state.store_inblob(entry, bytes)?;
            }
        } else if name == "privlevel" {
            state.bump(entry)?;
        } else {
            return Err(Errno::ACCESS.into());
        }
        state.interference(entry, &step)
    }
}

/// The entry and the attribute of `path`.
fn of_entry(path: &Path) -> (&Path, &str) {
    let name = path.file_name().and_then(|name| name.to_str());
    (path.parent().unwrap(), name.unwrap())
}

type Quote = Box<dyn Fn(&[u8; 64]) -> io::Result<Vec<u8>> + Send + Sync>;

/// Gramine: `<root>/dev/attestation`.
pub(super) struct LibraryOs {
    root: TempDir,
    quote: Quote,
    report_data: Mutex<[u8; 64]>,
    /// Report data that was written and has had no quote yet.
    pending: Mutex<bool>,
}

impl LibraryOs {
    /// With DCAP and quotes as `quote` makes them.
    pub(super) fn new(
        quote: impl Fn(&[u8; 64]) -> io::Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        let this = Self {
            root: tempfile::tempdir().unwrap(),
            quote: Box::new(quote),
            report_data: Mutex::new([0; 64]),
            pending: Mutex::new(false),
        };
        fs::create_dir_all(this.path("")).unwrap();
        fs::write(this.path("attestation_type"), "dcap").unwrap();
        fs::write(this.path("user_report_data"), [0; 64]).unwrap();
        fs::write(this.path("quote"), "").unwrap();
        Arc::new(this)
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root().join(super::gramine::FOLDER).join(name)
    }
}

impl Files for LibraryOs {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Disk.exists(path)
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Err(Errno::ACCESS.into())
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        Err(Errno::ACCESS.into())
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        if path.ends_with("quote") && path.exists() {
            let report_data = *self.report_data.lock().unwrap();
            *self.pending.lock().unwrap() = false;
            fs::write(path, (self.quote)(&report_data)?)?;
        }
        Disk.read(path, limit)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut pending = self.pending.lock().unwrap();
        assert!(!*pending, "two callers at once");
        *pending = true;
        Disk.write(path, bytes)?;
        // Gramine pads with zeros.
        let mut report_data = [0; 64];
        for (to, from) in report_data.iter_mut().zip(bytes) {
            *to = *from;
        }
        *self.report_data.lock().unwrap() = report_data;
        Ok(())
    }
}

/// A SEV-SNP report of this version, unsigned.
pub(super) fn snp_report(version: u32, report_data: &[u8]) -> Vec<u8> {
    let mut report = vec![0; 1184];
    report[..4].copy_from_slice(&version.to_le_bytes());
    report[0x34..0x38].copy_from_slice(&1_u32.to_le_bytes());
    report[0x50..0x90].copy_from_slice(report_data);
    report[0x90..0xC0].fill(0xAB);
    report
}

/// A TDX quote of this version, unsigned: TDX 1.0's body, or in version 5 the longer one of 1.5.
pub(super) fn tdx_quote(version: u16, report_data: &[u8]) -> Vec<u8> {
    let mut quote = dcap_header(version, 0x81);
    let mut body = vec![0; 584];
    if version == 5 {
        body.resize(648, 0);
        quote.extend_from_slice(&3_u16.to_le_bytes());
        quote.extend_from_slice(&648_u32.to_le_bytes());
    }
    body[520..584].copy_from_slice(report_data);
    quote.extend_from_slice(&body);
    with_signature(quote)
}

/// An SGX quote of version 3, unsigned.
pub(super) fn sgx_quote(report_data: &[u8]) -> Vec<u8> {
    let mut quote = dcap_header(3, 0);
    quote.extend_from_slice(&[0; 320]);
    quote.extend_from_slice(report_data);
    with_signature(quote)
}

fn dcap_header(version: u16, tee: u32) -> Vec<u8> {
    let mut header = vec![0; 48];
    header[..2].copy_from_slice(&version.to_le_bytes());
    header[2..4].copy_from_slice(&2_u16.to_le_bytes());
    header[4..8].copy_from_slice(&tee.to_le_bytes());
    header
}

fn with_signature(mut quote: Vec<u8>) -> Vec<u8> {
    quote.extend_from_slice(&100_u32.to_le_bytes());
    quote.extend_from_slice(&[0x5A; 100]);
    quote
}

/// GUIDs of a certificate table, in the order they are printed.
pub(super) const VCEK: [u8; 16] =
    *b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd";
pub(super) const VLEK: [u8; 16] =
    *b"\xa8\x07\x4b\xc2\xa2\x5a\x48\x3e\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1";
pub(super) const ASK: [u8; 16] =
    *b"\x4a\xb7\xb3\x79\xbb\xac\x4f\xe4\xa0\x2f\x05\xae\xf3\x27\xc7\x82";
pub(super) const ARK: [u8; 16] =
    *b"\xc0\xb4\x06\xa4\xa8\x03\x49\x52\x97\x43\x3f\xb6\x01\x4c\xd0\xae";

/// A certificate table of the GHCB specification.
pub(super) fn certificate_table(entries: &[([u8; 16], &[u8])]) -> Vec<u8> {
    let mut offset = 24 * (entries.len() + 1);
    let mut head = Vec::new();
    let mut certificates = Vec::new();
    for (guid, certificate) in entries {
        head.extend_from_slice(guid);
        head.extend_from_slice(&u32::try_from(offset).unwrap().to_le_bytes());
        head.extend_from_slice(&u32::try_from(certificate.len()).unwrap().to_le_bytes());
        certificates.extend_from_slice(certificate);
        offset += certificate.len();
    }
    head.extend_from_slice(&[0; 24]);
    head.append(&mut certificates);
    head
}

/// Something in a certificate's frame.
pub(super) fn der(content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82], &length[..], content].concat()
}
