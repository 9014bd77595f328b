//! `access_policy` and `security`.

use serde_json::{Map, Value, json};

use super::{Put, or_reference, template, text};
use crate::model::{
    AccessPolicy, AccessRule, Acl, Advisories, AttestationMode, AttestationSettings, Identity,
    Security, Terms,
};

pub(super) fn policy(policy: &AccessPolicy) -> Value {
    let AccessPolicy {
        read,
        update,
        create_sessions,
        list_sessions,
    } = policy;
    let mut map = Map::new();
    let default = Acl::creator();
    map.put("read", (*read != default).then(|| acl(read)));
    map.put("update", (*update != default).then(|| acl(update)));
    map.put("create_sessions", create_sessions.as_ref().map(acl));
    map.put("list_sessions", list_sessions.as_ref().map(acl));
    Value::Object(map)
}

fn acl(rules: &Acl) -> Value {
    match rules {
        Acl::Any => json!(["ANY"]),
        Acl::None => json!(["NONE"]),
        Acl::OneOf(rules) => rules.iter().map(rule).collect(),
        Acl::From(reference) => text(reference),
    }
}

fn rule(one: &AccessRule) -> Value {
    match one {
        AccessRule::Creator => "CREATOR".into(),
        AccessRule::Identity(Identity::Tls(key)) => text(key),
        AccessRule::Identity(Identity::Signer(key)) => json!({ "signer": key.to_pem() }),
        AccessRule::From(reference) => text(reference),
        AccessRule::All(rules) => {
            json!({ "require-all": rules.iter().map(rule).collect::<Value>() })
        }
        AccessRule::AtLeast(count, rules) => {
            let mut map = Map::new();
            let rules = rules.iter().map(rule).collect();
            map.put(&format!("require-at-least-{count}"), Some(rules));
            Value::Object(map)
        }
    }
}

pub(super) fn security_section(security: &Security) -> Value {
    let Security {
        attestation,
        service_access_token,
        singleton_enclaves,
    } = security;
    let mut map = Map::new();
    map.put(
        "attestation",
        attestation
            .as_ref()
            .map(|settings| or_reference(settings, attestation_settings)),
    );
    map.put(
        "service_access_token",
        service_access_token.as_ref().map(template),
    );
    map.put_if("singleton_enclaves", *singleton_enclaves);
    Value::Object(map)
}

fn attestation_settings(settings: &AttestationSettings) -> Value {
    let AttestationSettings {
        mode,
        tolerate,
        ignore_advisories,
        must_be_sgx_local,
        url,
        certificates,
        one_time_password,
    } = settings;
    let mut map = Map::new();
    map.put(
        "mode",
        match mode {
            AttestationMode::Hardware => None,
            AttestationMode::Maa => Some("maa".into()),
            AttestationMode::None(terms) => Some(Terms::written("what", "none", terms.as_ref())),
        },
    );
    map.put_list("tolerate", tolerate, |one| {
        or_reference(one, |one| {
            Terms::written("what", one.what.as_str(), one.terms.as_ref())
        })
    });
    match ignore_advisories {
        Advisories::All(terms) => map.put(
            "ignore_advisories",
            Some(Terms::written("id", "*", terms.as_ref())),
        ),
        Advisories::Listed(listed) => map.put_list("ignore_advisories", listed, |one| {
            or_reference(one, |one| Terms::written("id", &one.id, one.terms.as_ref()))
        }),
    }
    map.put_if("must_be_sgx_local", *must_be_sgx_local);
    map.put("url", url.as_ref().map(text));
    map.put_list("certificates", certificates, text);
    map.put(
        "one_time_password_shared_secret",
        one_time_password.as_ref().map(template),
    );
    Value::Object(map)
}
