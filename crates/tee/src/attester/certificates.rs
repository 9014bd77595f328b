//! The certificate table that a SEV-SNP host puts beside a report.
//!
//! The layout is that of the GHCB specification (AMD document 56421, extended guest request):
//! entries of a GUID (16 bytes), an offset from the table's start and a length (4 bytes each,
//! little-endian), ended by an entry of zeros, and the certificates after it. The table is the
//! host's and nothing vouches for it: it saves the verifier a look-up, and the verifier checks
//! each certificate against its own roots.

/// More entries than any host has: each kind of certificate once, revocation lists and strangers.
const MAX_ENTRIES: usize = 32;
/// A certificate of AMD's has less than 2 KiB.
const MAX_CERTIFICATE: usize = 8 * 1024;
const ENTRY: usize = 24;

/// A certificate's place between the report's signature and AMD's root. The order is the chain's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Of the chip and its TCB (VCEK); signs reports.
    Vcek,
    /// Of the cloud and the TCB (VLEK); signs reports instead of a VCEK.
    Vlek,
    /// AMD's intermediate (ASK, or ASVK above a VLEK).
    Ask,
    /// AMD's root. Never to be trusted because it is here.
    Ark,
}

impl Role {
    /// The specification prints GUIDs, and hosts disagree how to store them: AMD's own tool and
    /// the clouds in the order they are printed, others as Microsoft does, with the first three
    /// fields little-endian. No GUID of one form is another's in the other form.
    fn of(guid: [u8; 16]) -> Option<Self> {
        let guid = uuid::Uuid::from_bytes(guid);
        let swapped = uuid::Uuid::from_bytes_le(*guid.as_bytes());
        GUIDS
            .iter()
            .find(|(known, _)| *known == guid || *known == swapped)
            .map(|(_, role)| *role)
    }
}

const GUIDS: [(uuid::Uuid, Role); 4] = [
    (
        uuid::uuid!("63da758d-e664-4564-adc5-f4b93be8accd"),
        Role::Vcek,
    ),
    (
        uuid::uuid!("a8074bc2-a25a-483e-aae6-39c045a0b8a1"),
        Role::Vlek,
    ),
    (
        uuid::uuid!("4ab7b379-bbac-4fe4-a02f-05aef327c782"),
        Role::Ask,
    ),
    (
        uuid::uuid!("c0b406a4-a803-4952-9743-3fb6014cd0ae"),
        Role::Ark,
    ),
];

/// The certificates in `table`, each as DER, the one that signs reports first. A host that gives
/// none gives an empty table; entries of other kinds are left out.
pub(super) fn parse(table: &[u8]) -> Result<Vec<Vec<u8>>, CertificateTableError> {
    let mut found: Vec<(Role, &[u8])> = Vec::new();
    for entry in entries(table)? {
        let certificate = entry.content(table)?;
        let Some(role) = Role::of(entry.guid) else {
            continue;
        };
        if found.iter().any(|(other, _)| *other == role) {
            return Err(CertificateTableError::Duplicate(role));
        }
        if !is_der_sequence(certificate) {
            return Err(CertificateTableError::NotDer(role));
        }
        found.push((role, certificate));
    }
    found.sort_by_key(|(role, _)| *role);
    Ok(found
        .into_iter()
        .map(|(_, certificate)| certificate.to_vec())
        .collect())
}

struct Entry {
    guid: [u8; 16],
    /// The bytes from the table's start that no certificate may lie in.
    table_end: usize,
    offset: u32,
    length: u32,
}

impl Entry {
    fn content<'table>(&self, table: &'table [u8]) -> Result<&'table [u8], CertificateTableError> {
        let outside = CertificateTableError::Outside {
            offset: self.offset,
            length: self.length,
            size: table.len(),
        };
        let (Ok(offset), Ok(length)) = (usize::try_from(self.offset), usize::try_from(self.length))
        else {
            return Err(outside);
        };
        if offset < self.table_end || length == 0 {
            return Err(outside);
        }
        if length > MAX_CERTIFICATE && Role::of(self.guid).is_some() {
            return Err(CertificateTableError::TooLong(self.length));
        }
        offset
            .checked_add(length)
            .and_then(|end| table.get(offset..end))
            .ok_or(outside)
    }
}

/// The entries up to the one of zeros, which must be there.
fn entries(table: &[u8]) -> Result<Vec<Entry>, CertificateTableError> {
    let mut entries = Vec::new();
    if table.is_empty() {
        return Ok(entries);
    }
    for raw in table.chunks_exact(ENTRY).take(MAX_ENTRIES + 1) {
        if raw.iter().all(|byte| *byte == 0) {
            let table_end = (entries.len() + 1) * ENTRY;
            for entry in &mut entries {
                let entry: &mut Entry = entry;
                entry.table_end = table_end;
            }
            return Ok(entries);
        }
        let (Some(guid), Some(offset), Some(length)) = (
            raw.first_chunk(),
            raw.get(16..20).and_then(|bytes| bytes.first_chunk()),
            raw.last_chunk(),
        ) else {
            break;
        };
        entries.push(Entry {
            guid: *guid,
            table_end: 0,
            offset: u32::from_le_bytes(*offset),
            length: u32::from_le_bytes(*length),
        });
    }
    if entries.len() > MAX_ENTRIES {
        return Err(CertificateTableError::TooManyEntries);
    }
    Err(CertificateTableError::Unended(table.len()))
}

/// Whether `bytes` are one DER sequence and nothing more: the frame of every certificate.
fn is_der_sequence(bytes: &[u8]) -> bool {
    let Some((&[0x30, short], rest)) = bytes.split_first_chunk() else {
        return false;
    };
    let (length, content) = match (short, rest) {
        (0..=0x7f, content) => (usize::from(short), content),
        (0x81, [length, content @ ..]) => (usize::from(*length), content),
        (0x82, [high, low, content @ ..]) => {
            (usize::from(u16::from_be_bytes([*high, *low])), content)
        }
        _ => return false,
    };
    content.len() == length
}

/// Why a certificate table cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateTableError {
    /// No entry of zeros.
    #[error("its `{0}` bytes hold no entry of zeros that ends it")]
    Unended(usize),
    /// More entries than are looked at.
    #[error("it has more than {MAX_ENTRIES} entries")]
    TooManyEntries,
    /// An entry that points out of the table, or into its head, or at nothing.
    #[error(
        "an entry points at `{length}` bytes from `{offset}` on, which is not among the certificates of its `{size}` bytes"
    )]
    Outside {
        /// Where the entry points.
        offset: u32,
        /// How much there should be.
        length: u32,
        /// The whole table's size.
        size: usize,
    },
    /// A certificate larger than certificates are.
    #[error("a certificate of `{0}` bytes; at most {MAX_CERTIFICATE} are taken")]
    TooLong(u32),
    /// Two of a kind.
    #[error("it has more than one `{0:?}`")]
    Duplicate(Role),
    /// Not one DER structure.
    #[error("its `{0:?}` is not exactly one DER structure")]
    NotDer(Role),
}

#[cfg(test)]
mod tests;
