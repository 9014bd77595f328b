//! Certificates, and shields whose "inside" is this machine's loopback interface.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use mse_shield::{Inside, Listeners, Policy, RenewError, Renewed, Shield};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

/// The program listens at this port, whichever the policy names.
pub(crate) struct Loopback(pub(crate) u16);

impl Inside for Loopback {
    async fn connect(&self, _: u16) -> io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", self.0)).await
    }
}

/// A port that nobody has at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A shield, and the port to reach it by: outside that of a server rule, inside that of a client's.
pub(crate) struct Side {
    shield: Shield,
    pub(crate) port: u16,
    last: Mutex<String>,
}

impl Side {
    pub(crate) fn renew(&self, variables: &Variables) -> Result<Renewed, RenewError> {
        let renewed = self.shield.renew(&variables.policy().unwrap(), &|_| None)?;
        *self.last.lock().unwrap() = variables.identity();
        Ok(renewed)
    }

    /// The identity that it was renewed with.
    pub(crate) fn last_identity(&self) -> String {
        self.last.lock().unwrap().clone()
    }

    pub(crate) fn open(&self) {
        self.shield.open().unwrap();
    }

    pub(crate) fn close(&self) {
        self.shield.close();
    }

    pub(crate) async fn finish(self) {
        self.shield.finish().await;
    }
}

pub(crate) async fn shield(variables: &Variables, inside: Loopback) -> Side {
    let side = try_shield(variables, inside).await.unwrap();
    side.open();
    side
}

/// It is not open yet.
pub(crate) async fn try_shield(variables: &Variables, inside: Loopback) -> Result<Side, String> {
    let policy = variables.policy().map_err(|error| error.to_string())?;
    // Sockets of any port: those in the policy could be taken meanwhile.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut listeners = Listeners {
        outside: Vec::new(),
        inside: Vec::new(),
    };
    if policy.servers.is_empty() {
        listeners.inside.push(socket.listen(64).unwrap());
    } else {
        listeners.outside.push(socket);
    }
    let shield =
        Shield::start(policy, &|_| None, listeners, inside).map_err(|error| error.to_string())?;
    Ok(Side {
        shield,
        port,
        last: Mutex::default(),
    })
}

/// An environment, without `MSE_NETWORK_SHIELD` in front of each name.
pub(crate) struct Variables(Vec<(&'static str, String)>);

impl Variables {
    fn policy(&self) -> Result<Policy, mse_shield::PolicyError> {
        let mut environment: BTreeMap<_, _> = self
            .0
            .iter()
            .map(|(name, value)| {
                let name = format!("MSE_NETWORK_SHIELD{name}");
                (name, Zeroizing::new(value.clone()))
            })
            .collect();
        Ok(Policy::take(&mut environment)?.unwrap())
    }

    fn identity(&self) -> String {
        let identity = self.0.iter().find(|(name, _)| name.ends_with("_IDENTITY"));
        identity.unwrap().1.clone()
    }
}

pub(crate) fn server_policy(identity: &str, authorities: &str) -> Variables {
    Variables(vec![
        ("", "protected".into()),
        ("_SERVER_1", "protected".into()),
        ("_SERVER_1_PORT", "TCP:6379".into()),
        ("_SERVER_1_IDENTITY", identity.into()),
        ("_SERVER_1_CLIENT_AUTH", authorities.into()),
    ])
}

/// For clients with these names only.
pub(crate) fn server_policy_for(identity: &str, authorities: &str, names: &str) -> Variables {
    let Variables(mut variables) = server_policy(identity, authorities);
    variables.push(("_SERVER_1_CLIENT_NAMES", names.into()));
    Variables(variables)
}

pub(crate) fn client_policy(name: &str, port: u16, identity: &str, authorities: &str) -> Variables {
    Variables(vec![
        ("", "protected".into()),
        ("_CLIENT_1", "protected".into()),
        ("_CLIENT_1_DESTINATION", format!("TCP:{name}:{port}")),
        ("_CLIENT_1_DESTINATION_IP", "127.0.0.1".into()),
        ("_CLIENT_1_IDENTITY", identity.into()),
        ("_CLIENT_1_SERVER_AUTH", authorities.into()),
    ])
}

/// Issues certificates; what it gives is key and certificate in PEM.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "Test CA");
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn server(&self, name: &str) -> String {
        self.issue(params(name, ExtendedKeyUsagePurpose::ServerAuth))
    }

    pub(crate) fn expired_server(&self, name: &str) -> String {
        self.issue(expired(params(name, ExtendedKeyUsagePurpose::ServerAuth)))
    }

    pub(crate) fn client(&self) -> String {
        self.client_named("client.example")
    }

    pub(crate) fn client_named(&self, name: &str) -> String {
        self.issue(params(name, ExtendedKeyUsagePurpose::ClientAuth))
    }

    pub(crate) fn client_nameless(&self) -> String {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::CommonName, "web");
        self.issue(params)
    }

    pub(crate) fn expired_client(&self) -> String {
        self.issue(expired(params(
            "client.example",
            ExtendedKeyUsagePurpose::ClientAuth,
        )))
    }

    /// Of a server that has a common name only.
    pub(crate) fn nameless(&self) -> String {
        self.issue(CertificateParams::default())
    }

    #[allow(clippy::needless_pass_by_value)]
    fn issue(&self, params: CertificateParams) -> String {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        format!("{}{}", key.serialize_pem(), certificate.pem())
    }

    /// A client that trusts this authority.
    pub(crate) fn config(&self, identity: Option<String>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(pem) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap(),
                )
                .unwrap(),
        }
    }

    pub(crate) async fn connect(
        &self,
        port: u16,
        identity: Option<String>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let name = ServerName::try_from("db.example").unwrap();
        TlsConnector::from(Arc::new(self.config(identity)))
            .connect(name, stream)
            .await
    }
}

fn params(name: &str, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![purpose];
    params
}

fn expired(mut params: CertificateParams) -> CertificateParams {
    params.not_before = date_time_ymd(2001, 1, 1);
    params.not_after = date_time_ymd(2002, 1, 1);
    params
}
