//! The values of a session's secrets: generated here, given by the owner, or another session's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use mse_crypto::Zeroizing;
use mse_secrets::{
    self as secrets, CertificateSpec, Dependencies, GenerateError, Given, InvalidGiven, JwtPayload,
    JwtSpec, KeySource, KeyType, Kind, RenderError, Role, Size, Spec, Validity, Value,
};
use mse_session::{
    CertificateRequest, Edition, Endpoint, Explicit, Generated, ImportFrom, Reference, Secret,
    SecretName, SecretSource, Session, Template,
};

use crate::release::attestation::Fragments;

/// Values by the secret's name.
#[derive(Clone, Default)]
pub struct Values {
    current: BTreeMap<SecretName, Value>,
    /// Those before, where they are still accepted.
    previous: BTreeMap<SecretName, Value>,
    /// Of those, which are shown rather than the current ones.
    presented: BTreeSet<SecretName>,
}

/// Gives what other sessions export.
pub trait Imports {
    /// The value of a secret that its session exports to the one that asks; `None` if there is no
    /// such secret, or not for this session.
    fn import(&self, from: &ImportFrom) -> Option<Value>;
}

/// No other session exports anything.
pub struct NoImports;

impl Imports for NoImports {
    fn import(&self, _: &ImportFrom) -> Option<Value> {
        None
    }
}

impl Values {
    /// Makes the values of all secrets of `session` at `now`.
    ///
    /// `before` is the version that it takes the place of, with its values: what the language says
    /// is kept on an update is taken from there.
    pub fn make(
        session: &Session,
        before: Option<(&Session, &Self)>,
        imports: &impl Imports,
        now: SystemTime,
    ) -> Result<Self, ValuesError> {
        let mut values = Self::default();
        let waiting = values.advance(session, before, imports, now)?;
        if waiting.is_empty() {
            Ok(values)
        } else {
            Err(Self::circle(&waiting))
        }
    }

