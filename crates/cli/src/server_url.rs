//! The address of a platform's API.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;

/// The platform that `mse-server` starts when it is given no configuration.
pub(crate) const EMBEDDED: &str = "http://127.0.0.1:7310";

/// The base URL of an API: `https`, or `http` on this machine. Has no trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerUrl(Url);

impl ServerUrl {
    /// The URL of `path`, which begins with `/`, under the API. A query may follow the path.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{self}{path}")
    }

    /// Whether it is on this machine, where no TLS is needed.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// Whether the connection is in clear.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }
}

impl FromStr for ServerUrl {
    type Err = InvalidServerUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |why: String| InvalidServerUrl {
            text: text.chars().take(200).collect(),
            why,
        };
        if !text.contains("://") {
            return Err(invalid(with_scheme(text.trim()).map_or_else(
                || NO_URL.to_owned(),
                |url| format!("is no URL without a scheme: write `{url}`"),
            )));
        }
        let url: Url = text
            .trim()
            .parse()
            .map_err(|_| invalid(NO_URL.to_owned()))?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => {
                return Err(invalid(
                    "would carry your login in clear over the network: use `https`".to_owned(),
                ));
            }
            _ => return Err(invalid("is neither `https` nor `http`".to_owned())),
        }
        if url.host().is_none() || url.query().is_some() || url.fragment().is_some() {
            return Err(invalid(
                "must be scheme, host and, if need be, port and path".to_owned(),
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid(
                "must not hold a user name or a password".to_owned(),
            ));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// The text is not the address of an API.
#[derive(Debug, thiserror::Error)]
#[error("`{text}` {why}")]
pub(crate) struct InvalidServerUrl {
    text: String,
    why: String,
}

const NO_URL: &str = "is no URL: write for instance `https://mse.example.com`";

/// The URL that somebody means who leaves the scheme out: in clear on this machine only.
fn with_scheme(text: &str) -> Option<ServerUrl> {
    ["http", "https"]
        .into_iter()
        .find_map(|scheme| format!("{scheme}://{text}").parse().ok())
}

/// Whether `host` is this machine: a loopback address, `localhost`, or a name below it.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.is_loopback();
    }
    let host = host.to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(is_loopback_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        for good in [
            "http://127.0.0.1:7310",
            "http://localhost:7310/",
            "http://mse.localhost",
            "http://[::1]:81",
            "https://mse.example.com/api/",
        ] {
            let url: ServerUrl = good.parse().unwrap();
            assert_eq!(url.to_string(), good.trim_end_matches('/'));
        }
        for bad in [
            "http://mse.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "ftp://localhost",
            "mse.example.com",
            "https://me:secret@example.com",
            "https://example.com/?x",
        ] {
            assert!(bad.parse::<ServerUrl>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_url_without_a_scheme_is_answered_with_one() {
        for (text, url) in [
            ("127.0.0.1:7310", "`http://127.0.0.1:7310`"),
            ("localhost:7310", "`http://localhost:7310`"),
            ("mse.example.com", "`https://mse.example.com`"),
            ("no url", "`https://mse.example.com`"),
        ] {
            let error = text.parse::<ServerUrl>().unwrap_err().to_string();
            assert!(error.contains(url), "{error}");
        }
    }

    #[test]
    fn paths_are_appended() {
        let url: ServerUrl = "https://example.com/api/".parse().unwrap();
        assert_eq!(
            url.at("/apps?name=x"),
            "https://example.com/api/apps?name=x"
        );
    }
}
