//! Claims: what evidence says, named as people of that TEE name it.

use serde::Serialize;

use crate::{dcap, nitro, snp, vtpm};

/// What a piece of evidence says about the code that runs and about its TEE.
///
/// In an [`Appraisal`](crate::Appraisal) it is proven; in a [`Refusal`](crate::Refusal) it is only
/// what the evidence states. In JSON a value has the members of its kind, and no tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Claims {
    /// Of an SGX enclave, real or simulated.
    Sgx(dcap::SgxClaims),
    /// Of a TDX trust domain.
    Tdx(Box<dcap::TdxClaims>),
    /// Of an SEV-SNP guest.
    Snp(Box<snp::SnpClaims>),
    /// Of a Nitro enclave.
    Nitro(Box<nitro::NitroClaims>),
    /// Of a virtual TPM and the confidential VM it is bound to.
    Vtpm(Box<vtpm::VtpmClaims>),
}

impl Claims {
    /// The claims about an SGX enclave, if it is one.
    pub fn sgx(&self) -> Option<&dcap::SgxClaims> {
        match self {
            Self::Sgx(claims) => Some(claims),
            _ => None,
        }
    }

    /// What the code put into its report, for TEEs that have such a thing.
    pub fn report_data(&self) -> Option<[u8; 64]> {
        match self {
            Self::Sgx(claims) => Some(claims.report_data),
            Self::Tdx(claims) => Some(claims.report_data),
            Self::Snp(claims) => Some(claims.report_data),
            Self::Nitro(_) | Self::Vtpm(_) => None,
        }
    }
}