    /// Makes as many values of `session` as it can, with those that are there, and gives the
    /// secrets that wait: for values that are kept outside ([`crate::sources`]), or in a circle.
    pub fn advance<'s>(
        &mut self,
        session: &'s Session,
        before: Option<(&Session, &Self)>,
        imports: &impl Imports,
        now: SystemTime,
    ) -> Result<Vec<&'s Secret>, ValuesError> {
        let values = self;
        let mut waiting: Vec<&Secret> = session.secrets.iter().collect();
        waiting.retain(|secret| values.get(&secret.name).is_none());
        // Each pass makes those whose sources are there, until one makes none.
        while !waiting.is_empty() {
            let mut still = Vec::new();
            let count = waiting.len();
            for secret in waiting {
                match values.source(secret, imports)? {
                    Source::Waits => still.push(secret),
                    Source::Value(value) => values.insert(secret, value),
                    Source::Spec(spec) => {
                        let kept = before
                            .and_then(|(session, old)| old.kept(session, secret, &spec, imports));
                        let value = match kept {
                            Some(value) => value,
                            None => values.generated(secret, &spec, now)?,
                        };
                        values.insert(secret, value);
                    }
                }
            }
            if still.len() == count {
                return Ok(still);
            }
            waiting = still;
        }
        Ok(waiting)
    }

    /// Puts a value that was fetched.
    pub fn put(&mut self, name: SecretName, value: Value) {
        self.current.insert(name, value);
    }

    /// Why these wait, if nothing more is fetched.
    pub(crate) fn circle(waiting: &[&Secret]) -> ValuesError {
        let outside = waiting
            .iter()
            .find(|secret| matches!(secret.source, SecretSource::External(_)));
        if let Some(secret) = outside {
            return ValuesError::NotFetched(secret.name.clone());
        }
        let names = waiting.iter().map(|secret| secret.name.to_string());
        ValuesError::Circle(names.collect())
    }

    /// The value of a secret.
    pub fn get(&self, name: &SecretName) -> Option<&Value> {
        self.current.get(name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&SecretName, &Value)> {
        self.current.iter()
    }

    /// The values of these secrets, as they were stored.
    pub fn of(values: impl IntoIterator<Item = (SecretName, Value)>) -> Self {
        Self {
            current: values.into_iter().collect(),
            ..Self::default()
        }
    }

    /// With a value.
    #[must_use]
    pub fn with(mut self, name: SecretName, value: Value) -> Self {
        self.current.insert(name, value);
        self
    }

    /// With a value that is still accepted after a rotation, and perhaps still the one to show.
    #[must_use]
    pub fn with_previous(mut self, name: SecretName, value: Value, is_presented: bool) -> Self {
        if is_presented {
            self.presented.insert(name.clone());
        }
        self.previous.insert(name, value);
        self
    }

    /// A new value of one secret, with all others as they are: for a rotation.
    pub fn remade(
        &self,
        session: &Session,
        name: &SecretName,
        imports: &impl Imports,
        now: SystemTime,
    ) -> Result<Value, ValuesError> {
        let missing = || ValuesError::Missing(name.to_string());
        let secret = session.secret(name).ok_or_else(missing)?;
        match self.source(secret, imports)? {
            Source::Spec(Spec::Explicit { .. }) | Source::Value(_) => {
                Err(ValuesError::NotGenerated(name.clone()))
            }
            Source::Waits if matches!(secret.source, SecretSource::External(_)) => {
                Err(ValuesError::NotGenerated(name.clone()))
            }
            Source::Waits => Err(missing()),
            Source::Spec(spec) => self.generated(secret, &spec, now),
        }
    }

    /// New certificates and tokens for those whose time has come at `now`, issuers first.
    pub fn renewed(
        &self,
        session: &Session,
        imports: &impl Imports,
        now: SystemTime,
    ) -> Result<Vec<(SecretName, Value)>, ValuesError> {
        let mut after = self.clone();
        let mut renewed: Vec<(SecretName, Value)> = Vec::new();
        let mut due: Vec<&SecretName> = self
            .iter()
            .filter(|(_, value)| value.needs_renewal(now))
            .map(|(name, _)| name)
            .collect();
        while !due.is_empty() {
            let mut still = Vec::new();
            for name in due.iter().copied() {
                let (Some(secret), Some(old)) = (session.secret(name), self.get(name)) else {
                    continue;
                };
                let Source::Spec(spec) = after.source(secret, imports)? else {
                    continue;
                };
                // What it depends on, and is due itself, comes first.
                if spec
                    .dependencies()
                    .any(|needed| due.iter().any(|one| one.as_str() == needed && *one != name))
                    && due.len() > 1
                {
                    still.push(name);
                    continue;
                }
                let value = secrets::renew(&name.to_string(), &spec, old, &after, now).map_err(
                    |source| ValuesError::Generate {
                        secret: name.clone(),
                        source,
                    },
                )?;
                after.insert(secret, value.clone());
                renewed.push((name.clone(), value));
            }
            if still.len() == due.len() {
                let names = still.iter().map(ToString::to_string).collect();
                return Err(ValuesError::Circle(names));
            }
            due = still;
        }
        Ok(renewed)
    }

    /// The bytes that take the place of a reference, before any escaping.
    pub fn render(&self, reference: &Reference) -> Result<Zeroizing<Vec<u8>>, ValuesError> {
        let missing = || ValuesError::Missing(reference.to_string());
        let name = reference.secret().ok_or_else(missing)?;
        let value = match reference.edition() {
            Edition::Current => self.get(name),
            Edition::Presented if !self.presented.contains(name) => self.get(name),
            Edition::Previous | Edition::Presented => {
                self.previous.get(name).or_else(|| self.get(name))
            }
        }
        .ok_or_else(missing)?;
        let format = reference
            .format(value.kind())
            .map_err(|error| ValuesError::Format(error.to_string()))?;
        secrets::render(value, format).map_err(|source| ValuesError::Render {
            reference: reference.to_string(),
            source,
        })
    }

    /// When the first of them is to be renewed.
    pub fn renew_at(&self) -> Option<SystemTime> {
        self.current.values().filter_map(Value::renew_at).min()
    }

    fn insert(&mut self, secret: &Secret, value: Value) {
        self.current.insert(secret.name.clone(), value);
    }

    fn generated(
        &self,
        secret: &Secret,
        spec: &Spec,
        now: SystemTime,
    ) -> Result<Value, ValuesError> {
        secrets::generate(secret.name.as_str(), spec, self, now).map_err(|source| {
            ValuesError::Generate {
                secret: secret.name.clone(),
                source,
            }
        })
    }

    /// The value of an old version that an update keeps.
    fn kept(
        &self,
        session: &Session,
        secret: &Secret,
        new: &Spec,
        imports: &impl Imports,
    ) -> Option<Value> {
        let before = session.secret(&secret.name)?;
        let Ok(Source::Spec(old)) = self.source(before, imports) else {
            return None;
        };
        secrets::migrates(&old, new)
            .then(|| self.get(&secret.name).cloned())
            .flatten()
    }

    /// Where the value of a secret comes from, with what is made by now.
    fn source(&self, secret: &Secret, imports: &impl Imports) -> Result<Source, ValuesError> {
        let name = || secret.name.clone();
        let kind = secret.kind;
        match &secret.source {
            SecretSource::Imported(from) => {
                imports
                    .import(from)
                    .map(Source::Value)
                    .ok_or_else(|| ValuesError::NotExported {
                        secret: name(),
                        session: from.session.session.to_string(),
                        exported: from.secret.clone(),
                    })
            }
            // It is put here when it has been fetched.
            SecretSource::External(_) => Ok(Source::Waits),
            SecretSource::Vault(_) => Err(ValuesError::Unsupported(name(), "`import_akv`")),
            SecretSource::Explicit(Explicit::Fragment(fragment)) => {
                self.given(secret, Kind::ConfigFragment, &fragment.to_string(), None)
            }
            SecretSource::Explicit(Explicit::Text { value, private_key }) => {
                if !self.has_all_of(value) {
                    return Ok(Source::Waits);
                }
                let text = self.text(secret, value)?;
                let private_key = private_key.as_ref().map(ToString::to_string);
                self.given(secret, kind.unwrap_or(Kind::Ascii), &text, private_key)
            }
            SecretSource::Generated(generated) => {
                let Some(spec) = self.spec(secret, generated)? else {
                    return Ok(Source::Waits);
                };
                let is_ready = spec.dependencies().all(|name| self.value(name).is_some());
                Ok(if is_ready {
                    Source::Spec(spec)
                } else {
                    Source::Waits
                })
            }
        }
    }

    fn given(
        &self,
        secret: &Secret,
        kind: Kind,
        text: &str,
        private_key: Option<String>,
    ) -> Result<Source, ValuesError> {
        if private_key
            .as_ref()
            .is_some_and(|name| self.value(name).is_none())
        {
            return Ok(Source::Waits);
        }
        let given = Given::parse(kind, text).map_err(|source| ValuesError::Given {
            secret: secret.name.clone(),
            source,
        })?;
        Ok(Source::Spec(Spec::Explicit { given, private_key }))
    }

    /// What a generated secret is to be; `None` if a claim refers to what is not there yet.
    fn spec(&self, secret: &Secret, generated: &Generated) -> Result<Option<Spec>, ValuesError> {
        Ok(Some(match generated {
            Generated::Ascii(size) => Spec::Ascii {
                size: sized(secret, *size)?,
            },
            Generated::Binary(size) => Spec::Binary {
                size: sized(secret, *size)?,
            },
            Generated::PrivateKey(key_type) => Spec::PrivateKey {
                key_type: *key_type,
                migrate: secret.migrate,
            },
            Generated::PublicKey(private_key) => Spec::PublicKey {
                private_key: private_key.to_string(),
            },
            Generated::Certificate(request) => Spec::Certificate(certificate(secret, request)?),
            Generated::PgpKey => Spec::PgpKey,
            Generated::Jwt(request) => {
                let mut claims = BTreeMap::new();
                for (claim, template) in &request.payload {
                    if !self.has_all_of(template) {
                        return Ok(None);
                    }
                    let text = self.text(secret, template)?;
                    claims.insert(claim.clone(), text.as_str().to_owned());
                }
                Spec::Jwt(JwtSpec {
                    signer: request.signer.to_string(),
                    validity: validity(secret, request.valid_for.seconds())?,
                    payload: JwtPayload::new(claims).map_err(|error| {
                        ValuesError::Parameter(secret.name.clone(), error.to_string())
                    })?,
                })
            }
            Generated::AadToken(_) => {
                let name = secret.name.clone();
                return Err(ValuesError::Unsupported(name, "the kind `aad-token`"));
            }
        }))
    }

    /// Whether all secrets that a text refers to have a value.
    fn has_all_of(&self, template: &Template) -> bool {
        template
            .references()
            .filter_map(Reference::secret)
            .all(|name| self.get(name).is_some())
    }

    fn text(&self, secret: &Secret, template: &Template) -> Result<Zeroizing<String>, ValuesError> {
        let not_text = || ValuesError::NotText(secret.name.clone());
        let bytes = template
            .render(|reference| self.render(reference), |_| Err(not_text()))
            .map_err(|error| match error {
                mse_session::RenderError::Value(error) => error,
                mse_session::RenderError::NotText(_) => not_text(),
            })?;
        let text = std::str::from_utf8(&bytes).map_err(|_| not_text())?;
        Ok(Zeroizing::new(text.to_owned()))
    }
}

