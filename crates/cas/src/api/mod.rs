//! The API for clients: `mse_api::cas` has its paths and types.

mod errors;
mod query;
mod views;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response, StatusCode};
use mse_api::cas::{
    AUDIT_HEAD, AUDIT_LINES, AuditLines, BACKUP, BackupMade, CasError, CasErrorCode, Done,
    GivenValue, MAX_LINES, NewProposal, OPENAPI, POSITION, POSITION_HEADER, PROPOSAL,
    PROPOSAL_APPROVE, PROPOSAL_DROP, PROPOSAL_WITHDRAW, PROPOSALS, PositionView, ProposalId,
    ProposalList, Revocation, Rotation, SECRETS, SECRETS_ROTATE, SECRETS_VALUE, SESSION,
    SESSION_HISTORY, SESSION_REVOKE, SESSIONS, SecretList, SessionHistory, SessionList, Upload,
    VALUE, Vote,
};
use mse_audit::entry::Event;
use mse_crypto::Digest;
use mse_ratls::cas::signer::{SIGNER_HEADER, shown_signer};
use mse_session::{Operation, SessionName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use self::query::Query;
use crate::audit_log;
use crate::listen::{Channel, json, json_text};
use crate::sessions::{Asker, SessionError, Sessions};
use crate::store::{Position, Store, StoreError, Write};

/// A store that takes longer is not waited for. It is longer than one attempt to write.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers clients.
pub struct ClientApi {
    sessions: Arc<Sessions>,
    backups: PathBuf,
}

impl ClientApi {
    /// Answers about `sessions`; backups are written into the folder `backups`.
    pub fn new(sessions: Arc<Sessions>, backups: PathBuf) -> Self {
        Self { sessions, backups }
    }

    /// Answers one request.
    pub async fn answer(
        &self,
        request: &Request<Bytes>,
        channel: &Channel,
    ) -> Response<Full<Bytes>> {
        let present = request
            .headers()
            .get(SIGNER_HEADER)
            .and_then(|header| shown_signer(header.to_str().ok()?, &channel.binding));
        let asker = Asker::of_certificate(channel.client.as_deref()).with_present(present);
        let mut response = match timeout(PATIENCE, self.route(request, &asker)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => error_response(&error),
            Err(_) => error_response(&too_slow(request.method())),
        };
        let position = self.sessions.store().position();
        if let Ok(position) = HeaderValue::from_str(&written(&position)) {
            response.headers_mut().insert(POSITION_HEADER, position);
        }
        response
    }

    async fn route(
        &self,
        request: &Request<Bytes>,
        asker: &Asker,
    ) -> Result<Response<Full<Bytes>>, CasError> {
        let sessions = &*self.sessions;
        let query = Query::of(request.uri().query())?;
        let body = request.body();
        let path = request.uri().path();
        Ok(match (request.method(), path) {
            (&Method::POST, SESSIONS) => {
                let upload: Upload = read(body)?;
                created(&views::stored(&sessions.upload(&upload, asker).await?))
            }
            (&Method::GET, SESSIONS) => {
                let within = query.name_or_root("within")?;
                let listed = sessions.list(&within, asker).await?;
                ok(&SessionList {
                    sessions: listed.iter().map(views::line).collect(),
                })
            }
            (&Method::GET, SESSION) => {
                let (name, hash) = (query.name("name")?, query.hash("hash")?);
                ok(&views::seen(
                    &name,
                    &sessions.read(&name, hash, asker).await?,
                ))
            }
            (&Method::GET, SESSION_HISTORY) => {
                let hashes = sessions.history(&query.name("name")?, asker).await?;
                ok(&SessionHistory {
                    hashes: hashes.iter().map(ToString::to_string).collect(),
                })
            }
            (&Method::POST, SESSION_REVOKE) => {
                let asked: Revocation = read(body)?;
                let (name, hash) = (query::name("name", &asked.name)?, &asked.hash);
                let hash = query::hash("hash", hash)?;
                sessions
                    .revoke(&name, hash, &asked.signatures, asker)
                    .await?;
                ok(&Done {})
            }
            (_, path) if path.starts_with(PROPOSAL) => {
                self.proposals(request.method(), path, &query, body, asker)
                    .await?
            }
            (_, path) if path.starts_with(SECRETS) => {
                self.secrets(request.method(), path, &query, body, asker)
                    .await?
            }
            (&Method::GET, VALUE) => {
                let (name, secret) = (query.name("session")?, query.secret("secret")?);
                let value = sessions.public_value(&name, &secret).await?;
                ok(&views::public(&value))
            }
            (&Method::GET, AUDIT_HEAD) => {
                let head = audit_log::newest_head(sessions.store()).await?;
                ok(&head.map(|head| value(&head.to_json())))
            }
            (&Method::GET, AUDIT_LINES) => self.audit_lines(&query, asker).await?,
            (&Method::GET, POSITION) => {
                if let Some(seen) = query.position("seen")? {
                    sessions.store().confirm(seen).await?;
                } else {
                    sessions.store().refresh().await?;
                }
                ok(&self.position())
            }
            (&Method::POST, BACKUP) => self.backup(asker).await?,
            (&Method::GET, OPENAPI) => document(),
            (method, path) => return Err(no_such(method, path)),
        })
    }

    async fn proposals(
        &self,
        method: &Method,
        path: &str,
        query: &Query,
        body: &[u8],
        asker: &Asker,
    ) -> Result<Response<Full<Bytes>>, CasError> {
        let sessions = &*self.sessions;
        Ok(match (method, path) {
            (&Method::POST, PROPOSALS) => {
                let new: NewProposal = read(body)?;
                created(&views::proposal(
                    &sessions.propose(&new, asker).await?,
                    false,
                ))
            }
            (&Method::GET, PROPOSALS) => {
                let all = sessions.proposals(&query.name("session")?, asker).await?;
                ok(&ProposalList {
                    proposals: all.iter().map(|one| views::proposal(one, false)).collect(),
                })
            }
            (&Method::GET, PROPOSAL) => {
                let (name, id) = (query.name("session")?, query.digest("id")?);
                let one = sessions.proposal(&name, id, asker).await?;
                ok(&views::proposal(&one, true))
            }
            (&Method::POST, PROPOSAL_APPROVE) => {
                let vote: Vote = read(body)?;
                ok(&views::proposal(
                    &sessions.approve(&vote, asker).await?,
                    false,
                ))
            }
            (&Method::POST, PROPOSAL_WITHDRAW) => {
                let vote: Vote = read(body)?;
                ok(&views::proposal(&sessions.withdraw(&vote).await?, false))
            }
            (&Method::POST, PROPOSAL_DROP) => {
                let which: ProposalId = read(body)?;
                let name = query::name("session", &which.session)?;
                let id = query::digest("id", &which.id)?;
                sessions.drop_proposal(&name, id, asker).await?;
                ok(&Done {})
            }
            (method, path) => return Err(no_such(method, path)),
        })
    }

    async fn secrets(
        &self,
        method: &Method,
        path: &str,
        query: &Query,
        body: &[u8],
        asker: &Asker,
    ) -> Result<Response<Full<Bytes>>, CasError> {
        let sessions = &*self.sessions;
        let lines = match (method, path) {
            (&Method::GET, SECRETS) => sessions.secrets(&query.name("session")?, asker).await?,
            (&Method::POST, SECRETS_ROTATE) => {
                let rotation: Rotation = read(body)?;
                sessions.rotate(&rotation, asker).await?
            }
            (&Method::PUT, SECRETS_VALUE) => {
                let given: GivenValue = read(body)?;
                sessions.give(&given, asker).await?
            }
            (method, path) => return Err(no_such(method, path)),
        };
        Ok(ok(&SecretList {
            session_hash: lines.session_hash.to_string(),
            secrets: lines.secrets.iter().map(views::secret).collect(),
        }))
    }

    async fn audit_lines(
        &self,
        query: &Query,
        asker: &Asker,
    ) -> Result<Response<Full<Bytes>>, CasError> {
        self.administers(asker).await?;
        let store = self.sessions.store();
        let from = query.number("from")?.unwrap_or(0);
        let limit = query
            .number("limit")?
            .unwrap_or(MAX_LINES)
            .clamp(1, MAX_LINES);
        let lines = audit_log::lines(store, from, limit).await?;
        let head = audit_log::newest_head(store).await?;
        let entries = lines.iter().filter(|line| !line.starts_with("{\"head\":"));
        let next = from.saturating_add(entries.count() as u64);
        Ok(ok(&AuditLines {
            lines,
            next,
            head: head.map(|head| value(&head.to_json())),
        }))
    }

    async fn backup(&self, asker: &Asker) -> Result<Response<Full<Bytes>>, CasError> {
        self.administers(asker).await?;
        let store: &Store = self.sessions.store();
        std::fs::create_dir_all(&self.backups).map_err(|error| errors::internal(&error))?;
        let file = format!(
            "{}-{}.backup",
            store.position().sequence,
            hex::encode(mse_crypto::random::bytes::<4>())
        );
        let path = self.backups.join(&file);
        let position = store.backup(&path).await?;
        let digested =
            tokio::task::spawn_blocking(move || Digest::of_reader(File::open(path)?)).await;
        let digest = digested
            .map_err(|error| errors::internal(&error))?
            .map_err(|error| errors::internal(&error))?;
        let leaf = audit_log::leaf(Event::BackupMade { backup: digest }, None, asker.actor());
        store.commit(Write::new().audit(leaf)).await?;
        Ok(ok(&BackupMade {
            file,
            digest: digest.to_string(),
            position: view(store, &position),
        }))
    }

    /// The owner of the CAS administers it, and who may update the session `/`.
    async fn administers(&self, asker: &Asker) -> Result<(), CasError> {
        if asker.tls == Some(self.sessions.owner()) {
            return Ok(());
        }
        let is_let = match self.sessions.load(&SessionName::root()).await {
            // Revoked for good, it lets nobody do anything any more.
            Ok(root) => !root.is_revoked() && root.allows(Operation::Update, asker),
            Err(SessionError::NoSession(_)) => false,
            Err(error) => return Err(error.into()),
        };
        if is_let {
            Ok(())
        } else {
            Err(CasError::new(
                CasErrorCode::Forbidden,
                "only the owner of this CAS may, and who may update the session `/`",
            ))
        }
    }

    fn position(&self) -> PositionView {
        let store = self.sessions.store();
        view(store, &store.position())
    }
}

#[cfg(test)]
const ROUTES: [(&str, &str); 22] = [
    ("POST", SESSIONS),
    ("GET", SESSIONS),
    ("GET", SESSION),
    ("GET", SESSION_HISTORY),
    ("POST", SESSION_REVOKE),
    ("POST", PROPOSALS),
    ("GET", PROPOSALS),
    ("GET", PROPOSAL),
    ("POST", PROPOSAL_APPROVE),
    ("POST", PROPOSAL_WITHDRAW),
    ("POST", PROPOSAL_DROP),
    ("GET", SECRETS),
    ("POST", SECRETS_ROTATE),
    ("PUT", SECRETS_VALUE),
    ("GET", VALUE),
    ("GET", AUDIT_HEAD),
    ("GET", AUDIT_LINES),
    ("GET", POSITION),
    ("POST", BACKUP),
    ("GET", OPENAPI),
    ("GET", "/v1/cas"),
    ("POST", "/v1/attest"),
];

/// Answers that are no errors.
fn ok(body: &impl Serialize) -> Response<Full<Bytes>> {
    json(StatusCode::OK, body)
}

fn created(body: &impl Serialize) -> Response<Full<Bytes>> {
    json(StatusCode::CREATED, body)
}

/// This API as an OpenAPI document: made once, since anybody may ask.
fn document() -> Response<Full<Bytes>> {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| mse_api::cas::document().into());
    json_text(StatusCode::OK, DOCUMENT.clone())
}

