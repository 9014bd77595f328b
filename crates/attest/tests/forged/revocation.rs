//! Certificate revocation lists.

use mse_attest::{CheckName, Reason};
use mse_simtee::testing::{
    CertificateForm, CrlEntry, CrlForm, Extension, Key, KeyKind, Party, SgxExtension, pem,
};

use crate::{
    Row,
    world::{Case, days, forge, now, other_forge, sgx},
};

pub(crate) const REFUSED: &[Row] = &[
    (
        "a CRL with an unknown critical extension",
        || pck_crl(|crl| crl.extensions.push(Extension::unknown(true))),
        CheckName::Revocation,
        Reason::Malformed,
        "has the critical extension `1.3.6.1.4.1.999.99`, which is not known",
    ),
    (
        "a delta CRL",
        || pck_crl(|crl| crl.extensions.push(delta(true))),
        CheckName::Revocation,
        Reason::Malformed,
        "is a delta CRL",
    ),
    (
        "a delta CRL that does not insist on being one",
        || pck_crl(|crl| crl.extensions.push(delta(false))),
        CheckName::Revocation,
        Reason::Malformed,
        "is a delta CRL",
    ),
    (
        "an indirect CRL",
        || pck_crl(|crl| crl.extensions.push(indirect(true))),
        CheckName::Revocation,
        Reason::Malformed,
        "is about some certificates only",
    ),
    (
        "an indirect CRL that does not insist on being one",
        || root_crl(|crl| crl.extensions.push(indirect(false))),
        CheckName::Revocation,
        Reason::Malformed,
        "is about some certificates only",
    ),
    (
        "a CRL with an entry of another issuer",
        || {
            pck_crl(|crl| {
                crl.revoked = vec![CrlEntry {
                    serial: vec![1],
                    // certificateIssuer.
                    extensions: vec![Extension::id_ce(29, true, vec![0x30, 0])],
                }];
            })
        },
        CheckName::Revocation,
        Reason::Malformed,
        "has an entry with the critical extension `2.5.29.29`",
    ),
    (
        "a CRL with an extension twice",
        || {
            pck_crl(|crl| {
                let number = crl.extensions[0].clone();
                crl.extensions.push(number);
            })
        },
        CheckName::Revocation,
        Reason::Malformed,
        "has extension `2.5.29.20` twice",
    ),
    (
        "a CRL without next update",
        || pck_crl(|crl| crl.next_update = None),
        CheckName::Revocation,
        Reason::Malformed,
        "never expires",
    ),
    (
        "a CRL with bytes after it",
        || {
            sgx(3, |_| ())
                .case()
                .with(|case| case.dcap().root_ca_crl.push(0))
        },
        CheckName::Revocation,
        Reason::Malformed,
        "a CRL is followed by other bytes",
    ),
    (
        "a CRL that is no CRL",
        || {
            sgx(3, |_| ())
                .case()
                .with(|case| case.dcap().pck_crl = forge().pck.certificate.clone())
        },
        CheckName::Revocation,
        Reason::Malformed,
        "a CRL is not DER of RFC 5280",
    ),
    (
        "a CRL that names two algorithms",
        || {
            pck_crl(|crl| {
                let p384 = Key::generate(KeyKind::EcdsaP384).unwrap();
                crl.inner_algorithm = Some(p384.signature_algorithm());
            })
        },
        CheckName::Revocation,
        Reason::Malformed,
        "a CRL is not DER, or names two signature algorithms",
    ),
    (
        "a CRL signed by the platform's own key in the CA's name",
        || {
            pck_crl_of(|ca| Party {
                key: forge().pck.key.clone(),
                ..ca
            })
        },
        CheckName::Revocation,
        Reason::Forged,
        "PCK Platform CA` is not signed by its issuer",
    ),
    (
        "a CRL of the TCB signer",
        || pck_crl_of(|_| forge().tcb_signer.clone()),
        CheckName::Revocation,
        Reason::Forged,
        "the CRL of `CN=MSE SIMULATED FORGED TCB Signing` is not one of",
    ),
    (
        "a CRL signed with P-384 in the CA's name",
        || {
            pck_crl_of(|ca| Party {
                key: Key::generate(KeyKind::EcdsaP384).unwrap(),
                ..ca
            })
        },
        CheckName::Revocation,
        Reason::Forged,
        "the CRL of `CN=MSE SIMULATED FORGED PCK Platform CA` is signed with an algorithm",
    ),
    (
        "a CRL of an earlier key of the CA",
        || {
            let mut form = CertificateForm::authority("PCK Platform CA", 0, now());
            form.extensions.push(Extension::subject_key_id(b"key 2"));
            sgx(3, |_| ())
                .case_under(|forge| {
                    forge.pck_ca = forge.pck_ca.with_certificate(&form, &forge.root).unwrap();
                })
                .with(|case| {
                    let mut crl = CrlForm::empty(now());
                    crl.extensions.push(Extension::authority_key_id(b"key 1"));
                    case.dcap().pck_crl = crl.issue(&forge().pck_ca).unwrap();
                })
        },
        CheckName::Revocation,
        Reason::Forged,
        "was issued with another key of that name",
    ),
    (
        "a CRL of a CA whose key is for certificates only",
        || {
            let mut form = CertificateForm::authority("PCK Platform CA", 0, now());
            form.extensions[1] = Extension::key_usage(0x04);
            sgx(3, |_| ()).case_under(|forge| {
                forge.pck_ca = forge.pck_ca.with_certificate(&form, &forge.root).unwrap();
            })
        },
        CheckName::Revocation,
        Reason::Forged,
        "was signed by a key that is not for CRLs",
    ),
    (
        "an issuer chain of the PCK CRL that begins with no CA",
        || {
            let form = CertificateForm::signer("PCK Platform CA", now());
            sgx(3, |_| ()).case().with(|case| {
                let forge = forge();
                let leaf = forge.pck_ca.with_certificate(&form, &forge.root).unwrap();
                case.dcap().pck_crl_issuer_chain =
                    pem([&leaf.certificate, &forge.root.certificate]);
            })
        },
        CheckName::Revocation,
        Reason::Forged,
        "the issuer of the PCK CRL is not the CA",
    ),
    (
        "the issuer chain of the PCK CRL of another PKI",
        || {
            sgx(3, |_| ()).case().with(|case| {
                let other = other_forge();
                case.dcap().pck_crl_issuer_chain =
                    pem([&other.pck_ca.certificate, &other.root.certificate]);
            })
        },
        CheckName::Revocation,
        Reason::Forged,
        "the issuer of the PCK CRL is not the CA",
    ),
    (
        "no issuer chain of the PCK CRL",
        || {
            sgx(3, |_| ())
                .case()
                .with(|case| case.dcap().pck_crl_issuer_chain.clear())
        },
        CheckName::Revocation,
        Reason::Malformed,
        "the chain has no certificate",
    ),
    (
        "the CRL of the platform's CA in place of the root's",
        || {
            sgx(3, |_| ()).case().with(|case| {
                case.dcap().root_ca_crl = case.dcap().pck_crl.clone();
            })
        },
        CheckName::Revocation,
        Reason::Forged,
        "the CRL of `CN=MSE SIMULATED FORGED PCK Platform CA` is not one of",
    ),
    (
        "a CRL of the root whose time is over",
        || root_crl(|crl| crl.next_update = Some(now() - days(1))),
        CheckName::CollateralValidity,
        Reason::Stale,
        "CRL of the root: expired",
    ),
    (
        "a CRL of the root from the future",
        || root_crl(|crl| crl.this_update = now() + days(1)),
        CheckName::CollateralValidity,
        Reason::Stale,
        "CRL of the root: not valid yet",
    ),
    (
        "a CRL of the platform's CA whose time is over",
        || pck_crl(|crl| crl.next_update = Some(now() - days(1))),
        CheckName::CollateralValidity,
        Reason::Stale,
        "CRL of the platform's CA: expired",
    ),
    (
        "a revoked PCK among others",
        || {
            let serial = CertificateForm::pck(&SgxExtension::default(), now()).serial;
            pck_crl(|crl| *crl = CrlForm::of([vec![1], serial, vec![2]], now()))
        },
        CheckName::Revocation,
        Reason::Revoked,
        "PCK Certificate` has been revoked",
    ),
    (
        "a revoked PCK whose serial number is padded in the list",
        || {
            let mut serial = CertificateForm::pck(&SgxExtension::default(), now()).serial;
            serial.insert(0, 0);
            pck_crl(|crl| *crl = CrlForm::of([serial], now()))
        },
        CheckName::Revocation,
        Reason::Revoked,
        "PCK Certificate` has been revoked",
    ),
    (
        "a revoked PCK with a negative serial number",
        || {
            let mut form = CertificateForm::pck(&SgxExtension::default(), now());
            form.serial = vec![0x80, 1];
            sgx(3, |_| ())
                .case_under(|forge| {
                    forge.pck = forge.pck.with_certificate(&form, &forge.pck_ca).unwrap();
                })
                .with(|case| {
                    let crl = CrlForm::of([vec![0x80, 1]], now());
                    case.dcap().pck_crl = crl.issue(&forge().pck_ca).unwrap();
                })
        },
        CheckName::Revocation,
        Reason::Revoked,
        "PCK Certificate` has been revoked",
    ),
    (
        "a revoked signer of the QE identity only",
        || {
            let mut form = CertificateForm::signer("QE Signing", now());
            form.serial = vec![7];
            root_crl(|crl| *crl = CrlForm::of([vec![7]], now())).with(|case| {
                let forge = forge();
                let signer = forge
                    .tcb_signer
                    .with_certificate(&form, &forge.root)
                    .unwrap();
                case.dcap().qe_identity_issuer_chain =
                    pem([&signer.certificate, &forge.root.certificate]);
            })
        },
        CheckName::Revocation,
        Reason::Revoked,
        "QE Signing` has been revoked",
    ),
];

