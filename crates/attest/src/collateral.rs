//! Collateral: the endorsements a quote is appraised with.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hex_form;

/// The most that one set of collateral may measure, as JSON text and as the sum of its parts.
/// Genuine sets are about 20 KiB.
pub const MAX_COLLATERAL_BYTES: usize = 1024 * 1024;

/// What Intel's Provisioning Certification Service (API v4) answers for one platform, or what a
/// simulated platform answers in its place.
///
/// The JSON form is that of the `QuoteCollateralV3` files which other verifiers exchange: PEM and
/// signed JSON as text, CRLs (DER) and signatures (`r ‖ s`, 64 bytes) in hexadecimal. The two
/// signed documents are kept character for character: the signatures cover the text, not its
/// meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collateral {
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

impl Collateral {
    /// Reads the JSON form, up to [`MAX_COLLATERAL_BYTES`].
    ///
    /// Nothing is verified here: that is part of every appraisal.
    pub fn from_json(json: &[u8]) -> Result<Self, CollateralError> {
        within_bound(json.len())?;
        serde_json::from_slice(json).map_err(CollateralError::Json)
    }

    /// The sum of the sizes of all parts, in bytes.
    pub fn size(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    pub(crate) fn check_size(&self) -> Result<(), CollateralError> {
        within_bound(self.size())
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
