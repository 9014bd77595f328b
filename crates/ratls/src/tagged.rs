//! Tagged evidence: the certificate extension of interoperable RA-TLS.
//!
//! The extension `tcg-dice-tagged-evidence` (2.23.133.5.4.9) holds, in CBOR of definite length,
//!
//! ```text
//! 60000([ quote, claims ])          both byte strings; the tag is IANA's for quotes of Intel TEEs
//! claims      = { "pubkey-hash": hash-entry, ? "nonce": bytes }    a map, all values byte strings
//! hash-entry  = [ algorithm, hash ]           1 SHA-256, 7 SHA-384, 8 SHA-512 (named information)
//! ```
//!
//! where `hash` is that of the certificate's SubjectPublicKeyInfo in DER, and the quote's report
//! data is the SHA-256 of the bytes of `claims`, filled up with zeros. This is the form of the
//! Confidential Computing Consortium's *Interoperable RA-TLS*, which Gramine (since 1.5) and
//! Intel's SGX SDK (since 2.22) write and read.

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use mse_attest::{Evidence, EvidenceError, EvidenceKind};
use mse_crypto::Digest;

use crate::cbor::{CborError, Reader, Writer};

/// `tcg-dice-tagged-evidence`.
pub const TAGGED_EVIDENCE_OID: &[u64] = &[2, 23, 133, 5, 4, 9];

/// IANA's CBOR tag for `[quote, claims]` with an ECDSA quote of SGX or TDX.
pub const INTEL_TEE_QUOTE_TAG: u64 = 60000;

/// The extension is at most this long: the largest quote, and claims.
pub const MAX_TAGGED_EVIDENCE: usize = 64 * 1024;

/// The claims are at most this long.
const MAX_CLAIMS: usize = 4096;
/// More claims than any stack makes.
const MAX_PAIRS: u64 = 16;
const PUBKEY_HASH: &str = "pubkey-hash";
const NONCE: &str = "nonce";

/// What a tagged-evidence extension says. Read, and its claims bound to the quote; the quote
/// itself is not yet believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaggedEvidence {
    /// The quote.
    pub evidence: Evidence,
    /// Its claims, the exact bytes under the hash.
    claims: Vec<u8>,
    /// Names the key.
    key_hash: KeyHash,
    /// The nonce that was put in before the session, if the stack does that.
    pub nonce: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyHash {
    algorithm: HashAlgorithm,
    value: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HashAlgorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl HashAlgorithm {
    fn of(id: u64) -> Result<Self, TaggedEvidenceError> {
        match id {
            1 => Ok(Self::Sha256),
            7 => Ok(Self::Sha384),
            8 => Ok(Self::Sha512),
            other => Err(TaggedEvidenceError::Hash(other)),
        }
    }

    fn implementation(self) -> &'static Algorithm {
        match self {
            Self::Sha256 => &SHA256,
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        }
    }
}

impl TaggedEvidence {
    /// Reads the extension's value and checks that the quote states the hash of the claims.
    pub fn parse(value: &[u8]) -> Result<Self, TaggedEvidenceError> {
        if value.len() > MAX_TAGGED_EVIDENCE {
            return Err(TaggedEvidenceError::TooLarge);
        }
        let mut reader = Reader::new(value);
        match reader.tag()? {
            INTEL_TEE_QUOTE_TAG => {}
            other => return Err(TaggedEvidenceError::Tag(other)),
        }
        expect_two(reader.array()?, "quote and claims")?;
        let quote = reader.byte_string()?;
        let claims = reader.byte_string()?;
        reader.end()?;
        let evidence = Evidence::parse(quote)?;
        if !has_form(&evidence) {
            return Err(TaggedEvidenceError::Kind(evidence.kind()));
        }
        if evidence.stated_report_data() != Some(report_data(claims)) {
            return Err(TaggedEvidenceError::OtherClaims);
        }
        let (key_hash, nonce) = read_claims(claims)?;
        Ok(Self {
            evidence,
            claims: claims.to_vec(),
            key_hash,
            nonce,
        })
    }

    /// Whether the claims name the key `spki`, a SubjectPublicKeyInfo in DER.
    pub fn names_key(&self, spki: &[u8]) -> bool {
        let algorithm = self.key_hash.algorithm.implementation();
        digest(algorithm, spki).as_ref() == self.key_hash.value
    }

    /// What the quote's report data must be, all bytes.
    pub fn report_data(&self) -> [u8; 64] {
        report_data(&self.claims)
    }
}

/// Whether evidence of this kind has a tag, and so can stand in the extension.
pub(crate) fn has_form(evidence: &Evidence) -> bool {
    matches!(
        evidence.kind(),
        EvidenceKind::SgxDcap | EvidenceKind::TdxDcap
    )
}