#[test]
fn lists_of_others_revoke_nobody() {
    pck_crl(|crl| *crl = CrlForm::of([vec![1], vec![2]], now()))
        .appraise()
        .unwrap();
    // The root's list is not about the PCK, whose serial number is another CA's.
    let serial = CertificateForm::pck(&SgxExtension::default(), now()).serial;
    root_crl(|crl| *crl = CrlForm::of([serial], now()))
        .appraise()
        .unwrap();
}

fn pck_crl(change: impl FnOnce(&mut CrlForm)) -> Case {
    let mut crl = CrlForm::empty(now());
    change(&mut crl);
    sgx(3, |_| ())
        .case()
        .with(|case| case.dcap().pck_crl = crl.issue(&forge().pck_ca).unwrap())
}

fn pck_crl_of(issuer: impl FnOnce(Party) -> Party) -> Case {
    let issuer = issuer(forge().pck_ca.clone());
    let crl = CrlForm::empty(now()).issue(&issuer).unwrap();
    sgx(3, |_| ()).case().with(|case| case.dcap().pck_crl = crl)
}

fn root_crl(change: impl FnOnce(&mut CrlForm)) -> Case {
    let mut crl = CrlForm::empty(now());
    change(&mut crl);
    sgx(3, |_| ())
        .case()
        .with(|case| case.dcap().root_ca_crl = crl.issue(&forge().root).unwrap())
}

fn delta(critical: bool) -> Extension {
    Extension::id_ce(27, critical, vec![2, 1, 1])
}

/// An issuing distribution point that says `indirectCRL`.
fn indirect(critical: bool) -> Extension {
    Extension::id_ce(28, critical, vec![0x30, 3, 0x84, 1, 0xff])
}
