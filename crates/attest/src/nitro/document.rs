//! The form of a document: a COSE_Sign1 message and the CBOR map that it signs.

use std::collections::BTreeMap;

use super::{
    DocumentError,
    cbor::{CborError, Items, Reader},
};

/// The largest document that is read. The format's own bounds, with a chain of
/// [`MAX_CABUNDLE`] certificates, come to less; genuine documents have about 5 KiB.
pub const MAX_DOCUMENT_BYTES: usize = 16 * 1024;

/// Whether `bytes` start as a COSE_Sign1 message does: an array of four, with tag 18 or without.
///
/// No other kind of evidence starts so: DCAP quotes and SNP reports start with a version from 2
/// to 5, vTPM evidence with `{`.
pub fn looks_like_document(bytes: &[u8]) -> bool {
    matches!(bytes, [ARRAY_OF_FOUR, ..] | [TAG_18, ARRAY_OF_FOUR, ..])
}

/// A document whose form was checked. Nothing vouches for it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    protected: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
    module_id: &'a str,
    timestamp: u64,
    attester: Attester,
    pcrs: BTreeMap<u8, &'a [u8]>,
    certificate: &'a [u8],
    cabundle: Vec<&'a [u8]>,
    public_key: Optional<'a>,
    user_data: Optional<'a>,
    nonce: Optional<'a>,
}

/// What a document attests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attester {
    /// An enclave: its measurements are `pcrs`.
    Enclave,
    /// An EC2 instance with a NitroTPM: its measurements are `nitrotpm_pcrs`.
    NitroTpm,
}

/// A member that a document need not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Optional<'a> {
    /// The key is not there.
    Absent,
    /// The key is there, with null.
    Null,
    /// The key is there, with a byte string, which may be empty.
    Present(&'a [u8]),
}

impl<'a> Optional<'a> {
    /// The byte string, if there is one.
    pub fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Present(bytes) => Some(bytes),
            Self::Absent | Self::Null => None,
        }
    }
}

