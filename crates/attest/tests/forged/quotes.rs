//! Quotes: layout, lengths, kinds, and what is signed.

use mse_attest::{CheckName, Collateral, Evidence, Reason, Tee};
use mse_simtee::testing::{Key, KeyKind, TdForm};

use crate::{
    Row,
    world::{Case, domain, forge, sgx, td, td_of},
};

pub(crate) const REFUSED: &[Row] = &[
    // --- Header.
    (
        "version 1",
        || sgx(3, |_| ()).case_with(|quote| quote.version = 1),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "version `1` with TEE type `0x0` is not",
    ),
    (
        "version 6",
        || sgx(5, |_| ()).case_with(|quote| quote.version = 6),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "version `6` with TEE type `0x0` is not",
    ),
    (
        "a trust domain in version 3",
        || td_of(3, TdForm::V10, |_| ()).case(),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "version `3` with TEE type `0x81` is not",
    ),
    (
        "an unknown TEE type",
        || sgx(4, |_| ()).case_with(|quote| quote.tee_type = 0x82),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "version `4` with TEE type `0x82` is not",
    ),
    (
        "attestation key type 1, EPID",
        || sgx(3, |_| ()).case_with(|quote| quote.key_type = 1),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "attestation key type `1` is not supported",
    ),
    (
        "attestation key type 3, ECDSA on P-384",
        || sgx(3, |_| ()).case_with(|quote| quote.key_type = 3),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "attestation key type `3` is not supported",
    ),
    (
        "a QE of another vendor",
        || sgx(4, |_| ()).case_with(|quote| quote.vendor_id[15] ^= 1),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "QE vendor id `939a7233f79c4ca9940a0db3957f0606` is not Intel's",
    ),
    // --- Bodies that are not what the header says.
    (
        "an enclave in a header of TDX, version 4",
        || sgx(4, |_| ()).case_with(|quote| quote.tee_type = 0x81),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "bytes of signature data and has",
    ),
    (
        "a trust domain in a header of SGX, version 4",
        || td_of(4, TdForm::V10, |_| ()).case_with(|quote| quote.tee_type = 0),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "bytes of signature data and has",
    ),
    (
        "a trust domain of TDX 1.5 in version 4",
        || {
            let longer = domain(|_| ()).quote().body;
            td_of(4, TdForm::V10, |_| ()).case_with(|quote| quote.body = longer)
        },
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "bytes of signature data and has",
    ),
    (
        "an enclave in a header of TDX, version 5",
        || sgx(5, |_| ()).case_with(|quote| quote.tee_type = 0x81),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "body type `1` with `384` bytes in a quote of TEE type `0x81`",
    ),
    (
        "a trust domain in a header of SGX, version 5",
        || td(|_| ()).case_with(|quote| quote.tee_type = 0),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "body type `3` with `648` bytes in a quote of TEE type `0x0`",
    ),
    (
        "body type 2 with the size of 3",
        || td(|_| ()).case_with(|quote| quote.descriptor = Some((2, 648))),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "body type `2` with `648` bytes",
    ),
    (
        "body type 3 with the size of 2",
        || td(|_| ()).case_with(|quote| quote.descriptor = Some((3, 584))),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "body type `3` with `584` bytes",
    ),
    (
        "body type 4 with the size of 3",
        || td(|_| ()).case_with(|quote| quote.descriptor = Some((4, 648))),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "body type `4` with `648` bytes",
    ),
    (
        "body type 0",
        || td(|_| ()).case_with(|quote| quote.descriptor = Some((0, 648))),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "body type `0` with",
    ),
    (
        "body type 5",
        || td(|_| ()).case_with(|quote| quote.descriptor = Some((5, 648))),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "body type `5` with",
    ),
    (
        "a body of 4 GiB",
        || td(|_| ()).case_with(|quote| quote.descriptor = Some((3, u32::MAX))),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "body type `3` with `4294967295` bytes",
    ),
    (
        "version 5 without a descriptor",
        || td(|_| ()).case_with(|quote| quote.descriptor = None),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "body type `261` with",
    ),
    (
        "version 4 with a descriptor",
        || td_of(4, TdForm::V10, |_| ()).case_with(|quote| quote.descriptor = Some((2, 584))),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "bytes of signature data and has",
    ),
    (
        "a quote of an enclave given as one of a trust domain",
        || {
            sgx(4, |_| ()).case().with(|case| {
                case.evidence = Evidence::TdxDcap(case.evidence.as_bytes().to_vec());
            })
        },
        CheckName::EvidenceFormat,
        Reason::Mismatch,
        "the quote is about an SGX enclave and was given as one about a TDX trust domain",
    ),
    (
        "a quote of a trust domain given as one of an enclave",
        || {
            td(|_| ()).case().with(|case| {
                case.evidence = Evidence::SgxDcap(case.evidence.as_bytes().to_vec());
            })
        },
        CheckName::EvidenceFormat,
        Reason::Mismatch,
        "the quote is about a TDX trust domain and was given as one about an SGX enclave",
    ),
    // --- Lengths.
    (
        "a quote that is empty",
        || sgx(3, |_| ()).case().with_bytes(Vec::clear),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "inside the field `header.version`",
    ),
    (
        "a quote that ends in its signature",
        || {
            sgx(3, |_| ()).case().with_bytes(|bytes| {
                bytes.truncate(SGX_SIGNATURE + 20);
                bytes[SGX_SIGNATURE - 4..SGX_SIGNATURE].copy_from_slice(&20_u32.to_le_bytes());
            })
        },
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "inside the field `signature_data.signature`",
    ),
    (
        "signature data of 4 GiB",
        || {
            sgx(3, |_| ())
                .case()
                .with_bytes(|bytes| bytes[SGX_SIGNATURE - 4..SGX_SIGNATURE].fill(0xff))
        },
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "declares `4294967295` bytes of signature data",
    ),
    (
        "authentication data over the end",
        || {
            sgx(3, |_| ())
                .case()
                .with_bytes(|bytes| bytes[SGX_AUTH..SGX_AUTH + 2].fill(0xff))
        },
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "inside the field `signature_data.qe_auth_data`",
    ),
    (
        "certification data of 4 GiB",
        || {
            sgx(3, |_| ())
                .case()
                .with_bytes(|bytes| bytes[SGX_AUTH + 36..SGX_AUTH + 40].fill(0xff))
        },
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "declares `4294967295` bytes of certification data",
    ),
    (
        "zeros behind the quote, as tools leave them",
        || {
            sgx(3, |_| ())
                .case()
                .with_bytes(|bytes| bytes.extend([0; 64]))
        },
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "nothing may be cut off or follow",
    ),
    (
        "zeros behind a quote that declares them",
        || {
            sgx(3, |_| ()).case().with_bytes(|bytes| {
                bytes.extend([0; 64]);
                let length = u32::try_from(bytes.len() - SGX_SIGNATURE).unwrap();
                bytes[SGX_SIGNATURE - 4..SGX_SIGNATURE].copy_from_slice(&length.to_le_bytes());
            })
        },
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "bytes of certification data and has",
    ),
    // --- Certification data.
    (
        "outer certification data of type 5",
        || td(|_| ()).case_with(|quote| quote.outer_type = 5),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "certification data of type `5` is not supported; only 6",
    ),
    (
        "outer certification data of type 0",
        || sgx(4, |_| ()).case_with(|quote| quote.outer_type = 0),
        CheckName::EvidenceFormat,
        Reason::Malformed,
        "certification data of type `0` is not supported; only 6",
    ),
    (
        "an encrypted PPID and no chain anywhere",
        || encrypted_ppid(3),
        CheckName::RootOfTrust,
        Reason::Malformed,
        "certification data of type `3` and no certificate chain",
    ),
    (
        "a PCK chain that says to be something else",
        || sgx(3, |_| ()).case_with(|quote| quote.certification_type = 4),
        CheckName::RootOfTrust,
        Reason::Malformed,
        "certification data of type `4`",
    ),
    (
        "certification data of an unknown type, with the chain in the collateral",
        || with_chain(encrypted_ppid(9)),
        CheckName::RootOfTrust,
        Reason::Malformed,
        "certification data of type `9`",
    ),
    (
        "a QE report in the place of the PCK chain",
        || with_chain(encrypted_ppid(6)),
        CheckName::RootOfTrust,
        Reason::Malformed,
        "certification data of type `6`",
    ),
    (
        "a PCK chain that is empty, with one in the collateral",
        || {
            with_chain(sgx(3, |_| ()).case_with(|quote| {
                quote.certification_data = Some(Vec::new());
            }))
        },
        CheckName::RootOfTrust,
        Reason::Malformed,
        "the chain has no certificate",
    ),
    (
        "an encrypted PPID and the chain of another platform",
        || {
            encrypted_ppid(3).with(|case| {
                let other = crate::world::other_forge();
                case.dcap().pck_certificate_chain = Some(other.pck_chain());
            })
        },
        CheckName::RootOfTrust,
        Reason::SimulatedEvidence,
        "the trust anchor of its platform was not given",
    ),
    (
        "no collateral",
        || {
            sgx(3, |_| ())
                .case()
                .with(|case| case.collateral = Collateral::none())
        },
        CheckName::CollateralFormat,
        Reason::Malformed,
        "cannot be appraised without its collateral",
    ),
    // --- Signatures.
    (
        "a QE report signed by another platform's key",
        || {
            let key = Key::generate(KeyKind::EcdsaP256).unwrap();
            signed(&forge().attestation_key, &key)
        },
        CheckName::QeReport,
        Reason::Forged,
        "report is not signed by the platform's PCK",
    ),
    (
        "a QE that vouches for another key",
        || sgx(3, |_| ()).case_with(|quote| quote.vouches_for = Some([0; 64])),
        CheckName::QeReport,
        Reason::Forged,
        "the quoting enclave vouches for another attestation key",
    ),
    (
        "a QE that says more than the digest of the key",
        || {
            let honest = sgx(3, |_| ()).case();
            let report_data = SGX_SIGNATURE + 128 + 320;
            let mut data: [u8; 64] = honest.evidence.as_bytes()[report_data..][..64]
                .try_into()
                .unwrap();
            data[63] = 1;
            sgx(3, |_| ()).case_with(|quote| quote.vouches_for = Some(data))
        },
        CheckName::QeReport,
        Reason::Forged,
        "the quoting enclave vouches for another attestation key",
    ),
    (
        "authentication data that the QE does not vouch for",
        || {
            sgx(3, |_| ())
                .case()
                .with_bytes(|bytes| bytes[SGX_AUTH + 2] ^= 1)
        },
        CheckName::QeReport,
        Reason::Forged,
        "the quoting enclave vouches for another attestation key",
    ),
    (
        "a quote signed by another key than the one in it",
        || {
            let other = Key::generate(KeyKind::EcdsaP256).unwrap();
            let signature = SGX_SIGNATURE..SGX_SIGNATURE + 64;
            sgx(3, |_| ()).case().with_bytes(|bytes| {
                let by_other = other.sign_fixed(&bytes[..48 + 384]).unwrap();
                bytes[signature].copy_from_slice(&by_other);
            })
        },
        CheckName::QuoteSignature,
        Reason::Forged,
        "is not one of its attestation key",
    ),
    (
        "a signature of zeros",
        || {
            sgx(3, |_| ())
                .case()
                .with_bytes(|bytes| bytes[SGX_SIGNATURE..SGX_SIGNATURE + 64].fill(0))
        },
        CheckName::QuoteSignature,
        Reason::Forged,
        "is not one of its attestation key",
    ),
    (
        "a descriptor that was not signed: version 5 made of version 4",
        || {
            td_of(4, TdForm::V10, |_| ()).case().with_bytes(|bytes| {
                bytes[0] = 5;
                bytes.splice(48..48, [2, 0, 0x48, 2, 0, 0]);
            })
        },
        CheckName::QuoteSignature,
        Reason::Forged,
        "is not one of its attestation key",
    ),
];

