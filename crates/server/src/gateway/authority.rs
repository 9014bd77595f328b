//! The embedded platform's certificate authority, for the gateway's own certificate.

use std::fs;
use std::io;
use std::time::{Duration, SystemTime};

use mse_crypto::Zeroizing;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::OperatorError;
use crate::data_dir::{DataDir, write_file};

/// A certificate chain and its key.
pub(super) struct KeyedChain {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// A fresh certificate for `*.suffix`, `suffix`, `localhost` and 127.0.0.1, signed by the
/// authority in `data`, which is made if there is none.
pub(super) fn issue(data: &DataDir, suffix: &str) -> Result<KeyedChain, OperatorError> {
    let (ca_pem, ca_key) = authority(data, suffix)?;
    let issuer = Issuer::from_ca_cert_pem(&ca_pem, KeyPair::from_pem(&ca_key)?)?;
    let names = [
        suffix.to_owned(),
        format!("*.{suffix}"),
        "localhost".into(),
        "127.0.0.1".into(),
    ];
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "MSE gateway");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = (SystemTime::now() - BACKDATED).into();
    params.not_after = (SystemTime::now() + LEAF_LIFE).into();
    let key = KeyPair::generate()?;
    let leaf = params.signed_by(&key, &issuer)?;
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes())
        .map_err(|error| OperatorError::Certificate(error.to_string()))?;
    Ok(KeyedChain {
        chain: vec![leaf.der().clone(), ca],
        key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
    })
}

/// The authority's certificate and key as PEM.
fn authority(data: &DataDir, suffix: &str) -> Result<(String, Zeroizing<String>), OperatorError> {
    let (certificate, key) = (data.operator_ca(), data.operator_ca_key());
    let read = |path: &std::path::Path| fs::read_to_string(path);
    match (read(&certificate), read(&key)) {
        (Ok(certificate), Ok(key)) => return Ok((certificate, Zeroizing::new(key))),
        (Err(absent), _) if absent.kind() == io::ErrorKind::NotFound => (),
        (Err(source), _) => {
            return Err(OperatorError::Read {
                path: certificate,
                source,
            });
        }
        (_, Err(source)) => return Err(OperatorError::Read { path: key, source }),
    }
    let (certificate_pem, key_pem) = make(suffix)?;
    // The key first: a certificate without its key would stay useless.
    write_file(&key, key_pem.as_bytes(), 0o600)?;
    write_file(&certificate, certificate_pem.as_bytes(), 0o644)?;
    Ok((certificate_pem, key_pem))
}

fn make(suffix: &str) -> Result<(String, Zeroizing<String>), OperatorError> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "MSE operator CA (embedded platform)");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // Who adds this authority to a browser trusts it for names on this machine only.
    let permitted = [suffix, "localhost"].map(|name| GeneralSubtree::DnsName(name.to_owned()));
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted.into(),
        excluded_subtrees: Vec::new(),
    });
    params.not_before = (SystemTime::now() - BACKDATED).into();
    params.not_after = (SystemTime::now() + CA_LIFE).into();
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
}

/// Clocks of users may be a little behind.
const BACKDATED: Duration = Duration::from_hours(1);
/// The longest that browsers accept.
const LEAF_LIFE: Duration = Duration::from_hours(397 * 24);
const CA_LIFE: Duration = Duration::from_hours(10 * 365 * 24);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_authority_stays_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::prepare(folder.path()).unwrap();
        let first = issue(&data, "mse.localhost").unwrap();
        let again = issue(&data, "mse.localhost").unwrap();
        assert_eq!(first.chain[1], again.chain[1]);
        assert_ne!(first.chain[0], again.chain[0]);
        let mode = fs::metadata(data.operator_ca_key())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);

        fs::remove_file(data.operator_ca_key()).unwrap();
        assert!(matches!(
            issue(&data, "mse.localhost"),
            Err(OperatorError::Read { .. })
        ));
    }
}
