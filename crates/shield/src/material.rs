//! Keys and certificates of a policy.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use crate::policy::{ClientAuth, ClientTls, Guard, Policy, ServerTls, Source, SourceText};

/// The content of a released file, by its path.
pub type Files<'a> = dyn Fn(&str) -> Option<Zeroizing<Vec<u8>>> + Sync + 'a;

/// A chain has at most this many certificates, and a list of authorities.
const MAX_CERTIFICATES: usize = 64;

/// What all rules of a policy need, in its order.
pub(crate) struct Material {
    pub(crate) servers: Vec<Option<ServerMaterial>>,
    pub(crate) clients: Vec<Option<ClientMaterial>>,
}

#[derive(PartialEq)]
pub(crate) struct ServerMaterial {
    pub(crate) identity: Identity,
    /// `None` lets clients in without certificate.
    pub(crate) clients: Option<Clients>,
}

/// Whose certificates get in.
#[derive(PartialEq)]
pub(crate) struct Clients {
    pub(crate) issued_by: Authorities,
    /// Their names; `None` is all.
    pub(crate) names: Option<BTreeSet<String>>,
}

#[derive(PartialEq)]
pub(crate) struct ClientMaterial {
    pub(crate) identity: Option<Identity>,
    pub(crate) authorities: Authorities,
}

impl Material {
    pub(crate) fn load(policy: &Policy, files: &Files<'_>) -> Result<Self, MaterialError> {
        let servers = policy.servers.iter().map(|rule| match &rule.guard {
            Guard::Protected(tls) => ServerMaterial::load(tls, files).map(Some),
            Guard::Unprotected | Guard::Refused => Ok(None),
        });
        let clients = policy.clients.iter().map(|rule| match &rule.guard {
            Guard::Protected(tls) => ClientMaterial::load(tls, files).map(Some),
            Guard::Unprotected | Guard::Refused => Ok(None),
        });
        Ok(Self {
            servers: servers.collect::<Result<_, _>>()?,
            clients: clients.collect::<Result<_, _>>()?,
        })
    }
}

impl ServerMaterial {
    fn load(tls: &ServerTls, files: &Files<'_>) -> Result<Self, MaterialError> {
        let identity = Identity::load(&tls.identity, files)?;
        if !identity.has_names {
            return Err(tls.identity.wrong(MaterialFault::NoNames));
        }
        Ok(Self {
            identity,
            clients: match &tls.clients {
                ClientAuth::Disabled => None,
                ClientAuth::Authorities { issued_by, names } => Some(Clients {
                    issued_by: Authorities::load(issued_by, files)?,
                    names: names.clone(),
                }),
            },
        })
    }
}

impl ClientMaterial {
    fn load(tls: &ClientTls, files: &Files<'_>) -> Result<Self, MaterialError> {
        let identity = tls.identity.as_ref();
        Ok(Self {
            identity: identity
                .map(|source| Identity::load(source, files))
                .transpose()?,
            authorities: Authorities::load(&tls.authorities, files)?,
        })
    }
}

/// A key with its certificates. No `Debug`.
pub(crate) struct Identity {
    certified: Arc<CertifiedKey>,
    has_names: bool,
}

impl Identity {
    fn load(source: &Source, files: &Files<'_>) -> Result<Self, MaterialError> {
        let pem = source.pem(files)?;
        let certificates = certificates(source, &pem)?;
        let mut keys = PrivateKeyDer::pem_slice_iter(&pem);
        let key = match keys.next() {
            Some(Ok(key)) => key,
            Some(Err(_)) => return Err(source.wrong(MaterialFault::Pem)),
            None => return Err(source.wrong(MaterialFault::NoKey)),
        };
        if keys.next().is_some() {
            return Err(source.wrong(MaterialFault::SeveralKeys));
        }
        let Some(leaf) = certificates.first() else {
            return Err(source.wrong(MaterialFault::NoCertificate));
        };
        let (_, parsed) =
            parse_x509_certificate(leaf).map_err(|_| source.wrong(MaterialFault::Certificate))?;
        let names = parsed.subject_alternative_name();
        let has_names = matches!(names, Ok(Some(names)) if !names.value.general_names.is_empty());
        let certified = CertifiedKey::from_der(certificates, key, &default_provider())
            .map_err(|_| source.wrong(MaterialFault::KeyMismatch))?;
        // `from_der` lets a key pass whose public half it cannot read; we do not.
        certified
            .keys_match()
            .map_err(|_| source.wrong(MaterialFault::KeyMismatch))?;
        Ok(Self {
            certified: Arc::new(certified),
            has_names,
        })
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

/// A certificate belongs to one key, so that certificates are enough to compare.
impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

/// Certificates of those who issue certificates.
pub(crate) struct Authorities {
    certificates: Vec<CertificateDer<'static>>,
    roots: Arc<RootCertStore>,
}

impl Authorities {
    fn load(source: &Source, files: &Files<'_>) -> Result<Self, MaterialError> {
        let certificates = certificates(source, &source.pem(files)?)?;
        if certificates.is_empty() {
            return Err(source.wrong(MaterialFault::NoCertificate));
        }
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            let (_, parsed) = parse_x509_certificate(certificate)
                .map_err(|_| source.wrong(MaterialFault::Certificate))?;
            if !parsed.is_ca() {
                return Err(source.wrong(MaterialFault::NoAuthority(parsed.subject().to_string())));
            }
            roots
                .add(certificate.clone())
                .map_err(|_| source.wrong(MaterialFault::Certificate))?;
        }
        Ok(Self {
            certificates,
            roots: Arc::new(roots),
        })
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(names) = &self.names {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            write!(f, "named {} ", names.join(", "))?;
        }
        write!(f, "of CA {}", self.issued_by)
    }
}

/// By the beginning of SHA-256 over each certificate.
impl fmt::Display for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prints: Vec<String> = self
            .certificates
            .iter()
            .map(|certificate| hex::encode(&digest(&SHA256, certificate).as_ref()[..8]))
            .collect();
        write!(f, "sha256:{}", prints.join(", sha256:"))
    }
}