impl Dependencies for Values {
    fn value(&self, name: &str) -> Option<&Value> {
        self.get(&name.parse().ok()?)
    }
}

impl Fragments for Values {
    fn fragment(&self, reference: &Reference) -> Option<serde_json::Value> {
        let value = self.get(reference.secret()?)?;
        if value.kind() != Kind::ConfigFragment {
            return None;
        }
        serde_json::from_slice(&self.render(reference).ok()?).ok()
    }
}

/// Where a value comes from.
enum Source {
    /// From another session.
    Value(Value),
    /// It is made.
    Spec(Spec),
    /// Others have to be made first.
    Waits,
}

fn certificate(
    secret: &Secret,
    request: &CertificateRequest,
) -> Result<CertificateSpec, ValuesError> {
    let role = if secret.kind == Some(Kind::X509Ca) {
        Role::Authority { path_length: None }
    } else {
        let names = request.names.iter().map(|name| {
            name.to_string()
                .parse()
                .map_err(|error| parameter(secret, &error))
        });
        Role::EndEntity {
            names: names.collect::<Result<_, _>>()?,
            endpoint: request.endpoint.map(|endpoint| match endpoint {
                Endpoint::Server => secrets::Endpoint::Server,
                Endpoint::Client => secrets::Endpoint::Client,
            }),
        }
    };
    Ok(CertificateSpec {
        key: match &request.private_key {
            Some(name) => KeySource::Secret(name.to_string()),
            None => KeySource::Fresh(KeyType::default()),
        },
        issuer: request.issuer.as_ref().map(ToString::to_string),
        common_name: request.common_name.clone(),
        valid_for: request
            .valid_for
            .map(|lifetime| validity(secret, lifetime.seconds()))
            .transpose()?,
        role,
    })
}

