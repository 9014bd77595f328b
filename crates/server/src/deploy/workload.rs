//! From what a client asks for to what is launched and measured.
//!
//! The client does the same by itself and compares: a platform that measured anything else than
//! what was asked for would be found out.

use jiff::Timestamp;
use mse_api::{ApiError, CreateApp, ErrorCode};
use mse_crypto::Digest;
use mse_runtime::images::Catalogue;
use mse_workload::{
    AppId, FORMAT, HealthEndpoint, ImageIdentity, Measured, Provisioning, Resources, Tls,
    TlsOrigin, Workload,
};

use super::certificate::OwnerCertificate;
use super::expiry::Expiry;
use super::names::AppNames;
use crate::config::is_domain;
use crate::store::{HardwareRecord, NewApp, ProjectRecord};

/// Checks everything that can be checked before the bundle is there, and describes the app.
pub(crate) fn describe(
    request: &CreateApp,
    project: &ProjectRecord,
    hardware: &HardwareRecord,
    suffix: &str,
    now: Timestamp,
) -> Result<NewApp, ApiError> {
    check_name(&request.name)?;
    let image = image(request)?;
    let (origin, owner) = origin(request, suffix, now)?;
    let health_endpoint = HealthEndpoint::try_from(request.healthcheck_endpoint.clone())
        .map_err(|error| invalid(error.to_string()))?;
    let expires_at = Expiry {
        now,
        requested: request.expires_at,
        certificate: owner.as_ref().map(|owner| owner.certificate.not_after),
        max_life: hardware.max_life,
    }
    .decide()
    .map_err(|error| invalid(error.to_string()).with_hint("ask for a date in the future"))?;

    let app_id = AppId::generate();
    let owner_domain = owner.as_ref().map(|owner| owner.domain);
    let names = AppNames::of(app_id, request, project.id, origin, owner_domain, suffix);
    let workload = Workload {
        format: FORMAT,
        app_id,
        application: request.python_application.clone(),
        image,
        bundle: digest("bundle_digest", request.bundle_digest.as_deref())?,
        source_commitment: digest("source_commitment", request.source_commitment.as_deref())?,
        code_key_check: digest("code_key_check", request.code_key_check.as_deref())?,
        tls: Tls {
            origin,
            names: names.tls,
            certificate: owner.map(|owner| Digest::of(owner.pem.as_bytes())),
        },
        expires_at: Some(u64::try_from(expires_at.as_second()).unwrap_or(0)),
        resources: Resources {
            memory_mib: hardware.enclave_size_mib,
            millicores: hardware.millicores,
        },
        health_endpoint,
        environment: request.environment.clone(),
        provisioning: Provisioning::Owner {},
    };
    // The rules that every reader of a workload applies, the enclave among them.
    Workload::from_json(&workload.canonical()).map_err(|error| invalid(error.to_string()))?;
    Ok(NewApp {
        project_id: project.id,
        owner_id: project.owner_id,
        name: request.name.clone(),
        hardware_name: hardware.name.clone(),
        domain_name: names.domain,
        config_domain_name: names.config_domain,
        workload,
        certificate_chain: request.ssl_certificate.clone(),
        created_at: now,
        expires_at,
    })
}

fn check_name(name: &str) -> Result<(), ApiError> {
    let length = name.chars().count();
    if !(1..=255).contains(&length) || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(80).collect();
        return Err(invalid(format!(
            "`{}` is not a name for an app",
            shown.escape_debug()
        ))
        .with_hint("use 1 to 255 characters, none of them a control character"));
    }
    Ok(())
}

fn image(request: &CreateApp) -> Result<ImageIdentity, ApiError> {
    let image = Catalogue::builtin()
        .resolve(&request.docker)
        .map_err(|error| ApiError::new(ErrorCode::ImageRefused, error.to_string()))?;
    let digest = image.digest();
    if let Some(expected) = &request.image_digest
        && *expected != digest.to_string()
    {
        return Err(ApiError::new(
            ErrorCode::ImageRefused,
            format!(
                "the image `{}` has the digest `{digest}` here, not `{}`",
                request.docker,
                expected.chars().take(80).collect::<String>()
            ),
        )
        .with_hint("use client and platform of the same release"));
    }
    Ok(ImageIdentity {
        name: request.docker.clone(),
        digest,
    })
}

struct Owner<'a> {
    domain: &'a str,
    pem: &'a str,
    certificate: OwnerCertificate,
}

