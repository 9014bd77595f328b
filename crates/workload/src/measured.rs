//! What every kind of workload has: a canonical form, and the digest that a TEE measures.

use mse_crypto::digest::Hasher;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::measurement::WorkloadDigest;

/// A complete description of what runs, of one kind.
///
/// The canonical form is RFC 8785 (JCS) JSON; the digest is SHA-256 over
/// `DOMAIN ‖ 0x00 ‖ canonical form`. One changed character in any field changes it, and no workload
/// of another kind has the same.
pub trait Measured: Serialize + DeserializeOwned {
    /// What errors call it.
    const KIND: &'static str;
    /// What sets its digests apart from those of other kinds.
    const DOMAIN: &'static str;
    /// The version of its format that this code reads and writes.
    const FORMAT: u32;
    /// The most bytes that are read of its JSON form.
    const MAX_JSON: usize;

    /// The version of the format it has.
    fn format(&self) -> u32;

    /// The rules that the types alone do not express.
    fn check_fields(&self) -> Result<(), InvalidWorkload>;

    /// Reads the JSON form, canonical or not; unknown fields and other formats are refused.
    fn from_json(json: &[u8]) -> Result<Self, InvalidWorkload> {
        if json.len() > Self::MAX_JSON {
            return Err(InvalidWorkload::TooLarge {
                kind: Self::KIND,
                length: json.len(),
                most: Self::MAX_JSON,
            });
        }
        let workload: Self =
            serde_json::from_slice(json).map_err(|source| InvalidWorkload::Json {
                kind: Self::KIND,
                source,
            })?;
        workload.check()?;
        Ok(workload)
    }

    /// Whether one that was made here, and not read, would be read.
    fn check(&self) -> Result<(), InvalidWorkload> {
        if self.format() != Self::FORMAT {
            return Err(InvalidWorkload::Format {
                kind: Self::KIND,
                format: self.format(),
                reads: Self::FORMAT,
            });
        }
        self.check_fields()
    }

    /// The canonical form: RFC 8785 JSON.
    fn canonical(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self)
            .expect("a workload has only strings, integers and maps with string keys")
    }

    /// The digest that the TEE measures.
    fn digest(&self) -> WorkloadDigest {
        let mut hasher = Hasher::with_domain(Self::DOMAIN);
        hasher.update(&self.canonical());
        WorkloadDigest(hasher.finish())
    }
}

/// A workload that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidWorkload {
    /// Larger than [`Measured::MAX_JSON`].
    #[error("the {kind} is {length} bytes long: at most {most} are read")]
    TooLarge {
        /// Which kind of workload.
        kind: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        most: usize,
    },
    /// Not JSON, or not of this shape.
    #[error("the {kind} is malformed: {source}")]
    Json {
        /// Which kind of workload.
        kind: &'static str,
        /// What the reader says.
        source: serde_json::Error,
    },
    /// A format of another time.
    #[error("the {kind} has format {format}: this program reads format {reads}")]
    Format {
        /// Which kind of workload.
        kind: &'static str,
        /// The format it has.
        format: u32,
        /// The format that is read.
        reads: u32,
    },
    /// A field with a value that cannot be.
    #[error("the {kind}'s `{field}` is `{value}`: {fix}")]
    Field {
        /// Which kind of workload.
        kind: &'static str,
        /// Path of the field.
        field: &'static str,
        /// What it holds, shortened.
        value: String,
        /// What to write.
        fix: &'static str,
    },
}

impl InvalidWorkload {
    /// A field of `W` with a value that cannot be.
    pub(crate) fn field<W: Measured>(field: &'static str, value: &str, fix: &'static str) -> Self {
        Self::Field {
            kind: W::KIND,
            field,
            // What was read may hold what a terminal obeys.
            value: value
                .chars()
                .take(MAX_VALUE)
                .collect::<String>()
                .escape_debug()
                .to_string(),
            fix,
        }
    }
}

/// As many characters of a value are shown.
const MAX_VALUE: usize = 80;
