//! PKCS#12 (RFC 7292) with an empty password: a certificate, its chain and its private key in the one
//! file that Java and Windows programs want. Written, never read.
//!
//! The key is encrypted with PBES2 (RFC 8018): PBKDF2 with HMAC-SHA-256, AES-256-CBC. The whole is
//! authenticated with HMAC-SHA-256 under a key of RFC 7292's own derivation. With an empty password
//! neither keeps anything secret: programs ask for the form.

use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey};
use aws_lc_rs::{hmac, pbkdf2};
use mse_crypto::digest::{Digest, Hasher};
use mse_crypto::{Zeroizing, random};

use crate::certificate::Certified;
use crate::key::PrivateKey;

/// What OpenSSL and keytool take at the least; more would protect nothing under an empty password.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(2048).expect("it is not zero");

/// The file of a certificate and its key.
pub(crate) fn encode(certified: &Certified, key: &PrivateKey) -> Zeroizing<Vec<u8>> {
    let Digest(key_id) = Digest::of(certified.certificate.der());
    let key_id = attributes(&key_id[..20]);
    let mut certificates = vec![certificate_bag(certified.certificate.der(), &key_id)];
    for issuer in &certified.chain {
        certificates.push(certificate_bag(issuer.der(), &[]));
    }
    let certificates: Vec<&[u8]> = certificates.iter().map(|bag| bag.as_slice()).collect();
    let contents = sequence(&[
        &data(&sequence(&certificates)),
        &data(&sequence(&[&key_bag(key, &key_id)])),
    ]);
    let mac = mac_data(&contents);
    sequence(&[&integer(3), &data(&contents), &mac])
}

fn certificate_bag(der: &[u8], attributes: &[u8]) -> Zeroizing<Vec<u8>> {
    let certificate = sequence(&[&oid(X509_CERTIFICATE), &explicit(&octets(der))]);
    sequence(&[&oid(CERT_BAG), &explicit(&certificate), attributes])
}

fn key_bag(key: &PrivateKey, attributes: &[u8]) -> Zeroizing<Vec<u8>> {
    let salt = random::bytes::<16>();
    let mut cipher_key = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ITERATIONS,
        &salt,
        b"",
        cipher_key.as_mut(),
    );
    const AES: &str = "AES-256-CBC with a random IV does not fail";
    let cipher = UnboundCipherKey::new(&AES_256, cipher_key.as_ref())
        .and_then(PaddedBlockEncryptingKey::cbc_pkcs7)
        .expect(AES);
    // Room for the padding: one that grows leaves a copy behind.
    let plain = key.to_pkcs8();
    let mut encrypted = Zeroizing::new(Vec::with_capacity(plain.len() + 16));
    encrypted.extend_from_slice(plain);
    let DecryptionContext::Iv128(iv) = cipher.encrypt(&mut *encrypted).expect(AES) else {
        unreachable!("CBC has an IV");
    };
    let derivation = sequence(&[
        &oid(PBKDF2),
        &sequence(&[
            &octets(&salt),
            &integer(ITERATIONS.get()),
            &sequence(&[&oid(HMAC_SHA256), NULL]),
        ]),
    ]);
    let scheme = sequence(&[
        &oid(PBES2),
        &sequence(&[
            &derivation,
            &sequence(&[&oid(AES_256_CBC), &octets(iv.as_ref())]),
        ]),
    ]);
    let shrouded = sequence(&[&scheme, &octets(&encrypted)]);
    sequence(&[&oid(SHROUDED_KEY_BAG), &explicit(&shrouded), attributes])
}

/// `localKeyId`: it says which certificate the key is of.
fn attributes(key_id: &[u8]) -> Zeroizing<Vec<u8>> {
    let attribute = sequence(&[&oid(LOCAL_KEY_ID), &tlv(0x31, &[&octets(key_id)])]);
    tlv(0x31, &[&attribute])
}

fn mac_data(contents: &[u8]) -> Zeroizing<Vec<u8>> {
    let salt = random::bytes::<16>();
    let key = mac_key(&salt);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()), contents);
    sequence(&[
        &sequence(&[&sequence(&[&oid(SHA256), NULL]), &octets(tag.as_ref())]),
        &octets(&salt),
        &integer(ITERATIONS.get()),
    ])
}

/// RFC 7292, appendix B.2, with SHA-256 (blocks of 64 bytes) for a key of one digest: the purpose 3,
/// the salt and the password, each repeated to a whole block. The empty password is the two bytes
/// that end a string.
fn mac_key(salt: &[u8; 16]) -> Zeroizing<[u8; 32]> {
    let mut hasher = Hasher::new();
    hasher.update(&[3; 64]);
    hasher.update(&salt.repeat(4));
    hasher.update(&[0; 64]);
    let Digest(mut key) = hasher.finish();
    for _ in 1..ITERATIONS.get() {
        Digest(key) = Digest::of(&key);
    }
    Zeroizing::new(key)
}

/// ContentInfo of the type data (RFC 5652 §4).
fn data(content: &[u8]) -> Zeroizing<Vec<u8>> {
    sequence(&[&oid(DATA), &explicit(&octets(content))])
}

const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const SHROUDED_KEY_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 2];
const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3];
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1];
const LOCAL_KEY_ID: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 21];
const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 13];
const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 12];
const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 2, 9];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 42];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const NULL: &[u8] = &[5, 0];

fn sequence(parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    tlv(0x30, parts)
}

fn octets(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    tlv(0x04, &[bytes])
}

fn oid(encoded: &[u8]) -> Zeroizing<Vec<u8>> {
    tlv(0x06, &[encoded])
}

/// `[0] EXPLICIT`.
fn explicit(content: &[u8]) -> Zeroizing<Vec<u8>> {
    tlv(0xa0, &[content])
}

fn integer(number: u32) -> Zeroizing<Vec<u8>> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take(3).take_while(|byte| **byte == 0).count();
    let bytes = &bytes[zeros..];
    // It is positive: its first bit says so.
    let sign: &[u8] = if bytes[0] < 0x80 { &[] } else { &[0] };
    tlv(0x02, &[sign, bytes])
}

/// One element of DER: its tag, its length in the shortest form, its content.
fn tlv(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut element = Zeroizing::new(Vec::with_capacity(length + 10));
    element.push(tag);
    match u8::try_from(length) {
        Ok(length) if length < 0x80 => element.push(length),
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let bytes = &bytes[zeros..];
            element.push(0x80 | u8::try_from(bytes.len()).expect("at most 8"));
            element.extend_from_slice(bytes);
        }
    }
    for part in parts {
        element.extend_from_slice(part);
    }
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_their_shortest_form() {
        assert_eq!(tlv(4, &[&[0; 127]])[..2], [4, 127]);
        assert_eq!(tlv(4, &[&[0; 128]])[..3], [4, 0x81, 128]);
        assert_eq!(tlv(4, &[&[0; 256]])[..4], [4, 0x82, 1, 0]);
        assert_eq!(**integer(3), [2, 1, 3]);
        assert_eq!(**integer(128), [2, 2, 0, 128]);
        assert_eq!(**integer(2048), [2, 2, 8, 0]);
        assert_eq!(**integer(0), [2, 1, 0]);
    }
}
