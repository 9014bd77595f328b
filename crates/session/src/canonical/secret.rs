//! `secrets`.

use mse_secrets::KeyType;
use serde_json::{Map, Value, json};

use super::{Put, pin, recipient, template, text};
use crate::model::{
    AadCredential, CertificateRequest, Explicit, Export, External, Generated, ImportFrom, KvImport,
    KvPath, Pkcs11Import, RemoteCas, Secret, SecretSource,
};

fn remote(map: &mut Map<String, Value>, cas: Option<&RemoteCas>) {
    if let Some(RemoteCas {
        url,
        key,
        is_software_key,
    }) = cas
    {
        map.put("cas_url", Some(text(url)));
        let name = if *is_software_key {
            "cas_software_key"
        } else {
            "cas_key"
        };
        map.put(name, Some(text(key)));
    }
}

pub(super) fn secret(secret: &Secret) -> Value {
    let Secret {
        name,
        kind,
        source,
        exports,
        export_public,
        migrate,
    } = secret;
    let mut map = Map::new();
    map.put("name", Some(text(name)));
    map.put("kind", kind.as_ref().map(text));
    match source {
        SecretSource::Generated(generated) => generate(&mut map, generated),
        SecretSource::Explicit(Explicit::Fragment(value)) => map.put("value", Some(value.clone())),
        SecretSource::Explicit(Explicit::Text { value, private_key }) => {
            map.put("value", Some(template(value)));
            map.put("private_key", private_key.as_ref().map(text));
        }
        SecretSource::Imported(ImportFrom {
            session,
            secret,
            cas,
        }) => {
            let mut import = pin(session);
            import.put("secret", Some(text(secret)));
            remote(&mut import, cas.as_ref());
            map.put("import", Some(Value::Object(import)));
        }
        SecretSource::External(External::Kv(import)) => map.put("import_kv", Some(kv(import))),
        SecretSource::External(External::Pkcs11(import)) => {
            map.put("import_pkcs11", Some(pkcs11(import)));
        }
        SecretSource::Vault(import) => {
            let mut vault = Map::new();
            vault.put("vault", Some(text(&import.vault)));
            vault.put("secret_name", Some(text(&import.secret_name)));
            vault.put("token", Some(text(&import.token)));
            vault.put("decryption_key", import.decryption_key.as_ref().map(text));
            map.put("import_akv", Some(Value::Object(vault)));
        }
    }
    map.put_list("export", exports, |export| {
        let Export { to, cas } = export;
        let mut map = recipient(to);
        remote(&mut map, cas.as_ref());
        Value::Object(map)
    });
    map.put_if("export_public", *export_public);
    map.put_if("migrate", *migrate);
    Value::Object(map)
}

fn kv(import: &KvImport) -> Value {
    let KvImport {
        url,
        mount,
        path,
        field,
        version,
        token,
        ca,
    } = import;
    let mut map = Map::new();
    map.put("url", Some(text(url)));
    map.put(
        "mount",
        (*mount != KvPath::default_mount()).then(|| text(mount)),
    );
    map.put("path", Some(text(path)));
    map.put("field", Some(text(field)));
    map.put("version", version.map(|version| json!(version)));
    map.put("token", Some(text(token)));
    map.put("ca", ca.as_ref().map(text));
    Value::Object(map)
}

fn pkcs11(import: &Pkcs11Import) -> Value {
    let Pkcs11Import {
        module,
        token,
        object,
        pin,
    } = import;
    let mut map = Map::new();
    map.put("module", Some(text(module)));
    map.put("token", Some(text(token)));
    map.put("object", Some(text(object)));
    map.put("pin", pin.as_ref().map(text));
    Value::Object(map)
}

fn generate(map: &mut Map<String, Value>, generated: &Generated) {
    match generated {
        Generated::Ascii(size) | Generated::Binary(size) => map.put("size", Some(json!(size))),
        Generated::PrivateKey(key_type) => map.put(
            "key_type",
            (*key_type != KeyType::default()).then(|| key_type.as_str().into()),
        ),
        Generated::PublicKey(key) => map.put("private_key", Some(text(key))),
        Generated::Certificate(request) => {
            let CertificateRequest {
                private_key,
                issuer,
                common_name,
                endpoint,
                names,
                valid_for,
            } = &**request;
            map.put("private_key", private_key.as_ref().map(text));
            map.put("issuer", issuer.as_ref().map(text));
            map.put("common_name", common_name.as_ref().map(text));
            map.put("endpoint", endpoint.map(|end| end.as_str().into()));
            map.put_list("san", names, text);
            map.put("valid_for", valid_for.as_ref().map(text));
        }
        Generated::PgpKey => {}
        Generated::Jwt(request) => {
            map.put("signer", Some(text(&request.signer)));
            map.put(
                "validity",
                Some(json!({ "for": request.valid_for.to_string() })),
            );
            let payload: Map<String, Value> = request
                .payload
                .iter()
                .map(|(name, value)| (name.clone(), template(value)))
                .collect();
            map.put(
                "payload",
                (!payload.is_empty()).then_some(Value::Object(payload)),
            );
        }
        Generated::AadToken(token) => {
            map.put("tenant_id", Some(text(&token.tenant_id)));
            map.put("client_id", Some(text(&token.client_id)));
            match &token.credential {
                AadCredential::Secret(secret) => {
                    map.put("application_secret", Some(template(secret)));
                }
                AadCredential::Certificate {
                    private_key,
                    thumbprint,
                } => {
                    map.put("private_key", Some(template(private_key)));
                    map.put("certificate_thumbprint", Some(text(thumbprint)));
                }
            }
        }
    }
}
