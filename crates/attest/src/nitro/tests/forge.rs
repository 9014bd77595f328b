//! A PKI of AWS's form, and documents put together by hand.

use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DistinguishedName, DnType, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P384_SHA384,
};

/// The time of all tests, unix seconds.
pub(super) const NOW: u64 = 1_800_000_000;

/// When the good document was made, milliseconds.
pub(super) const MADE: u64 = NOW * 1000 + 999;

pub(super) const PROTECTED: &[u8] = &[0xa1, 0x01, 0x38, 0x22];

/// A certificate with its key.
pub(super) struct Authority {
    pub(super) der: Vec<u8>,
    pub(super) params: CertificateParams,
    pub(super) key: KeyPair,
}

impl Authority {
    pub(super) fn self_signed(params: CertificateParams) -> Self {
        let key = p384();
        Self {
            der: params.self_signed(&key).unwrap().der().to_vec(),
            params,
            key,
        }
    }

    pub(super) fn issue(&self, params: CertificateParams) -> Self {
        self.issue_for(params, p384())
    }

    pub(super) fn issue_for(&self, params: CertificateParams, key: KeyPair) -> Self {
        Self {
            der: params
                .signed_by(&key, &self.issuer())
                .unwrap()
                .der()
                .to_vec(),
            params,
            key,
        }
    }

    pub(super) fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// Signs as COSE does: `r ‖ s`.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &self.key.serialize_der())
            .unwrap()
            .sign(&SystemRandom::new(), message)
            .unwrap()
            .as_ref()
            .to_vec()
    }
}

fn p384() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

/// What a CA certificate says; AWS's root has no path length.
pub(super) fn ca(name: &str, path_length: Option<u8>) -> CertificateParams {
    let mut params = params(name, 24 * 3600);
    params.is_ca = IsCa::Ca(path_length.map_or(
        BasicConstraints::Unconstrained,
        BasicConstraints::Constrained,
    ));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub(super) fn with_crl(mut params: CertificateParams) -> CertificateParams {
    params.crl_distribution_points = vec![CrlDistributionPoint {
        uris: vec!["http://crl.invalid/1.crl".into()],
    }];
    params
}

/// What the certificate of a signer of documents says: valid for three hours.
pub(super) fn signer() -> CertificateParams {
    let mut params = params("i-0123-enc4567.test.aws", 3 * 3600);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
    ];
    params
}

fn params(name: &str, life: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params.not_before = (UNIX_EPOCH + Duration::from_secs(NOW - 60)).into();
    params.not_after = (UNIX_EPOCH + Duration::from_secs(NOW - 60 + life)).into();
    params.use_authority_key_identifier_extension = true;
    params
}

/// Root, region, zone, instance and signer, as AWS has them.
pub(super) struct Pki {
    /// Root first.
    pub(super) authorities: Vec<Authority>,
    pub(super) signer: Authority,
}

impl Pki {
    pub(super) fn new() -> Self {
        Self::under(Authority::self_signed(ca("test root", None)))
    }

    pub(super) fn under(root: Authority) -> Self {
        let region = root.issue(with_crl(ca("region", Some(2))));
        let zone = region.issue(with_crl(ca("zone", Some(1))));
        let instance = zone.issue(ca("instance", Some(0)));
        let signer = instance.issue(signer());
        Self {
            authorities: vec![root, region, zone, instance],
            signer,
        }
    }

    pub(super) fn root(&self) -> &Authority {
        &self.authorities[0]
    }

    pub(super) fn instance(&self) -> &Authority {
        &self.authorities[3]
    }

    pub(super) fn bundle(&self) -> Vec<Vec<u8>> {
        self.authorities.iter().map(|ca| ca.der.clone()).collect()
    }

    /// The document with this payload, signed.
    pub(super) fn document(&self, payload: &Payload) -> Vec<u8> {
        document(&self.signer, PROTECTED, &payload.encode())
    }
}

pub(super) fn document(signer: &Authority, protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let signature = signer.sign(&sig_structure(protected, payload));
    message(
        &bytes(protected),
        &[0xa0],
        &bytes(payload),
        &bytes(&signature),
    )
}

/// The good payload, signed by `signer`, which its bundle vouches for.
pub(super) fn signed_by(signer: &Authority, bundle: &[Vec<u8>]) -> Vec<u8> {
    document(
        signer,
        PROTECTED,
        &Payload::of(&signer.der, bundle).encode(),
    )
}

