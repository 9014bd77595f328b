//! Signature chain of a DCAP quote: by `dcap-qvl` on aws-lc-rs, and by us what it leaves open.

use std::collections::HashSet;

use aws_lc_rs::{
    digest,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use dcap_qvl::{
    QuoteCollateralV3, QuotePolicy,
    config::{Config, CryptoProvider},
    signature::DerSigEncoder,
    tcb_info::TcbStatus as QvlStatus,
    verify::QuoteVerifier,
    x509::X509CertBackend,
};
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, pem::PemObject};
use serde::Deserialize;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::{
    CheckName, Collateral, Reason, TcbStatus, TrustAnchor,
    quote::{PCK_CERTIFICATE_CHAIN, SgxQuote},
};

/// ECDSA on P-256 with SHA-256, the only algorithm of Intel's PKI.
pub(crate) static ECDSA_P256: &dyn SignatureVerificationAlgorithm =
    webpki::aws_lc_rs::ECDSA_P256_SHA256;

/// What the verified endorsements say about the attestation key and its platform: the part of an
/// appraisal that is the same for every quote of one quoting enclave.
#[derive(Clone, Debug)]
pub(crate) struct Endorsement {
    pub(crate) fmspc: [u8; 6],
    pub(crate) pce_id: String,
    pub(crate) tcb_status: TcbStatus,
    pub(crate) advisory_ids: Vec<String>,
    pub(crate) tcb_date: String,
    pub(crate) tcb_evaluation_number: u32,
    /// When the oldest document of the collateral was issued.
    pub(crate) issued: u64,
    /// From when all documents and certificates are valid.
    pub(crate) valid_from: u64,
    /// Until when they are.
    pub(crate) valid_until: u64,
}

/// A step of the signature chain that does not hold.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) check: CheckName,
    pub(crate) reason: Reason,
    pub(crate) why: String,
}

/// Verifies `raw` completely up to `anchor`: chains, CRLs, TCB info, QE identity, QE report and
/// the quote's own signature, all at `now` (unix seconds).
pub(crate) fn endorse(
    raw: &[u8],
    quote: &SgxQuote<'_>,
    collateral: &Collateral,
    anchor: &TrustAnchor,
    now: u64,
) -> Result<Endorsement, Fault> {
    // The quote's own chain decides; dcap-qvl would prefer the collateral's if it were there.
    let pck_certificate_chain = match quote.certification_type {
        PCK_CERTIFICATE_CHAIN => None,
        _ => collateral.pck_certificate_chain.clone(),
    };
    let claims = QuoteVerifier::<AwsLc>::new_with_config(anchor.root_der().to_vec())
        // The quote's own DEBUG bit is a check of its own; the quoting enclave's is never allowed.
        .allow_debug(true)
        .verify_with_policy(
            raw,
            QuoteCollateralV3 {
                pck_crl_issuer_chain: collateral.pck_crl_issuer_chain.clone(),
                root_ca_crl: collateral.root_ca_crl.clone(),
                pck_crl: collateral.pck_crl.clone(),
                tcb_info_issuer_chain: collateral.tcb_info_issuer_chain.clone(),
                tcb_info: collateral.tcb_info.clone(),
                tcb_info_signature: collateral.tcb_info_signature.clone(),
                qe_identity_issuer_chain: collateral.qe_identity_issuer_chain.clone(),
                qe_identity: collateral.qe_identity.clone(),
                qe_identity_signature: collateral.qe_identity_signature.clone(),
                pck_certificate_chain,
            },
            now,
            &QuotePolicy::claims_only(now),
        )
        .map_err(|error| Fault::of_qvl(&format!("{error:#}")))?;

    for chain in [
        pck_chain(quote, collateral),
        collateral.tcb_info_issuer_chain.as_bytes(),
        collateral.qe_identity_issuer_chain.as_bytes(),
    ] {
        refuse_duplicate_extensions(chain)?;
    }
    let tcb_info = SignedDocument::read(&collateral.tcb_info, CheckName::TcbInfo)?;
    let qe_identity = SignedDocument::read(&collateral.qe_identity, CheckName::QeIdentity)?;
    let pce_id = hex::encode(&claims.platform.pck.pce_id);
    match &tcb_info.pce_id {
        Some(id) if id.eq_ignore_ascii_case(&pce_id) => (),
        other => {
            return Err(Fault {
                check: CheckName::PlatformMatch,
                reason: Reason::Mismatch,
                why: format!(
                    "the TCB info is for PCE-ID `{}`, the platform has `{pce_id}`",
                    other.as_deref().unwrap_or("none")
                ),
            });
        }
    }
    let crls_issued = crl_issued(&collateral.root_ca_crl)?.min(crl_issued(&collateral.pck_crl)?);
    Ok(Endorsement {
        fmspc: claims.platform.pck.fmspc,
        pce_id,
        tcb_status: claims.tcb.status.into(),
        advisory_ids: claims.tcb.advisory_ids,
        tcb_date: claims.platform.tcb_level.tcb_date,
        tcb_evaluation_number: claims.tcb.eval_data_number,
        issued: crls_issued
            .min(tcb_info.issued(CheckName::TcbInfo)?)
            .min(qe_identity.issued(CheckName::QeIdentity)?),
        valid_from: claims.latest_issue_date,
        valid_until: claims.earliest_expiration_date,
    })
}

