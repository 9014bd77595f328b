//! What vouches for a report: its VEK, the chain of the VEK, and AMD's revocation list.

use super::{
    Report, SigningKey, SnpProduct, binding, roots,
    vek::{Vek, VekError},
};
use crate::{
    CheckName, Reason, Tee,
    anchor::Pki,
    appraise::Case,
    judge::{date, judge_validity},
    ledger::{Failure, Fault, Ledger},
    memory::{Key, Remembered},
    x509::{Algorithm, Certificate, Crl, Validity, X509Error, verify_chain},
};

/// Verifies all that vouches for `report`, up to a root of the policy. The product line that
/// verified certificates name, or `None` when the ledger says what does not hold.
pub(super) fn endorse(
    ledger: &mut Ledger,
    report: &Report<'_>,
    case: &Case<'_>,
) -> Option<SnpProduct> {
    let Some(chain) = VekChain::assemble(ledger, report, case) else {
        skip(
            ledger,
            &[CheckName::RootOfTrust, CheckName::CertificateChains],
        );
        skip(ledger, AFTER_CHAIN);
        return None;
    };
    let Some(anchor) = case.policy.find_anchor(ledger, Pki::Amd, chain.root()) else {
        skip(ledger, &[CheckName::CertificateChains]);
        skip(ledger, AFTER_CHAIN);
        return None;
    };
    ledger.set_tee(anchor.tee_of(Tee::Snp));
    let validity = chain.verify(ledger, case)?;
    binding::judge_binding(ledger, report, &chain.vek, chain.leaf().public_key(), case);
    judge_validity(ledger, validity, case.now);
    Some(chain.vek.product)
}

/// A VEK with its issuers, each in the place in which its name puts it. Not verified yet.
struct VekChain<'a> {
    vek: Vek,
    /// VEK, its issuer, root.
    certificates: [Certificate<'a>; 3],
}

