//! Files with evidence, and with the certificates that vouch for it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use mse_attest::{CheckName, Collateral, Evidence, ReferenceValues};
use mse_collateral::CollateralFile;
use mse_collateral::bundle::MAX_BUNDLE_BYTES;
use mse_ratls::certificate::{CertificateError, EnclaveCertificate, x25519_of};
use mse_ratls::{PeerCertificate, certificate_report_data};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::exit::Exit;
use crate::failure::Failure;

/// Genuine evidence has up to some 100 KiB, as JSON.
const MAX_FILE: u64 = 1024 * 1024;

/// A file that is not what it should be: refused, by the check that would have read it.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// The check.
    pub(crate) check: CheckName,
    /// What is wrong.
    pub(crate) why: String,
}

/// Evidence from a file.
pub(crate) struct EvidenceFile {
    pub(crate) evidence: Evidence,
    /// The report data that it must have to be about the key of the certificate that carried it.
    bound: Option<[u8; 64]>,
}

impl EvidenceFile {
    /// Reads `file` and finds out what it is: evidence as the TEE made it, or in hexadecimal or
    /// base64; or a certificate (DER or PEM) that carries evidence.
    pub(crate) fn read(file: &Path) -> Result<Result<Self, Unreadable>, Failure> {
        let bytes = match read(file)? {
            Ok(bytes) => bytes,
            Err(unreadable) => return Ok(Err(unreadable)),
        };
        Ok(Self::parse(&bytes).map_err(|why| Unreadable {
            check: CheckName::EvidenceFormat,
            why,
        }))
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        if let Some(der) = certificate_in(bytes)? {
            return Self::of_certificate(&der).map_err(|error| error.to_string());
        }
        let evidence = match decoded(bytes) {
            Some(decoded) => Evidence::parse(&decoded),
            None => Evidence::parse(bytes),
        };
        evidence
            .map(|evidence| Self {
                evidence,
                bound: None,
            })
            .map_err(|error| error.to_string())
    }

