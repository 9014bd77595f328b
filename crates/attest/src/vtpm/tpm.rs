//! TPM 2.0 structures: quotes, their signatures and public keys.
//!
//! Follows *TPM 2.0 Library, Part 2: Structures*: `TPMS_ATTEST` (10.12.12), `TPMT_SIGNATURE`
//! (11.3.4), `TPMT_PUBLIC` (12.2.4). Integers are big-endian. Only what a quote needs is read,
//! and everything is read to its end: nothing may follow.

use std::collections::BTreeSet;

use thiserror::Error;

use super::key::AttestationKey;

/// The largest structure that is read. A quote has about 150 bytes, a signature or key less than
/// 600.
const MAX_STRUCTURE_BYTES: usize = 4096;

/// `TPM_GENERATED_VALUE`: no key that is restricted signs anything else that starts with it.
const GENERATED: u32 = 0xff54_4347;
/// `TPM_ST_ATTEST_QUOTE`.
const QUOTE: u16 = 0x8018;

/// What a TPM signs when it is asked for a quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attest {
    /// Name of the signing key and of those above it.
    pub(super) qualified_signer: Vec<u8>,
    /// `extraData`: what the verifier gave as its challenge.
    pub(super) nonce: Vec<u8>,
    /// Milliseconds that the TPM has run.
    pub(super) clock: u64,
    pub(super) reset_count: u32,
    pub(super) restart_count: u32,
    /// Whether the clock was never behind.
    pub(super) clock_safe: bool,
    pub(super) firmware_version: u64,
    /// In the order in which their PCRs are hashed; no bank twice.
    pub(super) selections: Vec<Selection>,
    pub(super) pcr_digest: Vec<u8>,
}

/// PCRs of one bank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) bank: Hash,
    pub(super) pcrs: BTreeSet<u8>,
}

impl Attest {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new("TPMS_ATTEST", bytes)?;
        let magic = reader.u32("magic")?;
        if magic != GENERATED {
            return Err(reader.wrong("magic", magic, "TPM_GENERATED_VALUE"));
        }
        let kind = reader.u16("type")?;
        if kind != QUOTE {
            return Err(reader.wrong("type", u32::from(kind), "TPM_ST_ATTEST_QUOTE"));
        }
        let qualified_signer = reader.sized("qualifiedSigner")?.to_vec();
        let nonce = reader.sized("extraData")?.to_vec();
        let clock = reader.u64("clockInfo.clock")?;
        let reset_count = reader.u32("clockInfo.resetCount")?;
        let restart_count = reader.u32("clockInfo.restartCount")?;
        let clock_safe = match reader.u8("clockInfo.safe")? {
            0 => false,
            1 => true,
            other => return Err(reader.wrong("clockInfo.safe", u32::from(other), "0 or 1")),
        };
        let firmware_version = reader.u64("firmwareVersion")?;
        let selections = reader.selections()?;
        let pcr_digest = reader.sized("attested.quote.pcrDigest")?.to_vec();
        reader.end()?;
        Ok(Self {
            qualified_signer,
            nonce,
            clock,
            reset_count,
            restart_count,
            clock_safe,
            firmware_version,
            selections,
            pcr_digest,
        })
    }
}

/// A signature over a quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    /// The hash of the scheme, which is that of the PCR digest too.
    pub(super) hash: Hash,
    pub(super) value: SignatureValue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SignatureValue {
    /// RSASSA-PKCS1-v1_5.
    RsaSsa(Vec<u8>),
    /// RSASSA-PSS.
    RsaPss(Vec<u8>),
    /// ECDSA: `r` and `s`, big-endian, of any length.
    Ecdsa {
        /// The first number.
        r: Vec<u8>,
        /// The second number.
        s: Vec<u8>,
    },
}

impl Signature {
    /// Reads a `TPMT_SIGNATURE`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TpmError> {
        let mut reader = Reader::new("TPMT_SIGNATURE", bytes)?;
        let scheme = reader.u16("sigAlg")?;
        if ![RSASSA, RSAPSS, ECDSA].contains(&scheme) {
            return Err(reader.wrong("sigAlg", u32::from(scheme), "RSASSA, RSAPSS or ECDSA"));
        }
        let hash = reader.hash("hashAlg")?;
        let value = match scheme {
            RSASSA => SignatureValue::RsaSsa(reader.sized("sig")?.to_vec()),
            RSAPSS => SignatureValue::RsaPss(reader.sized("sig")?.to_vec()),
            _ => SignatureValue::Ecdsa {
                r: reader.sized("signatureR")?.to_vec(),
                s: reader.sized("signatureS")?.to_vec(),
            },
        };
        reader.end()?;
        Ok(Self { hash, value })
    }

    /// An RSASSA-PKCS1-v1_5 signature with SHA-256 without the structure around it, which is how
    /// Azure's tools give it.
    pub(super) fn bare_rsassa(bytes: Vec<u8>) -> Self {
        Self {
            hash: Hash::Sha256,
            value: SignatureValue::RsaSsa(bytes),
        }
    }

    /// An ECDSA signature in DER with this hash.
    pub(super) fn ecdsa_der(hash: Hash, bytes: &[u8]) -> Result<Self, TpmError> {
        use crate::x509::der::{Der, INTEGER, SEQUENCE};

        let not_der = |_| TpmError::NotDer;
        let content = Der::only(bytes, SEQUENCE).map_err(not_der)?;
        let mut integers = Der::new(content);
        let r = integers.expect(INTEGER).map_err(not_der)?.to_vec();
        let s = integers.expect(INTEGER).map_err(not_der)?.to_vec();
        if integers.next().is_some() {
            return Err(TpmError::NotDer);
        }
        Ok(Self {
            hash,
            value: SignatureValue::Ecdsa { r, s },
        })
    }

    /// The scheme's name for messages.
    pub(super) fn scheme(&self) -> String {
        let scheme = match self.value {
            SignatureValue::RsaSsa(_) => "RSASSA-PKCS1-v1_5",
            SignatureValue::RsaPss(_) => "RSASSA-PSS",
            SignatureValue::Ecdsa { .. } => "ECDSA",
        };
        format!("{scheme} with {}", self.hash.name())
    }
}