/// Verifies only the quote's own signature: enough when the rest is known to hold.
pub(crate) fn verify_quote_signature(quote: &SgxQuote<'_>) -> Result<(), Fault> {
    let mut point = [4; 65];
    point[1..].copy_from_slice(quote.attestation_key);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(quote.signed, quote.signature)
        .map_err(|_| Fault {
            check: CheckName::QuoteSignature,
            reason: Reason::Forged,
            why: "the quote's signature is not one of its attestation key".into(),
        })
}

/// The PCK certificate chain, PEM: the quote's own, or the collateral's if the quote has none.
pub(crate) fn pck_chain<'a>(quote: &SgxQuote<'a>, collateral: &'a Collateral) -> &'a [u8] {
    match (&collateral.pck_certificate_chain, quote.certification_type) {
        (_, PCK_CERTIFICATE_CHAIN) => quote.certification_data,
        (Some(chain), _) => chain.as_bytes(),
        (None, _) => &[],
    }
}

/// The last certificate of a PEM chain, DER.
pub(crate) fn last_certificate(chain: &[u8]) -> Option<CertificateDer<'static>> {
    certificates(chain).last()
}

pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

impl Fault {
    /// Names the check behind a message of `dcap-qvl`, which has no error types.
    ///
    /// A message that is not known here refuses all the same, as a fault of the chains; tests hold
    /// the table against the pinned version.
    fn of_qvl(why: &str) -> Self {
        let (check, reason) = QVL_MESSAGES
            .iter()
            .find(|(text, _, _)| why.contains(text))
            .map_or(
                (CheckName::CertificateChains, Reason::Forged),
                |(_, check, reason)| (*check, *reason),
            );
        Self {
            check,
            reason,
            why: why.to_owned(),
        }
    }
}

impl From<QvlStatus> for TcbStatus {
    fn from(status: QvlStatus) -> Self {
        match status {
            QvlStatus::UpToDate => Self::UpToDate,
            QvlStatus::SWHardeningNeeded => Self::SWHardeningNeeded,
            QvlStatus::ConfigurationNeeded => Self::ConfigurationNeeded,
            QvlStatus::ConfigurationAndSWHardeningNeeded => Self::ConfigurationAndSWHardeningNeeded,
            QvlStatus::OutOfDate => Self::OutOfDate,
            QvlStatus::OutOfDateConfigurationNeeded => Self::OutOfDateConfigurationNeeded,
            QvlStatus::Revoked => Self::Revoked,
            QvlStatus::TDRelaunchAdvised => Self::TDRelaunchAdvised,
            QvlStatus::TDRelaunchAdvisedConfigurationNeeded => {
                Self::TDRelaunchAdvisedConfigurationNeeded
            }
        }
    }
}

