//! Certificates of other RA-TLS stacks: made here byte by byte in their forms, and appraised.

use std::time::{Duration, SystemTime};

use mse_attest::{CheckName, Evidence, EvidenceKind, Policy, ReferenceValues, Tee, Verifier};
use mse_crypto::Digest;
use mse_crypto::hpke::KeyPair;
use mse_ratls::certificate::{
    CertificateError, EnclaveCertificate, SGX_EVIDENCE_OID, SNP_EVIDENCE_OID, TDX_EVIDENCE_OID,
};
use mse_ratls::peer::Layout;
use mse_ratls::tagged::{TAGGED_EVIDENCE_OID, TaggedEvidenceError};
use mse_ratls::{PeerCertificate, TlsIdentity};
use mse_simtee::Platform;
use rcgen::{
    CertificateParams, CustomExtension, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
    PublicKeyData, SignatureAlgorithm,
};

const CODE: [u8; 32] = [1; 32];

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

    fn quote(&self, code: [u8; 32], half: &[u8; 32], other: [u8; 32]) -> Vec<u8> {
        let mut data = [0; 64];
        data[..32].copy_from_slice(half);
        data[32..].copy_from_slice(&other);
        self.platform.quote(code, &data).unwrap()
    }

    fn appraise(&self, peer: &PeerCertificate, code: [u8; 32]) -> Result<Tee, CheckName> {
        let now = SystemTime::now();
        let verifier =
            Verifier::new(Policy::strict().with_simulated(self.platform.trust_anchor().clone()));
        let expected = ReferenceValues {
            mrenclave: Some(code),
            ..ReferenceValues::default()
        };
        let collateral = self.platform.collateral(now).unwrap().into();
        peer.appraise(&verifier, &collateral, &expected, now)
            .map(|appraisal| appraisal.tee)
            .map_err(|refusal| refusal.failed)
    }
}

/// A key of another stack, and its certificates.
struct Stack(rcgen::KeyPair);

impl Stack {
    fn new(algorithm: &'static SignatureAlgorithm) -> Self {
        Self(rcgen::KeyPair::generate_for(algorithm).unwrap())
    }

    fn key_info(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// As Gramine does: CN=RATLS, no SAN.
    fn certificate(&self, extensions: &[(&[u64], Vec<u8>)]) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.custom_extensions = extensions
            .iter()
            .map(|(oid, value)| CustomExtension::from_oid_content(oid, value.clone()))
            .collect();
        params.self_signed(&self.0).unwrap().der().to_vec()
    }
}

/// `60000([quote, claims])`, written without the code under test.
fn tagged(site: &Site, code: [u8; 32], key_info: &[u8]) -> Vec<u8> {
    let mut claims = b"\xa1\x6bpubkey-hash\x58\x24\x82\x01\x58\x20".to_vec();
    claims.extend(Digest::of(key_info).0);
    let quote = site.quote(code, &Digest::of(&claims).0, [0; 32]);
    let length = u16::try_from(quote.len()).unwrap().to_be_bytes();
    [
        b"\xd9\xea\x60\x82\x59",
        &length[..],
        &quote,
        b"\x58\x33",
        &claims,
    ]
    .concat()
}

fn layouts(peer: &PeerCertificate) -> Vec<Layout> {
    peer.evidence().map(|bound| bound.layout).collect()
}

#[test]
fn tagged_evidence_alone_is_enough_whatever_the_curve() {
    let site = Site::new();
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ECDSA_P256_SHA256] {
        let stack = Stack::new(algorithm);
        let value = tagged(&site, CODE, &stack.key_info());
        let der = stack.certificate(&[(TAGGED_EVIDENCE_OID, value)]);
        let peer = PeerCertificate::parse(&der).unwrap();
        assert_eq!(layouts(&peer), [Layout::Tagged]);
        assert_eq!(peer.key_info, stack.key_info());
        assert_eq!(site.appraise(&peer, CODE), Ok(Tee::Simulated));
        assert_eq!(site.appraise(&peer, [2; 32]), Err(CheckName::MrEnclave));
        // It is no enclave of ours, whose channel could be challenged.
        assert!(EnclaveCertificate::parse(&der).is_err());
    }
}

#[test]
fn gramines_two_extensions_are_both_appraised() {
    let site = Site::new();
    let stack = Stack::new(&PKCS_ECDSA_P384_SHA384);
    let key = Digest::of(&stack.key_info()).0;
    let certificate = |code, legacy_code| {
        stack.certificate(&[
            (SGX_EVIDENCE_OID, site.quote(legacy_code, &key, [0; 32])),
            (TAGGED_EVIDENCE_OID, tagged(&site, code, &stack.key_info())),
        ])
    };
    let peer = PeerCertificate::parse(&certificate(CODE, CODE)).unwrap();
    assert_eq!(layouts(&peer), [Layout::Tagged, Layout::KeyInfo]);
    assert_eq!(site.appraise(&peer, CODE), Ok(Tee::Simulated));
    assert!(matches!(
        PeerCertificate::parse(&certificate(CODE, [2; 32])),
        Err(CertificateError::Conflict)
    ));
}

#[test]
fn the_point_layout_leaves_the_second_half_to_the_enclave() {
    let site = Site::new();
    let stack = Stack::new(&PKCS_ECDSA_P256_SHA256);
    let half = Digest::of(stack.0.public_key_raw()).0;
    let der = stack.certificate(&[(SGX_EVIDENCE_OID, site.quote(CODE, &half, [9; 32]))]);
    let peer = PeerCertificate::parse(&der).unwrap();
    assert_eq!(layouts(&peer), [Layout::Point]);
    assert_eq!(site.appraise(&peer, CODE), Ok(Tee::Simulated));
}

