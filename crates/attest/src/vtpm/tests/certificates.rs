//! Attestation keys with certificates of an authority that is made here.

use super::{Quote, Tpm, expecting_nonce, now, parse};
use crate::{
    CheckName, Collateral, Evidence, Policy, Reason, Tee, TrustAnchor, appraise,
    digest::sha256,
    vtpm::{self, policy::GOOGLE_EK_AK_ROOT},
};

struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = name_of(name);
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = match above {
        Some(above) => params.signed_by(&key, &above.issuer).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    let issuer = rcgen::Issuer::new(params, key);
    Authority {
        certificate,
        issuer,
    }
}

fn name_of(name: &str) -> rcgen::DistinguishedName {
    let mut names = rcgen::DistinguishedName::new();
    names.push(rcgen::DnType::CommonName, name);
    names
}

/// A certificate for the key in `spki`.
fn certificate_for(spki: &[u8], issuer: &Authority, is_ca: rcgen::IsCa) -> Vec<u8> {
    let key = rcgen::SubjectPublicKeyInfo::from_der(spki).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = name_of("AK");
    params.is_ca = is_ca;
    params
        .signed_by(&key, &issuer.issuer)
        .unwrap()
        .der()
        .to_vec()
}

#[test]
fn a_certificate_chain_vouches_for_a_key() {
    let tpm = Tpm::new();
    let root = authority("root", None);
    let middle = authority("middle", Some(&root));
    let leaf = certificate_for(&tpm.spki(), &middle, rcgen::IsCa::NoCa);
    let evidence = parse(&tpm.evidence(&Quote::good())).unwrap();
    let evidence = Evidence::Vtpm(Box::new(evidence));
    let policy = Policy::strict()
        .trust_tpm_root(root.certificate.der())
        .unwrap();
    let verdict = |certificates: &[&[u8]], policy: &Policy| {
        let collateral = Collateral {
            certificates: certificates.iter().map(|der| der.to_vec()).collect(),
            ..Collateral::none()
        };
        appraise(&evidence, &collateral, policy, &expecting_nonce(), now())
    };
    let middle_der = middle.certificate.der().to_vec();
    // In any order, with the root or without it.
    let appraisal = verdict(&[&leaf, &middle_der], &policy).unwrap();
    assert_eq!(appraisal.tee, Tee::Tpm);
    verdict(&[root.certificate.der(), &middle_der, &leaf], &policy).unwrap();

    // A gap; a root that nobody trusts; a root of the same name.
    let refusal = verdict(&[&leaf], &policy).unwrap_err();
    assert_eq!(refusal.reason, Reason::UnknownRoot);
    let refusal = verdict(&[&leaf, &middle_der], &Policy::strict()).unwrap_err();
    assert_eq!(refusal.reason, Reason::UnknownRoot);
    let twin = authority("root", None);
    let policy_of_twin = Policy::strict()
        .trust_tpm_root(twin.certificate.der())
        .unwrap();
    let refusal = verdict(&[&leaf, &middle_der], &policy_of_twin).unwrap_err();
    assert_eq!(refusal.reason, Reason::UnknownRoot);

    // A certificate of another key; a CA in place of the key's certificate.
    let other = certificate_for(&Tpm::new().spki(), &middle, rcgen::IsCa::NoCa);
    let refusal = verdict(&[&other, &middle_der], &policy).unwrap_err();
    assert_eq!(refusal.reason, Reason::Mismatch);
    let ca = certificate_for(
        &tpm.spki(),
        &middle,
        rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained),
    );
    let refusal = verdict(&[&ca, &middle_der], &policy).unwrap_err();
    assert_eq!(refusal.failed, CheckName::CertificateChains);

    // One that another key of the same name has signed.
    let impostor = authority("middle", Some(&twin));
    let forged = certificate_for(&tpm.spki(), &impostor, rcgen::IsCa::NoCa);
    let refusal = verdict(&[&forged, &middle_der], &policy).unwrap_err();
    assert_eq!(refusal.failed, CheckName::CertificateChains);
    assert_eq!(refusal.reason, Reason::Forged);
}

#[test]
fn a_loop_of_certificates_ends() {
    let tpm = Tpm::new();
    let (a, b) = (authority("a", None), authority("b", None));
    let a_by_b = authority("a", Some(&b));
    let b_by_a = authority("b", Some(&a));
    let leaf = certificate_for(&tpm.spki(), &a, rcgen::IsCa::NoCa);
    let evidence = parse(&tpm.evidence(&Quote::good())).unwrap();
    let collateral = Collateral {
        certificates: vec![
            leaf,
            a_by_b.certificate.der().to_vec(),
            b_by_a.certificate.der().to_vec(),
        ],
        ..Collateral::none()
    };
    let refusal = appraise(
        &Evidence::Vtpm(Box::new(evidence)),
        &collateral,
        &Policy::strict(),
        &expecting_nonce(),
        now(),
    )
    .unwrap_err();
    assert_eq!(refusal.reason, Reason::UnknownRoot);
}

#[test]
fn the_compiled_in_root_is_what_its_table_says() {
    let digest = hex::encode(sha256(&[GOOGLE_EK_AK_ROOT]));
    assert!(
        include_str!("../../roots/README.md").contains(&digest),
        "{digest}"
    );
    let anchors: Vec<TrustAnchor> = vtpm::hardware_anchors();
    assert!(
        anchors
            .iter()
            .all(|anchor| anchor.tee_of(Tee::Tpm) == Tee::Tpm)
    );
}