struct AwsLc;

impl Config for AwsLc {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = Self;
}

impl CryptoProvider for AwsLc {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        ECDSA_P256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        sha256(&[data])
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        let mut hash = [0; 48];
        hash.copy_from_slice(digest::digest(&digest::SHA384, data).as_ref());
        hash
    }
}

/// What both signed JSON documents have, as far as `dcap-qvl` does not look at it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedDocument {
    issue_date: String,
    pce_id: Option<String>,
}

impl SignedDocument {
    fn read(json: &str, check: CheckName) -> Result<Self, Fault> {
        serde_json::from_str(json).map_err(|error| Fault {
            check,
            reason: Reason::Malformed,
            why: format!("the signed document is not as specified: {error}"),
        })
    }

    fn issued(&self, check: CheckName) -> Result<u64, Fault> {
        self.issue_date
            .parse::<jiff::Timestamp>()
            .ok()
            .and_then(|date| u64::try_from(date.as_second()).ok())
            .ok_or_else(|| Fault {
                check,
                reason: Reason::Malformed,
                why: format!(
                    "the signed document's issue date `{}` is not an RFC 3339 date after 1970",
                    self.issue_date
                ),
            })
    }
}

fn crl_issued(der: &[u8]) -> Result<u64, Fault> {
    let fault = |why| Fault {
        check: CheckName::Revocation,
        reason: Reason::Malformed,
        why,
    };
    let (_, crl) = CertificateRevocationList::from_der(der)
        .map_err(|error| fault(format!("a CRL is not DER of RFC 5280: {error}")))?;
    let issued = crl.last_update().timestamp();
    u64::try_from(issued).map_err(|_| fault(format!("a CRL was issued at `{issued}`, before 1970")))
}

/// RFC 5280 §4.2 forbids two extensions of one kind. Verifiers that take the first or the last of
/// them can be made to disagree; `dcap-qvl` looks only at the kinds that it reads.
fn refuse_duplicate_extensions(chain: &[u8]) -> Result<(), Fault> {
    let fault = |why: String| Fault {
        check: CheckName::CertificateChains,
        reason: Reason::Malformed,
        why,
    };
    for der in certificates(chain) {
        let (_, certificate) = X509Certificate::from_der(&der)
            .map_err(|error| fault(format!("a certificate is not DER of RFC 5280: {error}")))?;
        let mut seen = HashSet::new();
        for extension in certificate.extensions() {
            if !seen.insert(&extension.oid) {
                return Err(fault(format!(
                    "the certificate of `{}` has extension `{}` twice",
                    certificate.subject(),
                    extension.oid
                )));
            }
        }
    }
    Ok(())
}

/// The certificates of a PEM text. What is not one ends the list: `dcap-qvl`, which decides about
/// the chain, refuses such a text.
fn certificates(chain: &[u8]) -> impl Iterator<Item = CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(chain)
        .map_while(Result::ok)
        .take(MAX_CHAIN)
}

/// A PCK chain has three certificates; `dcap-qvl` refuses more than one leaf and four others.
const MAX_CHAIN: usize = 5;

