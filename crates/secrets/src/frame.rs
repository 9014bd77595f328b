//! The compact form of values: `version ‖ tag ‖ count ‖ (length ‖ bytes)*`, one byte for each of the
//! first three, lengths in 4 bytes, big-endian.

use mse_crypto::Zeroizing;

const VERSION: u8 = 1;

/// Bytes of a whole form.
pub(crate) const MAX_BYTES: usize = 1024 * 1024;
/// Fields of a form: a certificate with the longest chain has fewer.
const MAX_FIELDS: usize = 32;

/// Writes the form. It is allocated once: one that grows leaves copies behind.
pub(crate) fn write(tag: u8, fields: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length = fields.iter().map(|field| 4 + field.len()).sum::<usize>();
    let count = u8::try_from(fields.len()).expect("no value has more parts than MAX_FIELDS");
    let mut bytes = Zeroizing::new(Vec::with_capacity(3 + length));
    bytes.extend([VERSION, tag, count]);
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
    let (&[VERSION, tag, count], mut rest) = bytes.split_first_chunk()? else {
        return None;
    };
    if usize::from(count) > MAX_FIELDS {
        return None;
    }
    let mut fields = Vec::with_capacity(count.into());
    for _ in 0..count {
        let (length, after) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, after) = after.split_at_checked(length)?;
        fields.push(field);
        rest = after;
    }
    rest.is_empty().then_some((tag, fields))
}

/// A field of exactly 8 bytes as a number.
pub(crate) fn number(field: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(field.try_into().ok()?))
}