impl<'a> Document<'a> {
    /// Reads one document, of at most [`MAX_DOCUMENT_BYTES`].
    ///
    /// The message is `[protected, {}, payload, signature]`, with tag 18 or without, and nothing
    /// after it: the protected header is exactly `{1: -35}` (ES384), the signature has 96 bytes.
    /// The payload is one map of definite or indefinite length and nothing after it, with each key
    /// once, no unknown key, and types and sizes as AWS specifies them. Every number and length is
    /// in its shortest form.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(DocumentError::TooLarge { size: bytes.len() });
        }
        let Message {
            protected,
            payload,
            signature,
        } = Message::parse(bytes)?;
        let members = Members::read(payload)?;
        let (attester, pcrs) = match (members.pcrs, members.nitrotpm_pcrs) {
            (Some(pcrs), None) => (Attester::Enclave, pcrs),
            (None, Some(pcrs)) => (Attester::NitroTpm, pcrs),
            (None, None) => return Err(DocumentError::Missing { key: "pcrs" }),
            (Some(_), Some(_)) => return Err(DocumentError::TwoAttesters),
        };
        // Its value was compared when it was read.
        required("digest", members.digest)?;
        Ok(Self {
            protected,
            payload,
            signature,
            module_id: required("module_id", members.module_id)?,
            timestamp: required("timestamp", members.timestamp)?,
            certificate: required("certificate", members.certificate)?,
            attester,
            pcrs,
            cabundle: required("cabundle", members.cabundle)?,
            public_key: members.public_key.unwrap_or(Optional::Absent),
            user_data: members.user_data.unwrap_or(Optional::Absent),
            nonce: members.nonce.unwrap_or(Optional::Absent),
        })
    }

    /// What is attested.
    pub fn attester(&self) -> Attester {
        self.attester
    }

    /// Id of the module that issued the document: for an enclave, instance id and enclave id.
    pub fn module_id(&self) -> &'a str {
        self.module_id
    }

    /// When it was made, milliseconds since 1970.
    pub fn timestamp(&self) -> u64 {
        self.timestamp
    }

    /// The hash that the PCRs are made with.
    pub fn digest(&self) -> &'static str {
        SHA384
    }

    /// The PCRs by index (0 to 31), 48 bytes each.
    pub fn pcrs(&self) -> impl ExactSizeIterator<Item = (u8, &'a [u8])> + '_ {
        self.pcrs.iter().map(|(index, value)| (*index, *value))
    }

    /// Whether PCR0, PCR1 and PCR2 are zero or not there: an enclave in debug mode.
    pub fn is_debug(&self) -> bool {
        (0..=2).all(|index| {
            self.pcrs
                .get(&index)
                .is_none_or(|pcr| pcr.iter().all(|byte| *byte == 0))
        })
    }

    /// The signer's certificate, DER.
    pub fn certificate(&self) -> &'a [u8] {
        self.certificate
    }

    /// The certificates of its issuers, DER, root first. There is at least one.
    pub fn cabundle(&self) -> &[&'a [u8]] {
        &self.cabundle
    }

    /// A key that the code inside wants to be known for, in whatever form it likes.
    pub fn public_key(&self) -> Optional<'a> {
        self.public_key
    }

    /// What the code inside wants to be signed.
    pub fn user_data(&self) -> Optional<'a> {
        self.user_data
    }

    /// The challenge that the code inside was given.
    pub fn nonce(&self) -> Optional<'a> {
        self.nonce
    }

    /// The protected header, as it is signed.
    pub fn protected(&self) -> &'a [u8] {
        self.protected
    }

    /// The signature, `r ‖ s`, 96 bytes.
    pub fn signature(&self) -> &'a [u8] {
        self.signature
    }

    /// What the signature is over: the Sig_structure of RFC 9052 §4.4, without external data.
    pub(super) fn signed(&self) -> Vec<u8> {
        let mut signed = Vec::with_capacity(self.payload.len() + 32);
        signed.push(ARRAY_OF_FOUR);
        // Behind the head of a text of ten bytes.
        signed.extend(b"\x6aSignature1");
        push_byte_string(&mut signed, self.protected);
        push_byte_string(&mut signed, &[]);
        push_byte_string(&mut signed, self.payload);
        signed
    }
}

fn required<T>(key: &'static str, value: Option<T>) -> Result<T, DocumentError> {
    value.ok_or(DocumentError::Missing { key })
}

fn push_byte_string(to: &mut Vec<u8>, content: &[u8]) {
    // Every part of a document fits: `MAX_DOCUMENT_BYTES` needs two bytes of length.
    let [high, low] = u16::try_from(content.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes();
    match (high, low) {
        (0, 0..=23) => to.push(0x40 | low),
        (0, _) => to.extend([0x58, low]),
        _ => to.extend([0x59, high, low]),
    }
    to.extend(content);
}

/// The COSE_Sign1 message.
struct Message<'a> {
    protected: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Message<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, DocumentError> {
        if !looks_like_document(bytes) {
            return Err(DocumentError::NotCoseSign1 {
                start: hex::encode(bytes.get(..4).unwrap_or(bytes)),
            });
        }
        let cbor = |source| DocumentError::Cbor {
            part: "the COSE message",
            source,
        };
        let mut reader = Reader::new(bytes);
        reader.tag().map_err(cbor)?;
        reader.array().map_err(cbor)?;
        let protected = reader.byte_string().map_err(cbor)?;
        check_protected(protected)?;
        // Nobody signs this map, so it has one form only.
        if !matches!(reader.map().map_err(cbor)?, Items::Left(0)) {
            return Err(DocumentError::Unprotected);
        }
        let payload = reader.byte_string().map_err(cbor)?;
        let signature = reader.byte_string().map_err(cbor)?;
        if signature.len() != SIGNATURE_BYTES {
            return Err(DocumentError::Signature {
                size: signature.len(),
            });
        }
        if reader.left() != 0 {
            return Err(DocumentError::Trailing {
                part: "the document",
                size: reader.left(),
            });
        }
        Ok(Self {
            protected,
            payload,
            signature,
        })
    }
}