impl<'a> VekChain<'a> {
    fn leaf(&self) -> &Certificate<'a> {
        &self.certificates[0]
    }

    fn intermediate(&self) -> &Certificate<'a> {
        &self.certificates[1]
    }

    fn root(&self) -> &Certificate<'a> {
        &self.certificates[2]
    }

    /// Puts together the certificates of the collateral and, where it has none, those that are
    /// compiled in. `None` when the ledger says what is missing or out of place.
    fn assemble(ledger: &mut Ledger, report: &Report<'_>, case: &Case<'a>) -> Option<Self> {
        let certificates = &case.collateral.certificates;
        let stated = format!("{} certificates", certificates.len());
        if certificates.is_empty() {
            ledger.failed(
                CheckName::CollateralFormat,
                stated,
                EXPECTED_CERTIFICATES.into(),
                Failure {
                    reason: Reason::Malformed,
                    why: "the VEK certificate is missing".into(),
                    hint: "give the VCEK (or VLEK) certificate of this chip and TCB version: AMD's key distribution service or the host has it",
                },
            );
            return None;
        }
        match Self::read(certificates, report.signing_key(), case) {
            Ok(chain) => {
                ledger.passed(CheckName::CollateralFormat, stated, EXPECTED_CERTIFICATES);
                Some(chain)
            }
            Err(fault) => {
                if fault.check != CheckName::CollateralFormat {
                    ledger.passed(
                        CheckName::CollateralFormat,
                        stated.clone(),
                        EXPECTED_CERTIFICATES,
                    );
                }
                ledger.fault(stated, EXPECTED_CERTIFICATES, fault);
                None
            }
        }
    }

    fn read(given: &'a [Vec<u8>], signing_key: SigningKey, case: &Case<'a>) -> Result<Self, Fault> {
        if given.len() > 3 {
            return Err(Fault::malformed(
                CheckName::CollateralFormat,
                format!(
                    "`{}` certificates are given, the chain of a VEK has three",
                    given.len()
                ),
            ));
        }
        let mut certificates = Vec::with_capacity(given.len());
        for der in given {
            certificates.push(
                Certificate::parse(der)
                    .map_err(|error| Fault::of_x509(CheckName::CollateralFormat, error))?,
            );
        }
        // AMD's service gives the issuers apart from the VEK, and some tools write roots first: a
        // VEK that comes last may follow its issuers in either order.
        if certificates
            .first()
            .is_some_and(|first| Vek::kind_of(first).is_none())
        {
            certificates.rotate_right(1);
            if certificates.get(1).is_some_and(is_named_root) {
                certificates[1..].reverse();
            }
        }
        let mut certificates = certificates.into_iter();
        let leaf = certificates.next().ok_or_else(|| {
            Fault::malformed(
                CheckName::CollateralFormat,
                "the VEK certificate is missing",
            )
        })?;
        let vek = Vek::read(&leaf).map_err(|error| {
            let check = match error {
                VekError::NotVek { .. } => CheckName::CollateralFormat,
                _ => CheckName::CertificateChains,
            };
            Fault::malformed(check, error.to_string())
        })?;
        if vek.kind != signing_key {
            let why = match signing_key {
                SigningKey::None => "the report says that no key signed it".to_owned(),
                key => format!(
                    "the report is signed with the {key}, and the certificate given is one of a {}",
                    vek.kind
                ),
            };
            return Err(Fault::mismatch(CheckName::CertificateChains, why));
        }
        let intermediate = match certificates.next() {
            Some(given) => given,
            None => compiled_in(&vek)?,
        };
        let (issuer_name, root_name) = issuers_of(&vek);
        expect_name(
            &leaf,
            leaf.issuer_common_name(),
            "is issued by",
            &issuer_name,
        )?;
        expect_name(
            &intermediate,
            intermediate.common_name(),
            PLACED,
            &issuer_name,
        )?;
        expect_name(
            &intermediate,
            intermediate.issuer_common_name(),
            "is issued by",
            &root_name,
        )?;
        let root = match certificates.next() {
            Some(given) => given,
            None => root_of(&intermediate, &root_name, case)?,
        };
        expect_name(&root, root.common_name(), PLACED, &root_name)?;
        Ok(Self {
            vek,
            certificates: [leaf, intermediate, root],
        })
    }

    /// Verifies signatures, validity and revocation: all that is the same for each report of one
    /// VEK. `None` when the ledger says what does not hold.
    fn verify(&self, ledger: &mut Ledger, case: &Case<'_>) -> Option<Validity> {
        let names = format!(
            "{}, {}, {}",
            self.vek.kind,
            name(self.intermediate()),
            name(self.root())
        );
        match self.verified(case) {
            Ok(validity) => {
                ledger.passed(CheckName::CertificateChains, names, SIGNED);
                self.judge_revocation(ledger, case);
                Some(validity)
            }
            Err(fault) if fault.check == CheckName::CertificateChains => {
                ledger.fault(names, SIGNED, fault);
                skip(ledger, AFTER_CHAIN);
                None
            }
            Err(fault) => {
                ledger.passed(CheckName::CertificateChains, names.clone(), SIGNED);
                let check = fault.check;
                ledger.fault(names, "current and not revoked", fault);
                let rest: Vec<_> = AFTER_CHAIN
                    .iter()
                    .copied()
                    .filter(|name| *name != check)
                    .collect();
                skip(ledger, &rest);
                None
            }
        }
    }

    fn verified(&self, case: &Case<'_>) -> Result<Validity, Fault> {
        let mut parts: Vec<_> = self.certificates.iter().map(Certificate::der).collect();
        parts.extend(case.collateral.crls.iter().map(Vec::as_slice));
        let key = Key::of("snp-chain", &parts);
        if let Some(Remembered::Chain(validity)) = case.recall(&key) {
            return Ok(validity);
        }
        let mut validity = verify_chain(&self.certificates, Algorithm::RsaPssSha384, case.now)
            .map_err(|error| Fault::of_x509(CheckName::CertificateChains, error))?;
        for crl in &case.collateral.crls {
            validity = validity.and(self.check_crl(crl, case.now)?);
        }
        case.remember(key, Remembered::Chain(validity));
        Ok(validity)
    }

    /// One revocation list: of the root, current, the one that the intermediate names (AMD publishes
    /// one for VCEKs and one for VLEKs), and naming neither intermediate nor root as revoked. VEKs
    /// are not in it: AMD withdraws those of a TCB version by raising what a policy asks for.
    fn check_crl(&self, der: &[u8], now: u64) -> Result<Validity, Fault> {
        let fault = |error: X509Error| Fault::of_x509(CheckName::Revocation, error);
        let crl = Crl::parse_for(der, self.intermediate()).map_err(fault)?;
        crl.check_issued_by(self.root(), Algorithm::RsaPssSha384)
            .map_err(fault)?;
        let validity = crl.validity();
        if !validity.contains(now) {
            return Err(fault(X509Error::Stale(format!(
                "the CRL of `{}` is valid from {} to {}",
                name(self.root()),
                date(validity.from),
                date(validity.until)
            ))));
        }
        for certificate in [self.intermediate(), self.root()] {
            if crl.revokes(certificate) {
                return Err(Fault {
                    check: CheckName::Revocation,
                    reason: Reason::Revoked,
                    why: format!("AMD has revoked `{}`", name(certificate)),
                });
            }
        }
        Ok(validity)
    }

    fn judge_revocation(&self, ledger: &mut Ledger, case: &Case<'_>) {
        let issuer = name(self.intermediate());
        match case.collateral.crls.len() {
            0 if case.policy.snp.require_crl => ledger.failed(
                CheckName::Revocation,
                issuer,
                format!("the CRL of {}", name(self.root())),
                Failure {
                    reason: Reason::Policy,
                    why: "the policy asks for AMD's CRL, and none is given".into(),
                    hint: "fetch it from AMD's key distribution service (`/vcek/v1/PRODUCT/crl`)",
                },
            ),
            0 => ledger.skipped(
                CheckName::Revocation,
                issuer,
                "no CRL of AMD is given, and the policy asks for none",
            ),
            _ => ledger.passed(
                CheckName::Revocation,
                issuer,
                format!("the CRL of {}", name(self.root())),
            ),
        }
    }
}

