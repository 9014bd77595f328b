//! PEM: only the text that the certificates encode to, but for white space.

use mse_attest::{CheckName, Reason};

use crate::{
    Row,
    world::{Case, forge, sgx},
};

const NOT_PEM: &str = "something that is no certificate stands in it";

pub(crate) const REFUSED: &[Row] = &[
    (
        "text before the chain",
        || chain(|pem| format!("Bag Attributes\n{pem}")),
        CheckName::RootOfTrust,
        Reason::Malformed,
        NOT_PEM,
    ),
    (
        "text between certificates",
        || chain(|pem| pem.replacen("-----END CERTIFICATE-----\n", &format!("{END}x\n"), 1)),
        CheckName::RootOfTrust,
        Reason::Malformed,
        NOT_PEM,
    ),
    (
        "text after the chain",
        || chain(|pem| format!("{pem}# end\n")),
        CheckName::RootOfTrust,
        Reason::Malformed,
        NOT_PEM,
    ),
    (
        "a private key in the chain",
        || {
            chain(|pem| {
                format!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n{pem}")
            })
        },
        CheckName::RootOfTrust,
        Reason::Malformed,
        NOT_PEM,
    ),
    (
        "the root twice",
        || chain(|pem| format!("{pem}{}", root())),
        CheckName::RootOfTrust,
        Reason::Malformed,
        "the chain has more than `3` certificates",
    ),
    (
        "the chain in reverse",
        || {
            chain(|_| {
                let forge = forge();
                mse_simtee::testing::pem([
                    &forge.root.certificate,
                    &forge.pck_ca.certificate,
                    &forge.pck.certificate,
                ])
            })
        },
        CheckName::RootOfTrust,
        Reason::SimulatedEvidence,
        "the trust anchor of its platform was not given",
    ),
    (
        "the platform's key and its CA swapped",
        || {
            chain(|_| {
                let forge = forge();
                mse_simtee::testing::pem([
                    &forge.pck_ca.certificate,
                    &forge.pck.certificate,
                    &forge.root.certificate,
                ])
            })
        },
        CheckName::CertificateChains,
        Reason::Forged,
        "PCK Platform CA` is a CA and stands where a signer",
    ),
    (
        "base64 that no encoder writes",
        || chain(non_canonical),
        CheckName::RootOfTrust,
        Reason::Malformed,
        "a certificate is not Base64",
    ),
    (
        "a character that is not base64",
        || chain(|pem| pem.replacen("\nMII", "\nM*I", 1)),
        CheckName::RootOfTrust,
        Reason::Malformed,
        "a certificate is not Base64",
    ),
    (
        "a NUL between two certificates",
        || chain(|pem| pem.replacen(END, &format!("{END}\n\0"), 1)),
        CheckName::RootOfTrust,
        Reason::Malformed,
        NOT_PEM,
    ),
    (
        "another label",
        || chain(|pem| pem.replace("CERTIFICATE", "X509 CERTIFICATE")),
        CheckName::RootOfTrust,
        Reason::Malformed,
        NOT_PEM,
    ),
    (
        "an end that is missing",
        || chain(|pem| pem.trim_end().trim_end_matches(END).to_owned()),
        CheckName::RootOfTrust,
        Reason::Malformed,
        "a certificate does not end as one",
    ),
    (
        "certificates in DER",
        || {
            sgx(3, |_| ()).case_with(|quote| {
                quote.certification_data = Some(forge().pck.certificate.clone());
            })
        },
        CheckName::RootOfTrust,
        Reason::Malformed,
        NOT_PEM,
    ),
    (
        "text in the chain of the TCB signer",
        || {
            sgx(3, |_| ())
                .case()
                .with(|case| case.dcap().tcb_info_issuer_chain.insert(0, '#'))
        },
        CheckName::CertificateChains,
        Reason::Malformed,
        NOT_PEM,
    ),
];

#[test]
fn white_space_and_a_final_nul_do_not_matter() {
    for change in [
        (|pem| pem.replace('\n', "\r\n")) as fn(String) -> String,
        |pem| format!("\n\n{pem}\n\n"),
        |pem| pem.replace(END, &format!("{END}\n")),
        |pem| format!("{pem}\0"),
        |pem| format!("{pem}\0\0\0"),
        |pem| pem.trim_end().to_owned(),
    ] {
        chain(change).appraise().unwrap();
    }
}

const END: &str = "-----END CERTIFICATE-----";

fn chain(change: impl FnOnce(String) -> String) -> Case {
    sgx(3, |_| ()).case_with(|quote| {
        quote.certification_data = Some(change(forge().pck_chain()).into_bytes());
    })
}

fn root() -> String {
    mse_simtee::testing::pem([&forge().root.certificate])
}

/// Sets a bit of the last character before the padding that does not decode to anything. Which
/// certificate has padding depends on its length, so all are tried.
fn non_canonical(pem: String) -> String {
    let at = pem
        .find('=')
        .expect("one of three certificates has padding")
        - 1;
    let mut bytes = pem.into_bytes();
    bytes[at] = match bytes[at] {
        b'9' => b'+',
        other => other + 1,
    };
    String::from_utf8(bytes).unwrap()
}