/// Parts of `dcap-qvl` 0.7.1 messages, the first that is contained decides.
const QVL_MESSAGES: &[(&str, CheckName, Reason)] = &[
    (
        "TCB status is invalid: Revoked",
        CheckName::TcbStatus,
        Reason::Revoked,
    ),
    (
        "No matching TCB level found",
        CheckName::TcbStatus,
        Reason::Policy,
    ),
    ("CertRevoked", CheckName::Revocation, Reason::Revoked),
    ("CrlExpired", CheckName::CollateralValidity, Reason::Stale),
    ("CertExpired", CheckName::CollateralValidity, Reason::Stale),
    (
        "CertNotValidYet",
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "TCBInfo expired",
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "TCBInfo issue date is in the future",
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "QE Identity expired",
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "QE Identity issue date is in the future",
        CheckName::CollateralValidity,
        Reason::Stale,
    ),
    (
        "UnknownRevocationStatus",
        CheckName::Revocation,
        Reason::Forged,
    ),
    ("CRL", CheckName::Revocation, Reason::Forged),
    ("Crl", CheckName::Revocation, Reason::Forged),
    (
        "Signature is invalid for tcb_info",
        CheckName::TcbInfo,
        Reason::Forged,
    ),
    (
        "Failed to decode TcbInfo",
        CheckName::TcbInfo,
        Reason::Malformed,
    ),
    ("TCB Info signer", CheckName::TcbInfo, Reason::Forged),
    (
        "too short for TCB Info",
        CheckName::TcbInfo,
        Reason::Malformed,
    ),
    ("TCB Info leaf", CheckName::TcbInfo, Reason::Malformed),
    ("in TCB Info", CheckName::TcbInfo, Reason::Malformed),
    ("SGX component count", CheckName::TcbInfo, Reason::Malformed),
    ("Fmspc mismatch", CheckName::PlatformMatch, Reason::Mismatch),
    (
        "non-SGX TCB info",
        CheckName::PlatformMatch,
        Reason::Mismatch,
    ),
    (
        "Signature is invalid for qe_identity",
        CheckName::QeIdentity,
        Reason::Forged,
    ),
    (
        "Failed to decode QeIdentity",
        CheckName::QeIdentity,
        Reason::Malformed,
    ),
    (
        "Unsupported QE Identity",
        CheckName::QeIdentity,
        Reason::Mismatch,
    ),
    ("QE Identity signer", CheckName::QeIdentity, Reason::Forged),
    (
        "too short for QE Identity",
        CheckName::QeIdentity,
        Reason::Malformed,
    ),
    ("QE Identity leaf", CheckName::QeIdentity, Reason::Malformed),
    ("in QE Identity", CheckName::QeIdentity, Reason::Malformed),
    (
        "Signature is invalid for qe_report",
        CheckName::QeReport,
        Reason::Forged,
    ),
    (
        "QE report hash mismatch",
        CheckName::QeReport,
        Reason::Forged,
    ),
    (
        "QE report validation failed",
        CheckName::QeReport,
        Reason::Forged,
    ),
    (
        "Invalid QE auth data length",
        CheckName::QeReport,
        Reason::Malformed,
    ),
    (
        "QE MRSIGNER mismatch",
        CheckName::QeReport,
        Reason::Mismatch,
    ),
    (
        "QE ISVPRODID mismatch",
        CheckName::QeReport,
        Reason::Mismatch,
    ),
    (
        "QE MISCSELECT mismatch",
        CheckName::QeReport,
        Reason::Mismatch,
    ),
    ("QE ATTRIBUTES", CheckName::QeReport, Reason::Mismatch),
    ("QE ISVSVN", CheckName::QeReport, Reason::Policy),
    (
        "ISV enclave report signature is invalid",
        CheckName::QuoteSignature,
        Reason::Forged,
    ),
];

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;

    fn chain_with(extensions: &[&[u64]]) -> String {
        let mut params = CertificateParams::default();
        params.custom_extensions = extensions
            .iter()
            .map(|oid| CustomExtension::from_oid_content(oid, vec![0x05, 0x00]))
            .collect();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn two_extensions_of_one_kind_are_refused() {
        let once = chain_with(&[&[1, 2, 3, 4], &[1, 2, 3, 5]]);
        let twice = chain_with(&[&[1, 2, 3, 4], &[1, 2, 3, 4]]);
        refuse_duplicate_extensions(once.as_bytes()).unwrap();
        // Wherever in the chain it is.
        let fault = refuse_duplicate_extensions((once + &twice).as_bytes()).unwrap_err();
        assert_eq!(fault.check, CheckName::CertificateChains);
        assert!(fault.why.contains("`1.2.3.4` twice"), "{}", fault.why);
    }

    #[test]
    fn an_unknown_message_refuses_as_a_fault_of_the_chains() {
        let fault = Fault::of_qvl("something that no version says");
        assert_eq!(fault.check, CheckName::CertificateChains);
        assert_eq!(fault.reason, Reason::Forged);
    }
}