#[test]
fn honest_quotes_of_every_layout_are_accepted() {
    for (name, case) in [
        ("SGX v3", sgx(3, |_| ()).case()),
        ("SGX v4", sgx(4, |_| ()).case()),
        ("SGX v5", sgx(5, |_| ()).case()),
        ("TDX v4", td_of(4, TdForm::V10, |_| ()).case()),
        ("TDX v5, 1.0", td_of(5, TdForm::V10, |_| ()).case()),
        ("TDX v5, 1.5", td_of(5, TdForm::V15, |_| ()).case()),
        ("TDX v5, 1.5ex", td_of(5, TdForm::V15Ex, |_| ()).case()),
        ("no authentication data", {
            sgx(3, |_| ()).case_with(|quote| quote.qe_auth_data.clear())
        }),
        ("the chain in the collateral", with_chain(encrypted_ppid(3))),
    ] {
        let appraisal = case
            .appraise()
            .unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert_eq!(appraisal.tee, Tee::Simulated, "{name}");
        assert_eq!(appraisal.tolerated().count(), 0, "{name}");
        let parsed = Evidence::parse(case.evidence.as_bytes()).unwrap();
        assert_eq!(parsed, case.evidence, "{name}");
    }
}

#[test]
fn every_reserved_attribute_of_an_enclave_is_refused() {
    const KNOWN: [u32; 8] = [0, 1, 2, 4, 5, 6, 7, 10];
    for bit in 0..64 {
        let case = sgx(3, |parts| {
            parts.enclave.flags |= 1 << bit;
            parts.policy = parts.policy.clone().allow_debug();
        })
        .case();
        match case.appraise() {
            Ok(_) => assert!(KNOWN.contains(&bit), "bit {bit} is accepted"),
            Err(refusal) => {
                assert!(!KNOWN.contains(&bit), "bit {bit}: {refusal}");
                assert_eq!(refusal.failed, CheckName::Attributes, "bit {bit}");
                assert!(refusal.why.contains("reserved bits"), "{refusal}");
            }
        }
    }
}

/// Offset of the signature in an SGX quote of version 3.
const SGX_SIGNATURE: usize = 48 + 384 + 4;

/// Offset of the length of the QE's authentication data in such a quote.
const SGX_AUTH: usize = SGX_SIGNATURE + 64 + 64 + 384 + 64;

fn signed(attestation_key: &Key, pck: &Key) -> Case {
    let parts = sgx(3, |_| ());
    let quote = parts.quote();
    parts.case().with(|case| {
        let bytes = quote.sign_with(forge(), attestation_key, pck).unwrap();
        case.evidence = Evidence::SgxDcap(bytes);
    })
}

/// A quote that names its platform by an encrypted PPID (Intel: RSA-3072, CPUSVN, PCESVN, PCE-ID)
/// of this type.
fn encrypted_ppid(certification_type: u16) -> Case {
    sgx(3, |_| ()).case_with(|quote| {
        quote.certification_type = certification_type;
        quote.certification_data = Some(vec![7; 384 + 16 + 2 + 2]);
    })
}

fn with_chain(case: Case) -> Case {
    case.with(|case| case.dcap().pck_certificate_chain = Some(forge().pck_chain()))
}
