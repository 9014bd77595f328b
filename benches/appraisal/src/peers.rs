//! The other verifiers, used as their documentation says, and the floor beneath all of them.

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PSS_2048_8192_SHA384,
        RSA_PSS_SHA384, UnparsedPublicKey,
    },
};
use dcap_qvl::{QuoteCollateralV3, configs::RingConfig, verify::QuoteVerifier};
use sev::{
    certs::snp::{Certificate, Chain, Verifiable, ca},
    firmware::guest::AttestationReport,
    parser::ByteParser,
};

use crate::{samples::Sample, time};

/// One verification by the peer for this kind of evidence.
pub fn verify(sample: &Sample) {
    assert!(try_verify(sample), "{} was accepted before", sample.id);
}

pub fn accepts(sample: &Sample) -> bool {
    std::panic::catch_unwind(|| try_verify(sample)).unwrap_or(false)
}

fn try_verify(sample: &Sample) -> bool {
    match &sample.collateral.dcap {
        Some(ours) => {
            let collateral = QuoteCollateralV3 {
                pck_crl_issuer_chain: ours.pck_crl_issuer_chain.clone(),
                root_ca_crl: ours.root_ca_crl.clone(),
                pck_crl: ours.pck_crl.clone(),
                tcb_info_issuer_chain: ours.tcb_info_issuer_chain.clone(),
                tcb_info: ours.tcb_info.clone(),
                tcb_info_signature: ours.tcb_info_signature.clone(),
                qe_identity_issuer_chain: ours.qe_identity_issuer_chain.clone(),
                qe_identity: ours.qe_identity.clone(),
                qe_identity_signature: ours.qe_identity_signature.clone(),
                pck_certificate_chain: None,
            };
            QuoteVerifier::<RingConfig>::new_prod()
                .allow_debug(true)
                .verify(&sample.evidence, &collateral, sample.seconds)
                .is_ok()
        }
        None => {
            let [vek, ask, ark] = sample.collateral.certificates.as_slice() else {
                return false;
            };
            let (Ok(vek), Ok(ask), Ok(ark), Ok(report)) = (
                Certificate::from_der(vek),
                Certificate::from_der(ask),
                Certificate::from_der(ark),
                AttestationReport::from_bytes(&sample.evidence),
            ) else {
                return false;
            };
            let chain = Chain {
                ca: ca::Chain { ark, ask },
                vek,
            };
            (&chain, &report).verify().is_ok()
        }
    }
}

/// Microseconds of one signature check.
pub struct Floor {
    pub p256: f64,
    pub p384: f64,
    pub rsa4096: f64,
}

impl Floor {
    pub fn measure() -> Self {
        const MESSAGE: &[u8] = &[7; 700];
        let random = SystemRandom::new();
        let ecdsa = |signing, verifying| {
            let document = EcdsaKeyPair::generate_pkcs8(signing, &random).expect("a key");
            let key = EcdsaKeyPair::from_pkcs8(signing, document.as_ref()).expect("a key");
            let signature = key.sign(&random, MESSAGE).expect("a signature");
            let public = UnparsedPublicKey::new(verifying, key.public_key().as_ref());
            median_of(|| public.verify(MESSAGE, signature.as_ref()).expect("it verifies"))
        };
        let key = KeyPair::generate(KeySize::Rsa4096).expect("a key");
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PSS_SHA384, &random, MESSAGE, &mut signature)
            .expect("a signature");
        let public = UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, key.public_key().as_ref());
        Self {
            p256: ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_FIXED),
            p384: ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED),
            rsa4096: median_of(|| public.verify(MESSAGE, &signature).expect("it verifies")),
        }
    }

    /// DCAP: PCK, its CA, the TCB signer, two CRLs, TCB info, QE identity, QE report, quote. SNP:
    /// VEK and ASK by RSA (the ARK is pinned), the report.
    pub fn cold(&self, kind: &str) -> f64 {
        match kind {
            "SEV-SNP" => 2.0 * self.rsa4096 + self.p384,
            _ => 9.0 * self.p256,
        }
    }

    /// The evidence's own signature.
    pub fn warm(&self, kind: &str) -> f64 {
        match kind {
            "SEV-SNP" => self.p384,
            _ => self.p256,
        }
    }
}

fn median_of(what: impl Fn()) -> f64 {
    crate::median((0..200).map(|_| time(&what)).collect())
}
