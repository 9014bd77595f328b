//! The compact form of values: `version ‖ tag ‖ (length ‖ bytes)*`, lengths in 4 bytes, big-endian.

use mse_crypto::Zeroizing;

const VERSION: u8 = 1;

/// Bytes of a whole form.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// Fields of a form: a certificate with the longest chain has fewer.
const MAX_FIELDS: usize = 32;

/// Writes the form. It is allocated once: one that grows leaves copies behind.
pub(crate) fn write(tag: u8, fields: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length = fields.iter().map(|field| 4 + field.len()).sum::<usize>();
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 + length));
    bytes.extend([VERSION, tag]);
    for field in fields {
        let length = u32::try_from(field.len()).expect("what is stored is far shorter than 4 GiB");
        bytes.extend(length.to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

/// The tag and the fields. None if anything is short, left over or of another version.
pub(crate) fn read(bytes: &[u8]) -> Option<(u8, Vec<&[u8]>)> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    let (&[VERSION, tag], mut rest) = bytes.split_first_chunk()? else {
        return None;
    };
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, after) = after.split_at_checked(length)?;
        if fields.len() == MAX_FIELDS {
            return None;
        }
        fields.push(field);
        rest = after;
    }
    Some((tag, fields))
}

/// A field of exactly 8 bytes as a number.
pub(crate) fn number(field: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(field.try_into().ok()?))
}
