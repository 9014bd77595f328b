//! What a document says.

use std::collections::BTreeMap;

use serde::Serialize;

use super::document::{Attester, Document, Optional};
use crate::{
    hex_form,
    x509::{Algorithm, Certificate},
};

/// What a Nitro document says about an enclave, or about an EC2 instance with a NitroTPM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NitroClaims {
    /// Id of the module that issued the document; for an enclave its own id behind that of the
    /// instance.
    pub module_id: String,
    /// When the document was made, milliseconds since 1970.
    pub timestamp: u64,
    /// The hash that the PCRs are made with: `SHA384`.
    pub digest: &'static str,
    /// PCR0 to PCR2 are zero: the enclave runs in debug mode.
    pub debug: bool,
    /// How many certificates of issuers the document carries.
    pub cabundle: usize,
    /// How many PCRs it lists, those that are zero too.
    pub npcrs: usize,
    /// A key that the code wants to be known for; empty if it gave none.
    #[serde(with = "hex_form", skip_serializing_if = "Vec::is_empty")]
    pub public_key: Vec<u8>,
    /// What the code wanted to be signed; empty if it gave nothing.
    #[serde(with = "hex_form", skip_serializing_if = "Vec::is_empty")]
    pub user_data: Vec<u8>,
    /// The challenge that the code was given; empty if it gave none.
    #[serde(with = "hex_form", skip_serializing_if = "Vec::is_empty")]
    pub nonce: Vec<u8>,
    /// Those of the three that the document does not have.
    pub absent: Vec<&'static str>,
    /// Those of the three that the document has with null.
    pub null: Vec<&'static str>,
    /// The COSE header that is signed.
    #[serde(with = "hex_form")]
    pub protected: Vec<u8>,
    /// The curve of the signer's key: `secp384r1`; for keys that are refused their kind as far as
    /// it is known.
    pub leaf_key: &'static str,
    /// The PCRs that are not zero, by index.
    pub pcrs: BTreeMap<u8, Pcr>,
    /// The PCRs are those of a NitroTPM: an EC2 instance made the document, not an enclave.
    #[serde(skip_serializing_if = "is_enclave")]
    pub nitrotpm: bool,
}

/// The value of a PCR: in JSON lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Pcr(#[serde(with = "hex_form")] pub Vec<u8>);

impl NitroClaims {
    pub(super) fn of(document: &Document<'_>) -> Self {
        let optional = [
            ("public_key", document.public_key()),
            ("user_data", document.user_data()),
            ("nonce", document.nonce()),
        ];
        let names_of = |wanted: Optional<'_>| {
            optional
                .iter()
                .filter(|(_, found)| *found == wanted)
                .map(|(name, _)| *name)
                .collect()
        };
        let bytes_of = |member: Optional<'_>| member.bytes().unwrap_or_default().to_vec();
        Self {
            module_id: document.module_id().to_owned(),
            timestamp: document.timestamp(),
            digest: document.digest(),
            debug: document.is_debug(),
            cabundle: document.cabundle().len(),
            npcrs: document.pcrs().len(),
            public_key: bytes_of(document.public_key()),
            user_data: bytes_of(document.user_data()),
            nonce: bytes_of(document.nonce()),
            absent: names_of(Optional::Absent),
            null: names_of(Optional::Null),
            protected: document.protected().to_vec(),
            leaf_key: leaf_key(document.certificate()),
            pcrs: document
                .pcrs()
                .filter(|(_, value)| value.iter().any(|byte| *byte != 0))
                .map(|(index, value)| (index, Pcr(value.to_vec())))
                .collect(),
            nitrotpm: document.attester() == Attester::NitroTpm,
        }
    }
}

fn leaf_key(certificate: &[u8]) -> &'static str {
    let Ok(certificate) = Certificate::parse(certificate) else {
        return "unknown";
    };
    [
        (Algorithm::EcdsaP384Sha384, "secp384r1"),
        (Algorithm::EcdsaP256Sha256, "secp256r1"),
        (Algorithm::RsaPkcs1Sha256, "rsa"),
    ]
    .into_iter()
    .find(|(algorithm, _)| certificate.has_key_for(*algorithm))
    .map_or("unknown", |(_, name)| name)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_enclave(nitrotpm: &bool) -> bool {
    !nitrotpm
}