#[test]
fn our_own_certificates_carry_both_forms() {
    let site = Site::new();
    let identity = TlsIdentity::generate().unwrap();
    let x25519 = KeyPair::generate().public();
    let evidence =
        |data: [u8; 64]| Evidence::parse(&site.platform.quote(CODE, &data).unwrap()).unwrap();
    let der = identity
        .interoperable_certificate(
            &["app.mse.localhost".to_owned()],
            SystemTime::now() + Duration::from_secs(3600),
            &evidence(identity.report_data(&x25519)),
            &evidence(identity.tagged_report_data()),
        )
        .unwrap();
    let ours = EnclaveCertificate::parse(&der).unwrap();
    assert!(ours.tagged.is_some());
    assert!(ours.covers("app.mse.localhost"));
    let peer = PeerCertificate::parse(&der).unwrap();
    assert_eq!(layouts(&peer), [Layout::Tagged, Layout::Point]);
    assert_eq!(site.appraise(&peer, CODE), Ok(Tee::Simulated));
}

/// The report and the quote were made for nobody's TLS key: they are only carried here.
#[test]
fn every_kind_stands_in_its_own_extension() {
    let shared = std::env::var_os("MSE_EVIDENCE_DIR").map_or_else(
        || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"),
        std::path::PathBuf::from,
    );
    let read = |sample: &str| {
        let path = shared.join(sample);
        std::fs::read(&path).unwrap_or_else(|error| {
            panic!(
                "the sample `{}` is missing ({error}): set MSE_EVIDENCE_DIR to the folder of the evidence samples",
                path.display()
            )
        })
    };
    let identity = TlsIdentity::generate().unwrap();
    for (sample, kind, oid) in [
        (
            "snp/trustee__evidence-v0__05b7438a/report.bin",
            EvidenceKind::Snp,
            "06092a864886f84d8a3907",
        ),
        (
            "tdx-v4/trustee__tdx-quote-4__12b401a8/quote.bin",
            EvidenceKind::TdxDcap,
            "06092a864886f84d8a3908",
        ),
    ] {
        let evidence = Evidence::parse(&read(sample)).unwrap();
        let until = SystemTime::now() + Duration::from_secs(3600);
        let names = ["app.mse.localhost".to_owned()];
        let der = identity.certificate(&names, until, &evidence).unwrap();
        assert!(hex::encode(&der).contains(oid));
        let read = EnclaveCertificate::parse(&der).unwrap();
        assert_eq!(read.evidence.kind(), kind);
        assert_eq!(read.evidence, evidence);
        // Evidence without a registered tag does not go into the shared extension.
        let shared = identity.interoperable_certificate(&names, until, &evidence, &evidence);
        assert_eq!(shared.is_ok(), kind == EvidenceKind::TdxDcap);
    }
}

#[test]
fn evidence_of_another_key_is_refused() {
    let site = Site::new();
    let (stack, thief) = (
        Stack::new(&PKCS_ECDSA_P256_SHA256),
        Stack::new(&PKCS_ECDSA_P256_SHA256),
    );
    let value = tagged(&site, CODE, &stack.key_info());
    let point = Digest::of(stack.0.public_key_raw()).0;
    let key = Digest::of(&stack.key_info()).0;
    for (oid, value) in [
        (TAGGED_EVIDENCE_OID, value),
        (SGX_EVIDENCE_OID, site.quote(CODE, &point, [0; 32])),
        (SGX_EVIDENCE_OID, site.quote(CODE, &key, [0; 32])),
    ] {
        assert!(matches!(
            PeerCertificate::parse(&thief.certificate(&[(oid, value)])),
            Err(CertificateError::OtherKey)
        ));
    }
    // Gramine's form has zeros behind the hash.
    let padded = stack.certificate(&[(SGX_EVIDENCE_OID, site.quote(CODE, &key, [1; 32]))]);
    assert!(matches!(
        PeerCertificate::parse(&padded),
        Err(CertificateError::OtherKey)
    ));
}

#[test]
fn twice_the_same_extension_or_another_kind_in_it_is_refused() {
    let site = Site::new();
    let stack = Stack::new(&PKCS_ECDSA_P256_SHA256);
    let raw = site.quote(CODE, &Digest::of(stack.0.public_key_raw()).0, [0; 32]);
    let value = tagged(&site, CODE, &stack.key_info());
    let parse = |extensions: &[(&[u64], Vec<u8>)]| {
        let der = stack.certificate(extensions);
        let enclave = EnclaveCertificate::parse(&der).map(|_| ());
        let peer = PeerCertificate::parse(&der).map(|_| ());
        [enclave.unwrap_err(), peer.unwrap_err()]
    };
    for oid in [TDX_EVIDENCE_OID, SNP_EVIDENCE_OID] {
        for error in parse(&[(oid, raw.clone())]) {
            assert!(matches!(error, CertificateError::Kind { .. }), "{error}");
        }
    }
    let twice_raw = [(SGX_EVIDENCE_OID, raw.clone()), (SGX_EVIDENCE_OID, raw)];
    let twice_tagged = [
        (TAGGED_EVIDENCE_OID, value.clone()),
        (TAGGED_EVIDENCE_OID, value),
    ];
    for extensions in [&twice_raw, &twice_tagged] {
        for error in parse(extensions) {
            assert!(matches!(error, CertificateError::TwoEvidences), "{error}");
        }
    }
    for error in parse(&[(TAGGED_EVIDENCE_OID, vec![0xd8, 0x20, 0x80])]) {
        assert!(matches!(
            error,
            CertificateError::Tagged(TaggedEvidenceError::Tag(32))
        ));
    }
    for error in parse(&[]) {
        assert!(matches!(error, CertificateError::NoEvidence));
    }
}
