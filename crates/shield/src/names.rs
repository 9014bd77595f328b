//! Clients that are known by the names in their certificates.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Verifies what another verifier does, and then that the certificate has one of some names.
///
/// A resumed handshake shows no certificate: it belongs to a rule, as its names do.
#[derive(Debug)]
pub(crate) struct NamedClients {
    chain: Arc<dyn ClientCertVerifier>,
    names: BTreeSet<String>,
}

impl NamedClients {
    /// `names` are in lower case.
    pub(crate) fn new(chain: Arc<dyn ClientCertVerifier>, names: BTreeSet<String>) -> Self {
        Self { chain, names }
    }

    /// Whole names only: a certificate for `*.example` is not one for `web.example`.
    fn prove_name(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let found = names(certificate)?;
        if found.iter().any(|name| self.names.contains(name)) {
            return Ok(());
        }
        Err(Error::InvalidCertificate(CertificateError::Other(
            OtherError(Arc::new(OtherClient { found })),
        )))
    }
}

impl ClientCertVerifier for NamedClients {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        self.prove_name(end_entity)?;
        Ok(verified)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// The DNS names of a certificate, in lower case.
fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, Error> {
    let unreadable = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| unreadable())?;
    let extension = parsed
        .subject_alternative_name()
        .map_err(|_| unreadable())?;
    let names = extension
        .into_iter()
        .flat_map(|found| &found.value.general_names);
    Ok(names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect())
}

/// Its authority is the right one, and it is somebody else.
#[derive(Debug, thiserror::Error)]
#[error("it is of {}, who may not connect to this port", shown(found))]
struct OtherClient {
    found: Vec<String>,
}

/// Who was refused for its name alone; TLS itself does not say it readably.
pub(crate) fn other_client(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<Error>()?;
    let Error::InvalidCertificate(CertificateError::Other(OtherError(why))) = inner else {
        return None;
    };
    why.downcast_ref::<OtherClient>().map(ToString::to_string)
}

/// The authority vouches for the names, so that they may be in the log, if not at any length.
fn shown(names: &[String]) -> String {
    const MOST: usize = 4;
    match names {
        [] => "a client without DNS name".to_owned(),
        names => names
            .iter()
            .take(MOST)
            .map(|name| format!("`{}`", name.escape_debug()))
            .collect::<Vec<_>>()
            .join(", "),
    }
}
