//! The workload, made from our own inputs and from what the platform may choose: id, names,
//! domain, an earlier expiry. What it may not choose must be as it was asked for.

use mse_api::{App, CreateApp, Hardware};
use mse_crypto::Digest;
use mse_workload::bundle::SealedBundle;
use mse_workload::{
    FORMAT, HealthEndpoint, ImageIdentity, Provisioning, Resources, Tls, TlsOrigin, Workload,
};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::verification::Domain;

/// What we asked for.
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a CreateApp,
    pub(crate) image: &'a ImageIdentity,
    pub(crate) health: &'a HealthEndpoint,
    pub(crate) origin: TlsOrigin,
    pub(crate) sealed: &'a SealedBundle,
    pub(crate) hardware: &'a Hardware,
}

impl Asked<'_> {
    /// The workload of the app that the platform says it made for us.
    pub(crate) fn agree(&self, app: &App) -> Result<Workload, Failure> {
        self.check_copies(app)?;
        let expires_at = self.expiry(app)?;
        self.check_names(app)?;
        Self::check_url(app)?;
        Ok(Workload {
            format: FORMAT,
            app_id: app.id,
            application: self.request.python_application.clone(),
            image: self.image.clone(),
            bundle: self.sealed.digest,
            source_commitment: self.sealed.commitment,
            code_key_check: self.sealed.key_check,
            tls: Tls {
                origin: self.origin,
                names: app.tls_names.clone(),
                certificate: self
                    .request
                    .ssl_certificate
                    .as_ref()
                    .map(|pem| Digest::of(pem.as_bytes())),
            },
            expires_at: Some(expires_at),
            resources: self.resources(app)?,
            health_endpoint: self.health.clone(),
            environment: self.request.environment.clone(),
            provisioning: Provisioning::Owner {},
        })
    }

    /// What is only repeated must be repeated as it was.
    fn check_copies(&self, app: &App) -> Result<(), Failure> {
        for (field, asked, answered) in [
            ("name", &self.request.name, &app.name),
            ("docker", &self.request.docker, &app.docker),
            ("hardware_name", &self.request.hardware, &app.hardware_name),
            (
                "python_application",
                &self.request.python_application,
                &app.python_application,
            ),
            (
                "healthcheck_endpoint",
                &self.request.healthcheck_endpoint,
                &app.healthcheck_endpoint,
            ),
        ] {
            if asked != answered {
                return Err(other(field, asked, answered));
            }
        }
        if app.ssl_certificate_origin != self.origin {
            return Err(other(
                "ssl_certificate_origin",
                &self.origin.to_string(),
                &app.ssl_certificate_origin.to_string(),
            ));
        }
        Ok(())
    }

    /// Seconds since 1970: never later than asked for.
    fn expiry(&self, app: &App) -> Result<u64, Failure> {
        let given = app.expires_at;
        if let Some(asked) = self.request.expires_at
            && given.as_second() > asked.as_second()
        {
            let (asked, given) = (asked.to_string(), given.to_string());
            return Err(other("expires_at", &format!("at most {asked}"), &given));
        }
        u64::try_from(given.as_second())
            .map_err(|_| other("expires_at", "a date after 1970", &given.to_string()))
    }

    fn resources(&self, app: &App) -> Result<Resources, Failure> {
        let wanted = Resources {
            memory_mib: self.hardware.enclave_size,
            millicores: millicores(self.hardware.cores),
        };
        let given = Resources {
            memory_mib: app.memory_mib,
            millicores: app.millicores,
        };
        if wanted == given {
            return Ok(wanted);
        }
        let words = |r: Resources| format!("{} MiB and {} millicores", r.memory_mib, r.millicores);
        Err(other(
            "memory_mib and millicores",
            &words(wanted),
            &words(given),
        ))
    }

    /// The names that the enclave answers for must be those that it is reached by.
    fn check_names(&self, app: &App) -> Result<(), Failure> {
        let mut needed = vec![&app.config_domain_name];
        match self.origin {
            TlsOrigin::Owner => {
                let asked = self.request.domain_name.as_deref().unwrap_or_default();
                if app.domain_name != asked {
                    return Err(other("domain_name", asked, &app.domain_name));
                }
            }
            TlsOrigin::Enclave | TlsOrigin::Operator => needed.push(&app.domain_name),
        }
        for name in needed {
            if !app.tls_names.contains(name) {
                return Err(other(
                    "tls_names",
                    &format!("`{name}` among them"),
                    &app.tls_names.join(", "),
                ));
            }
        }
        // The enclave's certificate could vouch for whatever else stood here.
        for name in &app.tls_names {
            let own = [&app.domain_name, &app.config_domain_name].contains(&name);
            if !own && !LOOPBACK.contains(&name.as_str()) {
                return Err(other("tls_names", "only names of this app", name));
            }
        }
        Ok(())
    }

    /// What is shown as the app's address must be one of its names.
    fn check_url(app: &App) -> Result<(), Failure> {
        let host = app
            .url
            .starts_with("https://")
            .then(|| app.url.parse::<Domain>().ok())
            .flatten()
            .map(|domain| domain.host);
        match host {
            Some(host) if app.domain_name == host || app.tls_names.contains(&host) => Ok(()),
            _ => Err(other("url", "`https://` and a name of this app", &app.url)),
        }
    }
}

/// Names by which an app on this machine may be reached besides its own.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// Cores as the workload has them.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float is cast with saturation, and a size that is none is refused as different"
)]
fn millicores(cores: f64) -> u32 {
    (cores * 1000.0).round() as u32
}

fn other(field: &str, asked: &str, answered: &str) -> Failure {
    Failure::new(
        Exit::Refused,
        format!("the platform answered with another `{field}` than was asked for: `{answered}` instead of `{asked}`"),
    )
    .with_hint("it would run something else than you deployed; ask its operator why")
}

#[cfg(test)]
#[path = "agreement_tests.rs"]
mod tests;
