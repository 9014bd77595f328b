//! Trust anchors: the roots that evidence may end in.

use std::fmt;

use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::digest::sha256;
use crate::x509::{Algorithm, Certificate};

/// Intel's SGX root CA; `roots/README.md` says where it comes from.
static INTEL_SGX_ROOT: &[u8] = include_bytes!("roots/intel-sgx-root-ca.der");

/// Who vouches for evidence: the TEE that an appraisal result names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Tee {
    /// Intel SGX.
    Sgx,
    /// Intel TDX.
    Tdx,
    /// AMD SEV-SNP.
    Snp,
    /// AWS Nitro Enclaves.
    Nitro,
    /// A virtual TPM that nothing binds to a confidential VM: whoever runs the machine made it.
    Tpm,
    /// A simulated platform: the form of the evidence is real, the protection is not.
    Simulated,
}

impl Tee {
    /// The name used in results, files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::Snp => "snp",
            Self::Nitro => "nitro",
            Self::Tpm => "tpm",
            Self::Simulated => "simulated",
        }
    }
}

impl fmt::Display for Tee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The public-key infrastructure that a root belongs to: which evidence may end in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pki {
    /// Quotes of the DCAP form: P-256 throughout.
    Dcap,
    /// SEV-SNP: RSA-4096 down to the VEK.
    Amd,
    /// Nitro: P-384 throughout.
    Nitro,
    /// Attestation keys of TPMs: RSA and SHA-256 above them.
    Tpm,
}

impl Pki {
    pub(crate) fn algorithm(self) -> Algorithm {
        match self {
            Self::Dcap => Algorithm::EcdsaP256Sha256,
            Self::Amd => Algorithm::RsaPssSha384,
            Self::Nitro => Algorithm::EcdsaP384Sha384,
            Self::Tpm => Algorithm::RsaPkcs1Sha256,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Hardware,
    Simulated,
}

/// A root certificate and what it stands for.
///
/// Hardware anchors are compiled in; only a simulated one can be read from a file, so no file can
/// claim to be hardware.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustAnchor {
    pki: Pki,
    standing: Standing,
    root_der: Vec<u8>,
    /// DER of the root's SubjectPublicKeyInfo.
    root_key: Vec<u8>,
    subject: String,
    mrsigner: Option<[u8; 32]>,
}

impl TrustAnchor {
    /// Intel's root for SGX and TDX.
    pub fn intel() -> Self {
        Self::hardware(Pki::Dcap, INTEL_SGX_ROOT)
    }

    /// A vendor's root that is compiled in.
    pub(crate) fn hardware(pki: Pki, root_der: &[u8]) -> Self {
        Self::of_root(pki, Standing::Hardware, root_der, None)
            .expect("a compiled-in root is a self-signed CA of its PKI, which a test holds")
    }

    /// A root that vouches for attestation keys of TPMs: see [`crate::Policy::trust_tpm_root`].
    pub(crate) fn tpm(root_der: &[u8]) -> Result<Self, TrustAnchorError> {
        Self::of_root(Pki::Tpm, Standing::Hardware, root_der, None)
    }

    /// The anchor of one simulated platform. `mrsigner`, if given, must be that of every SGX
    /// enclave which the platform quotes.
    ///
    /// Which evidence it can vouch for is told by its key: P-256 for quotes of the DCAP form,
    /// RSA for SEV-SNP, P-384 for Nitro documents. Fails unless `root_der` is a self-signed CA
    /// certificate of one of them.
    pub fn simulated(
        root_der: &[u8],
        mrsigner: Option<[u8; 32]>,
    ) -> Result<Self, TrustAnchorError> {
        let root = Certificate::parse(root_der).map_err(|error| TrustAnchorError::Root {
            why: error.to_string(),
        })?;
        let pki = [Pki::Dcap, Pki::Amd, Pki::Nitro]
            .into_iter()
            .find(|pki| root.has_key_for(pki.algorithm()))
            .ok_or_else(|| TrustAnchorError::Root {
                why: "its key is neither P-256, nor P-384, nor RSA".into(),
            })?;
        Self::of_root(pki, Standing::Simulated, root_der, mrsigner)
    }

    /// Reads the file that a simulated platform writes for those who choose to trust it.
    ///
    /// Keys: `tee = "simulated"`, `root_certificate` (PEM, exactly one certificate) and, if
    /// enclaves of one signer only are trusted, `mrsigner` (64 hexadecimal digits). Any other key
    /// and any other `tee` is an error.
    pub fn from_toml(text: &str) -> Result<Self, TrustAnchorError> {
        if text.len() > MAX_TOML_BYTES {
            return Err(TrustAnchorError::TooLarge { size: text.len() });
        }
        Self::from_file(toml::from_str(text).map_err(TrustAnchorError::Toml)?)
    }