fn sized(secret: &Secret, size: u32) -> Result<Size, ValuesError> {
    Size::new(size.into()).map_err(|error| parameter(secret, &error))
}

fn validity(secret: &Secret, seconds: u64) -> Result<Validity, ValuesError> {
    format!("{seconds}s")
        .parse()
        .map_err(|error| parameter(secret, &error))
}

fn parameter(secret: &Secret, error: &impl ToString) -> ValuesError {
    ValuesError::Parameter(secret.name.clone(), error.to_string())
}

/// Why a secret has no value. Names it, and no value.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// Secrets that need each other.
    #[error("the secrets `{}` need each other: none can be made first", .0.join("`, `"))]
    Circle(Vec<String>),
    /// It cannot be made.
    #[error("the secret `{secret}` cannot be generated: {source}")]
    Generate {
        /// Its name.
        secret: SecretName,
        /// Why.
        source: GenerateError,
    },
    /// What the owner gave is not of its kind.
    #[error("the value of the secret `{secret}` cannot be taken: {source}")]
    Given {
        /// Its name.
        secret: SecretName,
        /// Why.
        source: InvalidGiven,
    },
    /// A parameter out of its bounds.
    #[error("the secret `{0}`: {1}")]
    Parameter(SecretName, String),
    /// It must be text, and is something else.
    #[error(
        "the secret `{0}` is made of something that is no text: ask for it as `:hex` or `:base64`"
    )]
    NotText(SecretName),
    /// Another session does not give it.
    #[error(
        "the secret `{secret}` cannot be imported: `{session}` exports no `{exported}` to this session"
    )]
    NotExported {
        /// Its name.
        secret: SecretName,
        /// The session.
        session: String,
        /// The name there.
        exported: SecretName,
    },
    /// Its value comes from somewhere else.
    #[error(
        "the secret `{0}` is not generated by this CAS: give it a new value where it comes from, or in the session"
    )]
    NotGenerated(SecretName),
    /// Not built.
    #[error("the secret `{0}`: {1} is not supported by this CAS")]
    Unsupported(SecretName, &'static str),
    /// It is kept outside, and was not fetched.
    #[error("the secret `{0}` is kept outside of this CAS, and has not been fetched")]
    NotFetched(SecretName),
    /// A reference to nothing.
    #[error("`{0}` stands for no secret of this session")]
    Missing(String),
    /// A form that its kind does not have.
    #[error("{0}")]
    Format(String),
    /// A form that this value cannot have.
    #[error("`{reference}`: {source}")]
    Render {
        /// The reference.
        reference: String,
        /// Why.
        source: RenderError,
    },
}

