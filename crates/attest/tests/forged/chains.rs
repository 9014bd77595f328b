//! Certificates and chains.

use std::time::Duration;

use mse_attest::{CheckName, Reason};
use mse_simtee::testing::{
    CertificateForm, Extension, Forge, Key, KeyKind, Party, SgxExtension, pem,
};

use crate::{
    Row,
    world::{Case, days, forge, now, other_forge, sgx},
};

pub(crate) const REFUSED: &[Row] = &[
    (
        "a platform's CA that is no CA",
        || ca(|form| form.extensions[0] = Extension::no_authority()),
        CheckName::CertificateChains,
        Reason::Forged,
        "issued a certificate, but is not a CA",
    ),
    (
        "a platform's CA without basic constraints",
        || {
            ca(|form| {
                form.extensions.remove(0);
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "has no basic constraints",
    ),
    (
        "a platform's CA whose key is for CRLs only",
        || ca(|form| form.extensions[1] = Extension::key_usage(0x02)),
        CheckName::CertificateChains,
        Reason::Forged,
        "its key is not for signing certificates",
    ),
    (
        "a CA below a root that allows none",
        || {
            sgx(3, |_| ()).case_under(|forge| {
                let form = CertificateForm::authority("Root CA", 0, now());
                forge.root = forge.root.with_certificate(&form, &forge.root).unwrap();
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "not so deep a chain",
    ),
    (
        "a CA in place of the platform's key",
        || {
            pck(|form| {
                form.extensions[0] = Extension::authority(0);
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "PCK Certificate` is a CA and stands where a signer",
    ),
    (
        "a CA in place of the TCB signer",
        || signer(|form| form.extensions[0] = Extension::authority(0)),
        CheckName::CertificateChains,
        Reason::Forged,
        "TCB Signing` is a CA and stands where a signer",
    ),
    (
        "a platform's key that is for key agreement",
        || pck(|form| form.extensions[1] = Extension::key_usage(0x08)),
        CheckName::CertificateChains,
        Reason::Forged,
        "PCK Certificate` is not for signatures",
    ),
    (
        "a TCB signer whose key is for certificates",
        || signer(|form| form.extensions[1] = Extension::key_usage(0x04)),
        CheckName::CertificateChains,
        Reason::Forged,
        "TCB Signing` is not for signatures",
    ),
    (
        "an unknown critical extension",
        || pck(|form| form.extensions.push(Extension::unknown(true))),
        CheckName::CertificateChains,
        Reason::Forged,
        "has the critical extension `1.3.6.1.4.1.999.99`",
    ),
    (
        "critical name constraints on the CA",
        || {
            ca(|form| {
                let nothing = vec![0x30, 0];
                form.extensions.push(Extension::id_ce(30, true, nothing));
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "has the critical extension `2.5.29.30`",
    ),
    (
        "an extension twice",
        || {
            pck(|form| {
                form.extensions.push(Extension::unknown(false));
                form.extensions.push(Extension::unknown(false));
            })
        },
        CheckName::CertificateChains,
        Reason::Malformed,
        "has extension `1.3.6.1.4.1.999.99` twice",
    ),
    (
        "the SGX extension twice, honest one first",
        || {
            pck(|form| {
                let mut second = CertificateForm::pck(&SgxExtension::of([9; 16], 99), now());
                form.extensions.append(&mut second.extensions.split_off(2));
            })
        },
        CheckName::CertificateChains,
        Reason::Malformed,
        "has extension `1.2.840.113741.1.13.1` twice",
    ),
    (
        "basic constraints twice",
        || {
            ca(|form| {
                form.extensions.insert(0, Extension::no_authority());
            })
        },
        CheckName::CertificateChains,
        Reason::Malformed,
        "has extension `2.5.29.19` twice",
    ),
    (
        "a platform's key under a CA of the right name and another key",
        || {
            sgx(3, |_| ()).case_under(|forge| {
                forge.pck = certified_pck(&other_forge().pck_ca, |_| ());
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "PCK Certificate` is not signed by `CN=MSE SIMULATED FORGED PCK Platform CA`",
    ),
    (
        "a CA under a root of the right name and another key",
        || {
            sgx(3, |_| ()).case_under(|forge| {
                forge.pck_ca = other_forge().pck_ca.clone();
                forge.pck = certified_pck(&forge.pck_ca, |_| ());
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "PCK Platform CA` is not signed by `CN=MSE SIMULATED FORGED Root CA`",
    ),
    (
        "a platform's key certified by the root, with the CA in between",
        || {
            sgx(3, |_| ()).case_under(|forge| {
                forge.pck = certified_pck(&forge.root, |_| ());
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "PCK Certificate` was issued by `CN=MSE SIMULATED FORGED Root CA`, not by",
    ),
    (
        "a TCB signer certified by the platform's CA",
        || {
            sgx(3, |_| ()).case_under(|forge| {
                let form = CertificateForm::signer("TCB Signing", now());
                forge.tcb_signer = Party::new(KeyKind::EcdsaP256, &form, &forge.pck_ca).unwrap();
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "TCB Signing` was issued by `CN=MSE SIMULATED FORGED PCK Platform CA`, not by",
    ),
    (
        "the chain of a TCB signer with the platform's CA in it",
        || {
            sgx(3, |_| ()).case().with(|case| {
                let forge = forge();
                case.dcap().tcb_info_issuer_chain = pem([
                    &forge.tcb_signer.certificate,
                    &forge.pck_ca.certificate,
                    &forge.root.certificate,
                ]);
            })
        },
        CheckName::CertificateChains,
        Reason::Malformed,
        "the chain has more than `2` certificates",
    ),
    (
        "TCB info whose signer has another root",
        || {
            sgx(3, |_| ()).case().with(|case| {
                case.dcap().tcb_info_issuer_chain = other_forge().signer_chain();
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "the signer of the TCB info is not vouched for by the platform's root",
    ),
    (
        "a QE identity whose signer has another root",
        || {
            sgx(3, |_| ()).case().with(|case| {
                case.dcap().qe_identity_issuer_chain = other_forge().signer_chain();
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "the signer of the QE identity is not vouched for by the platform's root",
    ),
    (
        "a TCB signer without its root",
        || {
            sgx(3, |_| ()).case().with(|case| {
                case.dcap().tcb_info_issuer_chain = pem([&forge().tcb_signer.certificate]);
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "the signer of the TCB info is not vouched for by the platform's root",
    ),
    (
        "the root itself as TCB signer",
        || sgx(3, |_| ()).case_under(|forge| forge.tcb_signer = forge.root.clone()),
        CheckName::CertificateChains,
        Reason::Forged,
        "Root CA` is a CA and stands where a signer",
    ),
    (
        "algorithm confusion: a CA with a P-384 key",
        || ca_of(KeyKind::EcdsaP384, |_| ()),
        CheckName::CertificateChains,
        Reason::Forged,
        "PCK Certificate` is signed with an algorithm that this chain does not use",
    ),
    (
        "algorithm confusion: a CA with an RSA key",
        || ca_of(KeyKind::Rsa, |_| ()),
        CheckName::CertificateChains,
        Reason::Forged,
        "PCK Certificate` is signed with an algorithm that this chain does not use",
    ),
    (
        "algorithm confusion: a P-384 signature that says P-256",
        || {
            let p256 = forge().root.key.signature_algorithm();
            ca_of(KeyKind::EcdsaP384, |form| {
                form.inner_algorithm = Some(p256.clone());
                form.outer_algorithm = Some(p256);
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "was issued with a key of another algorithm than this chain uses",
    ),
    (
        "two names for the signature's algorithm",
        || {
            pck(|form| {
                let p384 = Key::generate(KeyKind::EcdsaP384).unwrap();
                form.inner_algorithm = Some(p384.signature_algorithm());
            })
        },
        CheckName::CertificateChains,
        Reason::Malformed,
        "PCK Certificate` is not DER, or names two signature algorithms",
    ),
    (
        "a certificate of version 2",
        || pck(|form| form.version = 2),
        CheckName::CertificateChains,
        Reason::Malformed,
        "is not of version 3",
    ),
    (
        "a certificate with bytes after it",
        || sgx(3, |_| ()).case_under(|forge| forge.pck.certificate.push(0)),
        CheckName::CertificateChains,
        Reason::Malformed,
        "PCK Certificate` is followed by other bytes",
    ),
    (
        "a huge certificate",
        || {
            pck(|form| {
                let value = vec![4, 0x82, 0x40, 0]
                    .into_iter()
                    .chain([0; 0x4000])
                    .collect();
                form.extensions.push(Extension::id_ce(99, false, value));
            })
        },
        CheckName::CertificateChains,
        Reason::Malformed,
        "more than 16384",
    ),
    (
        "a certificate that is no certificate",
        || sgx(3, |_| ()).case_under(|forge| forge.pck.certificate = b"certificate".to_vec()),
        CheckName::CertificateChains,
        Reason::Malformed,
        "a certificate is not DER of RFC 5280",
    ),
    (
        "a root that is no certificate",
        || sgx(3, |_| ()).case_under(|forge| forge.root.certificate = b"root".to_vec()),
        CheckName::RootOfTrust,
        Reason::Malformed,
        "a certificate is not DER of RFC 5280",
    ),
    (
        "a chain of its own whose root says nothing of simulation",
        || {
            let form = |name: &str| CertificateForm {
                subject: name.to_owned(),
                ..CertificateForm::authority(name, 1, now())
            };
            let root = Party::self_signed(KeyKind::EcdsaP256, &form("Intel SGX Root CA")).unwrap();
            let ca = Party::new(
                KeyKind::EcdsaP256,
                &form("Intel SGX PCK Platform CA"),
                &root,
            );
            sgx(3, |_| ()).case_under(|forge| {
                forge.root = root;
                forge.pck_ca = ca.unwrap();
                forge.pck = certified_pck(&forge.pck_ca, |_| ());
            })
        },
        CheckName::RootOfTrust,
        Reason::UnknownRoot,
        "does not end in a trusted root",
    ),
    (
        "a root of the right name and another key",
        || sgx(3, |_| ()).case_under(|forge| *forge = other_forge().clone()),
        CheckName::RootOfTrust,
        Reason::SimulatedEvidence,
        "the trust anchor of its platform was not given",
    ),
    (
        "a root of the right key that another key signed",
        || {
            sgx(3, |_| ()).case_under(|forge| {
                let form = CertificateForm::authority("Root CA", 1, now());
                forge.root = forge
                    .root
                    .with_certificate(&form, &other_forge().root)
                    .unwrap();
            })
        },
        CheckName::RootOfTrust,
        Reason::SimulatedEvidence,
        "the trust anchor of its platform was not given",
    ),
    (
        "a chain of its own that the trusted root is only put behind",
        || {
            sgx(3, |_| ()).case_under(|forge| {
                let root = forge.root.clone();
                *forge = other_forge().clone();
                forge.root = root;
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "PCK Platform CA` is not signed by `CN=MSE SIMULATED FORGED Root CA`",
    ),
    (
        "a chain of two: the platform's key certified by the root",
        || {
            sgx(3, |_| ()).case_with(|quote| {
                let forge = forge();
                let pck = certified_pck(&forge.root, |_| ());
                quote.certification_data =
                    Some(pem([&pck.certificate, &forge.root.certificate]).into_bytes());
            })
        },
        CheckName::CertificateChains,
        Reason::Malformed,
        "has `2` certificates; PCK, CA and root are three",
    ),
    (
        "an expired platform's key",
        || pck(|form| form.not_after = now() - Duration::from_secs(1)),
        CheckName::CollateralValidity,
        Reason::Stale,
        "certificates of the platform: expired",
    ),
    (
        "a platform's key from the future",
        || pck(|form| form.not_before = now() + Duration::from_secs(1)),
        CheckName::CollateralValidity,
        Reason::Stale,
        "certificates of the platform: not valid yet",
    ),
    (
        "an expired CA",
        || ca(|form| form.not_after = now() - days(1)),
        CheckName::CollateralValidity,
        Reason::Stale,
        "certificates of the platform: expired",
    ),
    (
        "an expired TCB signer",
        || signer(|form| form.not_after = now() - days(1)),
        CheckName::CollateralValidity,
        Reason::Stale,
        "certificates of the TCB signer: expired",
    ),
    (
        "an expired signer of the QE identity only",
        || {
            let mut form = CertificateForm::signer("TCB Signing", now());
            form.not_after = now() - days(1);
            sgx(3, |_| ()).case().with(|case| {
                let forge = forge();
                let expired = forge
                    .tcb_signer
                    .with_certificate(&form, &forge.root)
                    .unwrap();
                case.dcap().qe_identity_issuer_chain =
                    pem([&expired.certificate, &forge.root.certificate]);
            })
        },
        CheckName::CollateralValidity,
        Reason::Stale,
        "certificates of the QE identity's signer: expired",
    ),
    (
        "no SGX extension",
        || {
            pck(|form| {
                form.extensions.pop();
            })
        },
        CheckName::PlatformMatch,
        Reason::Malformed,
        "it has no SGX extension",
    ),
    (
        "an SGX extension under the OID of one of its entries",
        || extension(|extension| extension.oid.push(4)),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "it has no SGX extension",
    ),
    (
        "an SGX extension without FMSPC",
        || extension(|extension| extension.entries.retain(|(arc, _)| *arc != 4)),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "has no `fmspc`",
    ),
    (
        "an SGX extension without PCE-ID",
        || extension(|extension| extension.entries.retain(|(arc, _)| *arc != 3)),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "has no `pceid`",
    ),
    (
        "an SGX extension without PPID",
        || extension(|extension| extension.entries.retain(|(arc, _)| *arc != 1)),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "has no `ppid`",
    ),
    (
        "an SGX extension without TCB",
        || extension(|extension| extension.tcb.clear()),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "has no `tcb`",
    ),
    (
        "an SGX extension with 15 components",
        || {
            extension(|extension| {
                extension.tcb.remove(15);
            })
        },
        CheckName::PlatformMatch,
        Reason::Malformed,
        "has no `tcb`",
    ),
    (
        "an SGX extension without PCESVN",
        || extension(|extension| extension.tcb.retain(|(arc, _)| *arc != 17)),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "has no `tcb.pcesvn`",
    ),
    (
        "an SGX extension without CPUSVN",
        || extension(|extension| extension.tcb.retain(|(arc, _)| *arc != 18)),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "has no `tcb.cpusvn`",
    ),
    (
        "an SGX extension with a second FMSPC",
        || extension(|extension| extension.entries.push((4, vec![4, 6, 9, 9, 9, 9, 9, 9]))),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "has `fmspc` twice",
    ),
    (
        "an SGX extension with a second PCE-ID",
        || extension(|extension| extension.entries.push((3, vec![4, 2, 0, 0]))),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "has `pceid` twice",
    ),
    (
        "an SGX extension with a component twice",
        || extension(|extension| extension.tcb.push((1, vec![2, 1, 9]))),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "has `tcb` twice",
    ),
    (
        "an SGX extension with PCESVN twice",
        || extension(|extension| extension.tcb.push((17, vec![2, 1, 99]))),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "has `tcb.pcesvn` twice",
    ),
    (
        "an FMSPC of five bytes",
        || extension(|extension| extension.set(4, &[4, 5, b'S', b'I', b'M', 0, 0])),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "malformed at `fmspc`",
    ),
    (
        "an FMSPC of seven bytes",
        || extension(|extension| extension.set(4, &[4, 7, b'S', b'I', b'M', 0, 0, 1, 0])),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "malformed at `fmspc`",
    ),
    (
        "a PCE-ID that is a number",
        || extension(|extension| extension.set(3, &[2, 1, 0])),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "malformed at `pceid`",
    ),
    (
        "a component above 255",
        || extension(|extension| extension.tcb[3].1 = vec![2, 2, 1, 0]),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "malformed at `tcb`",
    ),
    (
        "a negative component",
        || extension(|extension| extension.tcb[3].1 = vec![2, 1, 0xff]),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "malformed at `tcb`",
    ),
    (
        "a PCESVN above 65535",
        || extension(|extension| extension.tcb[16].1 = vec![2, 3, 1, 0, 0]),
        CheckName::PlatformMatch,
        Reason::Malformed,
        "malformed at `tcb.pcesvn`",
    ),
    (
        "an SGX extension that ends early",
        || {
            pck(|form| {
                form.extensions.last_mut().unwrap().value.pop();
            })
        },
        CheckName::PlatformMatch,
        Reason::Malformed,
        "malformed at `extension`",
    ),
];

#[test]
fn the_order_of_the_sgx_extension_and_unknown_entries_do_not_matter() {
    for change in [
        (|extension: &mut SgxExtension| extension.entries.reverse()) as fn(&mut SgxExtension),
        |extension| extension.tcb.reverse(),
        |extension| extension.tcb_at = 9,
        |extension| extension.entries.retain(|(arc, _)| *arc < 5),
        |extension| extension.entries.push((8, vec![4, 1, 1])),
        |extension| extension.tcb.push((19, vec![4, 1, 1])),
    ] {
        extension(change).appraise().unwrap();
    }
}

/// The enclave of a platform whose PCK has a changed SGX extension.
fn extension(change: impl FnOnce(&mut SgxExtension)) -> Case {
    let mut extension = SgxExtension::default();
    change(&mut extension);
    sgx(3, |_| ()).case_under(|forge| {
        let form = CertificateForm::pck(&extension, now());
        forge.pck = forge.pck.with_certificate(&form, &forge.pck_ca).unwrap();
    })
}

/// The platform's key, certified with a changed certificate.
fn pck(change: impl FnOnce(&mut CertificateForm)) -> Case {
    sgx(3, |_| ()).case_under(|forge| forge.pck = certified_pck(&forge.pck_ca, change))
}

fn certified_pck(issuer: &Party, change: impl FnOnce(&mut CertificateForm)) -> Party {
    let mut form = CertificateForm::pck(&SgxExtension::default(), now());
    change(&mut form);
    forge().pck.with_certificate(&form, issuer).unwrap()
}

/// The platform's CA, certified with a changed certificate.
fn ca(change: impl FnOnce(&mut CertificateForm)) -> Case {
    let mut form = CertificateForm::authority("PCK Platform CA", 0, now());
    change(&mut form);
    sgx(3, |_| ()).case_under(|forge| {
        forge.pck_ca = forge.pck_ca.with_certificate(&form, &forge.root).unwrap()
    })
}

/// A platform's CA with a key of another kind, whose PCK has a changed certificate.
fn ca_of(kind: KeyKind, change: impl FnOnce(&mut CertificateForm)) -> Case {
    let under = |forge: &mut Forge| {
        let form = CertificateForm::authority("PCK Platform CA", 0, now());
        forge.pck_ca = Party::new(kind, &form, &forge.root).unwrap();
        forge.pck = certified_pck(&forge.pck_ca, change);
    };
    sgx(3, |_| ()).case_under(under)
}

/// The signer of TCB info and QE identity, certified with a changed certificate.
fn signer(change: impl FnOnce(&mut CertificateForm)) -> Case {
    let mut form = CertificateForm::signer("TCB Signing", now());
    change(&mut form);
    sgx(3, |_| ()).case_under(|forge| {
        forge.tcb_signer = forge
            .tcb_signer
            .with_certificate(&form, &forge.root)
            .unwrap();
    })
}
