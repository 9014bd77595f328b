//! OpenPGP keys, version 4 (RFC 9580, and RFC 6637 for the curve): an Ed25519 key that certifies and
//! signs, a Curve25519 subkey that decrypts, a user id that says nothing. Written, never read.
//!
//! Only the two private keys, the time and the user id are kept: the signatures are deterministic,
//! so the packets come out the same each time.

use aws_lc_rs::agreement::{self, X25519};
use aws_lc_rs::digest::{Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_crypto::{Zeroizing, random};

use crate::{PgpEncoding, PgpHalf};

/// An OpenPGP key.
#[derive(Clone)]
pub(crate) struct PgpKey {
    /// Seconds since 1970.
    created: u32,
    user_id: String,
    /// The seed of the Ed25519 key.
    signing: Zeroizing<[u8; 32]>,
    /// The X25519 private key, clamped, little-endian.
    decryption: Zeroizing<[u8; 32]>,
}

impl PgpKey {
    /// A fresh key, made at `now` (seconds since 1970). None after 2106, when version 4 ends.
    pub(crate) fn generate(now: u64) -> Option<Self> {
        let mut decryption = random::secret_bytes::<32>();
        decryption[0] &= 0xf8;
        decryption[31] = decryption[31] & 0x7f | 0x40;
        Some(Self {
            created: u32::try_from(now).ok()?,
            user_id: format!("mse-{}", hex::encode(random::bytes::<8>())),
            signing: random::secret_bytes(),
            decryption,
        })
    }

    /// What is kept of it.
    pub(crate) fn fields(&self) -> [Zeroizing<Vec<u8>>; 4] {
        [
            &self.created.to_be_bytes()[..],
            self.user_id.as_bytes(),
            &self.signing[..],
            &self.decryption[..],
        ]
        .map(|field| Zeroizing::new(field.to_vec()))
    }

    /// Reads what [`PgpKey::fields`] gave.
    pub(crate) fn from_fields(fields: &[&[u8]]) -> Option<Self> {
        let [created, user_id, signing, decryption] = fields else {
            return None;
        };
        let key = Self {
            created: u32::from_be_bytes((*created).try_into().ok()?),
            user_id: str::from_utf8(user_id).ok()?.to_owned(),
            signing: Zeroizing::new((*signing).try_into().ok()?),
            decryption: Zeroizing::new((*decryption).try_into().ok()?),
        };
        let clamped = key.decryption[0].trailing_zeros() >= 3 && key.decryption[31] >> 6 == 1;
        (clamped && (1..=64).contains(&key.user_id.len())).then_some(key)
    }

    /// The transferable key (RFC 9580 §10.1, §10.2).
    pub(crate) fn render(&self, half: PgpHalf, encoding: PgpEncoding) -> Zeroizing<Vec<u8>> {
        let packets = self.packets(half);
        match encoding {
            PgpEncoding::Binary => packets,
            PgpEncoding::Base64 => Zeroizing::new(BASE64.encode(&*packets).into_bytes()),
            PgpEncoding::Armored => armor(&packets, half),
        }
    }

    fn packets(&self, half: PgpHalf) -> Zeroizing<Vec<u8>> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(&*self.signing).expect("any 32 bytes are a seed");
        let primary = self.public_packet(EDDSA, ED25519_OID, pair.public_key().as_ref(), &[]);
        let encryption = agreement::PrivateKey::from_private_key(&X25519, &*self.decryption)
            .and_then(|key| key.compute_public_key().map_err(Into::into))
            .expect("any 32 bytes are a private key");
        let subkey = self.public_packet(ECDH, CURVE25519_OID, encryption.as_ref(), KDF);
        let fingerprint = fingerprint(&primary);
        let signer = Signer {
            created: self.created,
            fingerprint: fingerprint.as_ref(),
            pair: &pair,
        };
        let user_id = self.user_id.as_bytes();
        let certification = signer.sign(
            POSITIVE_CERTIFICATION,
            &[&prefixed(0x99, &primary), &long_prefixed(0xb4, user_id)],
            &[
                &[27, 0x03], // key flags: certify, sign
                &[11, 9],    // ciphers: AES-256
                &[21, 8],    // digests: SHA-256
                &[22, 2],    // compression: ZLIB
                &[30, 0x01], // features: integrity protection
                &[23, 0x80], // key servers: only its owner may change it
            ],
        );
        let binding = signer.sign(
            SUBKEY_BINDING,
            &[&prefixed(0x99, &primary), &prefixed(0x99, &subkey)],
            &[&[27, 0x0c]], // key flags: encrypt messages and storage
        );
        let (primary_tag, subkey_tag) = match half {
            PgpHalf::Private => (5, 7),
            PgpHalf::Public => (6, 14),
        };
        // RFC 6637 has the private key as a big-endian number; X25519 has it little-endian.
        let mut decryption = Zeroizing::new(*self.decryption);
        decryption.reverse();
        let mut packets = Packets::default();
        packets.key(primary_tag, &primary, half, &self.signing);
        packets.push(13, &[user_id]);
        packets.push(2, &[&certification]);
        packets.key(subkey_tag, &subkey, half, &decryption);
        packets.push(2, &[&binding]);
        packets.0
    }

    /// The body of a public key packet, version 4.
    fn public_packet(&self, algorithm: u8, oid: &[u8], point: &[u8], rest: &[u8]) -> Vec<u8> {
        let mut body = vec![4];
        body.extend(self.created.to_be_bytes());
        body.extend([algorithm, short(oid.len())]);
        body.extend(oid);
        // 0x40 says that the point is in the curve's own form.
        body.extend(&*number(&[&[0x40], point].concat()));
        body.extend(rest);
        body
    }
}