/// The header decides how the signature is verified, so it says ES384 and nothing else.
fn check_protected(protected: &[u8]) -> Result<(), DocumentError> {
    if protected == PROTECTED {
        return Ok(());
    }
    let mut reader = Reader::new(protected);
    if let [0xa1, 0x01, ..] = protected
        && reader.map().is_ok()
        && reader.unsigned().is_ok()
        && let Ok(algorithm) = reader.integer()
        && reader.left() == 0
    {
        return Err(DocumentError::Algorithm { found: algorithm });
    }
    Err(DocumentError::Protected {
        found: hex::encode(protected),
    })
}

/// The members of the payload, each as it was found.
#[derive(Default)]
struct Members<'a> {
    module_id: Option<&'a str>,
    digest: Option<()>,
    timestamp: Option<u64>,
    pcrs: Option<BTreeMap<u8, &'a [u8]>>,
    nitrotpm_pcrs: Option<BTreeMap<u8, &'a [u8]>>,
    certificate: Option<&'a [u8]>,
    cabundle: Option<Vec<&'a [u8]>>,
    public_key: Option<Optional<'a>>,
    user_data: Option<Optional<'a>>,
    nonce: Option<Optional<'a>>,
}

impl<'a> Members<'a> {
    fn read(payload: &'a [u8]) -> Result<Self, DocumentError> {
        let mut reader = Reader::new(payload);
        let mut members = Self::default();
        let mut pairs = reader.map().map_err(in_payload)?;
        while reader.has_next(&mut pairs).map_err(in_payload)? {
            let key = reader.text().map_err(in_payload)?;
            members.read_value(key, &mut reader)?;
        }
        if reader.left() != 0 {
            return Err(DocumentError::Trailing {
                part: "the payload's map",
                size: reader.left(),
            });
        }
        Ok(members)
    }

    fn read_value(&mut self, key: &str, reader: &mut Reader<'a>) -> Result<(), DocumentError> {
        match key {
            "module_id" => once(key, &mut self.module_id, || read_module_id(reader)),
            "digest" => once(key, &mut self.digest, || read_digest(reader)),
            "timestamp" => once(key, &mut self.timestamp, || read_timestamp(reader)),
            "pcrs" => once(key, &mut self.pcrs, || read_pcrs(reader)),
            "nitrotpm_pcrs" => once(key, &mut self.nitrotpm_pcrs, || read_pcrs(reader)),
            "certificate" => once(key, &mut self.certificate, || {
                read_certificate("certificate", reader)
            }),
            "cabundle" => once(key, &mut self.cabundle, || read_cabundle(reader)),
            "public_key" => once(key, &mut self.public_key, || {
                read_optional("public_key", reader)
            }),
            "user_data" => once(key, &mut self.user_data, || {
                read_optional("user_data", reader)
            }),
            "nonce" => once(key, &mut self.nonce, || read_optional("nonce", reader)),
            _ => Err(DocumentError::UnknownKey { key: shown(key) }),
        }
    }
}

/// Reads the value of a key into its place, if that is still empty: of two equal keys one decoder
/// takes the first, another the last.
fn once<T>(
    key: &str,
    place: &mut Option<T>,
    read: impl FnOnce() -> Result<T, DocumentError>,
) -> Result<(), DocumentError> {
    if place.is_some() {
        return Err(DocumentError::DuplicateKey {
            key: key.to_owned(),
        });
    }
    *place = Some(read()?);
    Ok(())
}

fn read_module_id<'a>(reader: &mut Reader<'a>) -> Result<&'a str, DocumentError> {
    let id = reader.text().map_err(in_payload)?;
    check_size("module_id", id.len(), 1, MAX_MODULE_ID_BYTES)?;
    Ok(id)
}

fn read_digest(reader: &mut Reader<'_>) -> Result<(), DocumentError> {
    match reader.text().map_err(in_payload)? {
        SHA384 => Ok(()),
        other => Err(DocumentError::Digest {
            found: shown(other),
        }),
    }
}

