//! The digest of a UEFI program that firmware measures and Secure Boot signs.
//!
//! It leaves out what signing changes: *Windows Authenticode Portable Executable Signature
//! Format*, as edk2 computes it (`OvmfPkg/Tcg/TdTcg2Dxe/MeasureBootPeCoff.c`): headers without
//! checksum and certificate table entry, sections in the order of the file, and what follows them
//! but the certificates.

use std::io::{ErrorKind, Read, Seek, SeekFrom};

use thiserror::Error;

use crate::bytes::{u16_at, u32_at};
use crate::digest::{InputError, Sha384};
use crate::{MAX_BOOT_FILE, Sha384Digest};

/// Where headers must end: 64 KiB.
const MAX_HEAD: u64 = 64 * 1024;

/// Index of the certificate table among the data directories.
const CERTIFICATES: usize = 4;

/// SHA-384 of the program that `reader` gives, whatever it is signed with.
///
/// ```
/// # fn show() -> Result<(), Box<dyn std::error::Error>> {
/// let kernel = std::fs::File::open("/boot/vmlinuz")?;
/// println!("{}", mse_measure::authenticode::sha384(kernel)?);
/// # Ok(())
/// # }
/// ```
pub fn sha384(mut reader: impl Read + Seek) -> Result<Sha384Digest, AuthenticodeError> {
    let head = head_of(&mut reader)?;
    sha384_with_head(&mut reader, &head)
}

/// The first 64 KiB of a program, or all of it if it has less.
pub(crate) fn head_of(reader: &mut (impl Read + Seek)) -> Result<Vec<u8>, AuthenticodeError> {
    let mut head = Vec::new();
    reader
        .rewind()
        .and_then(|()| reader.take(MAX_HEAD).read_to_end(&mut head))
        .map_err(unreadable)?;
    Ok(head)
}

/// The digest of a program that begins with `head`, and goes on as in `reader`.
pub(crate) fn sha384_with_head(
    reader: &mut (impl Read + Seek),
    head: &[u8],
) -> Result<Sha384Digest, AuthenticodeError> {
    let size = reader.seek(SeekFrom::End(0)).map_err(unreadable)?;
    if size > MAX_BOOT_FILE {
        return Err(AuthenticodeError::Input(InputError::TooLarge {
            what: "program",
            limit: MAX_BOOT_FILE,
        }));
    }
    let layout = Layout::of(head, size)?;
    let mut hash = Sha384::new();
    let mut rest = Rest { reader, head };
    for (start, end) in layout.measured(size)? {
        rest.hash(&mut hash, start, end)?;
    }
    Ok(hash.finish())
}

/// What of a program's headers says what is measured.
struct Layout {
    checksum: u64,
    /// Where the entry of the certificate table is, and the size it gives.
    certificates: Option<(u64, u64)>,
    headers: u64,
    /// Start and end, in the order of the file.
    sections: Vec<(u64, u64)>,
}

impl Layout {
    fn of(head: &[u8], size: u64) -> Result<Self, AuthenticodeError> {
        let pe = match head.first_chunk() {
            Some(b"MZ") => u32_at(head, 0x3c).ok_or(AuthenticodeError::NotPe)?,
            _ => return Err(AuthenticodeError::NotPe),
        };
        let pe = usize::try_from(pe).map_err(|_| AuthenticodeError::NotPe)?;
        let file_header = pe.checked_add(4).ok_or(AuthenticodeError::NotPe)?;
        if head.get(pe..file_header) != Some(b"PE\0\0") {
            return Err(AuthenticodeError::NotPe);
        }
        let field = |name: &'static str| AuthenticodeError::Truncated { field: name };
        let count = u16_at(head, file_header + 2).ok_or(field("NumberOfSections"))?;
        let optional_size = u16_at(head, file_header + 16).ok_or(field("SizeOfOptionalHeader"))?;
        let optional = file_header + 20;
        let directories = match u16_at(head, optional).ok_or(field("Magic"))? {
            0x10b => optional + 96,
            0x20b => optional + 112,
            magic => return Err(AuthenticodeError::Magic { magic }),
        };
        let headers = u32_at(head, optional + 60).ok_or(field("SizeOfHeaders"))?;
        let directory_count = u32_at(head, directories - 4).ok_or(field("NumberOfRvaAndSizes"))?;
        let certificates = match usize::try_from(directory_count) {
            Ok(count) if count <= CERTIFICATES => None,
            _ => {
                let at = directories + 8 * CERTIFICATES;
                let size = u32_at(head, at + 4).ok_or(field("Certificate Table"))?;
                Some((at as u64, u64::from(size)))
            }
        };
        let table = optional + usize::from(optional_size);
        let mut sections = Vec::new();
        for index in 0..usize::from(count) {
            let section = table + 40 * index;
            let length = u32_at(head, section + 16).ok_or(field("SizeOfRawData"))?;
            let start = u32_at(head, section + 20).ok_or(field("PointerToRawData"))?;
            if length > 0 {
                sections.push((u64::from(start), u64::from(start) + u64::from(length)));
            }
        }
        sections.sort_by_key(|(start, _)| *start);
        let layout = Self {
            checksum: (optional + 64) as u64,
            certificates,
            headers: u64::from(headers),
            sections,
        };
        layout.check(size)
    }

