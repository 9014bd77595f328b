//! Secrets: their values, and where they come from.

use mse_session::Code;

use super::{H, found};

#[allow(clippy::too_many_lines)] // A table.
pub(super) fn of_values() {
    let key = "{name: k, kind: private-key}";
    found(&[
        ("secrets: [{name: x}]", Code::MissingKey, "secrets[0]"),
        (
            "secrets: [{name: x, kind: asci}]",
            Code::BadValue,
            "secrets[0].kind",
        ),
        (
            "secrets: [{name: x.crt, kind: ascii}]",
            Code::BadName,
            "secrets[0].name",
        ),
        (
            "secrets: [{name: x, kind: ascii, size: 0}]",
            Code::BadValue,
            "secrets[0].size",
        ),
        (
            "secrets: [{name: x, kind: ascii, size: -1}]",
            Code::BadValue,
            "secrets[0].size",
        ),
        (
            "secrets: [{name: x, kind: ascii, size: 9, value: v}]",
            Code::Conflict,
            "secrets[0].size",
        ),
        (
            "secrets: [{name: x, kind: ascii, issuer: v}]",
            Code::Conflict,
            "secrets[0].issuer",
        ),
        (
            "secrets: [{name: x, kind: ascii, value: v, import: {session: s}}]",
            Code::Conflict,
            "secrets[0].import",
        ),
        (
            "secrets: [{name: x, kind: binary, value: xyz}]",
            Code::BadValue,
            "secrets[0].value",
        ),
        (
            "secrets: [{name: x, kind: private-key, value: xyz}]",
            Code::BadValue,
            "secrets[0].value",
        ),
        (
            "secrets: [{name: x, kind: private-key, key_type: P-265}]",
            Code::BadValue,
            "secrets[0].key_type",
        ),
        (
            "secrets: [{name: x, kind: x509, issuer: y}]",
            Code::UnresolvedName,
            "secrets[0].issuer",
        ),
        (
            &format!("secrets: [{key}, {{name: x, kind: x509, issuer: k}}]"),
            Code::WrongKind,
            "secrets[1].issuer",
        ),
        (
            "secrets: [{name: x, kind: x509-ca, issuer: y}, {name: y, kind: x509-ca, issuer: x}]",
            Code::Circular,
            "secrets[0]",
        ),
        (
            "secrets: [{name: x, kind: ascii, value: $$SCONE::x$$}]",
            Code::Circular,
            "secrets[0]",
        ),
        (
            "secrets: [{name: x, kind: x509, endpoint: client, dns: a}]",
            Code::Conflict,
            "secrets[0].dns",
        ),
        (
            "secrets: [{name: x, kind: x509-ca, dns: a}]",
            Code::Conflict,
            "secrets[0].dns",
        ),
        (
            "secrets: [{name: x, kind: x509, san: [a]}]",
            Code::BadValue,
            "secrets[0].san[0]",
        ),
        (
            "secrets: [{name: x, kind: x509, valid_for: long}]",
            Code::BadValue,
            "secrets[0].valid_for",
        ),
        (
            "secrets: [{name: x, kind: binary, size: 4097}]",
            Code::BadValue,
            "secrets[0].size",
        ),
        (
            "secrets: [{name: x, kind: binary, value: ''}]",
            Code::BadValue,
            "secrets[0].value",
        ),
        (
            &format!("secrets: [{{name: x, kind: x509, common_name: {H}1}}]"),
            Code::BadValue,
            "secrets[0].common_name",
        ),
        (
            &format!(
                "secrets: [{{name: x, kind: ascii, value: {}}}]",
                "a".repeat(65_537)
            ),
            Code::TooLarge,
            "secrets[0].value",
        ),
        (
            &format!(
                "secrets: [{key}, {{name: x, kind: jwt, signer: k, validity: {{for: 1d}}, payload: {{a: {}}}}}]",
                "b".repeat(16_384)
            ),
            Code::TooLarge,
            "secrets[1].payload",
        ),
        (
            "secrets: [{name: x, kind: config-fragment}]",
            Code::MissingKey,
            "secrets[0]",
        ),
        (
            "secrets: [{name: x, kind: public-key}]",
            Code::MissingKey,
            "secrets[0]",
        ),
        (
            "secrets: [{name: x, kind: pgp-key, value: v}]",
            Code::Conflict,
            "secrets[0].value",
        ),
        (
            "secrets: [{name: x, kind: jwt}]",
            Code::MissingKey,
            "secrets[0]",
        ),
        (
            &format!(
                "secrets: [{key}, {{name: x, kind: jwt, signer: k, validity: {{for: 1d}}, payload: {{exp: a}}}}]"
            ),
            Code::BadValue,
            "secrets[1].payload.exp",
        ),
        (
            &format!(
                "secrets: [{key}, {{name: x, kind: jwt, signer: k, validity: {{for: 1d}}, payload: {{a: b$$SCONE::k$$}}}}]"
            ),
            Code::BadValue,
            "secrets[1].payload.a",
        ),
    ]);
}

