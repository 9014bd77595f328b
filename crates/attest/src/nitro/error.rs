//! Why bytes are not a document.

use thiserror::Error;

use super::{
    cbor::CborError,
    document::{MAX_CABUNDLE, MAX_DOCUMENT_BYTES},
};

/// Why bytes are not a Nitro document.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DocumentError {
    /// Larger than any document can be.
    #[error(
        "a Nitro document has `{size}` bytes, more than {MAX_DOCUMENT_BYTES}; give the document alone, as binary CBOR"
    )]
    TooLarge {
        /// The size found, in bytes.
        size: usize,
    },
    /// Does not start as a COSE_Sign1 message does.
    #[error(
        "a Nitro document does not start with `{start}`: it is a COSE_Sign1 message, an array of four; give the document as binary CBOR, not as text"
    )]
    NotCoseSign1 {
        /// The first bytes, hexadecimal.
        start: String,
    },
    /// Not CBOR, or not the CBOR of a document.
    #[error(
        "{part} of a Nitro document is not as specified: {source}; get the document again, unchanged"
    )]
    Cbor {
        /// Which part.
        part: &'static str,
        /// What is wrong.
        source: CborError,
    },
    /// Signed with another algorithm than AWS signs with.
    #[error(
        "a Nitro document is signed with COSE algorithm `{found}` instead of -35 (ES384); it does not come from AWS"
    )]
    Algorithm {
        /// The algorithm's number in the COSE registry.
        found: i128,
    },
    /// The protected header holds something else than the algorithm.
    #[error(
        "the protected header of a Nitro document is `{found}` instead of `a1013822` ({{1: -35}}); it does not come from AWS"
    )]
    Protected {
        /// The header found, hexadecimal.
        found: String,
    },
    /// The unprotected header, which nobody signs, is not empty.
    #[error(
        "the unprotected header of a Nitro document is not empty; get the document again, unchanged"
    )]
    Unprotected,
    /// The signature is not `r ‖ s`.
    #[error(
        "the signature of a Nitro document has `{size}` bytes instead of 96 (r ‖ s); get the document again, unchanged"
    )]
    Signature {
        /// The size found, in bytes.
        size: usize,
    },
    /// Bytes that nothing accounts for.
    #[error("`{size}` bytes follow {part}; get the document again, alone and unchanged")]
    Trailing {
        /// What they follow.
        part: &'static str,
        /// How many.
        size: usize,
    },
    /// A key that the format does not have.
    #[error(
        "a Nitro document has the unknown key `{key}`; if AWS has added it, this verifier must learn what it means first"
    )]
    UnknownKey {
        /// The key, shortened, with control characters escaped.
        key: String,
    },
    /// A key is there twice.
    #[error("a Nitro document has the key `{key}` twice; it does not come from AWS")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// A key is not there.
    #[error("a Nitro document has no `{key}`; it does not come from AWS")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// Measurements of an enclave and of an instance.
    #[error("a Nitro document has both `pcrs` and `nitrotpm_pcrs`; it does not come from AWS")]
    TwoAttesters,
    /// A member is too short or too long.
    #[error(
        "`{key}` of a Nitro document has `{size}` bytes instead of {least} to {most}; it does not come from AWS"
    )]
    Size {
        /// The member.
        key: &'static str,
        /// The size found, in bytes.
        size: usize,
        /// The least it may have.
        least: usize,
        /// The most it may have.
        most: usize,
    },
    /// Another hash than the one that AWS uses.
    #[error(
        "the PCRs of a Nitro document are made with `{found}` instead of `SHA384`; it does not come from AWS"
    )]
    Digest {
        /// The name found, shortened, with control characters escaped.
        found: String,
    },
    /// The time of the document is 1970.
    #[error("`timestamp` of a Nitro document is `0`; it does not come from AWS")]
    Timestamp,
    /// A PCR that does not exist.
    #[error(
        "a Nitro document has PCR `{index}`, and only 0 to 31 exist; it does not come from AWS"
    )]
    PcrIndex {
        /// The index found.
        index: u64,
    },
    /// A PCR that is no SHA-384 digest.
    #[error(
        "PCR `{index}` of a Nitro document has `{size}` bytes instead of 48; it does not come from AWS"
    )]
    PcrSize {
        /// The index.
        index: u8,
        /// The size found, in bytes.
        size: usize,
    },
    /// A PCR is there twice.
    #[error("a Nitro document has PCR `{index}` twice; it does not come from AWS")]
    DuplicatePcr {
        /// The index.
        index: u8,
    },
    /// Nothing is measured.
    #[error("a Nitro document has no PCR at all; it does not come from AWS")]
    NoPcrs,
    /// No issuer.
    #[error("`cabundle` of a Nitro document is empty; it does not come from AWS")]
    CabundleEmpty,
    /// More issuers than any chain of AWS has.
    #[error(
        "`cabundle` of a Nitro document has more than {MAX_CABUNDLE} certificates; it does not come from AWS"
    )]
    CabundleTooLong,
}
