//! References to images.

use std::fmt;
use std::str::FromStr;

use mse_yaml::shown;

/// Where an image is: `registry.example:5000/team/app:1`, perhaps with `@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    text: String,
    /// Bytes of registry and repository.
    name: usize,
}

impl ImageReference {
    /// The reference as it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The registry, if the reference says one: `registry.example:5000`.
    pub fn registry(&self) -> Option<&str> {
        let (first, _) = self.text[..self.name].split_once('/')?;
        (first.contains(['.', ':']) || first == "localhost").then_some(first)
    }

    /// Registry and repository, without tag and digest.
    pub fn name(&self) -> &str {
        &self.text[..self.name]
    }

    /// The last part of the repository: `app`. A service without name is called like it.
    pub fn short_name(&self) -> &str {
        self.name().rsplit('/').next().unwrap_or_default()
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        let rest = self.text[self.name..].strip_prefix(':')?;
        rest.split('@').next()
    }

    /// The digest: `sha256:…`.
    pub fn digest(&self) -> Option<&str> {
        self.text[self.name..]
            .split_once('@')
            .map(|(_, digest)| digest)
    }
}

impl FromStr for ImageReference {
    type Err = InvalidImageReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidImageReference(text.to_owned());
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].find(':') {
            Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
            None => (rest, None),
        };
        let is_digest = digest.is_none_or(|digest| {
            digest.strip_prefix("sha256:").is_some_and(|hex| {
                hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            })
        });
        let is_tag = tag.is_none_or(|tag| {
            (1..=128).contains(&tag.len())
                && !tag.starts_with(['.', '-'])
                && tag
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        });
        let is_part = |index: usize, part: &str| {
            let is_registry = index == 0 && name.contains('/');
            let (part, port) = match part.split_once(':') {
                Some((part, port)) if is_registry => (part, Some(port)),
                _ => (part, None),
            };
            port.is_none_or(|port| port.parse::<u16>().is_ok())
                && !part.is_empty()
                && part.bytes().all(|b| {
                    b.is_ascii_lowercase()
                        || b.is_ascii_digit()
                        || matches!(b, b'_' | b'.' | b'-')
                        || (is_registry && b.is_ascii_uppercase())
                })
                && part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.ends_with(|c: char| c.is_ascii_alphanumeric())
        };
        let is_name = name.len() <= 255
            && name
                .split('/')
                .enumerate()
                .all(|(index, part)| is_part(index, part));
        if is_digest && is_tag && is_name {
            Ok(Self {
                name: name.len(),
                text: text.to_owned(),
            })
        } else {
            Err(invalid())
        }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text that names no image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` names no image: write `registry.example:5000/team/app:1`, in lower case, perhaps with `@sha256:…`",
    shown(.0)
)]
pub struct InvalidImageReference(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_parts() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        for (text, registry, name, tag) in [
            ("app", None, "app", None),
            ("team/app:1", None, "team/app", Some("1")),
            ("localhost/app", Some("localhost"), "localhost/app", None),
            (
                "r.example:5050/a/b_c:latest",
                Some("r.example:5050"),
                "r.example:5050/a/b_c",
                Some("latest"),
            ),
        ] {
            for pinned in [false, true] {
                let text = if pinned {
                    format!("{text}@{digest}")
                } else {
                    text.to_owned()
                };
                let image: ImageReference = text.parse().unwrap();
                assert_eq!(image.registry(), registry, "{text}");
                assert_eq!(image.name(), name);
                assert_eq!(image.tag(), tag);
                assert_eq!(image.digest(), pinned.then_some(digest.as_str()));
                assert_eq!(image.as_str(), text);
            }
        }
        let image: ImageReference = "r.example:5050/a/b_c:latest".parse().unwrap();
        assert_eq!(image.short_name(), "b_c");
        for bad in [
            "",
            "a b",
            "App",
            "a//b",
            "a:",
            "a:b:c",
            "a@sha256:00",
            "a@md5:00",
            "r:x/a",
            "-a",
            "https://a/b",
            "a/",
        ] {
            assert!(bad.parse::<ImageReference>().is_err(), "{bad}");
        }
    }
}
