//! `services`.

use serde_json::{Map, Value, json};

use super::{Put, or_reference, template, text};
use crate::model::{
    AttestationEntry, Command, EnvironmentValue, EvidenceRule, FileSystem, FileSystemUpdatePolicy,
    SecretKey32, SecurityVersion, Service, SgxSigner,
};

pub(super) fn service(service: &Service) -> Value {
    let Service {
        name,
        command,
        environment,
        pwd,
        image,
        file_system,
        attestation,
        platforms,
        one_time_password,
    } = service;
    let mut map = Map::new();
    map.put("name", Some(text(name)));
    map.put(
        "command",
        command
            .as_ref()
            .map(|Command(words)| words.iter().map(template).collect()),
    );
    let environment: Map<String, Value> = environment
        .iter()
        .map(|(name, value)| match value {
            EnvironmentValue::Given(value) => (name.to_string(), template(value)),
            EnvironmentValue::FromHost => (format!("\\@\\@{name}"), Value::Null),
        })
        .collect();
    map.put(
        "environment",
        (!environment.is_empty()).then_some(Value::Object(environment)),
    );
    map.put("pwd", pwd.as_ref().map(text));
    map.put("image_name", image.as_ref().map(text));
    if let Some(FileSystem {
        path,
        key,
        tag,
        update_policy,
    }) = file_system
    {
        map.put("fspf_path", Some(text(path)));
        map.put(
            "fspf_key",
            key.as_ref().map(|key| or_reference(key, file_system_key)),
        );
        map.put("fspf_tag", tag.as_ref().map(text));
        map.put(
            "fspf_update_policy",
            (*update_policy != FileSystemUpdatePolicy::default())
                .then(|| update_policy.as_str().into()),
        );
    }
    map.put_list("attestation", attestation, |entry| match entry {
        AttestationEntry::Rule(rule) => evidence(rule),
        AttestationEntry::Fragment(reference) => text(reference),
    });
    map.put_list("platforms", platforms, |one| or_reference(one, text));
    map.put(
        "one_time_password_shared_secret",
        one_time_password.as_ref().map(template),
    );
    Value::Object(map)
}

pub(super) fn file_system_key(key: &SecretKey32) -> Value {
    Value::String(hex::encode(key.expose()))
}

fn evidence(rule: &EvidenceRule) -> Value {
    let EvidenceRule {
        mrenclave,
        signer,
        workload,
        measurement,
        rtmr,
        tee,
        simulated,
    } = rule;
    let mut map = Map::new();
    map.put_list("mrenclave", mrenclave, |one| or_reference(one, text));
    map.put(
        "signer",
        signer.as_ref().map(|signer| {
            let SgxSigner {
                mrsigner,
                isvprodid,
                isvsvn,
            } = signer;
            let mut map = Map::new();
            map.put("mrsigner", Some(or_reference(mrsigner, text)));
            map.put("isvprodid", Some(or_reference(isvprodid, |id| json!(id))));
            match isvsvn {
                SecurityVersion::Exact(version) => {
                    map.put("isvsvn", Some(or_reference(version, |one| json!(one))));
                }
                SecurityVersion::Range(least, most) => {
                    map.put("isvsvn_min", least.map(Value::from));
                    map.put("isvsvn_max", most.map(Value::from));
                }
            }
            Value::Object(map)
        }),
    );
    map.put_list("workload", workload, text);
    map.put_list("measurement", measurement, text);
    for (key, register) in EvidenceRule::RTMR.into_iter().zip(rtmr) {
        map.put_list(key, register, text);
    }
    map.put_list("tee", tee, |tee| tee.as_str().into());
    map.put_if("simulated", *simulated);
    Value::Object(map)
}
