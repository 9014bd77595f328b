//! vTPM evidence as it was given, whatever its form was.

use std::{collections::BTreeMap, fmt};

use super::{
    VtpmError,
    hcl::{self, Hardware, HclReport},
    json::{self, SignatureForm, without_padding},
    key::AttestationKey,
    protobuf,
    tpm::{Attest, Hash, Signature},
};
use crate::{EvidenceKind, digest, yaml};

/// The most that a file of vTPM evidence may measure. Genuine ones have up to 40 KiB.
pub const MAX_VTPM_EVIDENCE_BYTES: usize = 1024 * 1024;
/// The longest chain of certificates that is read.
pub(super) const MAX_CERTIFICATES: usize = 8;

/// A quote of a virtual TPM, with what binds the TPM's key to hardware or to a certificate.
#[derive(Clone, PartialEq, Eq)]
pub struct VtpmEvidence(pub(super) Stated);

/// What a file states.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Stated {
    pub(super) binding: Binding,
    /// The attestation key, where the binding does not name it itself.
    pub(super) ak: Option<AttestationKey>,
    /// One for each PCR bank; none in a bare HCL report.
    pub(super) quotes: Vec<TpmQuote>,
    /// The challenge that the file says was asked for.
    pub(super) nonce: Option<Vec<u8>>,
}

/// What vouches for the attestation key.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Binding {
    /// Azure's paravisor on SEV-SNP.
    AzureSnp {
        hcl: HclReport,
        /// Certificates (DER) of the report's signer, as far as the file has them.
        vek: Vec<Vec<u8>>,
    },
    /// Azure's paravisor on TDX.
    AzureTdx {
        hcl: HclReport,
        td_quote: Option<Vec<u8>>,
    },
    /// A document of AWS Nitro.
    Nitro(Vec<u8>),
    /// Certificates (DER) of the key, that of the key first; or none.
    Certificates(Vec<Vec<u8>>),
}

impl Stated {
    pub(super) fn of(binding: Binding) -> Self {
        Self {
            binding,
            ak: None,
            quotes: Vec::new(),
            nonce: None,
        }
    }

    /// The key that quotes are verified with.
    pub(super) fn ak(&self) -> Option<&AttestationKey> {
        match &self.binding {
            Binding::AzureSnp { hcl, .. } | Binding::AzureTdx { hcl, .. } => Some(&hcl.ak),
            Binding::Nitro(_) | Binding::Certificates(_) => self.ak.as_ref(),
        }
    }

    pub(super) fn hcl(&self) -> Option<&HclReport> {
        match &self.binding {
            Binding::AzureSnp { hcl, .. } | Binding::AzureTdx { hcl, .. } => Some(hcl),
            Binding::Nitro(_) | Binding::Certificates(_) => None,
        }
    }
}

impl VtpmEvidence {
    /// Reads a file of any supported form: JSON or YAML of the projects named in the module's
    /// documentation, a go-tpm-tools attestation (protocol buffers), or a bare HCL report, to
    /// which [`VtpmEvidence::with_part`] adds what it does not have.
    ///
    /// Up to [`MAX_VTPM_EVIDENCE_BYTES`] are read.
    pub fn parse(bytes: &[u8]) -> Result<Self, VtpmError> {
        within_bound(bytes)?;
        if bytes.starts_with(hcl::MAGIC) {
            let hcl = HclReport::parse(bytes.to_vec())?;
            return Ok(Self(Stated::of(match hcl.hardware {
                Hardware::Snp => Binding::AzureSnp {
                    hcl,
                    vek: Vec::new(),
                },
                Hardware::Tdx => Binding::AzureTdx {
                    hcl,
                    td_quote: None,
                },
            })));
        }
        if protobuf::looks_like(bytes) {
            let attestation = protobuf::Attestation::parse(bytes)?;
            return Ok(Self(Stated {
                ak: Some(attestation.ak),
                quotes: attestation.quotes,
                ..Stated::of(Binding::Certificates(attestation.certificates))
            }));
        }
        if looks_like_json(bytes) {
            return Self::from_json(bytes);
        }
        Self::from_yaml(bytes)
    }

    /// Reads one of the JSON forms.
    pub fn from_json(json: &[u8]) -> Result<Self, VtpmError> {
        within_bound(json)?;
        let file: json::File = serde_json::from_slice(json)?;
        file.read().map(Self)
    }

    /// Reads a YAML text with the members of one of the JSON forms.
    fn from_yaml(text: &[u8]) -> Result<Self, VtpmError> {
        let text = std::str::from_utf8(text).map_err(|_| VtpmError::Form)?;
        let file: json::File = serde_json::from_value(yaml::read(text)?)?;
        file.read().map(Self)
    }

    /// Adds what a bare HCL report does not have: a TPM quote (JSON with `message`, `signature`
    /// and `pcrs`), or the TD quote of a TDX guest (binary). What is there already is replaced.
    pub fn with_part(mut self, bytes: &[u8]) -> Result<Self, VtpmError> {
        within_bound(bytes)?;
        if looks_like_json(bytes) {
            let quote: json::Quote = serde_json::from_slice(bytes)?;
            let form = match self.0.hcl() {
                Some(_) => SignatureForm::Bare,
                None => SignatureForm::Structure,
            };
            self.0.quotes = vec![quote.read(form)?];
            return Ok(self);
        }
        match &mut self.0.binding {
            Binding::AzureTdx { td_quote, .. } => {
                *td_quote = Some(without_padding(bytes.to_vec()));
                Ok(self)
            }
            _ => Err(VtpmError::Part),
        }
    }

