//! The event log of a TDX guest.
//!
//! Firmware and kernel note each digest that they extend into an RTMR, with what it is of, in a
//! log (`/sys/firmware/acpi/tables/data/CCEL` in the guest). Nobody protects the log; it is worth
//! something because replaying it must give the RTMRs of a genuine quote. Its form is the
//! crypto-agile log of the *TCG PC Client Platform Firmware Profile Specification*, section 10,
//! with the registers of the UEFI specification's *Confidential Computing* chapter instead of
//! PCRs.
//!
//! ```
//! use mse_measure::event_log::{EventLog, Register};
//!
//! # fn show(ccel: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! let log = EventLog::parse(ccel)?;
//! let registers = log.replay();
//! println!("RTMR1 {}", registers.rtmr(1));
//! # Ok(())
//! # }
//! ```

mod data;
mod kind;

use std::fmt;

use serde::{Serialize, Serializer};
use thiserror::Error;

pub use data::DataCheck;
pub use kind::EventKind;

use crate::Sha384Digest;
use crate::bytes::Cursor;
use crate::tdx::Rtmr;

/// The largest log: 16 MiB. Firmware reserves 64 KiB.
pub const MAX_LOG: usize = 16 << 20;
/// The most events of a log.
pub const MAX_EVENTS: usize = 1 << 16;

/// The most digest algorithms of a log.
const MAX_ALGORITHMS: usize = 8;
const SHA384_ID: u16 = 0x000c;

/// A log, read completely.
#[derive(Clone, Debug)]
pub struct EventLog {
    events: Vec<Event>,
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Into which register its digest was extended, if it was.
    pub register: Register,
    /// What kind it is.
    pub kind: EventKind,
    /// The digest. An event that is not extended may have one of zeros.
    pub digest: Sha384Digest,
    /// What the log says about it. Often it is what was measured, see [`Event::check_data`].
    pub data: Vec<u8>,
}

impl Event {
    /// Whether it was extended: informative events are not.
    pub fn is_extended(&self) -> bool {
        self.kind != EventKind::NO_ACTION
    }

    /// Whether its digest is that of its data, where its kind says that the data is what was
    /// measured.
    pub fn check_data(&self) -> DataCheck {
        data::check(self)
    }
}

/// A measurement register, numbered as the log numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Register {
    /// 0: MRTD. Nothing can be extended into it: its events are only informative.
    Mrtd,
    /// 1 to 4: RTMR0 to RTMR3.
    Rtmr(u8),
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mrtd => f.write_str("MRTD"),
            Self::Rtmr(index) => write!(f, "RTMR{index}"),
        }
    }
}

impl Serialize for Register {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The RTMRs that a log gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Registers(pub [Rtmr; 4]);

impl Registers {
    /// RTMR `index`; zeros for one that does not exist.
    pub fn rtmr(&self, index: u8) -> Rtmr {
        self.0
            .get(usize::from(index))
            .copied()
            .unwrap_or(Rtmr::START)
    }
}

impl EventLog {
    /// Reads a whole log: the file `CCEL`, with the unused bytes after its last event or without.
    pub fn parse(log: &[u8]) -> Result<Self, EventLogError> {
        if log.len() > MAX_LOG {
            return Err(EventLogError::TooLarge { size: log.len() });
        }
        let mut cursor = Cursor::new(log);
        let algorithms = header(&mut cursor)?;
        let mut events = Vec::new();
        while !is_unused(cursor.rest()) {
            if events.len() == MAX_EVENTS {
                return Err(EventLogError::TooManyEvents);
            }
            events.push(event(&mut cursor, events.len(), &algorithms)?);
        }
        Ok(Self { events })
    }

