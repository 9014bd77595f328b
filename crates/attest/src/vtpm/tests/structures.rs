//! The form of TPM structures.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_SHA256},
};
use proptest::prelude::*;

use super::{Quote, SHA256, Tpm, hcl::good_hcl, sized};
use crate::{
    Evidence,
    vtpm::{
        self, VtpmEvidence,
        hcl::HclReport,
        key::{AttestationKey, KeyError},
        tpm::{Attest, Hash, Signature, SignatureValue, TpmError, parse_public},
    },
};

fn attest_error(change: impl FnOnce(&mut Quote)) -> TpmError {
    let mut quote = Quote::good();
    change(&mut quote);
    Attest::parse(&quote.bytes()).expect_err("this is no quote")
}

#[test]
fn only_quotes_that_a_tpm_generated_are_read() {
    Attest::parse(&Quote::good().bytes()).unwrap();
    // What the guest can have a key sign that is not restricted.
    let error = attest_error(|quote| quote.magic = 0xff54_4346);
    assert!(matches!(error, TpmError::Value { field: "magic", .. }));
    // TPM_ST_ATTEST_CERTIFY
    let error = attest_error(|quote| quote.kind = 0x8017);
    assert!(matches!(error, TpmError::Value { field: "type", .. }));
    let error = attest_error(|quote| quote.tail = vec![0]);
    assert!(matches!(error, TpmError::Trailing { count: 1, .. }));
    let error = attest_error(|quote| quote.selections.push((SHA256, [0, 0, 1])));
    assert!(matches!(error, TpmError::BankTwice { .. }));
    let error = attest_error(|quote| quote.selections = vec![(SHA256, [0; 3])]);
    assert!(matches!(error, TpmError::NoPcr));
    let error = attest_error(|quote| quote.selections = Vec::new());
    assert!(matches!(error, TpmError::NoPcr));
    let error = attest_error(|quote| quote.selections = vec![(0x12, [1, 0, 0])]);
    assert!(matches!(error, TpmError::Value { .. }));
    let error = attest_error(|quote| quote.selections = vec![(SHA256, [1, 0, 0]); 9]);
    assert!(matches!(error, TpmError::Value { .. }));
    let whole = Quote::good().bytes();
    for end in 0..whole.len() {
        assert!(matches!(
            Attest::parse(&whole[..end]),
            Err(TpmError::Truncated { .. })
        ));
    }
}

#[test]
fn signatures_have_a_known_scheme_and_hash() {
    let tpm = Tpm::new();
    let message = Quote::good().bytes();
    let good = tpm.signature(&message);
    let key = AttestationKey::from_spki(&tpm.spki()).unwrap();
    assert!(key.verifies(&message, &Signature::parse(&good).unwrap()));

    // The scheme is a part of what is verified.
    let mut pss = vec![0, 0x16, 0, 11];
    sized(&mut pss, &tpm.sign(&message, &RSA_PSS_SHA256));
    assert!(key.verifies(&message, &Signature::parse(&pss).unwrap()));
    let mut as_pss = good.clone();
    as_pss[1] = 0x16;
    assert!(!key.verifies(&message, &Signature::parse(&as_pss).unwrap()));
    let mut other_hash = good.clone();
    other_hash[3] = 12;
    assert!(!key.verifies(&message, &Signature::parse(&other_hash).unwrap()));
    // SHA-1 is a hash that TPMs have, and no scheme here uses it.
    let mut sha1 = good.clone();
    sha1[3] = 4;
    assert!(!key.verifies(&message, &Signature::parse(&sha1).unwrap()));

    let mut hmac = good.clone();
    hmac[1] = 0x05;
    assert!(matches!(
        Signature::parse(&hmac),
        Err(TpmError::Value {
            field: "sigAlg",
            ..
        })
    ));
    let trailing = [good.as_slice(), &[0]].concat();
    assert!(matches!(
        Signature::parse(&trailing),
        Err(TpmError::Trailing { .. })
    ));
}

