//! Who a client is: whoever has the key of the certificate that it shows.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::HandshakeSignatureValid,
};
use rustls_pki_types::{CertificateDer, UnixTime};

/// A client's certificate is at most this long, and at most this many come with it.
const MAX_CERTIFICATE: usize = 16 * 1024;
const MAX_BEHIND: usize = 6;

/// Takes clients without a certificate, and those with any certificate whose key they have. What
/// else the certificate says, nothing vouches for: it is the key that access rules name.
#[derive(Debug)]
pub struct AnyClient(WebPkiSupportedAlgorithms);

impl AnyClient {
    /// With the signature algorithms of `provider`.
    pub fn new(provider: &CryptoProvider) -> Arc<Self> {
        Arc::new(Self(provider.signature_verification_algorithms))
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        behind: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if certificate.len() > MAX_CERTIFICATE || behind.len() > MAX_BEHIND {
            return Err(CertificateError::BadEncoding.into());
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only TLS 1.3 is spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use http_body_util::Full;
    use hyper::{Method, Request, Response};
    use mse_ratls::cas::client::{ClientIdentity, connect_pinned};
    use rustls::ClientConfig;
    use rustls::client::ResolvesClientCert;
    use rustls::sign::CertifiedKey;
    use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::identity::Identity;
    use mse_tee::crowd::Crowd;

    use crate::listen::{Channel, Service, serve, server_config};

    /// Says whose certificate it saw.
    struct Echo;

    impl Service for Echo {
        fn max_body(&self) -> usize {
            0
        }

        async fn answer(&self, _: Request<Bytes>, channel: &Channel) -> Response<Full<Bytes>> {
            Response::new(Full::from(channel.client.clone().unwrap_or_default()))
        }
    }

    async fn server(identity: &Identity) -> String {
        let tls = identity.tls(&[], SystemTime::now()).unwrap();
        let config = server_config(tls).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let crowd = Crowd::new(8);
        tokio::spawn(serve(
            listener,
            move || Arc::clone(&config),
            crowd,
            Arc::new(Echo),
        ));
        address
    }

    fn client() -> (ClientIdentity, String) {
        let pem = ClientIdentity::generate_pem().unwrap();
        let identity = ClientIdentity::from_pem(&pem).unwrap();
        (identity, pem.to_string())
    }

    #[tokio::test]
    async fn a_client_is_seen_by_its_certificate_or_not_at_all() {
        let identity = Identity::generate(SystemTime::now()).unwrap();
        let address = server(&identity).await.parse().unwrap();
        let (client, _) = client();
        for (client, seen) in [(None, &[][..]), (Some(&client), client.certificate())] {
            let connected = connect_pinned(&address, identity.key(), client).await;
            let mut connected = connected.unwrap();
            let answer = connected.request(Method::GET, "/", None).await.unwrap();
            assert_eq!(answer, seen);
        }
    }

    /// Shows a certificate, and signs with a key that need not be its own.
    #[derive(Debug)]
    struct Shows(Arc<CertifiedKey>);

    impl ResolvesClientCert for Shows {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn nobody_is_seen_by_the_certificate_of_somebody_else() {
        let identity = Identity::generate(SystemTime::now()).unwrap();
        let address = server(&identity).await;
        let ((owner, owner_pem), (_, other_pem)) = (client(), client());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        for (pem, gets_in) in [(&owner_pem, true), (&other_pem, false)] {
            let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
            let key = provider.key_provider.load_private_key(key).unwrap();
            let certificate = CertificateDer::from(owner.certificate().to_vec());
            let shown = CertifiedKey::new(vec![certificate], key);
            let algorithms = provider.signature_verification_algorithms;
            let root = mse_ratls::pinned::PinnedRoot::new(identity.key(), algorithms);
            let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(root))
                .with_client_cert_resolver(Arc::new(Shows(Arc::new(shown))));
            let stream = TcpStream::connect(&address).await.unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            let name = "localhost".try_into().unwrap();
            let mut stream = connector.connect(name, stream).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(
                &mut stream,
                b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
            )
            .await
            .unwrap();
            let mut answer = Vec::new();
            let read = stream.read_to_end(&mut answer).await;
            // With TLS 1.3 the server's alert comes after the client has finished.
            assert_eq!(read.is_ok() && !answer.is_empty(), gets_in, "{read:?}");
        }
    }
}
