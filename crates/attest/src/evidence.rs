//! Evidence: what a TEE signs about the code that runs in it.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

use crate::{Tee, dcap, nitro, snp, vtpm};

/// Evidence of one of the supported kinds, as raw bytes.
///
/// Holding a value says nothing about its truth: only [`crate::appraise`] does.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// An ECDSA quote of the DCAP form about an SGX enclave: version 3, or 4 and 5 with an SGX
    /// body. Real and simulated platforms share this form.
    SgxDcap(Vec<u8>),
    /// An ECDSA quote of the DCAP form about a TDX trust domain, version 4 or 5.
    TdxDcap(Vec<u8>),
    /// An attestation report of AMD SEV-SNP, version 2 to 5: 1184 bytes.
    Snp(Vec<u8>),
    /// An attestation document of AWS Nitro: a COSE_Sign1 message.
    Nitro(Vec<u8>),
    /// A quote of a virtual TPM, with what binds the TPM to hardware where there is such a thing:
    /// Azure's confidential VMs (SNP and TDX), and TPMs whose key is pinned.
    Vtpm(Box<vtpm::VtpmEvidence>),
}

/// The kinds of [`Evidence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EvidenceKind {
    /// [`Evidence::SgxDcap`].
    SgxDcap,
    /// [`Evidence::TdxDcap`].
    TdxDcap,
    /// [`Evidence::Snp`].
    Snp,
    /// [`Evidence::Nitro`].
    Nitro,
    /// [`Evidence::Vtpm`] on SEV-SNP under Azure's paravisor.
    AzureSnpVtpm,
    /// [`Evidence::Vtpm`] on TDX under Azure's paravisor.
    AzureTdxVtpm,
    /// [`Evidence::Vtpm`] with nothing that binds it to a confidential VM.
    Tpm,
}

impl EvidenceKind {
    /// The name used in results and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SgxDcap => "sgx-dcap",
            Self::TdxDcap => "tdx-dcap",
            Self::Snp => "snp",
            Self::Nitro => "nitro",
            Self::AzureSnpVtpm => "azure-snp-vtpm",
            Self::AzureTdxVtpm => "azure-tdx-vtpm",
            Self::Tpm => "tpm",
        }
    }

    /// The TEE that evidence of this kind is about, if its root is one of hardware.
    pub fn tee(self) -> Tee {
        match self {
            Self::SgxDcap => Tee::Sgx,
            Self::TdxDcap | Self::AzureTdxVtpm => Tee::Tdx,
            Self::Snp | Self::AzureSnpVtpm => Tee::Snp,
            Self::Nitro => Tee::Nitro,
            Self::Tpm => Tee::Tpm,
        }
    }
}

impl fmt::Display for EvidenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Evidence {
    /// Finds out the kind of `bytes` and checks that they have its exact layout.
    ///
    /// The kinds are told apart by their first bytes and their size, and no bytes are of two
    /// kinds: a DCAP quote starts with its version (3 to 5) and key type, an SNP report has
    /// exactly 1184 bytes and starts with its version (1 to 5, 32 bits), a Nitro document starts
    /// with a CBOR array of four; vTPM evidence is a JSON object, a YAML mapping, an HCL report
    /// (`HCLA`) or a protocol buffer that starts with a TPM public key.
    pub fn parse(bytes: &[u8]) -> Result<Self, EvidenceError> {
        match bytes {
            _ if vtpm::looks_like_vtpm_evidence(bytes) => {
                Ok(Self::Vtpm(Box::new(vtpm::VtpmEvidence::parse(bytes)?)))
            }
            _ if nitro::looks_like_document(bytes) => {
                nitro::Document::parse(bytes)?;
                Ok(Self::Nitro(bytes.to_vec()))
            }
            _ if bytes.len() == snp::REPORT_BYTES && bytes[1..4] == [0, 0, 0] => {
                snp::Report::parse(bytes)?;
                Ok(Self::Snp(bytes.to_vec()))
            }
            _ => {
                let quote = dcap::Quote::parse(bytes)?;
                Ok(match quote.body {
                    dcap::Body::Sgx(_) => Self::SgxDcap(bytes.to_vec()),
                    dcap::Body::Tdx(_) => Self::TdxDcap(bytes.to_vec()),
                })
            }
        }
    }

    /// The kind.
    pub fn kind(&self) -> EvidenceKind {
        match self {
            Self::SgxDcap(_) => EvidenceKind::SgxDcap,
            Self::TdxDcap(_) => EvidenceKind::TdxDcap,
            Self::Snp(_) => EvidenceKind::Snp,
            Self::Nitro(_) => EvidenceKind::Nitro,
            Self::Vtpm(evidence) => evidence.kind(),
        }
    }

    /// The report data that the evidence states: a claim, until [`crate::appraise`] has seen it.
    pub fn stated_report_data(&self) -> Option<[u8; 64]> {
        match self {
            Self::SgxDcap(quote) | Self::TdxDcap(quote) => dcap::Quote::parse(quote)
                .ok()
                .map(|quote| *quote.body.report_data()),
            Self::Snp(report) => snp::Report::parse(report)
                .ok()
                .map(|report| *report.report_data()),
            Self::Nitro(_) | Self::Vtpm(_) => None,
        }
    }

    /// The bytes as the TEE made them; of vTPM evidence, its quote.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::SgxDcap(bytes) | Self::TdxDcap(bytes) | Self::Snp(bytes) | Self::Nitro(bytes) => {
                bytes
            }
            Self::Vtpm(evidence) => evidence.quote(),
        }
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} bytes)", self.kind(), self.as_bytes().len())
    }
}

/// Why bytes are not evidence of a supported kind.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// Taken for a quote of the DCAP form.
    #[error(transparent)]
    Quote(#[from] dcap::QuoteError),
    /// Taken for an SNP report.
    #[error(transparent)]
    Snp(#[from] snp::ReportError),
    /// Taken for a Nitro document.
    #[error(transparent)]
    Nitro(#[from] nitro::DocumentError),
    /// Taken for vTPM evidence.
    #[error(transparent)]
    Vtpm(#[from] vtpm::VtpmError),
}