impl Source {
    fn pem(&self, files: &Files<'_>) -> Result<Zeroizing<Vec<u8>>, MaterialError> {
        let whole = match &self.text {
            SourceText::Pem(text) => Zeroizing::new(text.as_bytes().to_vec()),
            SourceText::Files(paths) => {
                let mut parts = Vec::new();
                for path in paths {
                    let content = files(path)
                        .ok_or_else(|| self.wrong(MaterialFault::NoFile(path.clone())))?;
                    parts.push(content);
                }
                // With its size known: growth would leave copies of a key behind.
                let size = parts.iter().map(|part| part.len() + 1).sum();
                let mut whole = Zeroizing::new(Vec::with_capacity(size));
                for part in parts {
                    whole.extend_from_slice(&part);
                    whole.push(b'\n');
                }
                whole
            }
        };
        Ok(with_lines(whole))
    }

    fn wrong(&self, fault: MaterialFault) -> MaterialError {
        MaterialError {
            variable: self.variable.clone(),
            fault,
        }
    }
}

/// Sessions put values after each other without a line's end in between.
fn with_lines(pem: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    const SEAM: &[u8] = b"----------BEGIN ";
    const DASHES: usize = 5;
    let seams: Vec<usize> = pem
        .windows(SEAM.len())
        .enumerate()
        .filter(|(_, window)| *window == SEAM)
        .map(|(at, _)| at + DASHES)
        .collect();
    if seams.is_empty() {
        return pem;
    }
    let mut lines = Zeroizing::new(Vec::with_capacity(pem.len() + seams.len()));
    let mut from = 0;
    for seam in seams {
        lines.extend_from_slice(&pem[from..seam]);
        lines.push(b'\n');
        from = seam;
    }
    lines.extend_from_slice(&pem[from..]);
    lines
}

fn certificates(
    source: &Source,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .take(MAX_CERTIFICATES + 1)
        .collect::<Result<Vec<_>, pem::Error>>()
        .map_err(|_| source.wrong(MaterialFault::Pem))?;
    if certificates.len() > MAX_CERTIFICATES {
        return Err(source.wrong(MaterialFault::TooMany));
    }
    Ok(certificates)
}

/// Keys or certificates that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{variable}`: {fault}")]
pub struct MaterialError {
    /// The variable that gives them, or says where they are.
    pub variable: String,
    /// What is wrong.
    pub fault: MaterialFault,
}

/// What is wrong with keys or certificates.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaterialFault {
    /// The session injects no such file.
    #[error("the session injects no file `{0}`")]
    NoFile(String),
    /// Not PEM.
    #[error("is not PEM")]
    Pem,
    /// No certificate.
    #[error("has no certificate in PEM")]
    NoCertificate,
    /// Not a certificate.
    #[error("has a certificate that cannot be read")]
    Certificate,
    /// More than anybody needs.
    #[error("has more than {MAX_CERTIFICATES} certificates")]
    TooMany,
    /// No key.
    #[error("has no private key in PEM: give key and certificate, one after the other")]
    NoKey,
    /// Which one?
    #[error("has more than one private key")]
    SeveralKeys,
    /// They do not belong together.
    #[error("its private key does not belong to its first certificate, or is of an unknown kind")]
    KeyMismatch,
    /// No client could verify it.
    #[error(
        "its certificate has no subject alternative name, so that no client can verify it: add `san` or `dns` to the secret"
    )]
    NoNames,
    /// Not an authority.
    #[error("the certificate of `{0}` is not that of a CA")]
    NoAuthority(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_a_line_s_end_between_them_are_taken_apart() {
        let joined = b"-----BEGIN A-----\nYQ==\n-----END A----------BEGIN B-----\n".to_vec();
        let lines = with_lines(Zeroizing::new(joined));
        let text = std::str::from_utf8(&lines).unwrap();
        assert_eq!(
            text,
            "-----BEGIN A-----\nYQ==\n-----END A-----\n-----BEGIN B-----\n"
        );
    }
}
