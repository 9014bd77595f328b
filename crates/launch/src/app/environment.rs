//! The variables that a pod of an app is given.

use std::ffi::OsString;
use std::time::Duration;

use hyper::Uri;

use crate::environment::{EnvironmentError, Given, Tee};

/// What the environment says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AppEnvironment {
    /// `MSE_BUNDLE`: the URL of the encrypted bundle.
    pub(super) bundle: Uri,
    /// `MSE_PORT`: where the enclave takes TLS connections.
    pub(super) port: u16,
    /// `MSE_PROVISIONING_SECONDS`: how long the enclave waits for its secrets.
    pub(super) provisioning_timeout: Duration,
    /// `MSE_TEE`; the machine's own if it is not set.
    pub(super) tee: Option<Tee>,
}

impl AppEnvironment {
    pub(super) fn read(
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, EnvironmentError> {
        const URL: &str = "where the bundle is: `http://host:port/path`";
        let given = Given::of(variables)?;
        let bundle: Uri = given.required("MSE_BUNDLE", URL)?;
        if bundle.scheme_str() != Some("http") || bundle.host().is_none() {
            return Err(EnvironmentError::wrong(
                "MSE_BUNDLE",
                &bundle.to_string(),
                URL,
            ));
        }
        let port = given.number("MSE_PORT", "a TCP port: `8443`")?;
        Ok(Self {
            bundle,
            port: u16::try_from(port).map_err(|_| {
                EnvironmentError::wrong("MSE_PORT", &port.to_string(), "a port is at most 65535")
            })?,
            provisioning_timeout: Duration::from_secs(
                given
                    .number("MSE_PROVISIONING_SECONDS", "a number of seconds: `900`")?
                    .into(),
            ),
            tee: given.tee()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(change: &[(&str, &str)]) -> Result<AppEnvironment, String> {
        let mut variables = std::collections::BTreeMap::from([
            ("MSE_BUNDLE", "http://mse:7320/bundles/a/b"),
            ("MSE_PORT", "8443"),
            ("MSE_PROVISIONING_SECONDS", "900"),
        ]);
        variables.extend(change.iter().copied());
        let variables = variables.into_iter();
        AppEnvironment::read(variables.map(|(name, value)| (name.into(), value.into())))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn variables_are_read_strictly() {
        let environment = read(&[("MSE_TEE", "tsm")]).unwrap();
        assert_eq!(environment.port, 8443);
        assert_eq!(environment.tee, Some(Tee::Tsm));
        assert_eq!(read(&[]).unwrap().tee, None);
        for (name, value) in [
            ("MSE_BUNDLE", "https://mse:7320/b"),
            ("MSE_BUNDLE", "/b"),
            ("MSE_PORT", "0"),
            ("MSE_PORT", "70000"),
            ("MSE_PROVISIONING_SECONDS", "soon"),
            ("MSE_TEE", "snp"),
        ] {
            let refused = read(&[(name, value)]).unwrap_err();
            assert!(
                refused.contains(&format!("`{name}` is `{value}`; ")),
                "{refused}"
            );
        }
        assert!(
            read(&[("MSE_BUNDLE", "")])
                .unwrap_err()
                .contains("is not set")
        );
    }
}
