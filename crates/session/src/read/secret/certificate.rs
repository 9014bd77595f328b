//! Certificates that the CAS issues.

use mse_secrets::Kind;
use mse_yaml::{Code, optional, shown};

use super::{Parameters, named};
use crate::model::{AlternativeName, CertificateRequest, Endpoint, Feature, SecretName};
use crate::read::Reader;

/// RFC 5280: `ub-common-name`.
const MAX_COMMON_NAME: usize = 64;

pub(super) fn request(
    r: &mut Reader,
    parameters: &Parameters<'_>,
    name: &SecretName,
) -> Option<CertificateRequest> {
    let private_key = optional(parameters.get("private_key").cloned(), |field| {
        named(r, &field, &[Kind::PrivateKey])
    });
    let issuer = optional(parameters.get("issuer").cloned(), |field| {
        named(r, &field, &[Kind::X509Ca])
    });
    let endpoint = optional(parameters.get("endpoint").cloned(), |field| {
        field.word(
            r,
            &[Endpoint::Client, Endpoint::Server].map(|end| (end.as_str(), end)),
        )
    });
    if endpoint == Some(Some(Endpoint::Client))
        && let Some(field) = parameters.get("dns")
    {
        r.report.error_with(
            Code::Conflict,
            &field.spot,
            "`dns` is not for the certificates of clients",
            "write `san: [\"dns:…\"]`, or remove it",
        );
        return None;
    }
    let names = names(r, parameters);
    let common_name = optional(parameters.get("common_name").cloned(), |field| {
        let common_name = field.line(r, 256)?;
        if common_name.chars().count() > MAX_COMMON_NAME {
            let message = format!("a common name has at most {MAX_COMMON_NAME} characters");
            r.report.error(Code::BadValue, &field.spot, message);
            return None;
        }
        Some(common_name)
    });
    let valid_for = optional(parameters.get("valid_for").cloned(), |field| {
        field.parse(r, Code::BadValue)
    });
    let names = names?;
    let by_default = names
        .iter()
        .find_map(|name| match name {
            AlternativeName::Dns(name) => Some(name.as_str()),
            AlternativeName::Ip(_) => None,
        })
        .unwrap_or(name.as_str());
    let common_name = common_name?.filter(|common_name| common_name != by_default);
    Some(CertificateRequest {
        private_key: private_key?,
        issuer: issuer?,
        common_name,
        endpoint: endpoint?,
        names,
        valid_for: valid_for?,
    })
}

fn names(r: &mut Reader, parameters: &Parameters<'_>) -> Option<Vec<AlternativeName>> {
    let mut names = Vec::new();
    if let Some(field) = parameters.get("dns") {
        for item in field.one_or_many(r) {
            let text = item.text(r);
            names.push(text.and_then(|text| {
                let name = AlternativeName::dns(text);
                if name.is_none() {
                    let message = format!("`{}` is no DNS name", shown(text));
                    r.report.error(Code::BadValue, &item.spot, message);
                }
                name
            }));
        }
    }
    if let Some(field) = parameters.get("san") {
        r.uses(Feature::AlternativeNames, &field.spot);
        for item in field.one_or_many(r) {
            let text = item.text(r);
            names.push(text.and_then(|text| {
                let name = AlternativeName::parse(text);
                if name.is_none() {
                    r.report.error_with(
                        Code::BadValue,
                        &item.spot,
                        format!("`{}` is no alternative name", shown(text)),
                        "write `dns:host.example` or `ip:192.0.2.1`",
                    );
                }
                name
            }));
        }
    }
    let mut names: Vec<AlternativeName> = names.into_iter().collect::<Option<_>>()?;
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    Some(names)
}
