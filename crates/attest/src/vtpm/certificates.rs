//! Plain TPMs: an attestation key is trusted by its fingerprint, or by a certificate chain.

use super::{
    evidence::{MAX_CERTIFICATES, Stated},
    key::AttestationKey,
};
use crate::{
    CheckName, Reason, Tee, TrustAnchor,
    anchor::Pki,
    appraise::Case,
    judge::{join, judge_validity},
    ledger::{Failure, Fault, Holds, Ledger, hint_for},
    memory::{Key, Remembered},
    x509::{Certificate, Crl, Leaf, Validity, check_chain},
};

pub(super) fn judge(ledger: &mut Ledger, stated: &Stated, chain: &[Vec<u8>], case: &Case<'_>) {
    let Some(ak) = stated.ak() else {
        ledger.malformed(
            CheckName::RootOfTrust,
            "none".into(),
            "an attestation key",
            "the evidence names no attestation key".into(),
        );
        return;
    };
    let fingerprint = ak.fingerprint();
    if case.policy.vtpm.pinned_aks.contains(&fingerprint) {
        ledger.set_tee(Tee::Tpm);
        ledger.passed(
            CheckName::RootOfTrust,
            format!("attestation key {}", hex::encode(fingerprint)),
            "the policy trusts this key",
        );
        ledger.skipped(
            CheckName::CertificateChains,
            "attestation key",
            "the key itself is trusted",
        );
        return;
    }
    if chain.is_empty() && case.collateral.certificates.is_empty() {
        refuse_unknown(ledger, hex::encode(fingerprint), case);
        return;
    }
    if let Some(validity) = judge_chain(ledger, ak, chain, case) {
        judge_validity(ledger, validity, case.now);
    }
}

fn refuse_unknown(ledger: &mut Ledger, found: String, case: &Case<'_>) {
    ledger.failed(
        CheckName::RootOfTrust,
        found,
        format!(
            "{} keys that the policy trusts, or a certificate under: {}",
            case.policy.vtpm.pinned_aks.len(),
            case.policy.anchors_of(Pki::Tpm)
        ),
        Failure {
            reason: Reason::UnknownRoot,
            why: "nothing vouches for the TPM's attestation key".into(),
            hint: "trust the key by its fingerprint in the policy, if you know whose TPM it is in",
        },
    );
}

/// The chain up to an anchor: proven, and when it is valid.
fn judge_chain(
    ledger: &mut Ledger,
    ak: &AttestationKey,
    stated: &[Vec<u8>],
    case: &Case<'_>,
) -> Option<Validity> {
    let pool: Result<Vec<_>, _> = stated
        .iter()
        .chain(&case.collateral.certificates)
        .take(2 * MAX_CERTIFICATES)
        .map(|der| Certificate::parse(der))
        .collect();
    let pool = match pool {
        Ok(pool) => pool,
        Err(error) => {
            let fault = Fault::of_x509(CheckName::CertificateChains, error);
            ledger.fault("certificates of the attestation key", "DER", fault);
            return None;
        }
    };
    let spki = ak.to_spki();
    let Some(leaf) = pool
        .iter()
        .position(|certificate| certificate.spki() == spki)
    else {
        ledger.fault(
            join(pool.iter().map(Certificate::subject)),
            ak.describe(),
            Fault::mismatch(
                CheckName::RootOfTrust,
                "no certificate is one of the attestation key",
            ),
        );
        return None;
    };
    let path = path_from(leaf, &pool);
    // What is in the evidence and not in the chain would be bytes that nobody reads.
    let in_path = path.iter().map(|certificate| certificate.der());
    if !in_path
        .take(stated.len())
        .eq(stated.iter().map(Vec::as_slice))
    {
        ledger.malformed(
            CheckName::CertificateChains,
            join(pool.iter().take(stated.len()).map(Certificate::subject)),
            "the key's certificate, then what issued it, and so on",
            "the certificates in the evidence are not one chain, in order".into(),
        );
        return None;
    }
    let top = path[path.len() - 1];
    let anchors = || {
        let anchors = case.policy.anchors.iter();
        anchors.filter(|anchor| anchor.pki() == Pki::Tpm)
    };
    // The chain may end in the root, or right below it.
    let Some(anchor) = anchors().find(|anchor| anchor.is_root(top) || issued(anchor, top)) else {
        refuse_unknown(ledger, top.subject(), case);
        return None;
    };
    let tee = anchor.tee_of(Tee::Tpm);
    ledger.set_tee(tee);
    ledger.passed(
        CheckName::RootOfTrust,
        top.subject(),
        format!("{} ({tee})", anchor.subject()),
    );
    prove(ledger, &path, anchor, case)
}