#[allow(clippy::too_many_lines)] // A table.
pub(super) fn of_imports() {
    let kv_token = "{name: t, kind: ascii}";
    let kv = "url: 'https://vault.example', path: a, field: f";
    let pkcs11 = "module: hsm, token: t, object: o";
    found(&[
        (
            "secrets: [{name: x, import: {session: ../../../y}}]",
            Code::BadName,
            "secrets[0].import.session",
        ),
        (
            "secrets: [{name: x, import: {session: y, cas_url: h}}]",
            Code::Conflict,
            "secrets[0].import.cas_url",
        ),
        (
            "secrets: [{name: x, import: {session: y, cas_key: h}}]",
            Code::MissingKey,
            "secrets[0].import.cas_key",
        ),
        (
            "secrets: [{name: x, import: \"h/session=y\"}]",
            Code::BadValue,
            "secrets[0].import",
        ),
        (
            "secrets: [{name: x, kind: ascii, export: {session: a, namespace: b}}]",
            Code::Conflict,
            "secrets[0].export.session",
        ),
        (
            "secrets: [{name: x, import_akv: {vault: v}}]",
            Code::MissingKey,
            "secrets[0].import_akv",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, import_kv: {{{kv}, tokn: t}}}}]"
            ),
            Code::UnknownKey,
            "secrets[1].import_kv.tokn",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, value: a, import_kv: {{{kv}, token: t}}}}]"
            ),
            Code::Conflict,
            "secrets[1].import_kv",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, import_pkcs11: {{{pkcs11}}}, import_kv: {{{kv}, token: t}}}}]"
            ),
            Code::Conflict,
            "secrets[1].import_pkcs11",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, size: 3, import_kv: {{{kv}, token: t}}}}]"
            ),
            Code::Conflict,
            "secrets[1].size",
        ),
        (
            &format!("secrets: [{kv_token}, {{name: x, import_kv: {{{kv}, token: t}}}}]"),
            Code::MissingKey,
            "secrets[1]",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: pgp-key, import_kv: {{{kv}, token: t}}}}]"
            ),
            Code::WrongKind,
            "secrets[1].import_kv",
        ),
        (
            &format!("secrets: [{{name: x, kind: ascii, import_kv: {{{kv}}}}}]"),
            Code::MissingKey,
            "secrets[0].import_kv",
        ),
        (
            &format!("secrets: [{{name: x, kind: ascii, import_kv: {{{kv}, token: x}}}}]"),
            Code::Circular,
            "secrets[0]",
        ),
        (
            &format!(
                "secrets: [{{name: t, kind: binary}}, {{name: x, kind: ascii, import_kv: {{{kv}, token: $$SCONE::t$$}}}}]"
            ),
            Code::WrongKind,
            "secrets[1].import_kv.token",
        ),
        (
            &format!("secrets: [{{name: x, kind: ascii, import_kv: {{{kv}, token: nowhere}}}}]"),
            Code::UnresolvedName,
            "secrets[0].import_kv.token",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, import_kv: {{{kv}, token: t, version: 0}}}}]"
            ),
            Code::BadValue,
            "secrets[1].import_kv.version",
        ),
        (
            &format!(
                "secrets: [{kv_token}, {{name: x, kind: ascii, import_kv: {{{kv}, token: t, ca: x}}}}]"
            ),
            Code::BadValue,
            "secrets[1].import_kv.ca",
        ),
        (
            "secrets: [{name: t, kind: ascii}, {name: x, kind: ascii, import_kv: {url: 'http://vault.example', path: a, field: f, token: t}}]",
            Code::BadValue,
            "secrets[1].import_kv.url",
        ),
        (
            "secrets: [{name: t, kind: ascii}, {name: x, kind: ascii, import_kv: {url: 'https://vault.example', path: a/../../sys, field: f, token: t}}]",
            Code::BadValue,
            "secrets[1].import_kv.path",
        ),
        (
            &format!("secrets: [{{name: x, kind: private-key, import_pkcs11: {{{pkcs11}}}}}]"),
            Code::WrongKind,
            "secrets[0].import_pkcs11",
        ),
        (
            "secrets: [{name: x, kind: binary, import_pkcs11: {module: /usr/lib/evil.so, token: t, object: o}}]",
            Code::BadName,
            "secrets[0].import_pkcs11.module",
        ),
        (
            "secrets: [{name: x, kind: binary, import_pkcs11: {module: hsm, object: o}}]",
            Code::MissingKey,
            "secrets[0].import_pkcs11",
        ),
        (
            &format!("secrets: [{{name: x, kind: ascii, import_pkcs11: {{{pkcs11}, pin: x}}}}]"),
            Code::Circular,
            "secrets[0]",
        ),
        (
            "secrets: [{name: x, kind: ascii}, {name: x, kind: ascii}]",
            Code::DuplicateName,
            "secrets[1]",
        ),
        (
            "secrets: [{name: x, kind: ascii}, {name: y, kind: ascii, value: $$SCONE::x:hex$$}]",
            Code::UnknownFormat,
            "secrets[1].value",
        ),
        (
            "secrets: [{name: x, kind: ascii}, {name: y, kind: ascii, value: '$$SCONE::x|upper$$'}]",
            Code::BadReference,
            "secrets[1].value",
        ),
    ]);
}