fn origin<'a>(
    request: &'a CreateApp,
    suffix: &str,
    now: Timestamp,
) -> Result<(TlsOrigin, Option<Owner<'a>>), ApiError> {
    match (&request.ssl_certificate, &request.domain_name) {
        (None, None) if request.dev_mode => Ok((TlsOrigin::Operator, None)),
        (None, None) => Ok((TlsOrigin::Enclave, None)),
        (Some(_), Some(_)) if request.dev_mode => Err(invalid(
            "`dev_mode` lets the operator end TLS, but `ssl_certificate` is the owner's",
        )
        .with_hint("give one of both")),
        (Some(pem), Some(domain)) => {
            let owner = owner(pem, domain, suffix, now)?;
            Ok((TlsOrigin::Owner, Some(owner)))
        }
        (Some(_), None) => Err(invalid("`ssl_certificate` is given without `domain_name`")),
        (None, Some(_)) => Err(invalid("`domain_name` is given without `ssl_certificate`")),
    }
}

fn owner<'a>(
    pem: &'a str,
    domain: &'a str,
    suffix: &str,
    now: Timestamp,
) -> Result<Owner<'a>, ApiError> {
    if !is_domain(domain) {
        let shown: String = domain.chars().take(80).collect();
        return Err(
            invalid(format!("`{}` is not a domain name", shown.escape_debug()))
                .with_hint("write it in lower case, such as `shop.example.org`"),
        );
    }
    // Names below the suffix are given by the platform: nobody may take another app's.
    if domain == suffix || domain.ends_with(&format!(".{suffix}")) {
        return Err(invalid(format!(
            "`{domain}` lies below `{suffix}`, whose names the platform gives"
        ))
        .with_hint("use a domain of your own"));
    }
    let certificate = OwnerCertificate::parse(pem).map_err(|error| invalid(error.to_string()))?;
    if !certificate.covers(domain) {
        return Err(
            invalid(format!("the certificate does not cover `{domain}`"))
                .with_hint("the subject alternative names of the chain's first certificate count"),
        );
    }
    if certificate.not_after <= now {
        return Err(invalid(format!(
            "the certificate ended at `{}`",
            certificate.not_after
        )));
    }
    Ok(Owner {
        domain,
        pem,
        certificate,
    })
}

/// Clients of the system we replace send neither digest. Serving them would mean to launch code
/// that nothing was said about.
fn digest(field: &'static str, value: Option<&str>) -> Result<Digest, ApiError> {
    value
        .ok_or_else(|| {
            invalid(format!(
                "`{field}` is missing, and compatibility mode is not enabled"
            ))
            .with_hint("deploy with `mse`")
        })?
        .parse()
        .map_err(|error| invalid(format!("`{field}`: {error}")))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::Invalid, message)
}