    /// The events, without the header.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The RTMRs after all events.
    pub fn replay(&self) -> Registers {
        let mut registers = [Rtmr::START; 4];
        for event in self.events.iter().filter(|event| event.is_extended()) {
            if let Register::Rtmr(index) = event.register
                && let Some(register) = registers.get_mut(usize::from(index))
            {
                register.extend(&event.digest);
            }
        }
        Registers(registers)
    }
}

/// The identifiers of a log's digest algorithms, with their digests' sizes.
struct Algorithms(Vec<(u16, usize)>);

impl Algorithms {
    fn size(&self, id: u16) -> Option<usize> {
        self.0
            .iter()
            .find(|(other, _)| *other == id)
            .map(|(_, size)| *size)
    }
}

/// The first event, `TCG_EfiSpecIDEvent` in the older form: register (4 bytes), kind (4), a SHA-1
/// digest (20), size (4), data.
fn header(cursor: &mut Cursor<'_>) -> Result<Algorithms, EventLogError> {
    let parts = (cursor.u32(), cursor.u32(), cursor.take(20), cursor.u32());
    let (Some(_), Some(kind), Some(_), Some(size)) = parts else {
        return Err(EventLogError::NoHeader);
    };
    let data = usize::try_from(size)
        .ok()
        .and_then(|size| cursor.take(size))
        .filter(|_| EventKind(kind) == EventKind::NO_ACTION)
        .ok_or(EventLogError::NoHeader)?;
    let mut data = Cursor::new(data);
    if data.take(16) != Some(b"Spec ID Event03\0") {
        return Err(EventLogError::NoHeader);
    }
    // Platform class, version, errata, size of UINTN: they change nothing here.
    let (Some(_), Some(count)) = (data.take(8), data.u32()) else {
        return Err(EventLogError::Algorithms);
    };
    let count = usize::try_from(count)
        .ok()
        .filter(|count| (1..=MAX_ALGORITHMS).contains(count))
        .ok_or(EventLogError::Algorithms)?;
    let mut algorithms = Algorithms(Vec::new());
    for _ in 0..count {
        match (data.u16(), data.u16()) {
            (Some(id), Some(size @ 1..=64)) if algorithms.size(id).is_none() => {
                algorithms.0.push((id, size.into()));
            }
            _ => return Err(EventLogError::Algorithms),
        }
    }
    if algorithms.size(SHA384_ID) != Some(48) {
        return Err(EventLogError::NoSha384);
    }
    // What the vendor adds is prefixed with its size and ends the header.
    match data.u8() {
        Some(size) if data.rest().len() == usize::from(size) => Ok(algorithms),
        _ => Err(EventLogError::Algorithms),
    }
}

/// `TCG_PCR_EVENT2`: register (4 bytes), kind (4), number of digests (4), each with its algorithm
/// (2), size of data (4), data.
fn event(
    cursor: &mut Cursor<'_>,
    index: usize,
    algorithms: &Algorithms,
) -> Result<Event, EventLogError> {
    let offset = cursor.position();
    let truncated = || EventLogError::Truncated { index, offset };
    let mut u32_of = || cursor.u32().ok_or_else(truncated);
    let (register, kind, count) = (u32_of()?, EventKind(u32_of()?), u32_of()?);
    let register = match register {
        0 => Register::Mrtd,
        1 => Register::Rtmr(0),
        2 => Register::Rtmr(1),
        3 => Register::Rtmr(2),
        4 => Register::Rtmr(3),
        register => return Err(EventLogError::Register { index, register }),
    };
    if register == Register::Mrtd && kind != EventKind::NO_ACTION {
        return Err(EventLogError::ExtendedMrtd { index });
    }
    if usize::try_from(count).is_ok_and(|count| count > algorithms.0.len()) {
        return Err(EventLogError::Digests { index, count });
    }
    let mut digest = None;
    for _ in 0..count {
        let algorithm = cursor.u16().ok_or_else(truncated)?;
        let size = algorithms
            .size(algorithm)
            .ok_or(EventLogError::Algorithm { index, algorithm })?;
        let bytes = cursor.take(size).ok_or_else(truncated)?;
        if algorithm == SHA384_ID {
            let bytes = bytes.try_into().map_err(|_| truncated())?;
            if digest.replace(Sha384Digest(bytes)).is_some() {
                return Err(EventLogError::Digests { index, count });
            }
        }
    }
    let digest = match digest {
        Some(digest) => digest,
        None if kind == EventKind::NO_ACTION => Sha384Digest::ZERO,
        None => return Err(EventLogError::NoDigest { index }),
    };
    let size = cursor.u32().ok_or_else(truncated)?;
    let data = usize::try_from(size)
        .ok()
        .and_then(|size| cursor.take(size))
        .ok_or_else(truncated)?;
    Ok(Event {
        register,
        kind,
        digest,
        data: data.to_vec(),
    })
}

/// Firmware fills the space that it reserves with ones or zeros.
fn is_unused(rest: &[u8]) -> bool {
    let all = |filler| rest.iter().all(|byte| *byte == filler);
    all(0xff) || all(0)
}

/// Why a log cannot be replayed.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventLogError {
    /// Larger than any log.
    #[error(
        "the event log has `{size}` bytes, more than 16 MiB: give the file `CCEL` of the guest"
    )]
    TooLarge {
        /// Its size in bytes.
        size: usize,
    },
    /// It does not begin as a log.
    #[error(
        "the event log does not begin with `Spec ID Event03`: give `/sys/firmware/acpi/tables/data/CCEL` of the guest, as it is"
    )]
    NoHeader,
    /// Its header's list of algorithms is not possible.
    #[error(
        "the header of the event log lists impossible digest algorithms: the log is damaged, get it again"
    )]
    Algorithms,
    /// No SHA-384.
    #[error(
        "the event log has no SHA-384 digests, which TDX extends: give the log of a TDX guest (`CCEL`), not that of a TPM"
    )]
    NoSha384,
    /// An event goes beyond the end.
    #[error(
        "event {index} at byte `{offset}` goes beyond the end of the event log: the log is damaged, get it again"
    )]
    Truncated {
        /// Which event, from 0.
        index: usize,
        /// Where it begins.
        offset: usize,
    },
    /// A register that TDX does not have.
    #[error(
        "event {index} is for the register `{register}`, TDX has 1 to 4: give the log of a TDX guest (`CCEL`), not that of a TPM"
    )]
    Register {
        /// Which event, from 0.
        index: usize,
        /// The register it gives.
        register: u32,
    },
    /// Something that was not informative, for MRTD.
    #[error(
        "event {index} would be extended into MRTD, which is not possible: the log is damaged or forged, get it again"
    )]
    ExtendedMrtd {
        /// Which event, from 0.
        index: usize,
    },
    /// More digests than algorithms, or two of one.
    #[error(
        "event {index} has `{count}` digests, more than the log has algorithms or two of one: the log is damaged, get it again"
    )]
    Digests {
        /// Which event, from 0.
        index: usize,
        /// The number it gives.
        count: u32,
    },
    /// A digest of an algorithm that the header does not list.
    #[error(
        "event {index} has a digest of the algorithm `{algorithm:#06x}`, which the log's header does not list: the log is damaged, get it again"
    )]
    Algorithm {
        /// Which event, from 0.
        index: usize,
        /// The algorithm's TPM identifier.
        algorithm: u16,
    },
    /// An extended event without the digest that was extended.
    #[error(
        "event {index} has no SHA-384 digest, so nothing tells what was extended: the log is damaged, get it again"
    )]
    NoDigest {
        /// Which event, from 0.
        index: usize,
    },
    /// More events than [`MAX_EVENTS`].
    #[error("the event log has more than 65536 events: the log is damaged, get it again")]
    TooManyEvents,
}