    /// Everything lies in the file, and nothing in two sections.
    fn check(self, size: u64) -> Result<Self, AuthenticodeError> {
        let after_fields = self
            .certificates
            .map_or(self.checksum + 4, |(at, _)| at + 8);
        if self.headers < after_fields || self.headers > size {
            return Err(AuthenticodeError::Headers { size: self.headers });
        }
        let mut end_before = self.headers;
        for &(start, end) in &self.sections {
            if start < end_before || end > size {
                return Err(AuthenticodeError::Section { start, end });
            }
            end_before = end;
        }
        Ok(self)
    }

    /// The ranges of the file that are hashed, in this order.
    fn measured(&self, size: u64) -> Result<Vec<(u64, u64)>, AuthenticodeError> {
        let mut ranges = vec![(0, self.checksum)];
        match self.certificates {
            Some((entry, _)) => {
                ranges.push((self.checksum + 4, entry));
                ranges.push((entry + 8, self.headers));
            }
            None => ranges.push((self.checksum + 4, self.headers)),
        }
        ranges.extend(&self.sections);
        // By definition what follows begins after as many bytes as were counted, even if there
        // are gaps between sections.
        let counted = self
            .sections
            .iter()
            .fold(self.headers, |sum, (start, end)| sum + (end - start));
        let certificates = self.certificates.map_or(0, |(_, size)| size);
        if size > counted {
            let end = size
                .checked_sub(certificates)
                .filter(|end| *end >= counted)
                .ok_or(AuthenticodeError::Certificates { size: certificates })?;
            ranges.push((counted, end));
        }
        Ok(ranges)
    }
}

/// A program whose beginning may differ from the file.
struct Rest<'a, R> {
    reader: &'a mut R,
    head: &'a [u8],
}

impl<R: Read + Seek> Rest<'_, R> {
    fn hash(&mut self, hash: &mut Sha384, start: u64, end: u64) -> Result<(), AuthenticodeError> {
        let in_head = |at: u64| {
            usize::try_from(at)
                .unwrap_or(usize::MAX)
                .min(self.head.len())
        };
        let (from, to) = (in_head(start), in_head(end));
        hash.update(self.head.get(from..to).unwrap_or_default());
        let mut at = start.max(self.head.len() as u64);
        if at >= end {
            return Ok(());
        }
        self.reader.seek(SeekFrom::Start(at)).map_err(unreadable)?;
        let mut buffer = vec![0; 64 * 1024];
        while at < end {
            let wanted = usize::try_from(end - at)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let piece = buffer.get_mut(..wanted).unwrap_or_default();
            match self.reader.read(piece) {
                Ok(0) => return Err(unreadable(ErrorKind::UnexpectedEof.into())),
                Ok(length) => {
                    hash.update(piece.get(..length).unwrap_or_default());
                    at += length as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error)),
            }
        }
        Ok(())
    }
}

fn unreadable(source: std::io::Error) -> AuthenticodeError {
    AuthenticodeError::Input(InputError::Read {
        what: "program",
        source,
    })
}

/// Why a file has no Authenticode digest.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AuthenticodeError {
    /// It cannot be read, or is too large.
    #[error(transparent)]
    Input(#[from] InputError),
    /// No PE file.
    #[error(
        "the program is no PE file (`MZ`, then `PE`): give a kernel with an EFI stub, a unified kernel image, or a boot loader"
    )]
    NotPe,
    /// Its headers end too early.
    #[error(
        "the program's headers end before `{field}`, or go beyond 64 KiB: the file is damaged, get it again"
    )]
    Truncated {
        /// The field that is missing.
        field: &'static str,
    },
    /// Neither PE32 nor PE32+.
    #[error(
        "the program has the unknown magic `{magic:#x}` (PE32 is 0x10b, PE32+ is 0x20b): the file is damaged, get it again"
    )]
    Magic {
        /// The magic it has.
        magic: u16,
    },
    /// Headers of an impossible size.
    #[error(
        "the program gives `{size}` as SizeOfHeaders, which does not fit: the file is damaged, get it again"
    )]
    Headers {
        /// The size it gives.
        size: u64,
    },
    /// A section outside the file, or over another.
    #[error(
        "the program has a section from `{start:#x}` to `{end:#x}`, which is outside the file, in the headers or over another section: the file is damaged, get it again"
    )]
    Section {
        /// Where it starts in the file.
        start: u64,
        /// Where it ends.
        end: u64,
    },
    /// More certificates than file.
    #[error(
        "the program's certificate table of `{size}` bytes does not fit behind its sections: the file is damaged, get it again"
    )]
    Certificates {
        /// The size it gives.
        size: u64,
    },
}
