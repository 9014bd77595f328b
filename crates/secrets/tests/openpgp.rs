//! What another implementation of OpenPGP, which wrote none of it, makes of our keys: it reads them,
//! checks their signatures, signs with them, encrypts to them and decrypts with them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use mse_secrets::{Format, PgpEncoding, PgpHalf, Spec, Value, generate, render};
use pgp::composed::{Deserializable, Message, MessageBuilder, SignedPublicKey, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::crypto::sym::SymmetricKeyAlgorithm;
use pgp::types::{CompressionAlgorithm, KeyDetails, KeyVersion, Password};
use rand::thread_rng;

const CREATED: u32 = 1_811_851_200;

#[test]
fn a_key_is_what_sessions_expect() {
    for _ in 0..20 {
        let key = public(&key());
        key.verify_bindings().unwrap();
        assert_eq!(key.primary_key.version(), KeyVersion::V4);
        assert_eq!(key.primary_key.algorithm(), PublicKeyAlgorithm::EdDSALegacy);
        assert_eq!(key.primary_key.created_at().as_secs(), CREATED);
        let [user] = &key.details.users[..] else {
            panic!("one user id");
        };
        let id = String::from_utf8(user.id.id().to_vec()).unwrap();
        assert!(id.starts_with("mse-") && id.len() == 20, "{id}");
        let [signature] = &user.signatures[..] else {
            panic!("one certification");
        };
        assert_eq!(
            signature.preferred_symmetric_algs(),
            [SymmetricKeyAlgorithm::AES256]
        );
        assert_eq!(signature.preferred_hash_algs(), [HashAlgorithm::Sha256]);
        assert_eq!(
            signature.preferred_compression_algs(),
            [CompressionAlgorithm::ZLIB]
        );
        let flags = signature.key_flags();
        assert!(flags.certify() && flags.sign() && !flags.encrypt_comms());
        assert!(signature.features().unwrap().seipd_v1());
        let fingerprint = key.primary_key.fingerprint();
        assert_eq!(signature.issuer_fingerprint(), [&fingerprint]);
        assert_eq!(
            signature.issuer_key_id(),
            [&key.primary_key.legacy_key_id()]
        );
        let [subkey] = &key.public_subkeys[..] else {
            panic!("one subkey");
        };
        assert_eq!(subkey.key.algorithm(), PublicKeyAlgorithm::ECDH);
        let flags = subkey.signatures[0].key_flags();
        assert!(flags.encrypt_comms() && flags.encrypt_storage() && !flags.sign());
    }
}

#[test]
fn every_form_is_the_same_key() {
    let key = key();
    for half in [PgpHalf::Private, PgpHalf::Public] {
        let form = |encoding| render(&key, Format::Pgp(half, encoding)).unwrap();
        let binary = form(PgpEncoding::Binary);
        use base64::Engine as _;
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(form(PgpEncoding::Base64))
            .unwrap();
        assert_eq!(decoded, *binary);
        let armored = String::from_utf8(form(PgpEncoding::Armored).to_vec()).unwrap();
        assert!(armored.lines().all(|line| line.len() <= 64));
        match half {
            PgpHalf::Private => assert_eq!(
                SignedSecretKey::from_string(&armored).unwrap().0,
                SignedSecretKey::from_bytes(&**binary).unwrap()
            ),
            PgpHalf::Public => assert_eq!(
                SignedPublicKey::from_string(&armored).unwrap().0,
                SignedPublicKey::from_bytes(&**binary).unwrap()
            ),
        }
    }
    assert_eq!(private(&key).to_public_key(), public(&key));
    // Stored and read again, it is the same to the last byte.
    let again = Value::from_bytes(&key.to_bytes()).unwrap();
    let format = Format::Pgp(PgpHalf::Private, PgpEncoding::Armored);
    assert_eq!(render(&again, format), render(&key, format));
}

#[test]
fn it_signs_and_decrypts() {
    // More than one: numbers with leading zeros are written shorter.
    for _ in 0..40 {
        let key = key();
        let (private, public) = (private(&key), public(&key));
        private.verify_bindings().unwrap();

        let mut builder = MessageBuilder::from_bytes("", &b"to be signed"[..]);
        builder.sign(
            &private.primary_key,
            Password::empty(),
            HashAlgorithm::Sha256,
        );
        let signed = builder.to_vec(thread_rng()).unwrap();
        let mut message = Message::from_bytes(&signed[..]).unwrap();
        assert_eq!(message.as_data_vec().unwrap(), b"to be signed");
        message.verify(&public.primary_key).unwrap();

        let mut builder = MessageBuilder::from_bytes("", &b"for one reader"[..])
            .seipd_v1(thread_rng(), SymmetricKeyAlgorithm::AES256);
        builder
            .encrypt_to_key(thread_rng(), &public.public_subkeys[0])
            .unwrap();
        let encrypted = builder.to_vec(thread_rng()).unwrap();
        let mut message = Message::from_bytes(&encrypted[..])
            .unwrap()
            .decrypt(&Password::empty(), &private)
            .unwrap();
        assert_eq!(message.as_data_vec().unwrap(), b"for one reader");
    }
}

fn key() -> Value {
    let created = SystemTime::UNIX_EPOCH + Duration::from_secs(CREATED.into());
    let none = BTreeMap::new();
    generate("key", &Spec::PgpKey, &none, created).unwrap()
}

fn private(key: &Value) -> SignedSecretKey {
    let packets = render(key, Format::Pgp(PgpHalf::Private, PgpEncoding::Binary)).unwrap();
    SignedSecretKey::from_bytes(&**packets).unwrap()
}

fn public(key: &Value) -> SignedPublicKey {
    let packets = render(key, Format::Pgp(PgpHalf::Public, PgpEncoding::Binary)).unwrap();
    SignedPublicKey::from_bytes(&**packets).unwrap()
}