    /// The evidence in a certificate of ours or of another RA-TLS stack; of two, the raw one.
    fn of_certificate(der: &[u8]) -> Result<Self, CertificateError> {
        match PeerCertificate::parse(der) {
            Ok(peer) => {
                let bound = peer.evidence().last().ok_or(CertificateError::NoEvidence)?;
                Ok(Self {
                    evidence: bound.evidence.clone(),
                    bound: Some(bound.report_data),
                })
            }
            // That it is about another key is for the appraisal to say, with all the rest.
            Err(CertificateError::OtherKey) => {
                let ours = EnclaveCertificate::parse(der)?;
                let stated = ours.evidence.stated_report_data().unwrap_or([0; 64]);
                Ok(Self {
                    bound: Some(certificate_report_data(&ours.tls_key, &x25519_of(&stated))),
                    evidence: ours.evidence,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// Adds to vTPM evidence what was given in files of its own.
    pub(crate) fn with_parts_of(mut self, endorsements: &Endorsements) -> Result<Self, Unreadable> {
        let unreadable = |why: String| Unreadable {
            check: CheckName::EvidenceFormat,
            why,
        };
        for part in &endorsements.parts {
            let Evidence::Vtpm(vtpm) = self.evidence else {
                return Err(unreadable(
                    "an endorsement is a part of vTPM evidence, and the evidence is of another kind"
                        .into(),
                ));
            };
            let vtpm = vtpm
                .with_part(part)
                .map_err(|error| unreadable(error.to_string()))?;
            self.evidence = Evidence::Vtpm(Box::new(vtpm));
        }
        Ok(self)
    }

    /// What must be found: as `expected`, and of evidence from a certificate that it was made for
    /// that certificate's key.
    pub(crate) fn expectation(&self, expected: ReferenceValues) -> ReferenceValues {
        ReferenceValues {
            report_data: expected.report_data.or(self.bound),
            ..expected
        }
    }
}

/// What vouches for evidence and is not part of it.
#[derive(Default)]
pub(crate) struct Endorsements {
    /// DER, in the order in which the files were named.
    pub(crate) certificates: Vec<Vec<u8>>,
    /// DER.
    pub(crate) crls: Vec<Vec<u8>>,
    /// What a bare HCL report of Azure's paravisor lacks: a TPM quote, a TD quote.
    parts: Vec<Vec<u8>>,
}

impl Endorsements {
    /// Reads certificates and CRLs, DER or PEM. What DER holds is for the appraisal to judge.
    pub(crate) fn read(files: &[PathBuf]) -> Result<Result<Self, Unreadable>, Failure> {
        let mut endorsements = Self::default();
        for file in files {
            let bytes = match read(file)? {
                Ok(bytes) => bytes,
                Err(unreadable) => return Ok(Err(unreadable)),
            };
            if let Err(why) = endorsements.add(bytes) {
                return Ok(Err(Unreadable {
                    check: CheckName::CertificateChains,
                    why: format!("`{}` {why}", file.display()),
                }));
            }
        }
        Ok(Ok(endorsements))
    }

    fn add(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        if bytes.trim_ascii_start().first() == Some(&b'{')
            || matches!(Evidence::parse(&bytes), Ok(Evidence::TdxDcap(_)))
        {
            self.parts.push(bytes);
            return Ok(());
        }
        if !is_pem(&bytes) {
            if CertificateRevocationList::from_der(&bytes).is_ok() {
                self.crls.push(bytes);
            } else {
                self.certificates.push(bytes);
            }
            return Ok(());
        }
        for certificate in CertificateDer::pem_slice_iter(&bytes) {
            let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
            self.certificates.push(certificate.to_vec());
        }
        for crl in CertificateRevocationListDer::pem_slice_iter(&bytes) {
            let crl = crl.map_err(|error| format!("is not PEM: {error}"))?;
            self.crls.push(crl.to_vec());
        }
        Ok(())
    }
}

/// Reads the collateral for `evidence` from a file, a bundle or not. That it is no collateral is a
/// refusal, that it is not there a mistake.
pub(crate) fn read_collateral(
    file: &Path,
    evidence: &Evidence,
) -> Result<Result<Collateral, Unreadable>, Failure> {
    let bytes = match read_bounded(file, MAX_BUNDLE_BYTES as u64)? {
        Ok(bytes) => bytes,
        Err(unreadable) => return Ok(Err(unreadable)),
    };
    let unreadable = |why: String| Unreadable {
        check: CheckName::CollateralFormat,
        why,
    };
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        // Bundles are JSON; a set of one platform may be kept as YAML.
        return Ok(Collateral::parse(&bytes).map_err(|error| unreadable(error.to_string())));
    }
    Ok(CollateralFile::from_json(&bytes)
        .and_then(|kept| kept.select(evidence))
        .map_err(|error| unreadable(error.to_string())))
}

fn read(file: &Path) -> Result<Result<Vec<u8>, Unreadable>, Failure> {
    read_bounded(file, MAX_FILE)
}

fn read_bounded(file: &Path, limit: u64) -> Result<Result<Vec<u8>, Unreadable>, Failure> {
    let open = fs::File::open(file).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Failure::new(
            Exit::NotFound,
            format!("there is no file `{}`", file.display()),
        ),
        _ => Failure::file("read", file, &error),
    })?;
    let mut bytes = Vec::new();
    open.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::file("read", file, &error))?;
    if bytes.len() as u64 > limit {
        return Ok(Err(Unreadable {
            check: CheckName::EvidenceFormat,
            why: format!(
                "`{}` has more than {limit} bytes: no evidence or collateral is that long",
                file.display()
            ),
        }));
    }
    Ok(Ok(bytes))
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes
        .windows(11)
        .take(4096)
        .any(|window| window == b"-----BEGIN ")
}

/// The certificate that `bytes` are, if they are one: PEM, or DER (a SEQUENCE of some length that
/// takes two bytes).
fn certificate_in(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    if bytes.starts_with(&[0x30, 0x82]) {
        return Ok(Some(bytes.to_vec()));
    }
    if !bytes
        .trim_ascii_start()
        .starts_with(b"-----BEGIN CERTIFICATE-----")
    {
        return Ok(None);
    }
    CertificateDer::from_pem_slice(bytes)
        .map(|der| Some(der.to_vec()))
        .map_err(|error| format!("the file is not PEM: {error}"))
}

/// The bytes that a text of hexadecimal digits or base64 stands for.
fn decoded(bytes: &[u8]) -> Option<Vec<u8>> {
    let text: String = std::str::from_utf8(bytes)
        .ok()?
        .chars()
        .filter(|char| !char.is_whitespace())
        .collect();
    let hexadecimal = text.strip_prefix("0x").unwrap_or(&text);
    if hexadecimal.is_empty() {
        return None;
    }
    hex::decode(hexadecimal)
        .ok()
        .or_else(|| BASE64.decode(&text).ok())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use mse_crypto::hpke::KeyPair;
    use mse_ratls::TlsIdentity;
    use mse_simtee::Platform;

    use super::*;

    #[test]
    fn evidence_of_a_certificate_must_be_about_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let platform = Platform::create(&dir.path().join("tee"), now).unwrap();
        let evidence =
            |data: [u8; 64]| Evidence::parse(&platform.quote([1; 32], &data).unwrap()).unwrap();
        let (identity, thief) = (
            TlsIdentity::generate().unwrap(),
            TlsIdentity::generate().unwrap(),
        );
        let raw = evidence(identity.report_data(&KeyPair::generate().public()));
        let tagged = evidence(identity.tagged_report_data());
        let names = ["app.mse.localhost".to_owned()];
        let until = now + Duration::from_secs(3600);

        let both = identity.interoperable_certificate(&names, until, &raw, &tagged);
        let file = EvidenceFile::parse(&both.unwrap()).unwrap();
        assert_eq!(file.evidence, raw);
        let expected = file.expectation(ReferenceValues::default());
        assert_eq!(expected.report_data, raw.stated_report_data());

        // Read, so that the appraisal refuses it.
        let stolen = thief.certificate(&names, until, &raw).unwrap();
        let file = EvidenceFile::parse(&stolen).unwrap();
        let expected = file.expectation(ReferenceValues::default());
        assert!(expected.report_data.is_some());
        assert_ne!(expected.report_data, raw.stated_report_data());
    }
}
