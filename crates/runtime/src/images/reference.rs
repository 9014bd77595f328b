//! References to images, in the grammar of container engines.

use std::fmt;
use std::str::FromStr;

use mse_crypto::Digest;

use super::ImageError;

/// A reference to an image, `[registry/][org/]name[:tag][@sha256:hex]`, of which only the form
/// has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    pub(super) repository: String,
    pub(super) tag: Option<String>,
    pub(super) digest: Option<Digest>,
}

impl FromStr for ImageReference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        let malformed = |problem| ImageError::Malformed {
            reference: text.chars().take(MAX_REFERENCE).collect(),
            problem,
        };
        if text.len() > MAX_REFERENCE {
            return Err(malformed("it is longer than 512 bytes"));
        }
        let (name, digest) = match text.split_once('@') {
            None => (text, None),
            Some((name, digest)) => {
                let digest = digest
                    .strip_prefix("sha256:")
                    .filter(|hex| hex.bytes().all(|byte| !byte.is_ascii_uppercase()))
                    .and_then(|hex| hex.parse().ok())
                    .ok_or_else(|| {
                        malformed("after `@` it must have `sha256:` and 64 lower-case hex digits")
                    })?;
                (name, Some(digest))
            }
        };
        // A colon before the last slash belongs to a registry's port.
        let last_component = name.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match name[last_component..].split_once(':') {
            None => (name, None),
            Some((last, tag)) => (&name[..last_component + last.len()], Some(tag)),
        };
        if !is_repository(repository) {
            return Err(malformed(
                "its name must be lower-case letters, digits, `.`, `_` and `-`, in parts joined by `/`",
            ));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(malformed(
                "its tag must be 1 to 128 letters, digits, `_`, `.` and `-`, and not begin with `.` or `-`",
            ));
        }
        Ok(Self {
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@sha256:{digest}")?;
        }
        Ok(())
    }
}

fn is_repository(text: &str) -> bool {
    let (registry, path) = match text.split_once('/') {
        Some((first, rest)) if is_registry(first) => (Some(first), rest),
        _ => (None, text),
    };
    registry.is_none_or(is_host) && path.split('/').all(is_path_component)
}

/// Tells a registry from an organisation as container engines do.
fn is_registry(component: &str) -> bool {
    component == "localhost" || component.contains(['.', ':'])
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    host.split('.').all(is_path_component) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

fn is_path_component(text: &str) -> bool {
    let edge = |byte: Option<u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    edge(text.bytes().next())
        && edge(text.bytes().last())
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte)
        })
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

const MAX_REFERENCE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_round_trip_and_malformed_ones_are_refused() {
        let hex = Digest::of(b"x").to_string();
        for good in [
            "a",
            "a:1",
            "org/a_b:v1.2-3",
            "localhost/a",
            "localhost:5000/org/a:t",
            "ghcr.io/cosmian/mse-flask",
            &format!("a@sha256:{hex}"),
            &format!("r.io:443/o/a:T@sha256:{hex}"),
        ] {
            let parsed: ImageReference = good.parse().unwrap();
            assert_eq!(parsed.to_string(), good);
        }
        for bad in [
            "",
            ":tag",
            "A:1",
            "a:",
            "a:.x",
            "a:b:c",
            "a//b",
            "/a",
            "a/",
            "a b",
            "../a:1",
            "a-:1",
            "r.io:port/a",
            "a@",
            "a@sha256:00",
            "a@md5:00",
            &format!("a@sha256:{}", hex.to_uppercase()),
            &format!("a@sha256:{hex}@sha256:{hex}"),
            &format!("a:{}", "t".repeat(129)),
            &"a".repeat(600),
        ] {
            assert!(
                matches!(
                    bad.parse::<ImageReference>(),
                    Err(ImageError::Malformed { .. })
                ),
                "{bad}"
            );
        }
    }
}