#[cfg(test)]
mod tests {
    use mse_session::{Compatibility, Variables, check_text};

    use super::*;

    fn session(secrets: &str) -> Session {
        let text = format!(
            "name: shop\nversion: '0.3.12'\nsalt: {}\nservices: []\nsecrets:\n{secrets}",
            "ab".repeat(16)
        );
        let outcome = check_text(&text, &Variables::default(), Compatibility::Strict);
        let diagnostics = outcome.diagnostics.clone();
        outcome
            .session
            .unwrap_or_else(|| panic!("{text}\n{diagnostics:#?}"))
    }

    fn made(secrets: &str) -> Result<Values, ValuesError> {
        Values::make(&session(secrets), None, &NoImports, SystemTime::now())
    }

    fn rendered(values: &Values, text: &str) -> String {
        let template = Template::parse(text, mse_session::HostArguments::Literal)
            .unwrap()
            .template;
        let bytes = template
            .render(|reference| values.render(reference), |_| unreachable!())
            .unwrap_or_else(|_| panic!("{text}"));
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    const PKI: &str = "\
- {name: server, kind: x509, issuer: ca, private_key: server_key, dns: [web], endpoint: server}
- {name: ca, kind: x509-ca, private_key: ca_key, common_name: Shop CA}
- {name: server_key, kind: private-key}
- {name: ca_key, kind: private-key, key_type: P-384}
";

    #[test]
    fn secrets_are_made_in_the_order_that_they_need() {
        let values = made(PKI).unwrap();
        assert_eq!(values.iter().count(), 4);
        let chain = rendered(&values, "$$MSE::server:chain$$");
        assert_eq!(chain, rendered(&values, "$$MSE::ca:crt$$"));
        let key = rendered(&values, "$$MSE::server:privatekey$$");
        assert_eq!(key, rendered(&values, "$$MSE::server_key$$"));
    }

    #[test]
    fn a_value_may_have_others_in_it() {
        let values = made(
            "- {name: url, kind: ascii, value: 'redis://:$$MSE::password$$@db'}\n- {name: password, kind: ascii, size: 10}\n- {name: raw, kind: binary, size: 4}\n",
        )
        .unwrap();
        let password = rendered(&values, "$$MSE::password$$");
        assert_eq!(password.len(), 10);
        assert_eq!(
            rendered(&values, "$$MSE::url$$"),
            format!("redis://:{password}@db")
        );
        assert_eq!(rendered(&values, "$$MSE::raw:hex$$").len(), 8);
    }

    #[test]
    fn an_update_keeps_what_the_language_says() {
        let now = SystemTime::now();
        let old = session(
            "- {name: same, kind: ascii, size: 10}\n- {name: longer, kind: ascii, size: 10}\n- {name: moves, kind: private-key, migrate: true}\n- {name: stays, kind: private-key}\n",
        );
        let new = session(
            "- {name: same, kind: ascii, size: 10}\n- {name: longer, kind: ascii, size: 11}\n- {name: moves, kind: private-key, migrate: true}\n- {name: stays, kind: private-key}\n- {name: added, kind: binary}\n",
        );
        let before = Values::make(&old, None, &NoImports, now).unwrap();
        let after = Values::make(&new, Some((&old, &before)), &NoImports, now).unwrap();
        for (name, kept) in [
            ("same", true),
            ("longer", false),
            ("moves", true),
            ("stays", false),
        ] {
            let text = format!("$$MSE::{name}$$");
            let is_kept = rendered(&before, &text) == rendered(&after, &text);
            assert_eq!(is_kept, kept, "{name}");
        }
        assert!(after.get(&"added".parse().unwrap()).is_some());
    }

    #[test]
    fn what_cannot_be_made_says_why() {
        let import = made("- {name: a, import: {session: other, secret: b}}\n");
        assert!(matches!(import, Err(ValuesError::NotExported { .. })));

        // The checker finds circles in a text; a session may come from elsewhere.
        let of = "- {name: a, kind: ascii, value: '$$MSE::b$$'}\n- {name: b, kind: ascii}\n";
        let mut circle = session(of);
        let turned = of
            .replace("name: a", "name: c")
            .replace("$$MSE::b", "$$MSE::a");
        let turned = session(&format!("{turned}- {{name: a, kind: ascii}}\n"));
        circle.secrets[1].source = turned.secrets[0].source.clone();
        let circle = Values::make(&circle, None, &NoImports, SystemTime::now());
        assert!(matches!(circle, Err(ValuesError::Circle(names)) if names.len() == 2));
    }

    #[test]
    fn fragments_are_read_where_attestation_refers_to_them() {
        let values = made(
            "- {name: allowed, kind: config-fragment, value: [{mrenclave: [ab]}]}\n- {name: text, kind: ascii}\n",
        )
        .unwrap();
        let reference = |name: &str| {
            let text = format!("$$MSE::{name}$$");
            let template = Template::parse(&text, mse_session::HostArguments::Literal).unwrap();
            template.template.as_reference().unwrap().clone()
        };
        let fragment = values.fragment(&reference("allowed")).unwrap();
        assert_eq!(fragment[0]["mrenclave"][0], "ab");
        assert_eq!(values.fragment(&reference("text")), None);
        assert_eq!(values.fragment(&reference("nothing")), None);
    }
}