#[test]
fn ecdsa_signatures_are_read_from_both_forms() {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let point = key.public_key().as_ref();
    let ak = AttestationKey::p256(&point[1..33], &point[33..]).unwrap();
    let message = Quote::good().bytes();
    let der = key.sign(&SystemRandom::new(), &message).unwrap();
    let signature = Signature::ecdsa_der(Hash::Sha256, der.as_ref()).unwrap();
    assert!(ak.verifies(&message, &signature));
    assert!(!ak.verifies(&message[1..], &signature));

    let SignatureValue::Ecdsa { r, s } = &signature.value else {
        panic!("another scheme");
    };
    let mut structure = vec![0, 0x18, 0, 11];
    sized(&mut structure, r);
    sized(&mut structure, s);
    assert!(ak.verifies(&message, &Signature::parse(&structure).unwrap()));
    // A key of another kind does not verify it.
    let rsa = AttestationKey::from_spki(&Tpm::new().spki()).unwrap();
    assert!(!rsa.verifies(&message, &signature));
    let trailing = [der.as_ref(), &[0]].concat();
    assert!(Signature::ecdsa_der(Hash::Sha256, &trailing).is_err());
}

#[test]
fn short_and_odd_keys_are_refused() {
    assert_eq!(
        AttestationKey::rsa(&[0xff; 128], &[1, 0, 1]),
        Err(KeyError::RsaSize { bits: 1024 })
    );
    assert_eq!(
        AttestationKey::rsa(&[0xff; 256], &[2]),
        Err(KeyError::RsaExponent)
    );
    assert_eq!(
        AttestationKey::rsa(&[0xff; 256], &[1]),
        Err(KeyError::RsaExponent)
    );
    assert_eq!(
        AttestationKey::p256(&[1; 33], &[1; 32]),
        Err(KeyError::Point)
    );
}

#[test]
fn a_public_key_is_one_of_a_restricted_signing_key() {
    let public = |attributes: u32| {
        let mut bytes = vec![0, 1, 0, 11];
        bytes.extend(attributes.to_be_bytes());
        sized(&mut bytes, b"");
        bytes.extend([0, 0x10, 0, 0x14, 0, 11, 8, 0, 0, 0, 0, 0]);
        sized(&mut bytes, &[0xff; 256]);
        bytes
    };
    // fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign
    parse_public(&public(0x0005_0072)).unwrap();
    for without in [1 << 1, 1 << 16, 1 << 18] {
        assert!(matches!(
            parse_public(&public(0x0005_0072 & !without)),
            Err(TpmError::Value {
                field: "objectAttributes",
                ..
            })
        ));
    }
    assert!(parse_public(&public(0x0007_0072)).is_err());
    assert!(matches!(
        parse_public(&[public(0x0005_0072), vec![0]].concat()),
        Err(TpmError::Trailing { .. })
    ));
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..3000),
        start in prop_oneof![
            Just(Vec::new()),
            Just(b"HCLA".to_vec()),
            Just(b"{".to_vec()),
            Just(b"tpm_attestation:\n".to_vec()),
            Just(vec![0x0a, 0x98, 0x02, 0x00, 0x01]),
        ],
    ) {
        let all = [start, bytes].concat();
        let _ = Evidence::parse(&all);
        let _ = VtpmEvidence::parse(&all);
        let _ = Attest::parse(&all);
        let _ = Signature::parse(&all);
        let _ = parse_public(&all);
        let _ = HclReport::parse(all.clone());
        let _ = AttestationKey::from_spki(&all);
        let _ = vtpm::ak_fingerprint(&all);
    }

    #[test]
    fn no_change_of_a_good_structure_makes_the_readers_panic(
        changes in proptest::collection::btree_map(0_usize..1500, any::<u8>(), 1..6),
    ) {
        for good in [good_hcl(), Quote::good().bytes()] {
            let mut bytes = good;
            for (at, byte) in &changes {
                let at = at % bytes.len();
                bytes[at] = *byte;
            }
            let _ = HclReport::parse(bytes.clone());
            if let Ok(attest) = Attest::parse(&bytes) {
                prop_assert!(!attest.selections.is_empty());
            }
        }
    }
}
