//! What vTPM evidence says.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{evidence::Stated, key::AttestationKey, tpm::Hash};
use crate::{Claims, dcap::TdxClaims, nitro::NitroClaims, snp::SnpClaims};

/// What a virtual TPM and what is below it say. In JSON the claims of SNP and TDX hardware stand
/// beside the others, under their own names, and those of a Nitro document in `nitro`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VtpmClaims {
    /// The hardware that the HCL report is about: `snp` or `tdx`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hcl_report_type: Option<&'static str>,
    /// SHA-256 of the attestation key's SubjectPublicKeyInfo, hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ak_sha256: Option<String>,
    /// The challenge that the quote answers (`extraData`), hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// What the guest gave to its paravisor (`user-data` of the runtime data), hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// How the paravisor was configured: secure boot, console, id of the VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_configuration: Option<serde_json::Map<String, serde_json::Value>>,
    /// Version of the TPM's firmware, as it states it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_firmware_version: Option<u64>,
    /// Milliseconds that the TPM has run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_clock: Option<u64>,
    /// How often the TPM was reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_reset_count: Option<u32>,
    /// How often it was restarted or resumed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tpm_restart_count: Option<u32>,
    /// The bank of the PCRs below: `sha256` where it was quoted, else the strongest one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcr_bank: Option<&'static str>,
    /// The signed PCR values; in JSON `pcr0` to `pcr23`, hexadecimal.
    #[serde(flatten, serialize_with = "by_name")]
    pub pcrs: BTreeMap<u8, Vec<u8>>,
    /// What the hardware report below says.
    #[serde(flatten)]
    pub hardware: Option<HardwareClaims>,
}

/// Claims of what vouches for the attestation key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum HardwareClaims {
    /// Of the Nitro document of the instance.
    #[serde(rename = "nitro")]
    Nitro(Box<NitroClaims>),
    /// Of the SEV-SNP guest in which the paravisor runs.
    #[serde(untagged)]
    Snp(Box<SnpClaims>),
    /// Of the trust domain in which the paravisor runs.
    #[serde(untagged)]
    Tdx(Box<TdxClaims>),
}

impl VtpmClaims {
    pub(super) fn of(stated: &Stated, below: Option<Claims>) -> Self {
        let hcl = stated.hcl();
        let attest = stated.quotes.first().map(|quote| &quote.attest);
        let (pcr_bank, pcrs) = signed_pcrs(stated);
        Self {
            hcl_report_type: hcl.map(|hcl| hcl.hardware.as_str()),
            ak_sha256: stated
                .ak()
                .map(AttestationKey::fingerprint)
                .map(hex::encode),
            nonce: attest.map(|attest| hex::encode(&attest.nonce)),
            user_data: hcl.and_then(|hcl| hcl.user_data.as_ref().map(hex::encode)),
            vm_configuration: hcl.and_then(|hcl| hcl.vm_configuration.clone()),
            tpm_firmware_version: attest.map(|attest| attest.firmware_version),
            tpm_clock: attest.map(|attest| attest.clock),
            tpm_reset_count: attest.map(|attest| attest.reset_count),
            tpm_restart_count: attest.map(|attest| attest.restart_count),
            pcr_bank: pcr_bank.map(Hash::name),
            pcrs,
            hardware: below.and_then(|claims| match claims {
                Claims::Snp(claims) => Some(HardwareClaims::Snp(claims)),
                Claims::Tdx(claims) => Some(HardwareClaims::Tdx(claims)),
                Claims::Nitro(claims) => Some(HardwareClaims::Nitro(claims)),
                Claims::Sgx(_) | Claims::Vtpm(_) => None,
            }),
        }
    }
}

/// The PCRs that count, and their bank. SHA-1 is too weak to tell two pieces of software apart.
pub(super) fn signed_pcrs(stated: &Stated) -> (Option<Hash>, BTreeMap<u8, Vec<u8>>) {
    [Hash::Sha256, Hash::Sha512, Hash::Sha384]
        .into_iter()
        .find_map(|bank| {
            let mut quotes = stated.quotes.iter();
            let values = quotes.find_map(|quote| quote.pcrs.get(&bank))?;
            Some((Some(bank), values.clone()))
        })
        .unwrap_or_default()
}

fn by_name<S: Serializer>(pcrs: &BTreeMap<u8, Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(pcrs.len()))?;
    for (index, value) in pcrs {
        map.serialize_entry(&format!("pcr{index}"), &hex::encode(value))?;
    }
    map.end()
}
