//! What the 64 bytes of report data say, in the two places where evidence is made.

use std::fmt;

use mse_crypto::Digest;
use mse_crypto::digest::sha512;
use mse_crypto::hpke::PublicKey;

/// The exporter label of RFC 9266 (`tls-exporter`).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Separates challenge answers from everything else an enclave could be made to sign.
const CHALLENGE_DOMAIN: &[u8] = b"mse-channel-challenge-v1\0";

/// A P-256 TLS public key: the 65-byte uncompressed point `04 ‖ X ‖ Y`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TlsPublicKey(pub [u8; 65]);

impl fmt::Debug for TlsPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsPublicKey({})", Digest::of(&self.0).short())
    }
}

/// The exporter value of one TLS connection: both ends compute it, nobody else can.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ChannelBinding(pub [u8; 32]);

impl ChannelBinding {
    /// Reads it off an established TLS 1.3 connection.
    pub fn of<Data>(connection: &rustls::ConnectionCommon<Data>) -> Result<Self, rustls::Error> {
        connection
            .export_keying_material([0; 32], EXPORTER_LABEL, None)
            .map(Self)
    }
}

/// The nonce of a challenge: 32 random bytes of the client.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub [u8; 32]);

impl Nonce {
    /// A fresh one.
    pub fn generate() -> Self {
        Self(mse_crypto::random::bytes())
    }
}

/// Report data of a certificate's evidence: `SHA-256(point) ‖ X25519 key`, the layout that
/// existing clients check.
pub fn certificate_report_data(tls: &TlsPublicKey, x25519: &PublicKey) -> [u8; 64] {
    let mut data = [0; 64];
    data[..32].copy_from_slice(&Digest::of(&tls.0).0);
    data[32..].copy_from_slice(&x25519.0);
    data
}

/// Report data of a challenge's answer:
/// `SHA-512(domain ‖ nonce ‖ exporter ‖ point ‖ X25519 key)`. All parts have fixed lengths.
pub fn challenge_report_data(
    nonce: &Nonce,
    channel: &ChannelBinding,
    tls: &TlsPublicKey,
    x25519: &PublicKey,
) -> [u8; 64] {
    sha512(&[CHALLENGE_DOMAIN, &nonce.0, &channel.0, &tls.0, &x25519.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_challenge_counts() {
        let data = |nonce, channel, tls, key| {
            challenge_report_data(
                &Nonce([nonce; 32]),
                &ChannelBinding([channel; 32]),
                &TlsPublicKey([tls; 65]),
                &PublicKey([key; 32]),
            )
        };
        let base = data(1, 2, 3, 4);
        for changed in [
            data(0, 2, 3, 4),
            data(1, 0, 3, 4),
            data(1, 2, 0, 4),
            data(1, 2, 3, 0),
        ] {
            assert_ne!(base, changed);
        }
        let certificate = certificate_report_data(&TlsPublicKey([3; 65]), &PublicKey([4; 32]));
        assert_eq!(certificate[32..], [4; 32]);
        assert_eq!(certificate[..32], Digest::of(&[3; 65]).0);
    }
}
