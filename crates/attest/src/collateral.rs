//! Collateral: the endorsements that evidence is appraised with.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    hex_form,
    yaml::{self, YamlError},
};

/// The most that one set of collateral may measure, as JSON text and as the sum of its parts.
/// Genuine sets are about 20 KiB.
pub const MAX_COLLATERAL_BYTES: usize = 1024 * 1024;

/// All that evidence is appraised with, whatever its kind: a kind reads what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collateral {
    /// For quotes of the DCAP form.
    pub dcap: Option<DcapCollateral>,
    /// Certificates (DER) that the evidence does not carry itself, in the order of their chain:
    /// for SEV-SNP the VEK, alone or followed by ASK (or ASVK) and ARK, or the other way round.
    pub certificates: Vec<Vec<u8>>,
    /// CRLs (DER) of those who issued the certificates.
    pub crls: Vec<Vec<u8>>,
}

impl Collateral {
    /// Collateral for evidence that carries all that it needs.
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a file of collateral: JSON as [`Collateral::from_json`] does, or YAML of the same
    /// members, in which some tools keep it.
    pub fn parse(bytes: &[u8]) -> Result<Self, CollateralError> {
        within_bound(bytes.len())?;
        if bytes.trim_ascii_start().first() == Some(&b'{') {
            return Self::from_json(bytes);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| CollateralError::NotText)?;
        let value = yaml::read(text).map_err(CollateralError::Yaml)?;
        Self::from_json(value.to_string().as_bytes())
    }

    /// Reads a JSON document of up to [`MAX_COLLATERAL_BYTES`]: the form of [`DcapCollateral`],
    /// or `{"format": "mse-collateral/1", "dcap": {…}, "certificates": [hex…], "crls": [hex…]}`,
    /// in which every member but `format` may be missing.
    ///
    /// Nothing is verified here: that is part of every appraisal.
    pub fn from_json(json: &[u8]) -> Result<Self, CollateralError> {
        within_bound(json.len())?;
        let probe: Probe = serde_json::from_slice(json).map_err(CollateralError::Json)?;
        if probe.format.is_none() {
            return DcapCollateral::from_json(json).map(Self::from);
        }
        let file: OwnFile = serde_json::from_slice(json).map_err(CollateralError::Json)?;
        Ok(Self {
            dcap: file.dcap.map(|dcap| *dcap),
            certificates: from_hex("certificates", &file.certificates)?,
            crls: from_hex("crls", &file.crls)?,
        })
    }

    /// The JSON form with a `format` member.
    pub fn to_json(&self) -> String {
        let file = OwnFile {
            format: Format::V1,
            dcap: self.dcap.clone().map(Box::new),
            certificates: self.certificates.iter().map(hex::encode).collect(),
            crls: self.crls.iter().map(hex::encode).collect(),
        };
        serde_json::to_string_pretty(&file).expect("a struct of strings is JSON")
    }