/// Reads a `TPMT_PUBLIC` of an attestation key: a restricted signing key that never leaves its
/// TPM.
pub(super) fn parse_public(bytes: &[u8]) -> Result<AttestationKey, TpmError> {
    let mut reader = Reader::new("TPMT_PUBLIC", bytes)?;
    let kind = reader.u16("type")?;
    reader.hash("nameAlg")?;
    let attributes = reader.u32("objectAttributes")?;
    if attributes & ATTESTATION_KEY_BITS != ATTESTATION_KEY_BITS || attributes & DECRYPT != 0 {
        return Err(reader.wrong(
            "objectAttributes",
            attributes,
            "those of a restricted signing key that is fixed to its TPM",
        ));
    }
    reader.sized("authPolicy")?;
    let symmetric = reader.u16("parameters.symmetric")?;
    if symmetric != NULL {
        return Err(reader.wrong("parameters.symmetric", u32::from(symmetric), "TPM_ALG_NULL"));
    }
    let scheme = reader.u16("parameters.scheme")?;
    if scheme != NULL {
        reader.hash("parameters.scheme.hashAlg")?;
    }
    let key = match kind {
        RSA => {
            reader.u16("parameters.keyBits")?;
            let exponent = match reader.u32("parameters.exponent")? {
                0 => 65537,
                exponent => exponent,
            };
            let modulus = reader.sized("unique")?;
            AttestationKey::rsa(modulus, &exponent.to_be_bytes())
        }
        ECC => {
            let curve = reader.u16("parameters.curveID")?;
            let kdf = reader.u16("parameters.kdf")?;
            if kdf != NULL {
                return Err(reader.wrong("parameters.kdf", u32::from(kdf), "TPM_ALG_NULL"));
            }
            let x = reader.sized("unique.x")?;
            let y = reader.sized("unique.y")?;
            match curve {
                P256 => AttestationKey::p256(x, y),
                P384 => AttestationKey::p384(x, y),
                other => {
                    return Err(reader.wrong(
                        "parameters.curveID",
                        u32::from(other),
                        "P-256 or P-384",
                    ));
                }
            }
        }
        other => return Err(reader.wrong("type", u32::from(other), "RSA or ECC")),
    };
    reader.end()?;
    key.map_err(TpmError::Key)
}

