//! Manifests that several tests start from; all are in canonical form.

use std::path::Path;

use crate::load::CloudSection;
use crate::manifest::Manifest;

pub(crate) const WITHOUT_CLOUD: &str = r#"name = "helloworld"
python_application = "app:app"
healthcheck_endpoint = "/health"
tests_cmd = "pytest"
tests_requirements = ["pytest"]
"#;

pub(crate) const MINIMAL: &str = r#"name = "helloworld"
python_application = "app:app"
healthcheck_endpoint = "/health"
tests_cmd = "pytest"
tests_requirements = ["pytest"]

[cloud]
code = "mse_src"
tests = "tests"
docker = "mse-flask:20230228091325"
project = "default"
hardware = "4g-eu-001"
"#;

pub(crate) const FULL: &str = r#"name = "helloworld"
python_application = "shop.web:app"
healthcheck_endpoint = "/health"
tests_cmd = "pytest -q"
tests_requirements = ["pytest==7.2.0", "cryptography"]

[cloud]
code = "mse_src"
tests = "tests"
docker = "ghcr.io/cosmian/mse-flask:20230228091325"
project = "default"
hardware = "4g-eu-001"
secrets = "secrets.json"
expiration_date = 2027-01-31T18:00:00Z

[cloud.ssl]
domain_name = "app.example.com"
private_key = "key.pem"
certificate = "cert.pem"

[cloud.environment]
GREETING = "good day"
LOG_LEVEL = "info"
"#;

pub(crate) fn manifest() -> Manifest {
    Manifest::parse(Path::new("mse.toml"), FULL, CloudSection::Required)
        .unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
        .manifest
}
