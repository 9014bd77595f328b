//! Where an app is reached, as a user writes it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use mse_ratls::Endpoint;

/// `HOST[:PORT]`; `https://` before it and `/` behind it do no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domain {
    /// DNS name or IP address, without brackets.
    pub(crate) host: String,
    /// None means 443, or the gateway of a context.
    pub(crate) port: Option<u16>,
}

impl Domain {
    /// The host, if it is a single word without a port: hardly a name of the DNS.
    pub(crate) fn as_word(&self) -> Option<&str> {
        let is_word = self.port.is_none()
            && !self.host.contains(['.', ':'])
            && !self.host.eq_ignore_ascii_case("localhost");
        is_word.then_some(self.host.as_str())
    }

    /// Where to connect for it; `gateway` (`host:port`) if it has no port of its own.
    pub(crate) fn endpoint(&self, gateway: Option<&str>) -> Endpoint {
        let address = match (self.port, gateway) {
            (None, Some(gateway)) => reachable(gateway),
            (port, _) => reachable(&join(&self.host, port.unwrap_or(443))),
        };
        Endpoint {
            address,
            server_name: self.host.clone(),
        }
    }
}

/// `address` with names below `localhost` replaced: not every libc resolves those.
pub(crate) fn reachable(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((host, port)) if host.to_ascii_lowercase().ends_with(".localhost") => {
            format!("127.0.0.1:{port}")
        }
        _ => address.to_owned(),
    }
}

impl FromStr for Domain {
    type Err = InvalidDomain;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidDomain(text.chars().take(200).collect());
        let bare = text.trim();
        let bare = bare.strip_prefix("https://").unwrap_or(bare);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        let (host, port) = match bare.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(invalid)?;
                host.parse::<IpAddr>().map_err(|_| invalid())?;
                match rest {
                    "" => (host, None),
                    _ => (host, Some(rest.strip_prefix(':').ok_or_else(invalid)?)),
                }
            }
            None => match bare.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (bare, None),
            },
        };
        let port = match port.map(str::parse) {
            Some(Ok(0) | Err(_)) => return Err(invalid()),
            Some(Ok(port)) => Some(port),
            None => None,
        };
        rustls_pki_types::ServerName::try_from(host).map_err(|_| invalid())?;
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => f.write_str(&join(&self.host, port)),
            None => f.write_str(&self.host),
        }
    }
}

/// The text is not `HOST[:PORT]`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address of an app: write its domain, and a port if it is not 443, such as `app.example.com` or `localhost:20000`"
)]
pub(crate) struct InvalidDomain(String);

fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_read_as_people_write_them() {
        for (text, host, port, address) in [
            (
                "app.example.com",
                "app.example.com",
                None,
                "app.example.com:443",
            ),
            (
                "https://app.example.com/",
                "app.example.com",
                None,
                "app.example.com:443",
            ),
            (
                "localhost:20000",
                "localhost",
                Some(20_000),
                "localhost:20000",
            ),
            (
                "hello.mse.localhost:7343",
                "hello.mse.localhost",
                Some(7_343),
                "127.0.0.1:7343",
            ),
            ("[::1]:8443", "::1", Some(8_443), "[::1]:8443"),
            ("127.0.0.1", "127.0.0.1", None, "127.0.0.1:443"),
        ] {
            let domain: Domain = text.parse().unwrap();
            assert_eq!((domain.host.as_str(), domain.port), (host, port), "{text}");
            assert_eq!(domain.endpoint(None).address, address, "{text}");
            assert_eq!(domain.endpoint(None).server_name, host, "{text}");
        }
        for bad in [
            "", "a b", "x:0", "x:y", "x:65536", "http://x", "x/path", "[::1", "::1",
        ] {
            assert!(bad.parse::<Domain>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_single_word_is_hardly_a_domain() {
        let word = |text: &str| {
            let domain: Domain = text.parse().unwrap();
            domain.as_word().map(str::to_owned)
        };
        assert_eq!(word("hello").as_deref(), Some("hello"));
        for text in [
            "hello:443",
            "hello.example",
            "localhost",
            "[::1]",
            "127.0.0.1",
        ] {
            assert_eq!(word(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).*") {
            if let Ok(domain) = text.parse::<Domain>() {
                let _ = domain.endpoint(Some(&text));
            }
        }
    }

    #[test]
    fn a_gateway_serves_what_has_no_port() {
        let with = |text: &str| {
            let domain: Domain = text.parse().unwrap();
            domain.endpoint(Some("127.0.0.1:7343")).address
        };
        assert_eq!(with("app.example.com"), "127.0.0.1:7343");
        assert_eq!(with("app.example.com:8443"), "app.example.com:8443");
    }
}