#[cfg(test)]
pub(crate) mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::deploy::certificate::tests::certificate_for;
    use crate::store::{AccountId, ProjectId};

    pub(crate) fn request() -> CreateApp {
        let image = Catalogue::builtin()
            .resolve("mse-flask:20261123000000")
            .unwrap();
        CreateApp {
            name: "hello".into(),
            project: "default".into(),
            dev_mode: false,
            healthcheck_endpoint: "/health".into(),
            python_application: "app:app".into(),
            expires_at: None,
            ssl_certificate: None,
            domain_name: None,
            hardware: "4g-eu-001".into(),
            docker: "mse-flask:20261123000000".into(),
            image_digest: Some(image.digest().to_string()),
            bundle_digest: Some(Digest::of(b"bundle").to_string()),
            source_commitment: Some(Digest::of(b"source").to_string()),
            code_key_check: Some(Digest::of(b"key").to_string()),
            environment: [("LANG".to_owned(), "C".to_owned())].into(),
        }
    }

    fn describe_with(change: impl FnOnce(&mut CreateApp)) -> Result<NewApp, ApiError> {
        let mut request = request();
        change(&mut request);
        let now = "2026-11-23T10:00:00Z".parse().unwrap();
        let project = ProjectRecord {
            id: ProjectId(Uuid::from_u128(1)),
            name: "default".into(),
            description: String::new(),
            owner_id: AccountId(Uuid::from_u128(2)),
            is_default: true,
            created_at: now,
        };
        describe(
            &request,
            &project,
            &HardwareRecord::free(),
            "mse.localhost",
            now,
        )
    }

    fn refused(change: impl FnOnce(&mut CreateApp)) -> ApiError {
        describe_with(change).expect_err("it should have been refused")
    }

    #[test]
    fn every_part_of_the_request_is_in_the_workload() {
        let app = describe_with(|_| ()).unwrap();
        let workload = &app.workload;
        assert_eq!(workload.application, "app:app");
        assert_eq!(workload.bundle, Digest::of(b"bundle"));
        assert_eq!(workload.source_commitment, Digest::of(b"source"));
        assert_eq!(workload.tls.origin, TlsOrigin::Enclave);
        assert_eq!(workload.tls.certificate, None);
        assert_eq!(workload.resources.memory_mib, 4096);
        assert_eq!(workload.resources.millicores, 2000);
        assert_eq!(workload.environment["LANG"], "C");
        // The free hardware ends after four hours, whatever is asked for.
        let expires_at: Timestamp = "2026-11-23T14:00:00Z".parse().unwrap();
        assert_eq!(
            workload.expires_at,
            u64::try_from(expires_at.as_second()).ok()
        );
        assert_eq!(app.expires_at, expires_at);
        assert_eq!(
            app.config_domain_name,
            format!("{}.mse.localhost", workload.app_id)
        );
    }

    #[test]
    fn origins_follow_from_what_is_given() {
        let pem = certificate_for(&["shop.example.org"]);
        let owners = describe_with(|request| {
            request.ssl_certificate = Some(pem.clone());
            request.domain_name = Some("shop.example.org".into());
        })
        .unwrap();
        assert_eq!(owners.workload.tls.origin, TlsOrigin::Owner);
        assert_eq!(
            owners.workload.tls.certificate,
            Some(Digest::of(pem.as_bytes()))
        );
        assert_eq!(owners.domain_name, "shop.example.org");
        let operators = describe_with(|request| request.dev_mode = true).unwrap();
        assert_eq!(operators.workload.tls.origin, TlsOrigin::Operator);
    }

    #[test]
    fn what_breaks_a_rule_is_refused_by_name() {
        let pem = certificate_for(&["shop.example.org", "x.mse.localhost"]);
        for (word, error) in [
            ("name for an app", refused(|r| r.name = String::new())),
            ("name for an app", refused(|r| r.name = "x".repeat(256))),
            ("name for an app", refused(|r| r.name = "a\nb".into())),
            (
                "module:variable",
                refused(|r| r.python_application = "app".into()),
            ),
            (
                "starts with `/`",
                refused(|r| r.healthcheck_endpoint = "health".into()),
            ),
            ("compatibility mode", refused(|r| r.bundle_digest = None)),
            (
                "compatibility mode",
                refused(|r| r.source_commitment = None),
            ),
            ("compatibility mode", refused(|r| r.code_key_check = None)),
            (
                "64 hexadecimal",
                refused(|r| r.bundle_digest = Some("00".into())),
            ),
            (
                "without `domain_name`",
                refused(|r| r.ssl_certificate = Some(pem.clone())),
            ),
            (
                "without `ssl_certificate`",
                refused(|r| r.domain_name = Some("a.b".into())),
            ),
            (
                "is over",
                refused(|r| r.expires_at = Some("2026-11-23T09:00:00Z".parse().unwrap())),
            ),
            (
                "does not cover",
                refused(|r| {
                    r.ssl_certificate = Some(pem.clone());
                    r.domain_name = Some("other.example.org".into());
                }),
            ),
            (
                "the platform gives",
                refused(|r| {
                    r.ssl_certificate = Some(pem.clone());
                    r.domain_name = Some("x.mse.localhost".into());
                }),
            ),
            (
                "one of both",
                refused(|r| {
                    r.dev_mode = true;
                    r.ssl_certificate = Some(pem.clone());
                    r.domain_name = Some("shop.example.org".into());
                }),
            ),
        ] {
            let text = format!("{error} {:?}", error.hint);
            assert!(text.contains(word), "{text}");
            assert_eq!(error.code, ErrorCode::Invalid, "{text}");
        }
    }

    #[test]
    fn images_are_refused_by_name_and_by_digest() {
        for error in [
            refused(|r| r.docker = "nginx:1".into()),
            refused(|r| r.docker = "mse-flask:latest".into()),
            refused(|r| r.image_digest = Some("00".repeat(32))),
        ] {
            assert_eq!(error.code, ErrorCode::ImageRefused, "{error}");
        }
    }
}