    /// What kind it is: bound to SEV-SNP, to TDX, or to neither.
    pub fn kind(&self) -> EvidenceKind {
        match &self.0.binding {
            Binding::AzureSnp { .. } => EvidenceKind::AzureSnpVtpm,
            Binding::AzureTdx { .. } => EvidenceKind::AzureTdxVtpm,
            Binding::Nitro(_) | Binding::Certificates(_) => EvidenceKind::Tpm,
        }
    }

    /// The first TPM quote (`TPMS_ATTEST`); if there is none, the HCL report.
    pub fn quote(&self) -> &[u8] {
        let quote = self.0.quotes.first().map(|quote| quote.message.as_slice());
        quote.unwrap_or_else(|| self.0.hcl().map_or(&[], HclReport::as_bytes))
    }

    /// The challenge that the quote answers: a claim, until [`crate::appraise`] has seen it.
    pub fn stated_nonce(&self) -> Option<&[u8]> {
        let quote = self.0.quotes.first()?;
        Some(&quote.attest.nonce)
    }

    /// SHA-256 of the attestation key's SubjectPublicKeyInfo: what
    /// [`crate::Policy::trust_tpm_ak`] is given.
    pub fn ak_sha256(&self) -> Option<[u8; 32]> {
        self.0.ak().map(AttestationKey::fingerprint)
    }

    /// The TD quote of Azure's TDX guests: its certificate chain says which collateral is needed.
    pub fn td_quote(&self) -> Option<&[u8]> {
        match &self.0.binding {
            Binding::AzureTdx { td_quote, .. } => td_quote.as_deref(),
            _ => None,
        }
    }

    /// The SNP report of Azure's SNP guests: chip id and TCB in it say which VCEK is needed.
    pub fn snp_report(&self) -> Option<&[u8]> {
        match &self.0.binding {
            Binding::AzureSnp { hcl, .. } => Some(hcl.hardware_report()),
            _ => None,
        }
    }
}

impl fmt::Debug for VtpmEvidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {} quotes", self.kind(), self.0.quotes.len())
    }
}

/// Whether `bytes` start as one of the forms that [`VtpmEvidence::parse`] reads, and as no
/// evidence of another kind does.
pub fn looks_like_vtpm_evidence(bytes: &[u8]) -> bool {
    bytes.starts_with(hcl::MAGIC)
        || looks_like_json(bytes)
        || protobuf::looks_like(bytes)
        || YAML_STARTS
            .iter()
            .any(|start| bytes.starts_with(start.as_bytes()))
}

/// Members of which one stands first in the YAML files that are in use.
const YAML_STARTS: [&str; 4] = [
    "---\n",
    "tdx_quote_base64:",
    "hcl_report_base64:",
    "tpm_attestation:",
];

fn looks_like_json(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().first() == Some(&b'{')
}

fn within_bound(bytes: &[u8]) -> Result<(), VtpmError> {
    let size = bytes.len();
    if size > MAX_VTPM_EVIDENCE_BYTES {
        return Err(VtpmError::TooLarge { size });
    }
    Ok(())
}

/// PCR values by bank and index.
pub(super) type Pcrs = BTreeMap<Hash, BTreeMap<u8, Vec<u8>>>;

/// A quote with its signature, and the PCR values that are said to be in it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct TpmQuote {
    /// The signed bytes.
    pub(super) message: Vec<u8>,
    /// What they say.
    pub(super) attest: Attest,
    pub(super) signature: Signature,
    /// Values of the PCRs that are selected. Others that the file gave are not here: nothing
    /// vouches for them.
    pub(super) pcrs: Pcrs,
    /// PCRs that are given and not selected.
    pub(super) unsigned: usize,
}

impl TpmQuote {
    pub(super) fn new(
        message: Vec<u8>,
        signature: Signature,
        mut given: Pcrs,
    ) -> Result<Self, VtpmError> {
        let attest = Attest::parse(&message)?;
        for (bank, values) in &given {
            if let Some((index, _)) = values.iter().find(|(_, value)| value.len() != bank.size()) {
                return Err(VtpmError::PcrSize {
                    bank: bank.name(),
                    index: *index,
                });
            }
        }
        let total: usize = given.values().map(BTreeMap::len).sum();
        let mut pcrs = Pcrs::new();
        for selection in &attest.selections {
            let mut values = given.remove(&selection.bank).unwrap_or_default();
            values.retain(|index, _| selection.pcrs.contains(index));
            pcrs.insert(selection.bank, values);
        }
        let signed: usize = pcrs.values().map(BTreeMap::len).sum();
        Ok(Self {
            message,
            attest,
            signature,
            pcrs,
            unsigned: total - signed,
        })
    }

    /// The selected PCR that has no value.
    pub(super) fn missing_pcr(&self) -> Option<(Hash, u8)> {
        self.attest.selections.iter().find_map(|selection| {
            let values = self.pcrs.get(&selection.bank);
            let is_missing =
                |index: &&u8| !values.is_some_and(|values| values.contains_key(*index));
            let index = selection.pcrs.iter().find(is_missing)?;
            Some((selection.bank, *index))
        })
    }

    /// The hash over the selected values in the order of the selection, with the hash of the
    /// signature's scheme.
    pub(super) fn digest_of_pcrs(&self) -> Vec<u8> {
        let values: Vec<&[u8]> = self
            .attest
            .selections
            .iter()
            .filter_map(|selection| self.pcrs.get(&selection.bank))
            .flat_map(|values| values.values().map(Vec::as_slice))
            .collect();
        match self.signature.hash {
            // Never accepted: no key verifies a signature with it.
            Hash::Sha1 => Vec::new(),
            Hash::Sha256 => digest::sha256(&values).to_vec(),
            Hash::Sha384 => digest::sha384(&values).to_vec(),
            Hash::Sha512 => digest::sha512(&values).to_vec(),
        }
    }
}