    pub(crate) fn from_file(file: AnchorFile) -> Result<Self, TrustAnchorError> {
        if file.tee != Tee::Simulated.as_str() {
            return Err(TrustAnchorError::NotSimulated { tee: file.tee });
        }
        let certificates = CertificateDer::pem_slice_iter(file.root_certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TrustAnchorError::Root {
                why: format!("`root_certificate` is not PEM: {error}"),
            })?;
        let [root] = certificates.as_slice() else {
            return Err(TrustAnchorError::Root {
                why: format!(
                    "`root_certificate` holds `{}` certificates instead of one",
                    certificates.len()
                ),
            });
        };
        let mrsigner = file.mrsigner.map(parse_mrsigner).transpose()?;
        Self::simulated(root, mrsigner)
    }

    /// The file form that [`TrustAnchor::from_toml`] reads.
    pub fn to_toml(&self) -> String {
        let file = AnchorFile {
            tee: Tee::Simulated.as_str().to_owned(),
            root_certificate: pem(&self.root_der),
            mrsigner: self.mrsigner.map(hex::encode),
        };
        let body = toml::to_string(&file).expect("a table of three strings is TOML");
        format!("{TOML_WARNING}{body}")
    }

    /// Whether it stands for a simulated platform.
    pub fn is_simulated(&self) -> bool {
        self.standing == Standing::Simulated
    }

    /// What evidence of `tee` under this root counts as.
    pub(crate) fn tee_of(&self, tee: Tee) -> Tee {
        match self.standing {
            Standing::Hardware => tee,
            Standing::Simulated => Tee::Simulated,
        }
    }

    pub(crate) fn pki(&self) -> Pki {
        self.pki
    }

    /// The root certificate, DER.
    pub fn root_der(&self) -> &[u8] {
        &self.root_der
    }

    /// The root certificate, PEM.
    pub fn root_pem(&self) -> String {
        pem(&self.root_der)
    }

    /// The signer that enclaves under this root must have.
    pub fn mrsigner(&self) -> Option<[u8; 32]> {
        self.mrsigner
    }

    pub(crate) fn root_key(&self) -> &[u8] {
        &self.root_key
    }

    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }

    /// The subject; with the id of the root if it is a simulated one, since those share a subject.
    pub(crate) fn told_apart(&self) -> String {
        match self.standing {
            Standing::Hardware => self.subject.clone(),
            Standing::Simulated => told_apart(&self.subject, &self.root_der),
        }
    }

    /// How people tell this root from others: the first 16 hexadecimal digits of its SHA-256.
    pub fn id(&self) -> String {
        id_of(&self.root_der)
    }

    /// Whether `candidate`, the last certificate of a chain, is this root: the same certificate,
    /// or another one of the same key, signed by it.
    pub(crate) fn is_root(&self, candidate: &Certificate<'_>) -> bool {
        candidate.der() == self.root_der
            || (candidate.spki() == self.root_key
                && candidate
                    .check_signed_by(candidate, self.pki.algorithm())
                    .is_ok())
    }

    fn of_root(
        pki: Pki,
        standing: Standing,
        root_der: &[u8],
        mrsigner: Option<[u8; 32]>,
    ) -> Result<Self, TrustAnchorError> {
        let refused = |why: String| TrustAnchorError::Root { why };
        let root = Certificate::parse(root_der).map_err(|error| refused(error.to_string()))?;
        if !root.is_ca() {
            return Err(refused("it is not a CA certificate".into()));
        }
        root.check_signed_by(&root, pki.algorithm())
            .map_err(|error| refused(format!("it is not self-signed: {error}")))?;
        Ok(Self {
            pki,
            standing,
            root_der: root_der.to_vec(),
            root_key: root.spki().to_vec(),
            subject: root.subject(),
            mrsigner,
        })
    }
}

/// The subject of a root that is not the only one to have it, with its id.
pub(crate) fn told_apart(subject: &str, root_der: &[u8]) -> String {
    format!("{subject} (id {})", id_of(root_der))
}

fn id_of(root_der: &[u8]) -> String {
    hex::encode(&sha256(&[root_der])[..8])
}

