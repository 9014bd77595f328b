//! The signature chain of a quote: from the root down to the quote's own signature.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::{
    pck::PckCertificate,
    qe_identity::QeIdentity,
    quote::{Body, PCK_CERTIFICATE_CHAIN, Quote},
    report::TdReport,
    signed_json::{self, Standing},
    tcb::Together,
    tcb_info::TcbInfo,
};
use crate::{
    CheckName, DcapCollateral, Reason, Tcb, TcbStatus, Tee, TrustAnchor,
    digest::sha256,
    ledger::Fault,
    x509::{Algorithm, Certificate, Crl, Leaf, PemChain, Validity, X509Error, check_chain},
};

/// What the verified endorsements say about the attestation key and its platform: the part of an
/// appraisal that is the same for every quote of one quoting enclave.
#[derive(Clone, Debug)]
pub(crate) struct Endorsement {
    pub(super) about: Tee,
    pub(super) fmspc: [u8; 6],
    pub(super) pce_id: [u8; 2],
    together: Together,
    pub(super) tcb_evaluation_number: u32,
    /// When the oldest document of the collateral was issued, but for the root's CRL.
    pub(super) issued: u64,
    /// When all of it is valid.
    pub(crate) validity: Validity,
    /// When each part of it is.
    pub(super) periods: Vec<(&'static str, Validity)>,
}

impl Endorsement {
    pub(super) fn status(&self) -> TcbStatus {
        self.together.status
    }

    pub(super) fn advisory_ids(&self) -> &[String] {
        &self.together.advisory_ids
    }

