//! A CAS that is pinned, spoken to by commands: with a check first that its store was not set back.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::Method;
use mse_api::cas::{CasErrorCode, POSITION, PositionView};
use mse_crypto::hpke::PublicKey;
use mse_crypto::signing::{SigningKey, VerifyingKey};
use mse_ratls::cas::client::{CasClient, CasError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::seen::Seen;
use super::{CasName, CasPin, CasPins, connect};
use crate::cli::Scene;
use crate::exit::Exit;
use crate::failure::Failure;

/// Which CAS.
#[derive(Args, Clone)]
pub(crate) struct CasChoice {
    /// The CAS, by its name in `mse cas list` [default: the only one there]
    #[arg(
        long,
        value_name = "NAME",
        env = "MSE_CAS_NAME",
        hide_env_values = true
    )]
    cas: Option<CasName>,
}

impl CasChoice {
    /// This one, or the only one there is.
    pub(crate) fn of(cas: Option<CasName>) -> Self {
        Self { cas }
    }

    /// The name that was given, or that of the only CAS that is pinned.
    pub(crate) fn name(&self, scene: &Scene<'_>) -> Result<CasName, Failure> {
        if let Some(name) = &self.cas {
            return Ok(name.clone());
        }
        let known = CasPins::of(&scene.conf).list()?;
        match known.as_slice() {
            [(name, _)] => Ok(name.clone()),
            [] => Err(Failure::new(Exit::NotFound, "no CAS was attested yet")
                .with_hint("attest yours first: `mse cas attest ADDRESS --name NAME`")),
            several => {
                let names: Vec<_> = several.iter().map(|(name, _)| name.to_string()).collect();
                Err(Failure::new(
                    Exit::Usage,
                    format!("several CASes are known: {}", names.join(", ")),
                )
                .with_hint(
                    "say which with `--cas NAME`, or in the environment variable `MSE_CAS_NAME`",
                ))
            }
        }
    }

    /// Connects, and proves that the store of the CAS follows from what was seen of it before.
    pub(crate) async fn open(&self, scene: &Scene<'_>) -> Result<KnownCas, Failure> {
        let mut cas = self.reach(scene).await?;
        cas.prove_position().await?;
        Ok(cas)
    }

    /// Connects only. For who asks for the position by himself.
    pub(crate) async fn reach(&self, scene: &Scene<'_>) -> Result<KnownCas, Failure> {
        let name = self.name(scene)?;
        let (client, pin) = connect(scene, &name).await?;
        let seen = Seen::of(&scene.conf, &name, &pin);
        Ok(KnownCas {
            name,
            pin,
            seen,
            client,
        })
    }
}

/// A connection to a pinned CAS. What its answers say of the position is remembered.
pub(crate) struct KnownCas {
    pub(crate) name: CasName,
    pub(crate) pin: CasPin,
    pub(crate) seen: Seen,
    client: CasClient,
}

impl KnownCas {
    /// One that has just been attested over this connection.
    pub(crate) fn attested(
        scene: &Scene<'_>,
        name: CasName,
        pin: CasPin,
        client: CasClient,
    ) -> Self {
        Self {
            seen: Seen::of(&scene.conf, &name, &pin),
            name,
            pin,
            client,
        }
    }

    /// Shows with all that follows that the user has this signing key: who is known to a session by
    /// it sees what there is to approve.
    pub(crate) fn show_signer(&mut self, key: &SigningKey) {
        self.client.show_signer(key);
    }

    pub(crate) async fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T, Failure> {
        let answer = self.client.get(&asked(path, parameters)).await;
        self.noted(answer)
    }