/// Certificates from `leaf` upwards, each issued by the next as far as the names say.
fn path_from<'p, 'a>(leaf: usize, pool: &'p [Certificate<'a>]) -> Vec<&'p Certificate<'a>> {
    let mut path = vec![&pool[leaf]];
    while path.len() < MAX_CERTIFICATES {
        let top = path[path.len() - 1];
        let next = pool.iter().find(|candidate| {
            candidate.raw_subject() == top.raw_issuer()
                && !path.iter().any(|known| known.der() == candidate.der())
        });
        match next {
            Some(next) => path.push(next),
            None => break,
        }
    }
    path
}

fn issued(anchor: &TrustAnchor, certificate: &Certificate<'_>) -> bool {
    Certificate::parse(anchor.root_der()).is_ok_and(|root| {
        certificate
            .check_signed_by(&root, Pki::Tpm.algorithm())
            .is_ok()
    })
}

fn prove(
    ledger: &mut Ledger,
    path: &[&Certificate<'_>],
    anchor: &TrustAnchor,
    case: &Case<'_>,
) -> Option<Validity> {
    let compared = join(path.iter().map(|certificate| certificate.subject()));
    let mut ders: Vec<&[u8]> = path.iter().map(|certificate| certificate.der()).collect();
    if path.last().is_some_and(|top| !anchor.is_root(top)) {
        ders.push(anchor.root_der());
    }
    let chain: Result<Vec<_>, _> = ders.iter().map(|der| Certificate::parse(der)).collect();
    let mut parts = vec![anchor.root_key()];
    parts.extend(&ders);
    let key = Key::of("vtpm", &parts);
    let proven = chain.and_then(|chain| {
        let validity = match case.recall(&key) {
            Some(Remembered::Chain(validity)) => validity,
            _ => check_chain(&chain, Leaf::Signer, Pki::Tpm.algorithm())?,
        };
        case.remember(key, Remembered::Chain(validity));
        Ok((chain, validity))
    });
    match proven {
        Ok((chain, validity)) => {
            ledger.passed(
                CheckName::CertificateChains,
                compared,
                anchor.subject().to_owned(),
            );
            judge_revocation(ledger, &chain, case).map(|crls| validity.and(crls))
        }
        Err(error) => {
            let fault = Fault::of_x509(CheckName::CertificateChains, error);
            ledger.fault(compared, anchor.subject().to_owned(), fault);
            None
        }
    }
}

/// No certificate is on the CRL of its issuer, as far as CRLs are given.
fn judge_revocation(
    ledger: &mut Ledger,
    chain: &[Certificate<'_>],
    case: &Case<'_>,
) -> Option<Validity> {
    let mut validity = Validity::ALWAYS;
    let mut checked = Vec::new();
    for der in &case.collateral.crls {
        let crl = match Crl::parse(der) {
            Ok(crl) => crl,
            Err(error) => {
                let fault = Fault::of_x509(CheckName::Revocation, error);
                ledger.fault("CRL", "DER of RFC 5280", fault);
                return None;
            }
        };
        for pair in chain.windows(2) {
            if crl.check_issued_by(&pair[1], Pki::Tpm.algorithm()).is_err() {
                continue;
            }
            let subject = pair[0].subject();
            if crl.revokes(&pair[0]) {
                ledger.compare(
                    CheckName::Revocation,
                    subject.clone(),
                    format!("CRL of {}", pair[1].subject()),
                    Holds(false),
                    || Failure {
                        reason: Reason::Revoked,
                        why: format!("the certificate of `{subject}` is revoked"),
                        hint: hint_for(Reason::Revoked),
                    },
                );
                return None;
            }
            validity = validity.and(crl.validity());
            checked.push(subject);
        }
    }
    if checked.is_empty() {
        ledger.skipped(
            CheckName::Revocation,
            format!("{} CRLs", case.collateral.crls.len()),
            "no CRL of these issuers was given",
        );
    } else {
        ledger.passed(
            CheckName::Revocation,
            join(checked),
            "CRLs of their issuers",
        );
    }
    Some(validity)
}
