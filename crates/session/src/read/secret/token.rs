//! Tokens: JWT, and those for Azure's vault.

use std::collections::BTreeMap;

use mse_secrets::Kind;
use mse_yaml::{Code, Field, Spot, optional, or_default, shown};

use super::{Parameters, named, required};
use crate::model::{
    AadCredential, AadToken, Feature, JwtRequest, Lifetime, SecretName, VaultImport,
};
use crate::read::{Reader, SessionField};
use crate::template::{HostArguments, Template};

/// The name of an aad-token, also as a reference to it.
pub(in crate::read) fn token(r: &mut Reader, field: &Field<'_>) -> Option<SecretName> {
    name_or_reference(r, field, &[Kind::AadToken])
}

pub(super) fn name_or_reference(
    r: &mut Reader,
    field: &Field<'_>,
    kinds: &[Kind],
) -> Option<SecretName> {
    let Some(reference) = field.reference(r) else {
        return named(r, field, kinds);
    };
    let Some(name) = reference.secret() else {
        let message = "a secret of the session is wanted here";
        r.report.error(Code::WrongKind, &field.spot, message);
        return None;
    };
    if !kinds.is_empty() {
        r.expect_secret(name.as_str(), kinds, &field.spot);
    }
    Some(name.clone())
}

pub(super) fn vault_import(
    r: &mut Reader,
    field: &Field<'_>,
    own: &SecretName,
) -> Option<VaultImport> {
    let mut fields = field.map(r)?;
    let vault = fields
        .require(r, "vault")
        .and_then(|field| field.line(r, 512));
    let secret_name = match fields.get("secret_name") {
        Some(field) => field.line(r, 128),
        None => Some(own.to_string()),
    };
    let token = match fields.get("token") {
        Some(field) => token(r, &field),
        None => only_token(r, &fields.spot),
    };
    let decryption_key = optional(fields.get("decryption_key"), |field| {
        r.uses(Feature::VaultDecryptionKey, &field.spot);
        name_or_reference(r, &field, &[])
    });
    fields.finish(r);
    Some(VaultImport {
        vault: vault?,
        secret_name: secret_name?,
        token: token?,
        decryption_key: decryption_key?,
    })
}

/// The token need not be named where there is one only.
fn only_token(r: &mut Reader, spot: &Spot) -> Option<SecretName> {
    let tokens: Vec<&String> = r
        .declared
        .secrets
        .iter()
        .filter(|(_, kind)| **kind == Some(Kind::AadToken))
        .map(|(name, _)| name)
        .collect();
    if let [token] = tokens.as_slice() {
        return token.parse().ok();
    }
    let message = format!("the session has {} aad-tokens", tokens.len());
    r.report
        .error_with(Code::MissingKey, spot, message, "say which one by `token`");
    None
}

pub(super) fn aad(r: &mut Reader, parameters: &Parameters<'_>, spot: &Spot) -> Option<AadToken> {
    let line =
        |key, r: &mut Reader| required(r, parameters, key, Kind::AadToken, spot)?.line(r, 256);
    let tenant_id = line("tenant_id", r);
    let client_id = line("client_id", r);
    let secret = parameters.get("application_secret");
    let private_key = parameters.get("private_key");
    let credential = match (secret, private_key) {
        (Some(secret), None) => {
            if let Some(field) = parameters.get("certificate_thumbprint") {
                let message = "`certificate_thumbprint` belongs to `private_key`";
                r.report
                    .error_with(Code::Conflict, &field.spot, message, "remove it");
            }
            credential_text(r, secret).map(AadCredential::Secret)
        }
        (None, Some(key)) => {
            let thumbprint = line("certificate_thumbprint", r);
            let private_key = credential_text(r, key);
            private_key
                .zip(thumbprint)
                .map(|(private_key, thumbprint)| AadCredential::Certificate {
                    private_key,
                    thumbprint,
                })
        }
        (Some(_), Some(key)) => {
            let message = "`application_secret` and `private_key` exclude each other";
            r.report
                .error_with(Code::Conflict, &key.spot, message, "keep one of them");
            None
        }
        (None, None) => {
            required(r, parameters, "application_secret", Kind::AadToken, spot);
            None
        }
    };
    Some(AadToken {
        tenant_id: tenant_id?,
        client_id: client_id?,
        credential: credential?,
    })
}

fn credential_text(r: &mut Reader, field: &Field<'_>) -> Option<Template> {
    let template = field.template(r, HostArguments::Literal)?;
    if template.as_literal().is_some() {
        field.warn_of_explicit(r, "the credential");
    }
    Some(template)
}

pub(super) fn jwt(r: &mut Reader, parameters: &Parameters<'_>, spot: &Spot) -> Option<JwtRequest> {
    let signer = required(r, parameters, "signer", Kind::Jwt, spot)
        .and_then(|field| named(r, field, &[Kind::PrivateKey]));
    let alg = or_default(parameters.get("alg").cloned(), |field| {
        field.word(r, &[("ES384", ())])
    });
    let valid_for = required(r, parameters, "validity", Kind::Jwt, spot)
        .and_then(|field| field.map(r))
        .and_then(|mut fields| {
            let valid_for = fields
                .require(r, "for")
                .and_then(|field| field.parse::<Lifetime>(r, Code::BadValue));
            fields.finish(r);
            valid_for
        });
    let payload = or_default(parameters.get("payload").cloned(), |field| {
        payload(r, &field)
    });
    alg?;
    Some(JwtRequest {
        signer: signer?,
        valid_for: valid_for?,
        payload: payload?,
    })
}

/// Bytes of all claims of a token, with their names.
const MAX_CLAIMS: usize = 16 * 1024;

fn payload(r: &mut Reader, field: &Field<'_>) -> Option<BTreeMap<String, Template>> {
    let mut claims = BTreeMap::new();
    let mut is_whole = true;
    for (name, value) in field.map(r)?.all() {
        let claim = claim(r, name, &value);
        is_whole &= claim.is_some();
        claims.extend(claim.map(|claim| (name.to_owned(), claim)));
    }
    let bytes: usize = claims
        .iter()
        .map(|(name, claim): (&String, &Template)| name.len() + claim.to_text().len())
        .sum();
    if bytes > MAX_CLAIMS {
        let message = format!("the claims have {bytes} bytes, and {MAX_CLAIMS} at most");
        r.report.error(Code::TooLarge, &field.spot, message);
        return None;
    }
    is_whole.then_some(claims)
}

fn claim(r: &mut Reader, name: &str, value: &Field<'_>) -> Option<Template> {
    let why = if matches!(name, "iat" | "nbf" | "exp") {
        "is set by the CAS"
    } else if name.len() > 256 || name.contains(char::is_control) {
        "has more than 256 bytes, or a control character"
    } else {
        let template = value.template(r, HostArguments::Literal)?;
        if template.as_literal().is_some() || template.as_reference().is_some() {
            return Some(template);
        }
        "mixes text and references: a claim is one or the other"
    };
    let message = format!("the claim `{}` {why}", shown(name));
    r.report.error(Code::BadValue, &value.spot, message);
    None
}