    pub(super) fn tcb(&self) -> Tcb {
        Tcb {
            fmspc: self.fmspc,
            status: self.together.status,
            advisory_ids: self.together.advisory_ids.clone(),
            date: self.together.date.clone(),
            evaluation_number: self.tcb_evaluation_number,
            collateral_issued: self.issued,
            collateral_expires: self.validity.until,
        }
    }
}

/// The PCK certificate's chain: the quote's own, or the collateral's if the quote has none.
pub(super) fn pck_chain(quote: &Quote<'_>, collateral: &DcapCollateral) -> Result<PemChain, Fault> {
    let kind = (quote.certification_type, quote.certification_data.len());
    let text = match (kind, &collateral.pck_certificate_chain) {
        ((PCK_CERTIFICATE_CHAIN, _), _) => quote.certification_data,
        // The platform's id, in clear or encrypted, which whoever fetched the chain has read.
        ((1, 36) | (2, 276) | (3, 404), Some(chain)) => chain.as_bytes(),
        ((1..=3, _), None) => {
            return Err(Fault::malformed(
                CheckName::RootOfTrust,
                format!(
                    "the quote carries certification data of type `{}` and no certificate chain; put the chain into the collateral",
                    kind.0
                ),
            ));
        }
        ((other, size), _) => {
            return Err(Fault::malformed(
                CheckName::RootOfTrust,
                format!(
                    "the quote carries certification data of type `{other}` with `{size}` bytes, which is not supported; 5 (PCK chain) is, and with a chain in the collateral 1, 2 and 3 (PPID)"
                ),
            ));
        }
    };
    PemChain::read(text, PCK_CHAIN).map_err(|error| Fault::of_x509(CheckName::RootOfTrust, error))
}

/// Verifies all of the chain up to `anchor`, at no particular time: chains, CRLs, TCB info, QE
/// identity, QE report and the quote's own signature.
///
/// `chain` is that of the PCK certificate; its last certificate is the anchor's.
pub(super) fn endorse(
    quote: &Quote<'_>,
    chain: &PemChain,
    collateral: &DcapCollateral,
    anchor: &TrustAnchor,
) -> Result<Endorsement, Fault> {
    let faulty = |check| move |error: X509Error| Fault::of_x509(check, error);
    let chains = faulty(CheckName::CertificateChains);

    let certificates = chain.parse().map_err(chains)?;
    let [pck, pck_ca, root] = certificates.as_slice() else {
        return Err(Fault::malformed(
            CheckName::CertificateChains,
            format!(
                "the chain of the platform has `{}` certificates; PCK, CA and root are three",
                certificates.len()
            ),
        ));
    };
    let mut periods = vec![(
        "certificates of the platform",
        check_chain(&certificates, Leaf::Signer, ALGORITHM).map_err(chains)?,
    )];

    let tcb_chain = signer_chain("TCB info", &collateral.tcb_info_issuer_chain, anchor)?;
    let (tcb_signer, validity) = check_signer(&tcb_chain, root)?;
    periods.push(("certificates of the TCB signer", validity));
    // Mostly the same two certificates, which need no second look.
    let qe_chain = if collateral.qe_identity_issuer_chain == collateral.tcb_info_issuer_chain {
        None
    } else {
        let text = &collateral.qe_identity_issuer_chain;
        Some(signer_chain("QE identity", text, anchor)?)
    };
    let qe_signer = match &qe_chain {
        None => None,
        Some(chain) => {
            let (signer, validity) = check_signer(chain, root)?;
            periods.push(("certificates of the QE identity's signer", validity));
            Some(signer)
        }
    };
    let qe_signer = qe_signer.as_ref().unwrap_or(&tcb_signer);
    periods.extend(check_revocation(
        collateral,
        anchor,
        (pck, pck_ca, root),
        &[&tcb_signer, qe_signer],
    )?);

    let tcb_info: TcbInfo = signed_json::read(
        CheckName::TcbInfo,
        &collateral.tcb_info,
        &collateral.tcb_info_signature,
        &tcb_signer,
    )?;
    let tdx = match quote.body {
        Body::Sgx(_) => None,
        Body::Tdx(report) => Some(report),
    };
    tcb_info.check_kind(tdx)?;
    periods.push((
        "TCB info",
        signed_json::validity(
            CheckName::TcbInfo,
            &tcb_info.issue_date,
            &tcb_info.next_update,
        )?,
    ));

    let qe_identity: QeIdentity = signed_json::read(
        CheckName::QeIdentity,
        &collateral.qe_identity,
        &collateral.qe_identity_signature,
        qe_signer,
    )?;
    qe_identity.check_kind(quote.body)?;
    periods.push((
        "QE identity",
        signed_json::validity(
            CheckName::QeIdentity,
            &qe_identity.issue_date,
            &qe_identity.next_update,
        )?,
    ));

    check_qe_report(quote, pck)?;
    let qe = qe_identity.standing_of(quote.qe_report)?;
    verify_quote_signature(quote)?;

    let platform = PckCertificate::of(pck)
        .map_err(|error| Fault::malformed(CheckName::PlatformMatch, error.to_string()))?;
    check_platform(&platform, &tcb_info)?;
    let together = standing(&tcb_info, &platform, tdx, qe)?;

    Ok(Endorsement {
        about: quote.body.tee(),
        fmspc: platform.fmspc,
        pce_id: platform.pce_id,
        together,
        tcb_evaluation_number: tcb_info
            .tcb_evaluation_data_number
            .min(qe_identity.tcb_evaluation_data_number),
        issued: oldest(&periods),
        validity: together_valid(&periods),
        periods,
    })
}

/// When the oldest document was issued: certificates live for years, and say nothing about it.
fn oldest(periods: &[(&'static str, Validity)]) -> u64 {
    periods
        .iter()
        // Intel renews the root's CRL once a year: its age says nothing about the others.
        .filter(|(part, _)| !part.starts_with("certificates") && *part != ROOT_CRL)
        .map(|(_, validity)| validity.from)
        .min()
        .unwrap_or(0)
}

fn together_valid(periods: &[(&'static str, Validity)]) -> Validity {
    periods
        .iter()
        .fold(Validity::ALWAYS, |all, (_, one)| all.and(*one))
}

/// The standing of platform, TDX module and quoting enclave (`qe`) together, at the launch of a
/// trust domain and now.
fn standing(
    tcb_info: &TcbInfo,
    platform: &PckCertificate,
    tdx: Option<TdReport<'_>>,
    qe: &Standing,
) -> Result<Together, Fault> {
    if let Some(report) = tdx {
        tcb_info.check_module(report)?;
    }
    let at = |tee_tcb_svn: Option<&[u8; 16]>| -> Result<Together, Fault> {
        let mut together = Together::of(tcb_info.platform_standing(platform, tee_tcb_svn)?);
        if let Some(svn) = tee_tcb_svn
            && let Some(module) = tcb_info.module_standing(svn)?
        {
            together = together.and(module);
        }
        Ok(together.and(qe))
    };
    let mut together = at(tdx.map(TdReport::tee_tcb_svn))?;
    if let Some(svn) = tdx.and_then(TdReport::tee_tcb_svn2) {
        together = together.relaunched(&at(Some(svn))?);
    }
    Ok(together)
}

/// Verifies only the quote's own signature: enough when the rest is known to hold.
pub(super) fn verify_quote_signature(quote: &Quote<'_>) -> Result<(), Fault> {
    if is_signed_by_point(quote.attestation_key, quote.signed, quote.signature) {
        Ok(())
    } else {
        Err(Fault::forged(
            CheckName::QuoteSignature,
            "the quote's signature is not one of its attestation key",
        ))
    }
}

/// The chain of a document's signer: signer and root, and the root is the anchor.
fn signer_chain(document: &str, text: &str, anchor: &TrustAnchor) -> Result<PemChain, Fault> {
    let fault = |error| Fault::of_x509(CheckName::CertificateChains, error);
    let chain = PemChain::read(text.as_bytes(), SIGNER_CHAIN).map_err(fault)?;
    if chain.ders().count() == SIGNER_CHAIN && ends_in(&chain, anchor).map_err(fault)? {
        return Ok(chain);
    }
    Err(Fault::forged(
        CheckName::CertificateChains,
        format!("the signer of the {document} is not vouched for by the platform's root, directly"),
    ))
}

/// Whether the last certificate is the anchor's root.
fn ends_in(chain: &PemChain, anchor: &TrustAnchor) -> Result<bool, X509Error> {
    match chain.last() {
        Some(der) if der == anchor.root_der() => Ok(true),
        Some(der) => Ok(anchor.is_root(&Certificate::parse(der)?)),
        None => Ok(false),
    }
}

/// The signer at the beginning of a chain that ends in the anchor, and when the chain is valid.
fn check_signer<'a>(
    chain: &'a PemChain,
    root: &Certificate<'_>,
) -> Result<(Certificate<'a>, Validity), Fault> {
    let fault = |error| Fault::of_x509(CheckName::CertificateChains, error);
    let signer = Certificate::parse(chain.first().unwrap_or_default()).map_err(fault)?;
    let validity = if chain.last() == Some(root.der()) {
        check_chain(&[&signer, root], Leaf::Signer, ALGORITHM)
    } else {
        // Another certificate of the anchor's key.
        let certificates = chain.parse().map_err(fault)?;
        check_chain(&certificates, Leaf::Signer, ALGORITHM)
    };
    Ok((signer, validity.map_err(fault)?))
}

/// CRLs of the root (about the CA and the signers) and of the CA (about the PCK). Each must be
/// there, signed by its issuer, and name none of ours.
fn check_revocation(
    collateral: &DcapCollateral,
    anchor: &TrustAnchor,
    (pck, pck_ca, root): (&Certificate<'_>, &Certificate<'_>, &Certificate<'_>),
    signers: &[&Certificate<'_>],
) -> Result<[(&'static str, Validity); 2], Fault> {
    let fault = |error| Fault::of_x509(CheckName::Revocation, error);
    let root_crl = Crl::parse(&collateral.root_ca_crl).map_err(fault)?;
    root_crl.check_issued_by(root, ALGORITHM).map_err(fault)?;
    let pck_crl = Crl::parse(&collateral.pck_crl).map_err(fault)?;
    pck_crl.check_issued_by(pck_ca, ALGORITHM).map_err(fault)?;

    // The collateral says who issued the PCK CRL: it has to be the CA that issued the PCK.
    let issuer = collateral.pck_crl_issuer_chain.as_bytes();
    if !PemChain::is_text_of(issuer, &[pck_ca.der(), root.der()]) {
        let issuer = PemChain::read(issuer, SIGNER_CHAIN).map_err(fault)?;
        let certificates = issuer.parse().map_err(fault)?;
        let is_same_ca = certificates
            .first()
            .is_some_and(|ca| ca.spki() == pck_ca.spki());
        if !is_same_ca
            || !ends_in(&issuer, anchor).map_err(fault)?
            || check_chain(&certificates, Leaf::Issuer, ALGORITHM).is_err()
        {
            return Err(Fault::forged(
                CheckName::Revocation,
                "the issuer of the PCK CRL is not the CA that issued the platform's certificate",
            ));
        }
    }

    let about = [(&root_crl, root), (&root_crl, pck_ca), (&pck_crl, pck)];
    let about_signers = signers.iter().map(|signer| (&root_crl, *signer));
    for (crl, certificate) in about.into_iter().chain(about_signers) {
        if crl.revokes(certificate) {
            return Err(Fault {
                check: CheckName::Revocation,
                reason: Reason::Revoked,
                why: format!(
                    "the certificate of `{}` has been revoked",
                    certificate.subject()
                ),
            });
        }
    }
    Ok([
        (ROOT_CRL, root_crl.validity()),
        ("CRL of the platform's CA", pck_crl.validity()),
    ])
}

/// The QE report is signed by the PCK and binds the attestation key, and nothing else.
fn check_qe_report(quote: &Quote<'_>, pck: &Certificate<'_>) -> Result<(), Fault> {
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pck.public_key());
    if key
        .verify(quote.qe_report.raw(), quote.qe_signature)
        .is_err()
    {
        return Err(Fault::forged(
            CheckName::QeReport,
            "the quoting enclave's report is not signed by the platform's PCK",
        ));
    }
    let (digest, rest) = quote.qe_report.report_data().split_at(32);
    if digest != sha256(&[quote.attestation_key, quote.qe_auth_data]) || rest != [0; 32] {
        return Err(Fault::forged(
            CheckName::QeReport,
            "the quoting enclave vouches for another attestation key",
        ));
    }
    Ok(())
}

fn check_platform(platform: &PckCertificate, tcb_info: &TcbInfo) -> Result<(), Fault> {
    if tcb_info.fmspc != platform.fmspc {
        return Err(Fault::mismatch(
            CheckName::PlatformMatch,
            format!(
                "the TCB info is about FMSPC `{}`, the platform has `{}`",
                hex::encode_upper(tcb_info.fmspc),
                hex::encode_upper(platform.fmspc)
            ),
        ));
    }
    if tcb_info.pce_id != platform.pce_id {
        return Err(Fault::mismatch(
            CheckName::PlatformMatch,
            format!(
                "the TCB info is for PCE-ID `{}`, the platform has `{}`",
                hex::encode(tcb_info.pce_id),
                hex::encode(platform.pce_id)
            ),
        ));
    }
    Ok(())
}

/// Whether `signature` over `message` is one of the P-256 key with the coordinates `point`.
fn is_signed_by_point(point: &[u8; 64], message: &[u8], signature: &[u8; 64]) -> bool {
    let mut uncompressed = [4; 65];
    uncompressed[1..].copy_from_slice(point);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, uncompressed)
        .verify(message, signature)
        .is_ok()
}

/// The part of the collateral that is renewed once a year, where all others are each month.
const ROOT_CRL: &str = "CRL of the root";

/// The only algorithm of Intel's PKI.
const ALGORITHM: Algorithm = Algorithm::EcdsaP256Sha256;

/// PCK, CA and root.
const PCK_CHAIN: usize = 3;

/// Signer and root.
const SIGNER_CHAIN: usize = 2;
