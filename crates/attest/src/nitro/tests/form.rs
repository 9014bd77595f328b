//! The form of documents: each way to be malformed has an error of its own.

use proptest::prelude::*;

use super::{
    error_of, error_of_bytes,
    forge::{
        BREAK, MADE, NULL, PROTECTED, Payload, bytes, document, head, message, sig_structure, text,
    },
    good, good_payload, judge, pki,
};
use crate::{
    Evidence,
    nitro::{CborError, Document, DocumentError, MAX_DOCUMENT_BYTES, Optional},
};

fn error_of_message(message: &[u8]) -> DocumentError {
    Document::parse(message).unwrap_err()
}

/// The four items of the good message.
fn items() -> [Vec<u8>; 4] {
    let payload = good_payload().encode();
    let signature = pki().signer.sign(&sig_structure(PROTECTED, &payload));
    [
        bytes(PROTECTED),
        vec![0xa0],
        bytes(&payload),
        bytes(&signature),
    ]
}

#[test]
fn a_document_says_what_was_put_in() {
    let good = good();
    let document = Document::parse(&good).unwrap();
    assert_eq!(document.module_id(), "i-0123-enc4567");
    assert_eq!(document.timestamp(), MADE);
    assert_eq!(document.public_key(), Optional::Present(b"a key"));
    assert_eq!(document.user_data(), Optional::Null);
    assert_eq!(document.nonce(), Optional::Present(b"a nonce"));
    assert_eq!(document.cabundle(), pki().bundle());
    assert_eq!(document.pcrs().len(), 16);
    assert_eq!(
        document.signed(),
        sig_structure(PROTECTED, &good_payload().encode())
    );
}

#[test]
fn optional_members_may_be_absent_null_or_empty() {
    let payload = good_payload()
        .without("public_key")
        .with("nonce", bytes(&[]))
        .with("user_data", bytes(&[7; 1024]));
    let document = pki().document(&payload);
    let parsed = Document::parse(&document).unwrap();
    assert_eq!(parsed.public_key(), Optional::Absent);
    assert_eq!(parsed.nonce(), Optional::Present(&[]));
    let claims = serde_json::to_value(judge(&document).unwrap().claims).unwrap();
    assert_eq!(claims["absent"], serde_json::json!(["public_key"]));
    assert_eq!(claims["null"], serde_json::json!([]));
    assert_eq!(claims["nonce"], serde_json::Value::Null);
}

#[test]
fn maps_and_arrays_of_indefinite_length_are_read() {
    let good = good_payload();
    let with_break = |definite: Vec<u8>, start: u8| {
        // Both have fewer than 24 items: their head is one byte.
        [&[start], &definite[1..], &[BREAK]].concat()
    };
    let payload = good
        .clone()
        .with("pcrs", with_break(good.value("pcrs"), 0xbf))
        .with("cabundle", with_break(good.value("cabundle"), 0x9f))
        .encode_indefinite();
    judge(&document(&pki().signer, PROTECTED, &payload)).unwrap();
    let cut = &payload[..payload.len() - 1];
    assert!(matches!(
        error_of_bytes(cut),
        DocumentError::Cbor {
            source: CborError::Truncated { .. },
            ..
        }
    ));
}

#[test]
fn tag_18_is_read_and_no_other() {
    let tagged = [&[0xd2], good().as_slice()].concat();
    judge(&tagged).unwrap();
    assert!(matches!(Evidence::parse(&tagged), Ok(Evidence::Nitro(_))));
    for other in [
        &[0xd1][..],
        &[0xd8, 0x12],
        &[0xd9, 0xd9, 0xf7],
        &[0xd2, 0xd2],
    ] {
        let message = [other, &good()].concat();
        assert!(matches!(
            error_of_message(&message),
            DocumentError::NotCoseSign1 { .. }
        ));
    }
}

#[test]
fn the_message_is_an_array_of_four() {
    for first in [0x83, 0x85, 0x9f, 0xa2, 0x44] {
        let mut message = good();
        message[0] = first;
        assert!(matches!(
            error_of_message(&message),
            DocumentError::NotCoseSign1 { .. }
        ));
    }
    assert!(matches!(
        error_of_message(&[]),
        DocumentError::NotCoseSign1 { .. }
    ));
}