/// EdDSALegacy (RFC 9580 §9.1): what every version 4 implementation reads.
const EDDSA: u8 = 22;
const ECDH: u8 = 18;
const ED25519_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];
const CURVE25519_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x97, 0x55, 0x01, 0x05, 0x01];
/// SHA-256 and AES-128: those of this curve (RFC 9580 §11.5.1).
const KDF: &[u8] = &[3, 1, 8, 7];
const POSITIVE_CERTIFICATION: u8 = 0x13;
const SUBKEY_BINDING: u8 = 0x18;

struct Signer<'a> {
    created: u32,
    fingerprint: &'a [u8],
    pair: &'a Ed25519KeyPair,
}

impl Signer<'_> {
    /// The body of a signature packet, version 4, over `data` (RFC 9580 §5.2.3, §5.2.4).
    fn sign(&self, kind: u8, data: &[&[u8]], subpackets: &[&[u8]]) -> Vec<u8> {
        let mut hashed = Vec::new();
        let mut add = |content: &[u8]| {
            hashed.push(short(content.len()));
            hashed.extend(content);
        };
        add(&[&[2], &self.created.to_be_bytes()[..]].concat());
        add(&[&[33, 4], self.fingerprint].concat());
        for subpacket in subpackets {
            add(subpacket);
        }
        let mut body = vec![4, kind, EDDSA, 8];
        body.extend([0, short(hashed.len())]);
        body.extend(&hashed);
        let mut digest = Context::new(&SHA256);
        for part in data {
            digest.update(part);
        }
        digest.update(&body);
        digest.update(&[4, 0xff, 0, 0, 0, short(body.len())]);
        let digest = digest.finish();
        let key_id = &self.fingerprint[12..];
        body.extend([0, 10, 9, 16]);
        body.extend(key_id);
        body.extend(&digest.as_ref()[..2]);
        let signature = self.pair.sign(digest.as_ref());
        let (r, s) = signature.as_ref().split_at(32);
        body.extend(&*number(r));
        body.extend(&*number(s));
        body
    }
}

/// Packets one after the other, in a buffer that never grows.
struct Packets(Zeroizing<Vec<u8>>);

impl Default for Packets {
    fn default() -> Self {
        Self(Zeroizing::new(Vec::with_capacity(1024)))
    }
}