    /// As [`Self::get`]; `None` if the CAS says that it may not be, or is not there.
    pub(crate) async fn get_if_let<T: DeserializeOwned>(
        &mut self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<Option<T>, Failure> {
        match self.client.get(&asked(path, parameters)).await {
            Err(CasError::Refused { ref code, .. })
                if is(code, CasErrorCode::Forbidden) || is(code, CasErrorCode::NotFound) =>
            {
                Ok(None)
            }
            answer => self.noted(answer.map(Some)),
        }
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let answer = self.client.post(path, body).await;
        self.noted(answer)
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let answer = self.client.put(path, body).await;
        self.noted(answer)
    }

    /// `POST` without a body.
    pub(crate) async fn trigger<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        let answer = self.client.request(Method::POST, path, None).await;
        let answer: Bytes = self.noted(answer)?;
        serde_json::from_slice(&answer)
            .map_err(|_| CasError::Answer("it is not JSON of the expected shape").into())
    }

    /// Where the store is now, if it follows from what was seen of it before; that is remembered.
    pub(crate) async fn prove_position(&mut self) -> Result<PositionView, Failure> {
        let seen = self.seen.load()?;
        let seen = seen.map(|seen| seen.to_string());
        let parameters: Vec<_> = seen.iter().map(|seen| ("seen", seen.as_str())).collect();
        let path = asked(POSITION, &parameters);
        let position: PositionView = self.client.get(&path).await?;
        self.seen.prove_store(&position)?;
        let now = format!("{}:{}", position.sequence, position.head);
        self.seen.remember(Some(&now))?;
        Ok(position)
    }

    /// Where the store is now, whatever was seen of it before. Nothing is remembered.
    pub(crate) async fn position(&mut self) -> Result<PositionView, Failure> {
        Ok(self.client.get(POSITION).await?)
    }

    /// The key that the CAS signs its audit log with, as it was attested.
    pub(crate) fn audit_key(&self) -> Result<VerifyingKey, Failure> {
        VerifyingKey::from_pem(&self.pin.audit_key)
            .map_err(|error| self.bad_pin("audit_key", &error.to_string()))
    }

    /// The key that is sealed to, as it was attested.
    pub(crate) fn encryption_key(&self) -> Result<PublicKey, Failure> {
        hex::decode(&self.pin.session_encryption_key)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(PublicKey)
            .ok_or_else(|| self.bad_pin("session_encryption_key", "it has not 64 hex digits"))
    }

    fn bad_pin(&self, field: &str, why: &str) -> Failure {
        Failure::new(
            Exit::InvalidConfiguration,
            format!(
                "what is known of `{}` is broken: `{field}`: {why}",
                self.name
            ),
        )
        .with_hint("attest the CAS again: `mse cas attest ADDRESS --replace`")
    }

    fn noted<T>(&self, answer: Result<T, CasError>) -> Result<T, Failure> {
        let answer = answer?;
        self.seen.remember(self.client.position())?;
        Ok(answer)
    }
}

/// Whether the code of a refusal is this one.
pub(crate) fn is(code: &str, one: CasErrorCode) -> bool {
    serde_json::to_value(one).is_ok_and(|name| name == code)
}

/// A path with parameters.
fn asked(path: &str, parameters: &[(&str, &str)]) -> String {
    if parameters.is_empty() {
        return path.to_owned();
    }
    let query = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(parameters)
        .finish();
    format!("{path}?{query}")
}

/// A time span on the command line: a number and `s`, `m`, `h` or `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(Duration);

impl Span {
    pub(crate) fn seconds(self) -> u64 {
        self.0.as_secs()
    }
}

impl std::str::FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write a number and a unit, as in `90s`, `10m`, `12h` or `7d`";
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(wrong),
        };
        let digits = &text[..text.len() - 1];
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong);
        }
        let count: u64 = digits.parse().map_err(|_| wrong)?;
        let seconds = count.checked_mul(unit).ok_or(wrong)?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(text.parse::<Span>().unwrap().seconds(), seconds);
        }
        for bad in [
            "",
            "7",
            "d",
            "-1d",
            "1.5h",
            "1w",
            "7 d",
            "99999999999999999999d",
            "1ü",
        ] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_sessions_travel_as_parameters() {
        assert_eq!(asked("/v1/x", &[]), "/v1/x");
        assert_eq!(
            asked("/v1/x", &[("name", "a/b&c"), ("hash", "0")]),
            "/v1/x?name=a%2Fb%26c&hash=0"
        );
    }
}
