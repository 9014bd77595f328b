//! Names of images in registries.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::digest::BlobDigest;

/// `registry[:port]/repository[:tag][@sha256:…]`. A name without a registry means Docker Hub, as
/// everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference(oci_spec::distribution::Reference);

impl Reference {
    /// The registry's host, and port if one was given.
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// The path inside the registry.
    pub fn repository(&self) -> &str {
        self.0.repository()
    }

    /// The tag; `latest` if there is neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        self.0.tag()
    }

    /// The digest, if the reference pins one.
    pub fn digest(&self) -> Option<BlobDigest> {
        self.0.digest().and_then(|digest| digest.parse().ok())
    }

    /// The same repository, exactly this manifest.
    pub fn with_digest(&self, digest: BlobDigest) -> Self {
        Self(self.0.clone_with_digest(digest.to_string()))
    }

    /// The same repository, another tag, no digest.
    pub fn with_tag(&self, tag: &str) -> Self {
        Self(oci_spec::distribution::Reference::with_tag(
            self.0.registry().to_owned(),
            self.0.repository().to_owned(),
            tag.to_owned(),
        ))
    }

    /// Whether the registry is on this machine: only there is plain HTTP ever spoken.
    pub fn is_loopback(&self) -> bool {
        let host = self.registry();
        let host = match host.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => host,
        };
        host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }

    pub(crate) fn as_oci(&self) -> &oci_spec::distribution::Reference {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.whole())
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason: String| InvalidReference {
            text: text.chars().take(300).collect(),
            reason,
        };
        let reference: oci_spec::distribution::Reference = text
            .parse()
            .map_err(|error: oci_spec::distribution::ParseError| invalid(error.to_string()))?;
        if let Some(digest) = reference.digest() {
            digest
                .parse::<BlobDigest>()
                .map_err(|error| invalid(error.to_string()))?;
        }
        Ok(Self(reference))
    }
}

/// Not the name of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not the name of an image ({reason}): write `registry/repository:tag`, or `registry/repository@sha256:…`"
)]
pub struct InvalidReference {
    text: String,
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_everywhere() {
        let reference: Reference = "registry.example:5050/team/app:1".parse().unwrap();
        assert_eq!(reference.registry(), "registry.example:5050");
        assert_eq!(reference.repository(), "team/app");
        assert_eq!(reference.tag(), Some("1"));
        assert_eq!(reference.to_string(), "registry.example:5050/team/app:1");
        let hub: Reference = "python".parse().unwrap();
        assert_eq!(hub.to_string(), "docker.io/library/python:latest");
        let digest = BlobDigest::of(b"m");
        let pinned = reference.with_digest(digest);
        assert_eq!(pinned.digest(), Some(digest));
        assert_eq!(pinned.to_string().parse::<Reference>().unwrap(), pinned);
        for bad in [
            "",
            "UPPER",
            "a b",
            "a@sha512:00",
            "a:b:c",
            "../x",
            "a@sha256:zz",
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (name, expected) in [
            ("localhost:5000/a", true),
            ("127.0.0.1:5000/a", true),
            ("localhost.example/a", false),
            ("10.0.0.1:5000/a", false),
            ("a", false),
        ] {
            let reference: Reference = name.parse().unwrap();
            assert_eq!(reference.is_loopback(), expected, "{name}");
        }
    }
}
