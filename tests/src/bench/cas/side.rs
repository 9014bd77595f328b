//! A CAS with sessions, and the services that are released to.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use mse_api::cas::{SESSIONS, StoredSession, Upload};
use mse_crypto::hpke::KeyPair;
use mse_ratls::binding::Nonce;
use mse_ratls::cas::client::CasClient;
use mse_ratls::release::{
    CHALLENGE, Configuration, RELEASE, RENEW, ReleaseChallenge, ReleaseRequest, RenewalRequest,
    SealedRelease, Target, release_report_data,
};
use mse_simtee::Platform;
use mse_workload::launch::CasStart;
use mse_workload::{CasKey, Resources};
use tokio::task::JoinSet;

use super::wire::{Server, Wire, decoded, encoded};
use crate::cas_program::{CasMachine, RunningCas};
use crate::programs::program;

/// A CAS that runs, with the sessions `s0`, `s1`, … of one owner.
pub(super) struct Side {
    machine: CasMachine,
    cas: RunningCas,
    server: Server,
    /// The newest version of each session.
    versions: Vec<Mutex<Version>>,
}

#[derive(Default)]
struct Version {
    number: u64,
    hash: String,
}

impl Side {
    /// A new CAS with this many sessions. It may use all of the machine.
    pub(super) async fn start(sessions: usize) -> anyhow::Result<Arc<Self>> {
        let machine = CasMachine::new(&program("mse-cas")).await;
        let mut spec = machine.spec(CasStart::Create);
        // Strangers come from another network.
        "0.0.0.0:0".clone_into(&mut spec.listen);
        spec.workload.resources = Resources {
            memory_mib: 8192,
            millicores: 1000 * u32::try_from(std::thread::available_parallelism()?.get())?,
        };
        let launched = machine.launch(spec).await;
        let cas = launched.map_err(|why| anyhow::anyhow!("the CAS does not run: {why}"))?;
        let side = Arc::new(Self {
            server: Server::new(&cas.address, cas.key)?,
            machine,
            cas,
            versions: std::iter::repeat_with(Mutex::default)
                .take(sessions)
                .collect(),
        });
        side.create_all().await?;
        Ok(side)
    }

    pub(super) fn pid(&self) -> u32 {
        self.cas.enclave.pid()
    }

    pub(super) fn port(&self) -> &str {
        self.cas
            .address
            .rsplit_once(':')
            .map_or("", |(_, port)| port)
    }

    pub(super) fn key(&self) -> CasKey {
        self.cas.key
    }

    pub(super) fn sessions(&self) -> usize {
        self.versions.len()
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn platform(&self) -> &Platform {
        &self.machine.platform
    }

    /// The disk that the store is on.
    pub(super) fn folder(&self) -> &Path {
        self.machine.folder.path()
    }

    /// A connection of whom the sessions belong to.
    pub(super) async fn owner(&self) -> anyhow::Result<CasClient> {
        Ok(self.cas.connect(Some(&self.machine.owner)).await?)
    }

    /// Creates a session, or replaces its newest version. Nobody else may do so meanwhile.
    pub(super) async fn update(&self, owner: &mut CasClient, session: usize) -> anyhow::Result<()> {
        let place = &self.versions[session];
        let lock = || place.lock().unwrap_or_else(PoisonError::into_inner);
        let text = text(session, &lock());
        let stored: StoredSession = owner.post(SESSIONS, &Upload::Text(text)).await?;
        *lock() = Version {
            number: stored.number,
            hash: stored.hash,
        };
        Ok(())
    }

    async fn create_all(self: &Arc<Self>) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for worker in 0..CREATORS {
            let side = Arc::clone(self);
            tasks.spawn(async move {
                let mut owner = side.owner().await?;
                for session in (worker..side.sessions()).step_by(CREATORS) {
                    side.update(&mut owner, session).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    /// An attested release to a service, on a new connection: all that a service does.
    pub(super) async fn release(&self, session: usize) -> anyhow::Result<Released> {
        let target = Target {
            session: name(session),
            service: SERVICE.to_owned(),
        };
        let mut wire = self.server.connect().await?;
        let challenge: ReleaseChallenge = decoded(&wire.post(CHALLENGE, b"").await?)?;
        let mut nonce = Nonce([0; 32]);
        hex::decode_to_slice(&challenge.nonce, &mut nonce.0)?;
        let key = KeyPair::generate();
        let data = release_report_data(&nonce, &wire.binding(), &key.public(), &target);
        let request = ReleaseRequest {
            target: target.clone(),
            nonce: challenge.nonce,
            x25519: hex::encode(key.public().0),
            evidence: encoded(&self.platform().quote(PROGRAM, &data)?),
            certificates: Vec::new(),
            one_time_password: None,
            access_token_proof: None,
        };
        let answer = wire.post(RELEASE, &serde_json::to_vec(&request)?).await?;
        let mut released = Released {
            wire,
            target,
            key,
            renewal: Vec::new(),
        };
        released.open(&answer)?;
        Ok(released)
    }
}

/// A service that was released to, with its connection.
pub(super) struct Released {
    wire: Wire,
    target: Target,
    key: KeyPair,
    /// The request for the next renewal.
    renewal: Vec<u8>,
}

impl Released {
    /// One more release in the session, on the same connection.
    pub(super) async fn renew(&mut self) -> anyhow::Result<()> {
        self.wire.post(RENEW, &self.renewal).await?;
        Ok(())
    }

    /// As [`Self::renew`], and what comes is opened and looked at.
    pub(super) async fn renew_and_open(&mut self) -> anyhow::Result<()> {
        let answer = self.wire.post(RENEW, &self.renewal).await?;
        self.open(&answer)
    }

    fn open(&mut self, answer: &[u8]) -> anyhow::Result<()> {
        let release: SealedRelease = serde_json::from_slice(answer)?;
        let sealed = super::wire::plain(&release.sealed)?;
        let channel = self.wire.binding();
        let told = Configuration::open(&sealed, &self.target, &self.key, &channel)
            .context("a release does not open")?;
        let password = told.environment.get("API_PASSWORD");
        ensure!(
            password.is_some_and(|password| password.len() == 20),
            "a release holds no password"
        );
        let ticket = release.ticket;
        self.renewal = serde_json::to_vec(&RenewalRequest { ticket })?;
        Ok(())
    }
}

fn name(session: usize) -> String {
    format!("s{session}")
}

/// What follows a version: a session with a password, and a key in a file.
fn text(session: usize, before: &Version) -> String {
    let predecessor = match before.number {
        0 => String::new(),
        _ => format!("predecessor: {}\n", before.hash),
    };
    format!(
        "name: {name}
version: '0.3.12'
salt: {salt}
{predecessor}services:
- name: {SERVICE}
  image_name: main
  command: /usr/bin/python3 main.py --port 8080
  pwd: /app
  attestation: {{mrenclave: '{program}', simulated: true}}
  environment:
    RELEASE: '{number}'
    API_USER: me
    API_PASSWORD: $$MSE::password$$
images:
- name: main
  injection_files:
  - {{path: /etc/app.key, content: $$MSE::key$$, permission: '0400'}}
secrets:
- {{name: password, kind: ascii, size: 20}}
- {{name: key, kind: binary, size: 32}}
",
        name = name(session),
        number = before.number + 1,
        salt = "0a".repeat(16),
        program = hex::encode(PROGRAM),
    )
}

const SERVICE: &str = "api";
/// What the platform measures of the service.
const PROGRAM: [u8; 32] = [0x5e; 32];
/// Sessions are created over so many connections at once.
const CREATORS: usize = 64;