#[test]
fn the_protected_header_is_es384_and_nothing_else() {
    let payload = good_payload().encode();
    let error = |protected: &[u8]| {
        // Signed over that very header: it is the header that is refused.
        error_of_message(&document(&pki().signer, protected, &payload))
    };
    for (algorithm, header) in [
        (-7, &[0xa1, 0x01, 0x26][..]),
        (-36, &[0xa1, 0x01, 0x38, 0x23]),
        (5, &[0xa1, 0x01, 0x05]),
    ] {
        assert_eq!(error(header), DocumentError::Algorithm { found: algorithm });
    }
    for header in [
        &[][..],
        &[0xa0],
        // {1: -35, 4: h''}
        &[0xa2, 0x01, 0x38, 0x22, 0x04, 0x40],
        // {1: -35, 1: -35}
        &[0xa2, 0x01, 0x38, 0x22, 0x01, 0x38, 0x22],
        // {_ 1: -35}
        &[0xbf, 0x01, 0x38, 0x22, 0xff],
        // {1: -35}, in a long form
        &[0xa1, 0x01, 0x39, 0x00, 0x22],
        // {1: "ES384"}
        &[0xa1, 0x01, 0x65, b'E', b'S', b'3', b'8', b'4'],
        // {1: -35} and a byte
        &[0xa1, 0x01, 0x38, 0x22, 0x00],
    ] {
        assert!(
            matches!(error(header), DocumentError::Protected { .. }),
            "{header:02x?}"
        );
    }
}

#[test]
fn the_unprotected_header_is_empty() {
    let [protected, _, payload, signature] = items();
    // {1: -35}, and an empty map in another form.
    for header in [&[0xa1, 0x01, 0x38, 0x22][..], &[0xbf, 0xff]] {
        assert_eq!(
            error_of_message(&message(&protected, header, &payload, &signature)),
            DocumentError::Unprotected
        );
    }
    for header in [&[NULL][..], &[0x40], &[0x80]] {
        assert!(matches!(
            error_of_message(&message(&protected, header, &payload, &signature)),
            DocumentError::Cbor {
                source: CborError::Unexpected { .. },
                ..
            }
        ));
    }
}

#[test]
fn a_detached_payload_is_refused() {
    let [protected, unprotected, _, signature] = items();
    assert!(matches!(
        error_of_message(&message(&protected, &unprotected, &[NULL], &signature)),
        DocumentError::Cbor {
            source: CborError::Unexpected { .. },
            ..
        }
    ));
}

#[test]
fn the_signature_is_r_and_s_of_96_bytes() {
    let [protected, unprotected, payload, _] = items();
    let signed = sig_structure(PROTECTED, &good_payload().encode());
    let der = {
        use rcgen::SigningKey as _;
        pki().signer.key.sign(&signed).unwrap()
    };
    let raw = pki().signer.sign(&signed);
    for signature in [&der, &raw[..95].to_vec(), &[raw.clone(), vec![0]].concat()] {
        assert_eq!(
            error_of_message(&message(
                &protected,
                &unprotected,
                &payload,
                &bytes(signature)
            )),
            DocumentError::Signature {
                size: signature.len()
            }
        );
    }
}

/// The message's frame is signed by nobody: it must not have a second form.
#[test]
fn lengths_have_one_form() {
    let [protected, unprotected, payload, signature] = items();
    let long = |item: &[u8], at: usize| [&[0x5a, 0, 0], &item[at..]].concat();
    for message in [
        message(
            &[&[0x58, 4], PROTECTED].concat(),
            &unprotected,
            &payload,
            &signature,
        ),
        message(&protected, &unprotected, &long(&payload, 1), &signature),
        message(
            &protected,
            &unprotected,
            &payload,
            &[&[0x59, 0, 96], &signature[2..]].concat(),
        ),
        message(&protected, &[0xb8, 0], &payload, &signature),
    ] {
        assert!(matches!(
            error_of_message(&message),
            DocumentError::Cbor {
                source: CborError::NotShortest { .. },
                ..
            }
        ));
    }
}

