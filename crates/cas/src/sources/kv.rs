//! Key-value stores that speak the HTTP API of Vault's KV, version 2.
//!
//! One request: `GET /v1/<mount>/data/<path>[?version=N]` with the token in `X-Vault-Token`. Of the
//! answer, `data.data.<field>` is the value and `data.metadata.version` its number.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use mse_crypto::Zeroizing;
use mse_session::{KvImport, KvUrl};
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Client, Response, StatusCode, Url, redirect};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use tokio::time::timeout;

use super::{KvConfig, SourceError};

/// Values are never fetched more often than this, whatever a store says of its leases.
const SHORTEST_REFRESH: Duration = Duration::from_secs(30);

/// What a store answered.
pub(super) struct Read {
    pub(super) text: Zeroizing<String>,
    pub(super) version: u64,
    pub(super) refresh_after: Option<Duration>,
}

/// The client of all stores.
pub(super) struct Kv {
    config: KvConfig,
}

impl Kv {
    pub(super) fn new(config: KvConfig) -> Self {
        Self { config }
    }

    /// Reads one field.
    pub(super) async fn read(&self, import: &KvImport, token: &str) -> Result<Read, SourceError> {
        let server = &import.url;
        self.is_allowed(server)?;
        let mut token = HeaderValue::from_str(token).map_err(|_| SourceError::TokenForm)?;
        token.set_sensitive(true);
        let after = self.config.timeout;
        let body = timeout(after, self.body(import, token))
            .await
            .map_err(|_| SourceError::TimedOut {
                what: format!("`{server}`"),
                after,
            })??;
        let answer: Answer =
            serde_json::from_slice(&body).map_err(|_| SourceError::Answer(server.clone()))?;
        self.pick(import, answer)
    }

    fn is_allowed(&self, server: &KvUrl) -> Result<(), SourceError> {
        if let Some(servers) = &self.config.servers
            && !servers.contains(server)
        {
            return Err(SourceError::Server(server.clone()));
        }
        if server.is_plain() {
            if !self.config.allow_plain {
                return Err(SourceError::Plain(server.clone()));
            }
            tracing::warn!(
                %server,
                "a secret is fetched WITHOUT ENCRYPTION: whoever runs this machine reads it and its token"
            );
        }
        Ok(())
    }

    async fn body(
        &self,
        import: &KvImport,
        token: HeaderValue,
    ) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let server = &import.url;
        let response = client(import)?
            .get(address(import).ok_or_else(|| SourceError::Answer(server.clone()))?)
            .header("X-Vault-Token", token)
            .header("X-Vault-Request", "true")
            .send()
            .await
            .map_err(|error| unreachable(server, &error))?;
        check_status(import, response.status())?;
        self.bounded(server, response).await
    }

    async fn bounded(
        &self,
        server: &KvUrl,
        mut response: Response,
    ) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let limit = self.config.max_bytes;
        let too_large = || SourceError::TooLarge {
            url: server.clone(),
            limit,
        };
        let announced = response.content_length().unwrap_or(0);
        if announced > limit as u64 {
            return Err(too_large());
        }
        let mut body = Zeroizing::new(Vec::new());
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| unreachable(server, &error))?
        {
            if body.len().saturating_add(piece.len()) > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    fn pick(&self, import: &KvImport, answer: Answer) -> Result<Read, SourceError> {
        let server = &import.url;
        let Answer {
            data:
                Some(Data {
                    data: Some(mut fields),
                    metadata: Some(Metadata { version }),
                }),
            lease_duration,
        } = answer
        else {
            return Err(SourceError::Answer(server.clone()));
        };
        let asked = import.version.map(|version| u64::from(version.get()));
        if let Some(asked) = asked.filter(|asked| *asked != version) {
            return Err(SourceError::OtherVersion {
                url: server.clone(),
                version,
                asked,
            });
        }
        let Some(Field::Text(text)) = fields.remove(&import.field) else {
            return Err(SourceError::Field(import.field.clone()));
        };
        let refresh = match lease_duration {
            0 => self.config.refresh,
            seconds => Duration::from_secs(seconds).min(self.config.refresh),
        };
        Ok(Read {
            text,
            version,
            // What the session pins does not change.
            refresh_after: asked.is_none().then(|| refresh.max(SHORTEST_REFRESH)),
        })
    }
}