    /// The sum of the sizes of all parts, in bytes.
    pub fn size(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    pub(crate) fn check_size(&self) -> Result<(), CollateralError> {
        within_bound(self.size())
    }

    /// All parts in a fixed order.
    fn parts(&self) -> Vec<&[u8]> {
        let mut parts = Vec::new();
        if let Some(dcap) = &self.dcap {
            parts.extend(dcap.parts());
        }
        parts.extend(self.certificates.iter().map(Vec::as_slice));
        parts.extend(self.crls.iter().map(Vec::as_slice));
        parts
    }
}

impl From<DcapCollateral> for Collateral {
    fn from(dcap: DcapCollateral) -> Self {
        Self {
            dcap: Some(dcap),
            ..Self::default()
        }
    }
}

/// Tells the two JSON forms apart, so that an error is about the form that was meant.
#[derive(Deserialize)]
struct Probe {
    format: Option<serde::de::IgnoredAny>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnFile {
    format: Format,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dcap: Option<Box<DcapCollateral>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    crls: Vec<String>,
}

#[derive(Serialize, Deserialize)]
enum Format {
    #[serde(rename = "mse-collateral/1")]
    V1,
}

fn from_hex(member: &'static str, values: &[String]) -> Result<Vec<Vec<u8>>, CollateralError> {
    values
        .iter()
        .map(|value| hex::decode(value).map_err(|_| CollateralError::Hex { member }))
        .collect()
}

/// What Intel's Provisioning Certification Service (API v4) answers for one platform, or what a
/// simulated platform answers in its place.
///
/// The JSON form is that of the `QuoteCollateralV3` files which other verifiers exchange: PEM and
/// signed JSON as text, CRLs (DER) and signatures (`r ‖ s`, 64 bytes) in hexadecimal. The two
/// signed documents are kept character for character: the signatures cover the text, not its
/// meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DcapCollateral {
    /// PEM chain of the PCK CRL's issuer, root last.
    pub pck_crl_issuer_chain: String,
    /// CRL of the root CA, DER.
    #[serde(with = "hex_form")]
    pub root_ca_crl: Vec<u8>,
    /// CRL of the CA that issued the platform's PCK certificate, DER.
    #[serde(with = "hex_form")]
    pub pck_crl: Vec<u8>,
    /// PEM chain of the TCB info's signer, root last.
    pub tcb_info_issuer_chain: String,
    /// TCB info (version 3) of the platform's FMSPC, the exact signed text.
    pub tcb_info: String,
    /// Signature over `tcb_info`.
    #[serde(with = "hex_form")]
    pub tcb_info_signature: Vec<u8>,
    /// PEM chain of the QE identity's signer, root last.
    pub qe_identity_issuer_chain: String,
    /// QE identity (version 2), the exact signed text.
    pub qe_identity: String,
    /// Signature over `qe_identity`.
    #[serde(with = "hex_form")]
    pub qe_identity_signature: Vec<u8>,
    /// PEM chain of the PCK certificate, root last: read only when the quote carries none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pck_certificate_chain: Option<String>,
}

impl DcapCollateral {
    /// Reads the JSON form, up to [`MAX_COLLATERAL_BYTES`].
    ///
    /// Nothing is verified here: that is part of every appraisal.
    pub fn from_json(json: &[u8]) -> Result<Self, CollateralError> {
        within_bound(json.len())?;
        serde_json::from_slice(json).map_err(CollateralError::Json)
    }

    /// All parts in a fixed order: what a digest of the collateral is taken over.
    pub(crate) fn parts(&self) -> [&[u8]; 10] {
        [
            self.pck_crl_issuer_chain.as_bytes(),
            &self.root_ca_crl,
            &self.pck_crl,
            self.tcb_info_issuer_chain.as_bytes(),
            self.tcb_info.as_bytes(),
            &self.tcb_info_signature,
            self.qe_identity_issuer_chain.as_bytes(),
            self.qe_identity.as_bytes(),
            &self.qe_identity_signature,
            self.pck_certificate_chain
                .as_ref()
                .map_or(&[], String::as_bytes),
        ]
    }
}

/// Why collateral could not be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// Larger than any genuine set could be.
    #[error(
        "collateral has `{size}` bytes, more than the limit of {MAX_COLLATERAL_BYTES}; fetch it again from the collateral service"
    )]
    TooLarge {
        /// The size found, in bytes.
        size: usize,
    },
    /// Not JSON, a member missing or of the wrong type.
    #[error("collateral is not in the `QuoteCollateralV3` JSON form: {0}; fetch it again")]
    Json(#[source] serde_json::Error),
    /// Neither JSON nor the part of YAML that is read.
    #[error("collateral is neither JSON nor YAML of the same members: {0}; fetch it again")]
    Yaml(#[source] YamlError),
    /// Bytes that are no text.
    #[error("collateral is neither JSON nor YAML: it is not text; fetch it again")]
    NotText,
    /// A certificate or CRL that is not hexadecimal.
    #[error("`{member}` of the collateral holds something that is not hexadecimal; fetch it again")]
    Hex {
        /// The member of the JSON document.
        member: &'static str,
    },
}

fn within_bound(size: usize) -> Result<(), CollateralError> {
    if size > MAX_COLLATERAL_BYTES {
        return Err(CollateralError::TooLarge { size });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_over_the_bound_is_refused_before_it_is_parsed() {
        let json = vec![b' '; MAX_COLLATERAL_BYTES + 1];
        assert!(matches!(
            Collateral::from_json(&json),
            Err(CollateralError::TooLarge { .. })
        ));
    }

    #[test]
    fn hexadecimal_members_must_be_hexadecimal() {
        let json = br#"{"pck_crl_issuer_chain":"","root_ca_crl":"zz","pck_crl":"",
            "tcb_info_issuer_chain":"","tcb_info":"","tcb_info_signature":"",
            "qe_identity_issuer_chain":"","qe_identity":"","qe_identity_signature":""}"#;
        assert!(matches!(
            Collateral::from_json(json),
            Err(CollateralError::Json(_))
        ));
    }
}
