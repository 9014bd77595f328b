//! What a release cannot cost less than: one handshake and one verification, without sockets,
//! store and everything else.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use anyhow::ensure;
use mse_attest::{Evidence, Policy, ReferenceValues, Verifier};
use mse_simtee::Platform;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use super::wire::{Server, server_name};
use crate::stranger::Anybody;

/// In microseconds, the server's part alone.
pub(super) struct Floor {
    pub(super) handshake_us: Vec<f64>,
    pub(super) quote_us: Vec<f64>,
}

pub(super) fn measure(
    platform: &Platform,
    server: &Server,
    rounds: usize,
) -> anyhow::Result<Floor> {
    Ok(Floor {
        handshake_us: handshakes(server.tls(), rounds)?,
        quote_us: quotes(platform, rounds)?,
    })
}

/// Fresh quotes of one platform, by a verifier that knows the platform.
fn quotes(platform: &Platform, rounds: usize) -> anyhow::Result<Vec<f64>> {
    let now = SystemTime::now();
    let policy = Policy::strict().with_simulated(platform.trust_anchor().clone());
    let (verifier, collateral) = (Verifier::new(policy), platform.collateral(now)?.into());
    let mut microseconds = Vec::with_capacity(rounds);
    for round in 0..=rounds {
        let mut data = [7; 64];
        data[..8].copy_from_slice(&round.to_le_bytes());
        let evidence = Evidence::parse(&platform.quote([9; 32], &data)?)?;
        let expected = ReferenceValues {
            report_data: Some(data),
            ..ReferenceValues::default()
        };
        let began = Instant::now();
        let appraised = verifier.appraise(&evidence, &collateral, &expected, now);
        let took = began.elapsed().as_secs_f64() * 1e6;
        ensure!(appraised.is_ok(), "a quote was refused");
        // The first one is cold.
        if round > 0 {
            microseconds.push(took);
        }
    }
    Ok(microseconds)
}

/// Handshakes as with the CAS: keys of the same kinds, a chain of as many certificates, the same
/// groups, no resumption; the client is that of the load.
fn handshakes(client: &Arc<ClientConfig>, rounds: usize) -> anyhow::Result<Vec<f64>> {
    let config = server_config()?;
    let mut trusting = ClientConfig::clone(client);
    // The client's part is not measured.
    trusting
        .dangerous()
        .set_certificate_verifier(Arc::new(Anybody));
    let trusting = Arc::new(trusting);
    let mut microseconds = Vec::with_capacity(rounds);
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut client = ClientConnection::new(Arc::clone(&trusting), server_name())?;
        client.write_tls(&mut up)?;
        let mut took = 0.0;
        let began = Instant::now();
        let mut server = ServerConnection::new(Arc::clone(&config))?;
        took += began.elapsed().as_secs_f64();
        while server.is_handshaking() {
            let began = Instant::now();
            let mut given = up.as_slice();
            while !given.is_empty() {
                server.read_tls(&mut given)?;
                server.process_new_packets()?;
            }
            while server.wants_write() {
                server.write_tls(&mut down)?;
            }
            took += began.elapsed().as_secs_f64();
            up.clear();
            let mut given = down.as_slice();
            while !given.is_empty() {
                client.read_tls(&mut given)?;
                client.process_new_packets()?;
            }
            down.clear();
            while client.wants_write() {
                client.write_tls(&mut up)?;
            }
        }
        up.clear();
        microseconds.push(took * 1e6);
    }
    Ok(microseconds)
}

fn server_config() -> anyhow::Result<Arc<ServerConfig>> {
    let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root_certificate = root.self_signed(&root_key)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let issuer = Issuer::from_ca_cert_der(root_certificate.der(), &root_key)?;
    let leaf = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
    let chain = vec![leaf.der().clone(), root_certificate.der().clone()];
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