/// A client for one server. The environment of the CAS has no say in where it connects to.
fn client(import: &KvImport) -> Result<Client, SourceError> {
    // Several crates speak TLS with this provider. An error means that it is installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("mse-cas/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .no_proxy()
        .https_only(!import.url.is_plain());
    if import.url.is_plain() {
        // A small machine may have no certificates of the system's; none are needed.
        builder = builder.tls_certs_only([]);
    } else if let Some(ca) = &import.ca {
        let roots = Certificate::from_pem_bundle(ca.as_bytes())
            .map_err(|error| SourceError::Ca(root_cause(&error)))?;
        builder = builder.tls_certs_only(roots);
    }
    builder
        .build()
        .map_err(|error| SourceError::Https(root_cause(&error)))
}

/// Segments are escaped by the URL's own rules, and cannot become others.
fn address(import: &KvImport) -> Option<Url> {
    let mut url: Url = import.url.to_string().parse().ok()?;
    url.path_segments_mut()
        .ok()?
        .clear()
        .push("v1")
        .extend(import.mount.segments())
        .push("data")
        .extend(import.path.segments());
    if let Some(version) = import.version {
        url.query_pairs_mut()
            .append_pair("version", &version.to_string());
    }
    Some(url)
}

fn check_status(import: &KvImport, status: StatusCode) -> Result<(), SourceError> {
    let url = import.url.clone();
    Err(match status {
        StatusCode::OK => return Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => SourceError::Forbidden(url),
        StatusCode::NOT_FOUND => SourceError::NotFound {
            url,
            mount: import.mount.to_string(),
            path: import.path.to_string(),
        },
        status if status.is_redirection() => SourceError::Redirected(url),
        status => SourceError::Status {
            url,
            status: status.as_u16(),
        },
    })
}

fn unreachable(server: &KvUrl, error: &reqwest::Error) -> SourceError {
    SourceError::Unreachable {
        url: server.clone(),
        why: root_cause(error),
    }
}

/// The innermost cause: the outer texts only say that something failed.
fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
    #[serde(default)]
    lease_duration: u64,
}

#[derive(Deserialize)]
struct Data {
    data: Option<BTreeMap<String, Field>>,
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
}

/// A field of a secret. Texts are wiped, whether or not they are asked for.
enum Field {
    Text(Zeroizing<String>),
    Other,
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldVisitor)
    }
}

struct FieldVisitor;

impl<'de> Visitor<'de> for FieldVisitor {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Field, E> {
        Ok(Field::Text(Zeroizing::new(text)))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E>(self) -> Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Field, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

#[cfg(test)]
mod tests {
    use mse_session::{Compatibility, External, SecretSource, Variables, check_text};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn import() -> KvImport {
        let text = "{name: a, version: 0.3.12, secrets: [{name: t, kind: ascii}, {name: x, kind: ascii, import_kv: {url: 'https://v', path: p, field: f, token: t}}]}";
        let outcome = check_text(text, &Variables::new(), Compatibility::Strict);
        match outcome.session.unwrap().secrets.remove(1).source {
            SecretSource::External(External::Kv(import)) => import,
            other => panic!("{other:?}"),
        }
    }

    fn picked(body: &[u8]) -> Option<Read> {
        let answer = serde_json::from_slice(body).ok()?;
        Kv::new(KvConfig::default()).pick(&import(), answer).ok()
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 8, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec(("[a-z]{1,3}", inner), 0..4)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_text_is_picked_out_of_whatever_is_around_it(
            value in any::<String>(),
            others in proptest::collection::vec(("[a-eg-z]{1,3}", any_json()), 0..6),
            version in any::<u64>(),
            lease in any::<u64>(),
        ) {
            let mut fields: serde_json::Map<_, _> = others.into_iter().collect();
            fields.insert("f".to_owned(), value.clone().into());
            let body = json!({
                "lease_duration": lease, "auth": null,
                "data": {"data": fields, "metadata": {"version": version, "destroyed": false}},
            });
            let read = picked(body.to_string().as_bytes()).unwrap();
            prop_assert_eq!(&**read.text, &value);
            prop_assert_eq!(read.version, version);
            let refresh = read.refresh_after.unwrap();
            prop_assert!(refresh >= SHORTEST_REFRESH && refresh <= KvConfig::default().refresh);
        }

        #[test]
        fn what_is_not_a_text_is_not_picked(value in any_json()) {
            let body = json!({"data": {"data": {"f": value}, "metadata": {"version": 1}}});
            let text = value.as_str().map(str::to_owned);
            let read = picked(body.to_string().as_bytes()).map(|read| String::clone(&read.text));
            prop_assert_eq!(read, text);
        }

        #[test]
        fn nothing_panics(body in any::<Vec<u8>>(), answer in any_json()) {
            let _ = picked(&body);
            let _ = picked(answer.to_string().as_bytes());
        }
    }
}