/// The message of these four encoded items.
pub(super) fn message(
    protected: &[u8],
    unprotected: &[u8],
    payload: &[u8],
    signature: &[u8],
) -> Vec<u8> {
    [&[0x84], protected, unprotected, payload, signature].concat()
}

pub(super) fn sig_structure(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    array(&[
        text("Signature1"),
        bytes(protected),
        bytes(&[]),
        bytes(payload),
    ])
}

/// The members of a document's map, encoded, in their order.
#[derive(Clone)]
pub(super) struct Payload(pub(super) Vec<(String, Vec<u8>)>);

impl Payload {
    pub(super) fn good(pki: &Pki) -> Self {
        Self::of(&pki.signer.der, &pki.bundle())
    }

    pub(super) fn of(certificate: &[u8], bundle: &[Vec<u8>]) -> Self {
        let bundle: Vec<_> = bundle.iter().map(|der| bytes(der)).collect();
        let members = [
            ("module_id", text("i-0123-enc4567")),
            ("digest", text("SHA384")),
            ("timestamp", number(MADE)),
            ("pcrs", pcrs(&good_pcrs())),
            ("certificate", bytes(certificate)),
            ("cabundle", array(&bundle)),
            ("public_key", bytes(b"a key")),
            ("user_data", vec![NULL]),
            ("nonce", bytes(b"a nonce")),
        ];
        Self(members.map(|(key, value)| (key.to_owned(), value)).into())
    }

    /// With another value for a key, which is put at the end if it is new.
    pub(super) fn with(mut self, key: &str, value: Vec<u8>) -> Self {
        match self.0.iter_mut().find(|(found, _)| found == key) {
            Some((_, place)) => *place = value,
            None => self.0.push((key.to_owned(), value)),
        }
        self
    }

    /// With one more member, whether its key is there or not.
    pub(super) fn and(mut self, key: &str, value: Vec<u8>) -> Self {
        self.0.push((key.to_owned(), value));
        self
    }

    pub(super) fn without(mut self, key: &str) -> Self {
        self.0.retain(|(found, _)| found != key);
        self
    }

    pub(super) fn value(&self, key: &str) -> Vec<u8> {
        let found = self.0.iter().find(|(found, _)| found == key);
        found.unwrap().1.clone()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [head(5, self.0.len() as u64), self.members()].concat()
    }

    pub(super) fn encode_indefinite(&self) -> Vec<u8> {
        [vec![0xbf], self.members(), vec![BREAK]].concat()
    }

    fn members(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|(key, value)| [text(key), value.clone()].concat())
            .collect()
    }
}

/// PCR0 to PCR15; all but the first five are zero.
pub(super) fn good_pcrs() -> Vec<(u64, Vec<u8>)> {
    (0..16)
        .map(|index| match u8::try_from(index) {
            Ok(index @ 0..5) => (u64::from(index), vec![0x10 + index; 48]),
            _ => (index, vec![0; 48]),
        })
        .collect()
}

pub(super) fn pcrs(pcrs: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let pairs = pcrs
        .iter()
        .flat_map(|(index, value)| [number(*index), bytes(value)].concat());
    [head(5, pcrs.len() as u64), pairs.collect()].concat()
}

pub(super) fn number(value: u64) -> Vec<u8> {
    head(0, value)
}

pub(super) fn bytes(content: &[u8]) -> Vec<u8> {
    [head(2, content.len() as u64), content.to_vec()].concat()
}

pub(super) fn text(content: &str) -> Vec<u8> {
    [head(3, content.len() as u64), content.into()].concat()
}

pub(super) fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [head(4, items.len() as u64), items.concat()].concat()
}

pub(super) fn head(major: u8, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let (info, tail) = match value {
        0..=23 => (bytes[7], &bytes[8..]),
        24..=0xff => (24, &bytes[7..]),
        0x100..=0xffff => (25, &bytes[6..]),
        0x1_0000..=0xffff_ffff => (26, &bytes[4..]),
        _ => (27, &bytes[..]),
    };
    [&[major << 5 | info], tail].concat()
}

pub(super) const NULL: u8 = 0xf6;
pub(super) const BREAK: u8 = 0xff;
