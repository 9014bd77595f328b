//! The members of the payload: keys, types, sizes.

use super::{
    error_of, error_of_bytes,
    forge::{BREAK, NULL, array, bytes, good_pcrs, number, pcrs, text},
    good_payload, judge, pki,
};
use crate::nitro::{CborError, DocumentError};

#[test]
fn every_key_is_there_once() {
    for (key, value) in good_payload().0 {
        let twice = good_payload().and(&key, value);
        assert_eq!(
            error_of(&twice),
            DocumentError::DuplicateKey { key: key.clone() }
        );
        let without = good_payload().without(&key);
        if ["public_key", "user_data", "nonce"].contains(&key.as_str()) {
            judge(&pki().document(&without)).unwrap();
        } else {
            assert!(matches!(
                error_of(&without),
                DocumentError::Missing { key: missing } if missing == key
            ));
        }
    }
}

#[test]
fn unknown_keys_are_refused_by_name() {
    let payload = good_payload().and("svn", number(1));
    assert_eq!(
        error_of(&payload),
        DocumentError::UnknownKey { key: "svn".into() }
    );
    let long = good_payload().and(&"k".repeat(3000), number(1));
    assert_eq!(
        error_of(&long),
        DocumentError::UnknownKey {
            key: "k".repeat(64)
        }
    );
    let hostile = good_payload().and("\u{1b}[2J", number(1));
    assert!(!error_of(&hostile).to_string().contains(char::is_control));
    let number_as_key = [vec![0xa1], number(1), number(1)].concat();
    assert!(matches!(
        error_of_bytes(&number_as_key),
        DocumentError::Cbor {
            source: CborError::Unexpected { .. },
            ..
        }
    ));
}

#[test]
fn a_document_is_of_an_enclave_or_of_an_instance() {
    let both = good_payload().and("nitrotpm_pcrs", pcrs(&good_pcrs()));
    assert_eq!(error_of(&both), DocumentError::TwoAttesters);
}

#[test]
fn members_have_their_types() {
    for (key, _) in good_payload().0 {
        for wrong in [
            vec![0xf5],
            vec![0xf7],
            vec![0xf9, 0, 0],
            vec![0x20],
            vec![0xc0, 0x00],
        ] {
            assert!(matches!(
                error_of(&good_payload().with(&key, wrong)),
                DocumentError::Cbor {
                    source: CborError::Unexpected { .. },
                    ..
                }
            ));
        }
    }
    // Null is for the optional members only, and chunks of strings are for none.
    for (key, wrong) in [
        ("module_id", vec![NULL]),
        ("certificate", vec![NULL]),
        ("cabundle", vec![NULL]),
        ("pcrs", vec![NULL]),
        ("nonce", vec![0x5f, 0x41, 0, BREAK]),
        ("nonce", text("a nonce")),
        ("digest", bytes(b"SHA384")),
        ("timestamp", bytes(&[1])),
        ("cabundle", array(&[text("no certificate")])),
    ] {
        assert!(matches!(
            error_of(&good_payload().with(key, wrong)),
            DocumentError::Cbor {
                source: CborError::Unexpected { .. },
                ..
            }
        ));
    }
    assert!(matches!(
        error_of(&good_payload().with("module_id", vec![0x62, 0xc3, 0x28])),
        DocumentError::Cbor {
            source: CborError::NotUtf8 { .. },
            ..
        }
    ));
}

#[test]
fn members_have_their_sizes() {
    for (key, value, size) in [
        ("module_id", text(""), 0),
        ("module_id", text(&"x".repeat(257)), 257),
        ("certificate", bytes(&[]), 0),
        ("certificate", bytes(&[0; 1025]), 1025),
        ("cabundle", array(&[bytes(&[])]), 0),
        ("cabundle", array(&[bytes(&[0; 1025])]), 1025),
        ("public_key", bytes(&[0; 1025]), 1025),
        ("user_data", bytes(&[0; 1025]), 1025),
        ("nonce", bytes(&[0; 1025]), 1025),
    ] {
        assert!(matches!(
            error_of(&good_payload().with(key, value)),
            DocumentError::Size { key: found, size: of, .. } if found == key && of == size
        ));
    }
    assert_eq!(
        error_of(&good_payload().with("cabundle", array(&[]))),
        DocumentError::CabundleEmpty
    );
    let nine = vec![bytes(&[0]); 9];
    assert_eq!(
        error_of(&good_payload().with("cabundle", array(&nine))),
        DocumentError::CabundleTooLong
    );
    assert_eq!(
        error_of(&good_payload().with("timestamp", number(0))),
        DocumentError::Timestamp
    );
}

#[test]
fn pcrs_are_sha384_digests_with_known_indexes() {
    for digest in ["SHA256", "SHA512", "sha384", ""] {
        assert_eq!(
            error_of(&good_payload().with("digest", text(digest))),
            DocumentError::Digest {
                found: digest.into()
            }
        );
    }
    let error = |list: &[(u64, Vec<u8>)]| error_of(&good_payload().with("pcrs", pcrs(list)));
    for size in [0, 32, 47, 49, 64] {
        assert_eq!(
            error(&[(0, vec![1; 48]), (3, vec![1; size])]),
            DocumentError::PcrSize { index: 3, size }
        );
    }
    for index in [32, 256, u64::MAX] {
        assert_eq!(
            error(&[(index, vec![1; 48])]),
            DocumentError::PcrIndex { index }
        );
    }
    assert_eq!(
        error(&[(0, vec![1; 48]), (0, vec![2; 48])]),
        DocumentError::DuplicatePcr { index: 0 }
    );
    assert_eq!(error(&[]), DocumentError::NoPcrs);
    let all: Vec<_> = (0..32).map(|index| (index, vec![1; 48])).collect();
    judge(&pki().document(&good_payload().with("pcrs", pcrs(&all)))).unwrap();
}
