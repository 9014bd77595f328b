//! MRTD: the measurement of a TD's initial memory.
//!
//! The TDX module feeds SHA-384 with one 128-byte record per page that is added
//! (`TDH.MEM.PAGE.ADD`) and with one record and the contents per 256 bytes that are measured
//! (`TDH.MR.EXTEND`); *Intel TDX Module Base Architecture Specification*, section on measurement
//! and attestation. In which order the two calls come is the hypervisor's choice.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::metadata::{TdvfError, TdvfSection, sections_of};
use crate::digest::Sha384;
use crate::firmware::Firmware;
use crate::{PAGE, Sha384Digest};

/// What `MR.EXTEND` measures at a time.
const CHUNK: usize = 256;

/// A TDVF image: OVMF with TDX support, or td-shim.
#[derive(Clone, Debug)]
pub struct Tdvf<'a> {
    sections: Vec<TdvfSection<'a>>,
}

impl<'a> Tdvf<'a> {
    /// Reads the TDX metadata of `firmware`.
    pub fn parse(firmware: &Firmware<'a>) -> Result<Self, TdvfError> {
        Ok(Self {
            sections: sections_of(firmware)?,
        })
    }

    /// Its sections, in the order in which they are added.
    pub fn sections(&self) -> &[TdvfSection<'a>] {
        &self.sections
    }

    /// The measurement of a TD that was started with this image alone, by a hypervisor that calls
    /// the TDX module in this `order`.
    pub fn mrtd(&self, order: PageOrder) -> Sha384Digest {
        let mut hash = Sha384::new();
        for section in self.sections.iter().filter(|section| section.is_measured()) {
            match order {
                PageOrder::ByPage => {
                    for page in section.pages() {
                        add_page(&mut hash, section, page);
                        extend_page(&mut hash, section, page);
                    }
                }
                PageOrder::BySection => {
                    for page in section.pages() {
                        add_page(&mut hash, section, page);
                    }
                    for page in section.pages() {
                        extend_page(&mut hash, section, page);
                    }
                }
            }
        }
        hash.finish()
    }
}

/// In which order a hypervisor adds and measures memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PageOrder {
    /// Each page is added and measured before the next: Linux since TDX is in it (6.16), with any
    /// QEMU.
    ByPage,
    /// All pages of a section are added, then all are measured: kernels with Intel's earlier
    /// patches, QEMU 8.
    BySection,
}

impl PageOrder {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::ByPage, Self::BySection];

    /// The name that is parsed.
    pub fn name(self) -> &'static str {
        match self {
            Self::ByPage => "by-page",
            Self::BySection => "by-section",
        }
    }
}

impl fmt::Display for PageOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for PageOrder {
    type Err = UnknownOrder;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|order| order.name() == text)
            .ok_or_else(|| UnknownOrder(text.chars().take(80).collect()))
    }
}

/// A name that is no order's.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not an order of adding pages: give `by-page` or `by-section`")]
pub struct UnknownOrder(String);

fn add_page(hash: &mut Sha384, section: &TdvfSection<'_>, page: u64) {
    if !section.added_later {
        hash.update(&record(b"MEM.PAGE.ADD", section.address + page));
    }
}

fn extend_page(hash: &mut Sha384, section: &TdvfSection<'_>, page: u64) {
    if !section.extended {
        return;
    }
    for chunk in (page..page + PAGE as u64).step_by(CHUNK) {
        let mut contents = [0; CHUNK];
        let begun = usize::try_from(chunk)
            .ok()
            .and_then(|at| section.contents.get(at..))
            .unwrap_or_default();
        for (to, from) in contents.iter_mut().zip(begun) {
            *to = *from;
        }
        hash.update(&record(b"MR.EXTEND", section.address + chunk));
        hash.update(&contents);
    }
}

/// Name of the call (padded to 16 bytes), address (8), zeros.
fn record(name: &[u8], address: u64) -> [u8; 128] {
    let mut record = [0; 128];
    for (to, from) in record.iter_mut().zip(name) {
        *to = *from;
    }
    for (to, from) in record.iter_mut().skip(16).zip(address.to_le_bytes()) {
        *to = from;
    }
    record
}
