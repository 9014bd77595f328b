use std::fmt;
use std::str::FromStr;

/// The image an app runs in: `[registry[:port]/]name[:tag][@sha256:digest]`.
///
/// A tag that moves would let two deployments of one manifest run different images, so there must
/// be a digest, or a tag other than `latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageReference {
    name: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl ImageReference {
    /// Registry and repository (`ghcr.io/cosmian/mse-flask`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands behind the colon, if anything.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// `sha256:` and 64 lower-case hexadecimal digits, if the image is pinned.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
}

impl FromStr for ImageReference {
    type Err = InvalidImageReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 512 {
            return Err(InvalidImageReference::Length { length: text.len() });
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let last_slash = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[last_slash..].split_once(':') {
            Some((repository, tag)) => (&rest[..last_slash + repository.len()], Some(tag)),
            None => (rest, None),
        };

        if !is_name(name) {
            return Err(InvalidImageReference::Name {
                name: name.to_owned(),
            });
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(InvalidImageReference::Tag {
                tag: tag.to_owned(),
            });
        }
        match digest {
            Some(digest) if !is_digest(digest) => {
                return Err(InvalidImageReference::Digest {
                    digest: digest.to_owned(),
                });
            }
            None if tag.is_none() => return Err(InvalidImageReference::Untagged),
            None if tag == Some("latest") => return Err(InvalidImageReference::Latest),
            _ => {}
        }
        Ok(Self {
            name: name.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Why a text is no [`ImageReference`]; worded to follow the name of the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImageReference {
    /// Empty, or beyond what registries accept.
    #[error("must be 1 to 512 bytes, but has {length}")]
    Length {
        /// What it has.
        length: usize,
    },
    /// Not a repository name.
    #[error(
        "names the image `{name}`, but image names are lower-case letters and digits, joined by `.`, `_`, `-` or `/`"
    )]
    Name {
        /// What stands before tag and digest.
        name: String,
    },
    /// Not a tag.
    #[error("has the tag `{tag}`, but tags are 1 to 128 letters, digits, `_`, `.` or `-`")]
    Tag {
        /// What stands behind the colon.
        tag: String,
    },
    /// Not a SHA-256 digest.
    #[error(
        "has the digest `{digest}`, but digests are `sha256:` and 64 lower-case hexadecimal digits"
    )]
    Digest {
        /// What stands behind the `@`.
        digest: String,
    },
    /// Neither tag nor digest, which means `latest`.
    #[error("has no tag, which means `latest`, and that changes without notice")]
    Untagged,
    /// The tag `latest` without a digest.
    #[error("must not use the tag `latest`: it changes without notice")]
    Latest,
}

fn is_name(name: &str) -> bool {
    let mut components: Vec<&str> = name.split('/').collect();
    if components.len() > 1
        && let Some((host, port)) = components[0].split_once(':')
    {
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return false;
        }
        components[0] = host;
    }
    components.iter().all(|component| {
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| is_lower_alphanumeric(*byte));
        let bytes = component.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes
                .iter()
                .all(|byte| is_lower_alphanumeric(*byte) || b"._-".contains(byte))
    })
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && word(tag.as_bytes()[0])
        && tag
            .bytes()
            .all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

fn is_digest(digest: &str) -> bool {
    digest.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_references_apart_and_writes_them_back() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let digest = digest.as_str();
        for (text, name, tag, pinned) in [
            (
                "mse-flask:20230228091325",
                "mse-flask",
                Some("20230228091325"),
                None,
            ),
            (
                "ghcr.io/cosmian/mse-flask:v1",
                "ghcr.io/cosmian/mse-flask",
                Some("v1"),
                None,
            ),
            (
                "localhost:5000/app:1",
                "localhost:5000/app",
                Some("1"),
                None,
            ),
            (&format!("app@{digest}"), "app", None, Some(digest)),
            (
                &format!("app:latest@{digest}"),
                "app",
                Some("latest"),
                Some(digest),
            ),
        ] {
            let image: ImageReference = text.parse().unwrap();

            assert_eq!(
                (image.name(), image.tag(), image.digest()),
                (name, tag, pinned)
            );
            assert_eq!(image.to_string(), text);
        }
    }

    #[test]
    fn refuses_what_moves() {
        let refused = |text: &str| text.parse::<ImageReference>().unwrap_err();

        assert_eq!(refused("mse-flask"), InvalidImageReference::Untagged);
        assert_eq!(
            refused("localhost:5000/mse-flask"),
            InvalidImageReference::Untagged
        );
        assert_eq!(refused("ghcr.io/a/b:latest"), InvalidImageReference::Latest);
    }

    #[test]
    fn refuses_what_is_no_reference() {
        let refused = |text: &str| text.parse::<ImageReference>().unwrap_err();
        let long = format!("a:{}", "b".repeat(129));

        assert_eq!(refused(""), InvalidImageReference::Length { length: 0 });
        for name in [
            "A:1", "a//b:1", "/a:1", "a/:1", "-a:1", "a b:1", "h:p/a:1", "ä:1", "../a:1",
        ] {
            assert!(
                matches!(refused(name), InvalidImageReference::Name { .. }),
                "{name}"
            );
        }
        for tag in ["a:", "a:.x", "a:b:c", "a:ü", &long] {
            assert!(
                matches!(refused(tag), InvalidImageReference::Tag { .. }),
                "{tag}"
            );
        }
        for digest in ["a@", "a@md5:0", "a:1@sha256:00", "a@sha256:00@x"] {
            assert!(
                matches!(refused(digest), InvalidImageReference::Digest { .. }),
                "{digest}"
            );
        }
    }
}