/// Common names of a VEK's issuer and of its root.
fn issuers_of(vek: &Vek) -> (String, String) {
    let product = vek.product;
    let issuer = match vek.kind {
        SigningKey::Vlek => format!("SEV-VLEK-{product}"),
        _ => format!("SEV-{product}"),
    };
    (issuer, format!("ARK-{product}"))
}

fn compiled_in(vek: &Vek) -> Result<Certificate<'static>, Fault> {
    let check = CheckName::CertificateChains;
    let der = roots::intermediate(vek.product, vek.kind).ok_or_else(|| {
        Fault::malformed(
            check,
            format!(
                "the certificate of `{}` is missing; give it with the VEK's",
                issuers_of(vek).0
            ),
        )
    })?;
    Certificate::parse(der).map_err(|error| Fault::of_x509(check, error))
}

/// The trusted root that signed `intermediate`.
fn root_of<'a>(
    intermediate: &Certificate<'_>,
    root_name: &str,
    case: &Case<'a>,
) -> Result<Certificate<'a>, Fault> {
    let mut roots = Vec::new();
    for anchor in &case.policy.anchors {
        if anchor.pki() != Pki::Amd {
            continue;
        }
        let root = Certificate::parse(anchor.root_der())
            .map_err(|error| Fault::of_x509(CheckName::RootOfTrust, error))?;
        if root.common_name() == Some(root_name) {
            roots.push(root);
        }
    }
    // Which one it is needs no proof while there is only one: the chain is verified with it.
    if roots.len() > 1 {
        roots.retain(|root| {
            intermediate
                .check_signed_by(root, Algorithm::RsaPssSha384)
                .is_ok()
        });
    }
    roots.into_iter().next().ok_or_else(|| Fault {
        check: CheckName::RootOfTrust,
        reason: Reason::UnknownRoot,
        why: format!("no trusted root of the name `{root_name}` issued the certificates"),
    })
}

/// Names put certificates into their places before any signature is looked at, so that a
/// misplaced one is called by its name.
fn expect_name(
    certificate: &Certificate<'_>,
    found: Option<&str>,
    relation: &str,
    expected: &str,
) -> Result<(), Fault> {
    if found == Some(expected) {
        return Ok(());
    }
    let why = if relation == PLACED {
        format!(
            "`{}` {PLACED} `{expected}` belongs",
            found.unwrap_or("a certificate without a name")
        )
    } else {
        format!(
            "`{}` {relation} `{}` instead of `{expected}`",
            name(certificate),
            found.unwrap_or("nobody")
        )
    };
    Err(Fault::forged(CheckName::CertificateChains, why))
}

fn is_named_root(certificate: &Certificate<'_>) -> bool {
    certificate
        .common_name()
        .is_some_and(|name| name.starts_with("ARK-"))
}

fn name(certificate: &Certificate<'_>) -> String {
    certificate
        .common_name()
        .map_or_else(|| certificate.subject(), str::to_owned)
}

fn skip(ledger: &mut Ledger, checks: &[CheckName]) {
    for check in checks {
        if !ledger.has(*check) {
            ledger.skipped(*check, "", "what vouches for the report does not hold");
        }
    }
}

/// What is checked once the chain holds.
const AFTER_CHAIN: &[CheckName] = &[
    CheckName::Revocation,
    CheckName::QuoteSignature,
    CheckName::PlatformMatch,
    CheckName::CollateralValidity,
];

const PLACED: &str = "stands where";

const SIGNED: &str = "each signed by the next, RSASSA-PSS with SHA-384";

const EXPECTED_CERTIFICATES: &str = "the certificate of the VEK, alone or with its issuers";