/// Hash algorithms of PCR banks and signature schemes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// By its number in the TCG algorithm registry.
    pub(super) fn of_number(number: u32) -> Option<Self> {
        Some(match number {
            0x0004 => Self::Sha1,
            0x000b => Self::Sha256,
            0x000c => Self::Sha384,
            0x000d => Self::Sha512,
            _ => return None,
        })
    }

    /// By the name that [`Hash::name`] gives.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512]
            .into_iter()
            .find(|hash| hash.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Size of its output, in bytes.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

/// Why bytes are not the TPM structure that they should be.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TpmError {
    /// Larger than any genuine structure could be.
    #[error("{structure} has `{size}` bytes, more than {MAX_STRUCTURE_BYTES}")]
    TooLarge {
        /// The structure.
        structure: &'static str,
        /// The size found, in bytes.
        size: usize,
    },
    /// It ends inside a field.
    #[error("{structure} ends inside its field `{field}`")]
    Truncated {
        /// The structure.
        structure: &'static str,
        /// The field that is not complete.
        field: &'static str,
    },
    /// A value that a quote of an attestation key does not have.
    #[error("`{field}` of {structure} is `{value:#x}`, not {expected}")]
    Value {
        /// The structure.
        structure: &'static str,
        /// The field.
        field: &'static str,
        /// The value found.
        value: u32,
        /// What it must be.
        expected: &'static str,
    },
    /// A bank is selected twice: two values could then stand for one PCR.
    #[error("the quote selects the PCR bank `{bank}` twice")]
    BankTwice {
        /// The bank.
        bank: &'static str,
    },
    /// Nothing is quoted.
    #[error("the quote selects no PCR")]
    NoPcr,
    /// Bytes behind the end.
    #[error("{structure} is followed by `{count}` other bytes")]
    Trailing {
        /// The structure.
        structure: &'static str,
        /// How many follow.
        count: usize,
    },
    /// An ECDSA signature of another form.
    #[error("the ECDSA signature is not DER: a sequence of two integers")]
    NotDer,
    /// The numbers of a public key are not those of a key.
    #[error("the attestation key cannot be used: {0}")]
    Key(#[source] super::key::KeyError),
}

const RSASSA: u16 = 0x0014;
const RSAPSS: u16 = 0x0016;
const ECDSA: u16 = 0x0018;
const NULL: u16 = 0x0010;
const RSA: u16 = 0x0001;
const ECC: u16 = 0x0023;
const P256: u16 = 0x0003;
const P384: u16 = 0x0004;
/// `fixedTPM`, `restricted` and `sign`.
const ATTESTATION_KEY_BITS: u32 = 1 << 1 | 1 << 16 | 1 << 18;
const DECRYPT: u32 = 1 << 17;

/// A TPM has at most as many banks as there are hash algorithms.
const MAX_SELECTIONS: u32 = 8;
/// `sizeofSelect`: 24 PCRs are three bytes, the specification allows 32 PCRs.
const MAX_SELECT_BYTES: u8 = 4;

/// Takes fields from the front; every error names structure and field.
struct Reader<'a> {
    structure: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(structure: &'static str, rest: &'a [u8]) -> Result<Self, TpmError> {
        let size = rest.len();
        if size > MAX_STRUCTURE_BYTES {
            return Err(TpmError::TooLarge { structure, size });
        }
        Ok(Self { structure, rest })
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], TpmError> {
        let structure = self.structure;
        let (array, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(TpmError::Truncated { structure, field })?;
        self.rest = rest;
        Ok(*array)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, TpmError> {
        self.array(field).map(u8::from_be_bytes)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, TpmError> {
        self.array(field).map(u16::from_be_bytes)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, TpmError> {
        self.array(field).map(u32::from_be_bytes)
    }

    fn u64(&mut self, field: &'static str) -> Result<u64, TpmError> {
        self.array(field).map(u64::from_be_bytes)
    }

    fn slice(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], TpmError> {
        let structure = self.structure;
        let (slice, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(TpmError::Truncated { structure, field })?;
        self.rest = rest;
        Ok(slice)
    }

    /// A `TPM2B_*`: its length in 16 bits, then its bytes.
    fn sized(&mut self, field: &'static str) -> Result<&'a [u8], TpmError> {
        let length = self.u16(field)?;
        self.slice(field, usize::from(length))
    }

    fn hash(&mut self, field: &'static str) -> Result<Hash, TpmError> {
        let number = self.u16(field)?;
        Hash::of_number(u32::from(number)).ok_or_else(|| {
            self.wrong(
                field,
                u32::from(number),
                "the number of SHA-1, SHA-256, SHA-384 or SHA-512",
            )
        })
    }

    /// A `TPML_PCR_SELECTION`.
    fn selections(&mut self) -> Result<Vec<Selection>, TpmError> {
        let count = self.u32("attested.quote.pcrSelect.count")?;
        if count > MAX_SELECTIONS {
            return Err(self.wrong(
                "attested.quote.pcrSelect.count",
                count,
                "a number of banks that a TPM has",
            ));
        }
        let mut selections: Vec<Selection> = Vec::new();
        for _ in 0..count {
            let bank = self.hash("attested.quote.pcrSelect.hash")?;
            if selections.iter().any(|selection| selection.bank == bank) {
                return Err(TpmError::BankTwice { bank: bank.name() });
            }
            let size = self.u8("attested.quote.pcrSelect.sizeofSelect")?;
            if size > MAX_SELECT_BYTES {
                return Err(self.wrong(
                    "attested.quote.pcrSelect.sizeofSelect",
                    u32::from(size),
                    "4 or less",
                ));
            }
            let bits = self.slice("attested.quote.pcrSelect.pcrSelect", usize::from(size))?;
            // PCR n is bit n mod 8 of byte n / 8.
            let pcrs = (0..8 * size)
                .filter(|pcr| bits[usize::from(pcr / 8)] >> (pcr % 8) & 1 == 1)
                .collect();
            selections.push(Selection { bank, pcrs });
        }
        if selections.iter().all(|selection| selection.pcrs.is_empty()) {
            return Err(TpmError::NoPcr);
        }
        Ok(selections)
    }

    fn wrong(&self, field: &'static str, value: u32, expected: &'static str) -> TpmError {
        TpmError::Value {
            structure: self.structure,
            field,
            value,
            expected,
        }
    }

    fn end(&self) -> Result<(), TpmError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(TpmError::Trailing {
                structure: self.structure,
                count,
            }),
        }
    }
}