impl fmt::Debug for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustAnchor")
            .field("pki", &self.pki)
            .field("standing", &self.standing)
            .field("subject", &self.subject)
            .field("mrsigner", &self.mrsigner.map(hex::encode))
            .finish_non_exhaustive()
    }
}

/// Why a trust anchor was not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrustAnchorError {
    /// A trust anchor is one certificate and a few lines.
    #[error(
        "the trust anchor file has `{size}` bytes, more than {MAX_TOML_BYTES}; give the file that the simulated platform wrote"
    )]
    TooLarge {
        /// The size found, in bytes.
        size: usize,
    },
    /// Not TOML, a key missing, unknown or of the wrong type.
    #[error(
        "the trust anchor file is not valid: {0}; give the file that the simulated platform wrote"
    )]
    Toml(#[source] toml::de::Error),
    /// A file can only vouch for a simulated platform.
    #[error(
        "a trust anchor file cannot vouch for tee `{tee}`: roots of hardware are compiled in; only `simulated` can be added"
    )]
    NotSimulated {
        /// The value found.
        tee: String,
    },
    /// The certificate cannot serve as a root.
    #[error("the root certificate cannot be used: {why}; export the trust anchor again")]
    Root {
        /// What is wrong with it.
        why: String,
    },
    /// Not the hexadecimal form of 32 bytes.
    #[error("`mrsigner` is `{value}`, which is not 64 hexadecimal digits")]
    MrSigner {
        /// The value found.
        value: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AnchorFile {
    pub(crate) tee: String,
    pub(crate) root_certificate: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mrsigner: Option<String>,
}

fn parse_mrsigner(value: String) -> Result<[u8; 32], TrustAnchorError> {
    let mut mrsigner = [0; 32];
    hex::decode_to_slice(&value, &mut mrsigner)
        .map_err(|_| TrustAnchorError::MrSigner { value })?;
    Ok(mrsigner)
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;

    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

const MAX_TOML_BYTES: usize = 16 * 1024;

const TOML_WARNING: &str = "\
# The root of a SIMULATED platform. Whoever gives this file to a verifier makes it accept evidence
# that no hardware stands behind: whoever runs the platform can read and change everything in its
# enclaves. For development and tests; never for data that matters.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_in_roots_are_what_their_table_says() {
        let digest = hex::encode(aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            INTEL_SGX_ROOT,
        ));
        assert!(
            include_str!("roots/README.md").contains(&digest),
            "{digest}"
        );
        assert_eq!(TrustAnchor::intel().tee_of(Tee::Sgx), Tee::Sgx);
    }

    fn simulated_intel() -> TrustAnchor {
        TrustAnchor::simulated(INTEL_SGX_ROOT, Some([0xab; 32])).unwrap()
    }

    #[test]
    fn a_file_survives_the_round_trip() {
        let anchor = simulated_intel();
        assert_eq!(TrustAnchor::from_toml(&anchor.to_toml()).unwrap(), anchor);
    }

    #[test]
    fn no_file_can_claim_hardware() {
        let text = simulated_intel()
            .to_toml()
            .replace("\"simulated\"", "\"sgx\"");
        assert!(matches!(
            TrustAnchor::from_toml(&text),
            Err(TrustAnchorError::NotSimulated { tee }) if tee == "sgx"
        ));
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let text = format!("{}mrsinger = \"00\"\n", simulated_intel().to_toml());
        assert!(matches!(
            TrustAnchor::from_toml(&text),
            Err(TrustAnchorError::Toml(_))
        ));
    }

    #[test]
    fn a_root_that_is_not_self_signed_is_refused() {
        let mut der = INTEL_SGX_ROOT.to_vec();
        *der.last_mut().unwrap() ^= 1;
        assert!(matches!(
            TrustAnchor::simulated(&der, None),
            Err(TrustAnchorError::Root { .. })
        ));
    }

    #[test]
    fn two_certificates_are_refused() {
        let anchor = simulated_intel();
        let double = format!("{}{}", anchor.root_pem(), anchor.root_pem());
        let text = format!("tee = \"simulated\"\nroot_certificate = '''\n{double}'''\n");
        assert!(matches!(
            TrustAnchor::from_toml(&text),
            Err(TrustAnchorError::Root { .. })
        ));
    }

    #[test]
    fn a_short_mrsigner_is_refused() {
        let text = simulated_intel()
            .to_toml()
            .replace(&"ab".repeat(32), &"ab".repeat(31));
        assert!(matches!(
            TrustAnchor::from_toml(&text),
            Err(TrustAnchorError::MrSigner { .. })
        ));
    }
}
