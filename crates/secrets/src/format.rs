//! The forms in which a secret reaches a program: what stands behind its name in a reference.

use crate::Kind;

/// One form of a secret's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The text of `ascii`, `jwt`, `aad-token`; the value of a `config-fragment`.
    Text,
    /// The bytes of `binary`, as they are.
    Raw,
    /// Lower-case hexadecimal.
    Hex,
    /// Base64 with padding.
    Base64,
    /// Base64 for URLs, with padding.
    Base64Url,
    /// Base32 (RFC 4648) with padding.
    Base32,
    /// Base32 without padding.
    Base32NoPad,
    /// A private key: PKCS#8, PEM.
    PrivateKeyPem,
    /// A private key: PKCS#8, DER.
    PrivateKeyDer,
    /// A public key: SubjectPublicKeyInfo, PEM.
    PublicKeyPem,
    /// A public key: SubjectPublicKeyInfo, DER.
    PublicKeyDer,
    /// A certificate, PEM.
    CertificatePem,
    /// A certificate, DER.
    CertificateDer,
    /// What issued the certificate, the nearest first and the root last, PEM.
    Chain,
    /// As [`Format::Chain`] before version 0.3: the root first, and the certificate itself last.
    LegacyChain,
    /// Certificate, chain and private key: PKCS#12 with an empty password.
    Pkcs12,
    /// An OpenPGP key.
    Pgp(PgpHalf, PgpEncoding),
}

/// Which half of an OpenPGP key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PgpHalf {
    /// The transferable secret key.
    Private,
    /// The transferable public key.
    Public,
}

/// How an OpenPGP key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PgpEncoding {
    /// ASCII armor.
    Armored,
    /// Packets.
    Binary,
    /// Packets in Base64, without armor.
    Base64,
}

impl Format {
    /// The form that `suffix` names for a secret of this kind: `""`, `:crt:pem`, `.key` and so on,
    /// with the colon or the dot.
    pub fn parse(kind: Kind, suffix: &str) -> Result<Self, UnknownFormat> {
        Self::table(kind)
            .iter()
            .find(|(name, _)| *name == suffix)
            .map(|(_, format)| *format)
            .ok_or_else(|| UnknownFormat {
                kind,
                suffix: suffix.to_owned(),
            })
    }

    /// The suffixes that a kind has, the default (`""`) first.
    pub fn suffixes(kind: Kind) -> impl Iterator<Item = &'static str> {
        Self::table(kind).iter().map(|(name, _)| *name)
    }

    fn table(kind: Kind) -> &'static [(&'static str, Self)] {
        match kind {
            Kind::Ascii | Kind::Jwt | Kind::AadToken | Kind::ConfigFragment => &[("", Self::Text)],
            Kind::Binary => &[
                ("", Self::Raw),
                (":bin", Self::Raw),
                (":hex", Self::Hex),
                (".hex", Self::Hex),
                (":base64", Self::Base64),
                (":base64url", Self::Base64Url),
                (":base32", Self::Base32),
                (":base32nopad", Self::Base32NoPad),
            ],
            Kind::PrivateKey => &[
                ("", Self::PrivateKeyPem),
                (":pem", Self::PrivateKeyPem),
                (":pkcs8", Self::PrivateKeyPem),
                (":pkcs8:pem", Self::PrivateKeyPem),
                (":der", Self::PrivateKeyDer),
                (":pkcs8:der", Self::PrivateKeyDer),
                (":privatekey", Self::PrivateKeyPem),
                (".key", Self::PrivateKeyPem),
            ],
            Kind::PublicKey => &[
                ("", Self::PublicKeyPem),
                (":pem", Self::PublicKeyPem),
                (":spki", Self::PublicKeyPem),
                (":spki:pem", Self::PublicKeyPem),
                (":der", Self::PublicKeyDer),
                (":spki:der", Self::PublicKeyDer),
            ],
            Kind::X509 | Kind::X509Ca => &[
                ("", Self::CertificatePem),
                (":crt", Self::CertificatePem),
                (":crt:pem", Self::CertificatePem),
                (".crt", Self::CertificatePem),
                (":crt:der", Self::CertificateDer),
                (":privatekey", Self::PrivateKeyPem),
                (":privatekey:pem", Self::PrivateKeyPem),
                (":privatekey:der", Self::PrivateKeyDer),
                (":privatekey:pkcs8", Self::PrivateKeyPem),
                (":privatekey:pkcs8:pem", Self::PrivateKeyPem),
                (":privatekey:pkcs8:der", Self::PrivateKeyDer),
                (".key", Self::PrivateKeyPem),
                (":chain", Self::Chain),
                (":chain:pem", Self::Chain),
                (".chain", Self::LegacyChain),
                (":pkcs12-with-private-key", Self::Pkcs12),
            ],
            Kind::PgpKey => {
                use PgpEncoding::{Armored, Base64, Binary};
                use PgpHalf::{Private, Public};
                &[
                    (":privatekey", Self::Pgp(Private, Armored)),
                    (":privatekey:asciiarmored", Self::Pgp(Private, Armored)),
                    (":privatekey:binary", Self::Pgp(Private, Binary)),
                    (":privatekey:base64", Self::Pgp(Private, Base64)),
                    (":publickey", Self::Pgp(Public, Armored)),
                    (":publickey:asciiarmored", Self::Pgp(Public, Armored)),
                    (":publickey:binary", Self::Pgp(Public, Binary)),
                    (":publickey:base64", Self::Pgp(Public, Base64)),
                ]
            }
        }
    }
}

/// A suffix that the kind does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret of the kind `{kind}` has no form `{suffix}`")]
pub struct UnknownFormat {
    /// The secret's kind.
    pub kind: Kind,
    /// What was asked for.
    pub suffix: String,
}