/// The claims for the key `spki`, as we make them: its SHA-256 and no nonce.
pub(crate) fn claims_for(spki: &[u8]) -> Vec<u8> {
    let entry = Writer::default()
        .array(2)
        .unsigned(1)
        .byte_string(&Digest::of(spki).0)
        .finish();
    Writer::default()
        .map(1)
        .text(PUBKEY_HASH)
        .byte_string(&entry)
        .finish()
}

/// The report data that a quote over `claims` has.
pub(crate) fn report_data(claims: &[u8]) -> [u8; 64] {
    let mut data = [0; 64];
    data[..32].copy_from_slice(&Digest::of(claims).0);
    data
}

/// The extension's value.
pub(crate) fn encode(quote: &[u8], claims: &[u8]) -> Vec<u8> {
    Writer::default()
        .tag(INTEL_TEE_QUOTE_TAG)
        .array(2)
        .byte_string(quote)
        .byte_string(claims)
        .finish()
}

/// Claims of other names are let be, as other stacks do: the hash covers them, and they say
/// nothing about the key.
fn read_claims(claims: &[u8]) -> Result<(KeyHash, Option<Vec<u8>>), TaggedEvidenceError> {
    if claims.len() > MAX_CLAIMS {
        return Err(TaggedEvidenceError::TooLarge);
    }
    let mut reader = Reader::new(claims);
    let pairs = reader.map()?;
    if pairs > MAX_PAIRS {
        return Err(TaggedEvidenceError::TooLarge);
    }
    let mut found: Vec<(&str, &[u8])> = Vec::new();
    for _ in 0..pairs {
        let (name, value) = (reader.text()?, reader.byte_string()?);
        if found.iter().any(|(known, _)| *known == name) {
            return Err(TaggedEvidenceError::Twice(name.to_owned()));
        }
        found.push((name, value));
    }
    reader.end()?;
    let claim = |name| {
        let named = found.iter().find(|(known, _)| *known == name);
        named.map(|(_, value)| *value)
    };
    let entry = claim(PUBKEY_HASH).ok_or(TaggedEvidenceError::NoKeyHash)?;
    Ok((read_hash_entry(entry)?, claim(NONCE).map(<[u8]>::to_vec)))
}

fn read_hash_entry(entry: &[u8]) -> Result<KeyHash, TaggedEvidenceError> {
    let mut reader = Reader::new(entry);
    expect_two(reader.array()?, "algorithm and hash")?;
    let algorithm = HashAlgorithm::of(reader.unsigned()?)?;
    let value = reader.byte_string()?;
    reader.end()?;
    if value.len() != algorithm.implementation().output_len() {
        return Err(TaggedEvidenceError::HashLength(value.len()));
    }
    Ok(KeyHash {
        algorithm,
        value: value.to_vec(),
    })
}

fn expect_two(items: u64, what: &'static str) -> Result<(), TaggedEvidenceError> {
    if items == 2 {
        Ok(())
    } else {
        Err(TaggedEvidenceError::Items { items, what })
    }
}

/// Why an extension is not tagged evidence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaggedEvidenceError {
    /// Over a bound.
    #[error("it is larger than any genuine one")]
    TooLarge,
    /// Not this CBOR.
    #[error("its CBOR is not of the form `60000([quote, claims])`: {0}")]
    Cbor(#[from] CborError),
    /// A tag for something else than a quote.
    #[error(
        "its CBOR tag is `{0}`, and only `{INTEL_TEE_QUOTE_TAG}` (quotes of SGX and TDX) is known"
    )]
    Tag(u64),
    /// An array of another size.
    #[error("an array has {items} items where {what} must stand")]
    Items {
        /// How many it has.
        items: u64,
        /// What must stand there.
        what: &'static str,
    },
    /// No evidence.
    #[error("its quote cannot be read: {0}")]
    Evidence(#[from] EvidenceError),
    /// Evidence of a kind that the tag is not for.
    #[error("its tag is for quotes of SGX and TDX, and it holds evidence of kind `{0}`")]
    Kind(EvidenceKind),
    /// The quote is about something else.
    #[error("the quote's report data is not the SHA-256 of the claims: it was made for others")]
    OtherClaims,
    /// The same claim two times.
    #[error("the claim `{0}` stands there twice")]
    Twice(String),
    /// No claim about the key.
    #[error("the claim `pubkey-hash` is missing, so the quote is bound to no key")]
    NoKeyHash,
    /// A hash that is not among the three.
    #[error("the hash algorithm `{0}` is not one of 1, 7 and 8 (SHA-256, SHA-384, SHA-512)")]
    Hash(u64),
    /// A hash of another size than its algorithm's.
    #[error("a hash of {0} bytes does not belong to its algorithm")]
    HashLength(usize),
}

#[cfg(test)]
mod tests;