#[test]
fn nothing_follows_the_document_or_its_map() {
    let document = [good().as_slice(), &[0; 3]].concat();
    assert_eq!(
        error_of_message(&document),
        DocumentError::Trailing {
            part: "the document",
            size: 3
        }
    );
    let payload = [good_payload().encode(), vec![0xa0]].concat();
    assert_eq!(
        error_of_bytes(&payload),
        DocumentError::Trailing {
            part: "the payload's map",
            size: 1
        }
    );
}

#[test]
fn what_is_too_large_is_not_read() {
    let large = [good(), vec![0; MAX_DOCUMENT_BYTES]].concat();
    assert!(matches!(
        error_of_message(&large),
        DocumentError::TooLarge { .. }
    ));
}

#[test]
fn lengths_beyond_the_input_and_deep_nests_cost_nothing() {
    let [protected, unprotected, _, _] = items();
    let frame = [&[0x84], protected.as_slice(), &unprotected].concat();
    for huge in [
        head(2, u64::MAX),
        head(2, u64::from(u32::MAX)),
        head(2, 60_000),
    ] {
        assert!(matches!(
            error_of_message(&[frame.clone(), huge].concat()),
            DocumentError::Cbor {
                source: CborError::Truncated { .. },
                ..
            }
        ));
    }
    for huge in [
        head(5, u64::MAX),
        [head(5, 1), text("pcrs"), head(5, u64::MAX)].concat(),
    ] {
        assert!(matches!(
            error_of_bytes(&huge),
            DocumentError::Cbor {
                source: CborError::Truncated { .. },
                ..
            }
        ));
    }
    for opening in [0x81, 0xa1, 0x9f, 0xbf, 0xc1] {
        let nest = vec![opening; 10_000];
        assert!(matches!(
            error_of_bytes(&nest),
            DocumentError::Cbor {
                source: CborError::Unexpected { .. },
                ..
            }
        ));
        assert!(matches!(
            error_of(&Payload(vec![("nonce".into(), nest)])),
            DocumentError::Cbor {
                source: CborError::Unexpected { .. },
                ..
            }
        ));
    }
}

#[test]
fn every_cut_is_refused() {
    let good = good();
    for end in 0..good.len() {
        assert!(Document::parse(&good[..end]).is_err(), "{end}");
    }
    let payload = good_payload().encode();
    for end in 0..payload.len() {
        let document = document_without_signature(&payload[..end]);
        assert!(Document::parse(&document).is_err(), "{end}");
    }
}

/// With 96 bytes in place of a signature: what is tested is the form.
fn document_without_signature(payload: &[u8]) -> Vec<u8> {
    message(
        &bytes(PROTECTED),
        &[0xa0],
        &bytes(payload),
        &bytes(&[1; 96]),
    )
}

proptest! {
    #[test]
    fn arbitrary_bytes_panic_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Document::parse(&bytes);
        let _ = Document::parse(&[&[0x84], bytes.as_slice()].concat());
        let _ = Document::parse(&document_without_signature(&bytes));
        let _ = Evidence::parse(&bytes);
    }

    #[test]
    fn spoilt_payloads_panic_nothing(
        at in any::<prop::sample::Index>(),
        with in proptest::collection::vec(any::<u8>(), 0..9),
        cut in 0..9_usize,
    ) {
        let mut payload = good_payload().encode();
        let start = at.index(payload.len());
        let end = payload.len().min(start + cut);
        payload.splice(start..end, with);
        let document = document_without_signature(&payload);
        if let Ok(parsed) = Document::parse(&document) {
            let _ = super::super::fields(&parsed);
        }
        // Nobody has signed it.
        prop_assert!(judge(&document).is_err());
    }

    #[test]
    fn a_flipped_bit_is_refused(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut document = good();
        let at = at.index(document.len());
        document[at] ^= 1 << bit;
        prop_assert!(judge(&document).is_err());
    }
}