/// The answer for an error.
pub fn error_response(error: &CasError) -> Response<Full<Bytes>> {
    let status =
        StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, error)
}

fn no_such(method: &Method, path: &str) -> CasError {
    CasError::new(
        CasErrorCode::NotFound,
        format!("there is no `{method} {path}`"),
    )
}

/// The message of serde_json quotes no values but those of wrong types, and no body here has a
/// secret of such a type.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, CasError> {
    serde_json::from_slice(body).map_err(|error| {
        CasError::new(
            CasErrorCode::Malformed,
            format!("the body is not as specified: {error}"),
        )
    })
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

fn too_slow(method: &Method) -> CasError {
    let what = if *method == Method::GET {
        "the CAS cannot reach its store now"
    } else {
        "the CAS cannot reach its store now: what was asked for may be done all the same, so look before you repeat it"
    };
    CasError::new(CasErrorCode::Unavailable, what).with_hint("try again, or ask another replica")
}

fn written(position: &Position) -> String {
    format!("{}:{}", position.sequence, position.head)
}

fn view(store: &Store, position: &Position) -> PositionView {
    PositionView {
        store: store.id().to_string(),
        sequence: position.sequence,
        head: position.head.to_string(),
    }
}

impl From<StoreError> for CasError {
    fn from(error: StoreError) -> Self {
        SessionError::Store(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_answered_is_documented() {
        let document: Value = serde_json::from_str(&mse_api::cas::document()).unwrap();
        for (method, path) in ROUTES {
            let method = method.to_ascii_lowercase();
            assert!(
                document["paths"][path][&method].is_object(),
                "{method} {path}"
            );
        }
    }
}