impl Packets {
    fn push(&mut self, tag: u8, parts: &[&[u8]]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        self.0.extend([0xc0 | tag]);
        // RFC 9580 §4.2.1: one octet up to 191, two from there.
        if let Some(length) = u8::try_from(length).ok().filter(|length| *length < 192) {
            self.0.push(length);
        } else {
            let length = u16::try_from(length - 192).expect("packets here are short") + (192 << 8);
            self.0.extend(length.to_be_bytes());
        }
        for part in parts {
            self.0.extend_from_slice(part);
        }
        debug_assert!(self.0.len() <= 1024, "the buffer did not grow");
    }

    fn key(&mut self, tag: u8, public: &[u8], half: PgpHalf, secret: &[u8; 32]) {
        match half {
            PgpHalf::Public => self.push(tag, &[public]),
            PgpHalf::Private => {
                // Not encrypted: 0, the number, and the sum of its octets.
                let secret = number(secret);
                let sum = secret
                    .iter()
                    .fold(0_u16, |sum, byte| sum.wrapping_add(u16::from(*byte)));
                self.push(tag, &[public, &[0], &secret, &sum.to_be_bytes()]);
            }
        }
    }
}

/// A number of 1 to 33 octets (RFC 9580 §3.2): its bits, then its octets without leading zeros.
fn number(octets: &[u8]) -> Zeroizing<Vec<u8>> {
    let zeros = octets.iter().take_while(|octet| **octet == 0).count();
    let octets = &octets[zeros..];
    let bits = octets.first().map_or(0, |first| {
        octets.len() * 8 - usize::try_from(first.leading_zeros()).expect("at most 8")
    });
    let mut number = Zeroizing::new(Vec::with_capacity(2 + octets.len()));
    number.extend(
        u16::try_from(bits)
            .expect("33 octets have 264 bits")
            .to_be_bytes(),
    );
    number.extend_from_slice(octets);
    number
}

/// RFC 9580 §5.5.4.2: version 4 names a key by SHA-1.
fn fingerprint(public: &[u8]) -> Digest {
    aws_lc_rs::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &prefixed(0x99, public))
}

fn prefixed(octet: u8, body: &[u8]) -> Vec<u8> {
    [&[octet, 0, short(body.len())], body].concat()
}

fn long_prefixed(octet: u8, body: &[u8]) -> Vec<u8> {
    [&[octet, 0, 0, 0, short(body.len())], body].concat()
}

fn short(length: usize) -> u8 {
    u8::try_from(length).expect("what is hashed and named here has fewer than 256 octets")
}

/// ASCII armor with its checksum (RFC 9580 §6.2).
fn armor(packets: &[u8], half: PgpHalf) -> Zeroizing<Vec<u8>> {
    let label = match half {
        PgpHalf::Private => "PRIVATE",
        PgpHalf::Public => "PUBLIC",
    };
    let body = Zeroizing::new(BASE64.encode(packets));
    let mut text = Zeroizing::new(Vec::with_capacity(body.len() + body.len() / 64 + 128));
    text.extend(format!("-----BEGIN PGP {label} KEY BLOCK-----\n\n").bytes());
    for line in body.as_bytes().chunks(64) {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    let checksum = BASE64.encode(&crc24(packets).to_be_bytes()[1..]);
    text.extend(format!("={checksum}\n-----END PGP {label} KEY BLOCK-----\n").bytes());
    text
}

/// RFC 9580 §6.1.1.
fn crc24(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x00b7_04ce, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 16, |crc: u32, _| {
            let shifted = crc << 1;
            if shifted & 0x0100_0000 == 0 {
                shifted
            } else {
                shifted ^ 0x0186_4cfb
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_specification() {
        // The well-known check value of CRC-24/OPENPGP.
        assert_eq!(crc24(b"123456789"), 0x0021_cf02);
    }

    #[test]
    fn numbers_have_no_leading_zeros() {
        assert_eq!(**number(&[0, 0, 1, 0xff]), [0, 9, 1, 0xff]);
        assert_eq!(**number(&[0x40, 0]), [0, 15, 0x40, 0]);
        assert_eq!(**number(&[0, 0]), [0, 0]);
    }
}