fn read_timestamp(reader: &mut Reader<'_>) -> Result<u64, DocumentError> {
    match reader.unsigned().map_err(in_payload)? {
        0 => Err(DocumentError::Timestamp),
        timestamp => Ok(timestamp),
    }
}

fn read_pcrs<'a>(reader: &mut Reader<'a>) -> Result<BTreeMap<u8, &'a [u8]>, DocumentError> {
    let mut pcrs = BTreeMap::new();
    let mut pairs = reader.map().map_err(in_payload)?;
    while reader.has_next(&mut pairs).map_err(in_payload)? {
        let index = reader.unsigned().map_err(in_payload)?;
        let known = u8::try_from(index)
            .ok()
            .filter(|index| *index <= MAX_PCR_INDEX)
            .ok_or(DocumentError::PcrIndex { index })?;
        let value = reader.byte_string().map_err(in_payload)?;
        if value.len() != PCR_BYTES {
            return Err(DocumentError::PcrSize {
                index: known,
                size: value.len(),
            });
        }
        if pcrs.insert(known, value).is_some() {
            return Err(DocumentError::DuplicatePcr { index: known });
        }
    }
    if pcrs.is_empty() {
        return Err(DocumentError::NoPcrs);
    }
    Ok(pcrs)
}

fn read_certificate<'a>(
    key: &'static str,
    reader: &mut Reader<'a>,
) -> Result<&'a [u8], DocumentError> {
    let certificate = reader.byte_string().map_err(in_payload)?;
    check_size(key, certificate.len(), 1, MAX_CERTIFICATE_BYTES)?;
    Ok(certificate)
}

fn read_cabundle<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, DocumentError> {
    let mut bundle = Vec::new();
    let mut items = reader.array().map_err(in_payload)?;
    while reader.has_next(&mut items).map_err(in_payload)? {
        if bundle.len() == MAX_CABUNDLE {
            return Err(DocumentError::CabundleTooLong);
        }
        bundle.push(read_certificate("cabundle", reader)?);
    }
    if bundle.is_empty() {
        return Err(DocumentError::CabundleEmpty);
    }
    Ok(bundle)
}

fn read_optional<'a>(
    key: &'static str,
    reader: &mut Reader<'a>,
) -> Result<Optional<'a>, DocumentError> {
    let Some(bytes) = reader.byte_string_or_null().map_err(in_payload)? else {
        return Ok(Optional::Null);
    };
    check_size(key, bytes.len(), 0, MAX_OPTIONAL_BYTES)?;
    Ok(Optional::Present(bytes))
}

fn check_size(
    key: &'static str,
    size: usize,
    least: usize,
    most: usize,
) -> Result<(), DocumentError> {
    if (least..=most).contains(&size) {
        return Ok(());
    }
    Err(DocumentError::Size {
        key,
        size,
        least,
        most,
    })
}

/// The start of a text that nobody has verified, so that it cannot steer a terminal.
fn shown(text: &str) -> String {
    text.escape_debug().take(64).collect()
}

fn in_payload(source: CborError) -> DocumentError {
    DocumentError::Cbor {
        part: "the payload",
        source,
    }
}

/// `{1: -35}`: the algorithm is ES384.
const PROTECTED: &[u8] = &[0xa1, 0x01, 0x38, 0x22];

const ARRAY_OF_FOUR: u8 = 0x84;
const TAG_18: u8 = 0xd2;
const SHA384: &str = "SHA384";
const SIGNATURE_BYTES: usize = 96;
const PCR_BYTES: usize = 48;
const MAX_PCR_INDEX: u8 = 31;

/// AWS's ids have about 40 bytes; the specification sets no bound.
const MAX_MODULE_ID_BYTES: usize = 256;

const MAX_CERTIFICATE_BYTES: usize = 1024;

/// AWS's chains have four; the specification sets no bound.
pub(super) const MAX_CABUNDLE: usize = 8;

/// Of each optional member, in AWS's data definition. Its prose has 512 for some of them, and it
/// has one byte at least for a public key: neither matters to what the bytes prove.
const MAX_OPTIONAL_BYTES: usize = 1024;
