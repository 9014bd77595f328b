//! The names under which an app is reached.

use mse_api::CreateApp;
use mse_crypto::digest::Hasher;
use mse_workload::{AppId, TlsOrigin};

use crate::store::ProjectId;

/// Both hosts of an app, and what its enclave's certificate covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AppNames {
    /// The host its users open.
    pub(super) domain: String,
    /// The host at which its enclave is verified and provisioned.
    pub(super) config_domain: String,
    /// DNS names and addresses of the enclave's own certificate, in the order that is measured.
    pub(super) tls: Vec<String>,
}

impl AppNames {
    /// The names of an app. `owner_domain` is the owner's own with origin `owner`.
    ///
    /// Without one, the host depends on project, name and origin only: it stays when the same
    /// app is deployed again, and changes when somebody else begins to end its TLS.
    pub(super) fn of(
        app_id: AppId,
        app: &CreateApp,
        project: ProjectId,
        origin: TlsOrigin,
        owner_domain: Option<&str>,
        suffix: &str,
    ) -> Self {
        let domain = match owner_domain {
            Some(domain) => domain.to_owned(),
            None => format!(
                "{}-{}.{suffix}",
                slug(&app.name),
                tag(project, &app.name, origin)
            ),
        };
        let config_domain = format!("{app_id}.{suffix}");
        let own = (origin != TlsOrigin::Owner).then(|| domain.clone());
        let loopback = ["localhost", "127.0.0.1"].map(str::to_owned);
        Self {
            tls: own
                .into_iter()
                .chain([config_domain.clone()])
                .chain(loopback)
                .collect(),
            domain,
            config_domain,
        }
    }
}

/// Eight hexadecimal digits of SHA-256 over `project id|name|origin`.
fn tag(project: ProjectId, name: &str, origin: TlsOrigin) -> String {
    let mut hasher = Hasher::new();
    hasher.update(format!("{project}|{name}|{origin}").as_bytes());
    hex::encode(&hasher.finish().0[..4])
}

/// The name as part of a host: at most 40 letters, digits and single dashes.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for character in name.chars() {
        let character = character.to_ascii_lowercase();
        if character.is_ascii_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() == 40 {
            break;
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "app" } else { slug }.to_owned()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::deploy::workload::tests::request;

    fn names(name: &str, project: u128, origin: TlsOrigin, domain: Option<&str>) -> AppNames {
        let mut app = request();
        app.name = name.into();
        AppNames::of(
            AppId(Uuid::from_u128(7)),
            &app,
            ProjectId(Uuid::from_u128(project)),
            origin,
            domain,
            "mse.localhost",
        )
    }

    #[test]
    fn hosts_stay_for_the_same_app_and_differ_for_any_other() {
        let first = names("Hello World!", 1, TlsOrigin::Enclave, None);
        assert!(first.domain.starts_with("hello-world-"), "{first:?}");
        assert!(first.domain.ends_with(".mse.localhost"), "{first:?}");
        assert_eq!(first, names("Hello World!", 1, TlsOrigin::Enclave, None));
        for other in [
            names("Hello World?", 1, TlsOrigin::Enclave, None),
            names("Hello World!", 2, TlsOrigin::Enclave, None),
            names("Hello World!", 1, TlsOrigin::Operator, None),
        ] {
            assert_ne!(first.domain, other.domain);
        }
    }

    #[test]
    fn certificates_cover_the_hosts_but_never_the_owners_domain() {
        let config = "00000000-0000-0000-0000-000000000007.mse.localhost";
        let own = names("a", 1, TlsOrigin::Enclave, None);
        assert_eq!(own.tls, [&own.domain, config, "localhost", "127.0.0.1"]);
        let owners = names("a", 1, TlsOrigin::Owner, Some("shop.example.org"));
        assert_eq!(owners.domain, "shop.example.org");
        assert_eq!(owners.tls, [config, "localhost", "127.0.0.1"]);
    }

    #[test]
    fn slugs_are_valid_labels() {
        for (name, expected) in [
            ("Été", "t"),
            ("--a  b--", "a-b"),
            ("日本", "app"),
            (&"x-".repeat(60), &"x-".repeat(20)[..39]),
        ] {
            assert_eq!(slug(name), expected);
        }
    }
}
