use std::time::SystemTime;

use mse_simtee::Platform;
use proptest::prelude::*;

use super::*;

/// A platform whose quotes are real but for the hardware.
struct Site {
    platform: Platform,
    _dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let platform = Platform::create(&dir.path().join("tee"), SystemTime::now()).unwrap();
        Self {
            platform,
            _dir: dir,
        }
    }

    fn tagged(&self, claims: &[u8]) -> Vec<u8> {
        let quote = self.platform.quote([1; 32], &report_data(claims)).unwrap();
        encode(&quote, claims)
    }

    fn parse(&self, claims: &[u8]) -> Result<TaggedEvidence, TaggedEvidenceError> {
        TaggedEvidence::parse(&self.tagged(claims))
    }
}

const KEY: &[u8] = b"a SubjectPublicKeyInfo";

fn entry(algorithm: u64, hash: &[u8]) -> Vec<u8> {
    Writer::default()
        .array(2)
        .unsigned(algorithm)
        .byte_string(hash)
        .finish()
}

fn claims(pairs: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::default().map(pairs.len() as u64);
    for (name, value) in pairs {
        writer = writer.text(name).byte_string(value);
    }
    writer.finish()
}

#[test]
fn what_we_write_is_read_and_names_the_key() {
    let site = Site::new();
    let tagged = site.parse(&claims_for(KEY)).unwrap();
    assert!(tagged.names_key(KEY));
    assert!(!tagged.names_key(b"another"));
    assert_eq!(tagged.nonce, None);
    assert_eq!(
        tagged.evidence.stated_report_data(),
        Some(tagged.report_data())
    );
    assert_eq!(tagged.report_data()[32..], [0; 32]);
}

#[test]
fn the_bytes_are_those_of_the_specification() {
    let claims = claims_for(KEY);
    assert_eq!(claims[..14], *b"\xa1\x6bpubkey-hash\x58");
    assert_eq!(claims[14..19], *b"\x24\x82\x01\x58\x20");
    assert_eq!(claims.len(), 51);
    let value = encode(&[7; 300], &claims);
    assert_eq!(value[..7], *b"\xd9\xea\x60\x82\x59\x01\x2c");
    assert_eq!(value[307..309], *b"\x58\x33");
}

/// The hash of the key and the report data in the certificates that Gramine and Intel's SGX SDK
/// made for the interoperability tests of the Confidential Computing Consortium.
#[test]
fn report_data_is_that_of_other_stacks() {
    for (hash, data) in [
        (
            "5a5a5b2d177433048e9d62409d1acc4ec526c06e294d09e69a36cff9369e4851",
            "d8673446fe0f6842d4af0d182c8751d7e967039116deff5f85a43b2ca90c2831",
        ),
        (
            "f306ed602985371e3b485102db1fcdd4f4738329ce58b2f8d1c5d2cc79752026",
            "e551b081d5079ad7565b5f20a45f276c2f5a6152c1802c0688e15a02e87a74c9",
        ),
    ] {
        let entry = entry(1, &hex::decode(hash).unwrap());
        let made = report_data(&claims(&[(PUBKEY_HASH, &entry)]));
        assert_eq!(hex::encode(made), format!("{data}{}", "0".repeat(64)));
    }
}

#[test]
fn all_three_hashes_and_a_nonce_are_taken() {
    let site = Site::new();
    for (id, algorithm) in [(1, &SHA256), (7, &SHA384), (8, &SHA512)] {
        let entry = entry(id, digest(algorithm, KEY).as_ref());
        let claims = claims(&[(NONCE, b"fresh"), (PUBKEY_HASH, &entry), ("more", b"")]);
        let tagged = site.parse(&claims).unwrap();
        assert!(tagged.names_key(KEY), "{id}");
        assert_eq!(tagged.nonce.as_deref(), Some(&b"fresh"[..]));
    }
}

#[test]
fn claims_that_the_quote_is_not_about_are_refused() {
    let site = Site::new();
    let claims = claims_for(KEY);
    let quote = |data: &[u8; 64]| site.platform.quote([1; 32], data).unwrap();
    let other = encode(&quote(&report_data(&claims)), &claims_for(b"another"));
    assert!(matches!(
        TaggedEvidence::parse(&other),
        Err(TaggedEvidenceError::OtherClaims)
    ));
    // Padding is zero, and only the SHA-256 fills report data.
    let mut padded = report_data(&claims);
    padded[63] = 1;
    assert!(matches!(
        TaggedEvidence::parse(&encode(&quote(&padded), &claims)),
        Err(TaggedEvidenceError::OtherClaims)
    ));
}

#[test]
fn other_forms_have_their_own_errors() {
    use TaggedEvidenceError as E;

    let site = Site::new();
    let good = site.tagged(&claims_for(KEY));
    let replaced = |at: usize, bytes: &[u8]| {
        let mut value = good.clone();
        value.splice(at..at + bytes.len(), bytes.iter().copied());
        TaggedEvidence::parse(&value).unwrap_err()
    };
    assert!(matches!(replaced(2, &[0x61]), E::Tag(60001)));
    assert!(matches!(replaced(3, &[0x83]), E::Items { items: 3, .. }));
    assert!(matches!(replaced(3, &[0x9f]), E::Cbor(CborError::Length)));
    assert!(matches!(replaced(4, &[0x5f]), E::Cbor(CborError::Length)));
    assert!(matches!(
        replaced(0, &[0x82]),
        E::Cbor(CborError::Expected("a tag"))
    ));
    let mut longer = good.clone();
    longer.push(0);
    assert!(matches!(
        TaggedEvidence::parse(&longer),
        Err(E::Cbor(CborError::Trailing))
    ));
    assert!(matches!(
        TaggedEvidence::parse(&vec![0; MAX_TAGGED_EVIDENCE + 1]),
        Err(E::TooLarge)
    ));

    let hash = digest(&SHA256, KEY);
    let named = entry(1, hash.as_ref());
    let refused = |claims: &[u8]| site.parse(claims).unwrap_err();
    assert!(matches!(refused(&claims(&[])), E::NoKeyHash));
    assert!(matches!(refused(&claims(&[(NONCE, b"n")])), E::NoKeyHash));
    let twice = claims(&[(PUBKEY_HASH, &named), (PUBKEY_HASH, &named)]);
    assert!(matches!(refused(&twice), E::Twice(name) if name == PUBKEY_HASH));
    let unknown = claims(&[(PUBKEY_HASH, &entry(2, hash.as_ref()))]);
    assert!(matches!(refused(&unknown), E::Hash(2)));
    let short = claims(&[(PUBKEY_HASH, &entry(7, hash.as_ref()))]);
    assert!(matches!(refused(&short), E::HashLength(32)));
    assert!(matches!(refused(b"\xb8\x20"), E::TooLarge));
    assert!(matches!(refused(b"\xbf\xff"), E::Cbor(CborError::Length)));
    assert!(matches!(refused(&[0; MAX_CLAIMS + 1]), E::TooLarge));
    let text = Writer::default()
        .map(1)
        .text(PUBKEY_HASH)
        .text("no")
        .finish();
    assert!(matches!(
        refused(&text),
        E::Cbor(CborError::Expected("a byte string"))
    ));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = TaggedEvidence::parse(&bytes);
        let _ = read_claims(&bytes);
    }
}
