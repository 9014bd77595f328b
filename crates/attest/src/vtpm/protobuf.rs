//! Attestations of Google's go-tpm-tools: the protocol buffer message `attest.Attestation`.
//!
//! The wire format is read as far as that message uses it: varints and length-delimited fields.
//! Fields that are not read (the event log, the instance's name) are skipped by their length.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{
    VtpmError,
    evidence::{MAX_CERTIFICATES, Pcrs, TpmQuote},
    key::AttestationKey,
    tpm::{Hash, Signature, parse_public},
};

/// The fields of an attestation that are used.
pub(super) struct Attestation {
    pub(super) ak: AttestationKey,
    pub(super) quotes: Vec<TpmQuote>,
    /// Certificate of the attestation key, then those of its issuers.
    pub(super) certificates: Vec<Vec<u8>>,
}

impl Attestation {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, VtpmError> {
        let mut ak = None;
        let mut quotes = Vec::new();
        let mut ak_certificate = None;
        let mut issuers = Vec::new();
        for field in Message(bytes) {
            match field? {
                (1, Field::Bytes(public)) => only(&mut ak, parse_public(public)?)?,
                (2, Field::Bytes(quote)) => quotes.push(parse_quote(quote)?),
                (6, Field::Bytes(certificate)) => only(&mut ak_certificate, certificate.to_vec())?,
                (7, Field::Bytes(certificate)) => issuers.push(certificate.to_vec()),
                _ => (),
            }
            if quotes.len() > MAX_QUOTES || issuers.len() >= MAX_CERTIFICATES {
                return Err(ProtobufError::TooMany.into());
            }
        }
        let certificates = ak_certificate.into_iter().chain(issuers).collect();
        Ok(Self {
            ak: ak.ok_or(ProtobufError::Missing { field: "ak_pub" })?,
            quotes,
            certificates,
        })
    }
}

/// Whether `bytes` start as an attestation does: with a TPM public key of a type that is known.
pub(super) fn looks_like(bytes: &[u8]) -> bool {
    matches!(
        Message(bytes).next(),
        Some(Ok((1, Field::Bytes([0, 0x01 | 0x23, ..]))))
    )
}

fn parse_quote(bytes: &[u8]) -> Result<TpmQuote, VtpmError> {
    let (mut message, mut signature, mut pcrs) = (None, None, None);
    for field in Message(bytes) {
        match field? {
            (1, Field::Bytes(quote)) => only(&mut message, quote.to_vec())?,
            (2, Field::Bytes(raw)) => only(&mut signature, Signature::parse(raw)?)?,
            (3, Field::Bytes(values)) => only(&mut pcrs, parse_pcrs(values)?)?,
            _ => (),
        }
    }
    let missing = |field| ProtobufError::Missing { field };
    TpmQuote::new(
        message.ok_or(missing("quotes.quote"))?,
        signature.ok_or(missing("quotes.raw_sig"))?,
        pcrs.ok_or(missing("quotes.pcrs"))?,
    )
}

fn parse_pcrs(bytes: &[u8]) -> Result<Pcrs, ProtobufError> {
    let mut bank = None;
    let mut values = BTreeMap::new();
    for field in Message(bytes) {
        match field? {
            (1, Field::Number(number)) => {
                let hash = u32::try_from(number).ok().and_then(Hash::of_number);
                only(&mut bank, hash.ok_or(ProtobufError::Bank { number })?)?;
            }
            (2, Field::Bytes(entry)) => {
                // proto3 leaves away a key that is zero.
                let (mut index, mut value) = (None, None);
                for field in Message(entry) {
                    match field? {
                        (1, Field::Number(number)) => only(&mut index, number)?,
                        (2, Field::Bytes(bytes)) => only(&mut value, bytes.to_vec())?,
                        _ => (),
                    }
                }
                let index = u8::try_from(index.unwrap_or(0)).map_err(|_| ProtobufError::TooMany)?;
                let value = value.ok_or(ProtobufError::Missing {
                    field: "pcrs.value",
                })?;
                if values.insert(index, value).is_some() {
                    return Err(ProtobufError::Twice);
                }
            }
            _ => (),
        }
    }
    let bank = bank.ok_or(ProtobufError::Missing { field: "pcrs.hash" })?;
    Ok(Pcrs::from([(bank, values)]))
}

/// Sets what must not be set twice. The format lets the last one win, so that two readers could
/// see different values.
fn only<T>(slot: &mut Option<T>, value: T) -> Result<(), ProtobufError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(ProtobufError::Twice),
    }
}

/// Why bytes are not an attestation of go-tpm-tools.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProtobufError {
    /// A field is cut off.
    #[error("the attestation message ends inside of a field")]
    Truncated,
    /// A wire type that the message does not use, or a number of more than 64 bits.
    #[error("the attestation message has a field of a form that it does not use")]
    Form,
    /// A field that must be there is not.
    #[error("the attestation message has no `{field}`")]
    Missing {
        /// The field's name.
        field: &'static str,
    },
    /// A field that must be there once is there twice.
    #[error("a field of the attestation message stands twice")]
    Twice,
    /// More quotes, certificates or PCRs than a TPM has.
    #[error("the attestation message has more quotes, certificates or PCRs than a TPM has")]
    TooMany,
    /// A PCR bank that is not known.
    #[error("the attestation message has PCRs of an unknown bank `{number}`")]
    Bank {
        /// Its number.
        number: u64,
    },
}

/// One quote for each PCR bank.
const MAX_QUOTES: usize = 8;

/// Fields of a message in the order of the bytes.
struct Message<'a>(&'a [u8]);

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Message<'a> {
    fn read(&mut self) -> Result<(u64, Field<'a>), ProtobufError> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(self.varint()?),
            2 => {
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let (bytes, rest) = self
                    .0
                    .split_at_checked(length)
                    .ok_or(ProtobufError::Truncated)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            _ => return Err(ProtobufError::Form),
        };
        Ok((tag >> 3, field))
    }

    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(ProtobufError::Truncated)?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                return Err(ProtobufError::Form);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(ProtobufError::Form)
    }
}

impl<'a> Iterator for Message<'a> {
    type Item = Result<(u64, Field<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}
