//! Secrets that a service defines for its mesh.

use mse_secrets::{KeyType, Kind};
use mse_session::{Endpoint, Lifetime, SecretName};
use serde_json::{Map, Value, json};

use crate::text::{MeshText, UndefinedMeshVariable};

/// A secret that the service defines for the whole mesh. The CAS makes it, unless it has a value:
/// then it is visible to everybody who has the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretDefinition {
    /// Its name; no two secrets of a mesh have the same.
    pub name: SecretName,
    /// What it is.
    pub kind: Kind,
    /// What else is said about it, as far as the kind has it.
    pub parameters: SecretParameters,
}

/// Parameters of a [`SecretDefinition`]. Which of them a kind may have is checked by the session
/// language, which the definition becomes part of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretParameters {
    /// Characters or bytes.
    pub size: Option<u32>,
    /// A value, in the place of one that the CAS makes.
    pub value: Option<MeshText>,
    /// The type of a generated key.
    pub key_type: Option<KeyType>,
    /// Whether a generated key stays when its session is updated.
    pub migrate: bool,
    /// The secret that is the private key.
    pub private_key: Option<SecretName>,
    /// The secret that is the certificate authority.
    pub issuer: Option<SecretName>,
    /// Of a certificate.
    pub common_name: Option<MeshText>,
    /// DNS names of a certificate.
    pub dns: Vec<MeshText>,
    /// Alternative names of a certificate: `dns:…`, `ip:…`.
    pub san: Vec<MeshText>,
    /// For which end of a connection a certificate is.
    pub endpoint: Option<Endpoint>,
    /// How long a certificate is valid.
    pub valid_for: Option<Lifetime>,
    /// Whether anybody may read it.
    pub export_public: bool,
    /// Of a token of Azure's.
    pub tenant_id: Option<MeshText>,
    /// Of a token of Azure's.
    pub client_id: Option<MeshText>,
    /// Of a token of Azure's.
    pub application_secret: Option<MeshText>,
}

impl SecretDefinition {
    /// The item of `secrets` in a session (JSON, which is YAML), completed by the values of the
    /// mesh. The session language says what is wrong with it.
    pub fn to_session<'v>(
        &self,
        lookup: impl Fn(&str) -> Option<&'v str> + Copy,
    ) -> Result<Value, UndefinedMeshVariable> {
        self.to_value(|text| {
            let text = text.resolve(lookup);
            text.map(|text| Value::from(text.as_str()))
        })
        .map_err(|error| error.at(format!("the secret `{}`", self.name)))
    }

    /// The definition with its texts as `text` writes them.
    pub(crate) fn to_value<E>(
        &self,
        text: impl Fn(&MeshText) -> Result<Value, E>,
    ) -> Result<Value, E> {
        let Self {
            name,
            kind,
            parameters,
        } = self;
        let mut map = Map::new();
        map.insert("name".into(), json!(name.as_str()));
        map.insert("kind".into(), json!(kind.as_str()));
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(key.to_owned(), value);
            }
        };
        let one = |value: &Option<MeshText>| value.as_ref().map(&text).transpose();
        let many = |list: &Vec<MeshText>| -> Result<Option<Value>, E> {
            let list = list.iter().map(&text).collect::<Result<Vec<_>, E>>()?;
            Ok((!list.is_empty()).then_some(Value::Array(list)))
        };
        let name = |name: &Option<SecretName>| name.as_ref().map(|name| json!(name.as_str()));
        put("size", parameters.size.map(Value::from));
        put("value", one(&parameters.value)?);
        put(
            "key_type",
            parameters.key_type.map(|one| json!(one.as_str())),
        );
        put("migrate", parameters.migrate.then_some(Value::Bool(true)));
        put("private_key", name(&parameters.private_key));
        put("issuer", name(&parameters.issuer));
        put("common_name", one(&parameters.common_name)?);
        put("dns", many(&parameters.dns)?);
        put("san", many(&parameters.san)?);
        put(
            "endpoint",
            parameters.endpoint.map(|end| json!(end.as_str())),
        );
        put(
            "valid_for",
            parameters.valid_for.map(|time| json!(time.to_string())),
        );
        put(
            "export_public",
            parameters.export_public.then_some(Value::Bool(true)),
        );
        put("tenant_id", one(&parameters.tenant_id)?);
        put("client_id", one(&parameters.client_id)?);
        put("application_secret", one(&parameters.application_secret)?);
        Ok(Value::Object(map))
    }
}
