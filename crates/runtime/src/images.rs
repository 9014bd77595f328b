//! The curated runtimes of `images/`, built into the binary, so that whoever deploys, runs and
//! verifies agrees on their digests without asking a registry.
//!
//! An image is a locked Python environment and the shim that serves an application from it:
//! [`PythonEnvironment`](crate::python::PythonEnvironment) makes it real.

mod reference;

use std::fmt;
use std::sync::LazyLock;

use mse_crypto::Digest;
use mse_workload::image_digest;
use serde::Deserialize;

pub use reference::ImageReference;

/// The program that serves an application in an environment, `images/serve/mse_serve.py`.
pub const SERVE_SHIM: &str = include_str!("../../../images/serve/mse_serve.py");

/// The images that an application may name.
#[derive(Debug)]
pub struct Catalogue {
    entries: Vec<Entry>,
}

impl Catalogue {
    /// The images that come with this binary.
    pub fn builtin() -> &'static Self {
        static BUILTIN: LazyLock<Catalogue> = LazyLock::new(|| {
            let entries = SOURCES.iter().map(Entry::from_source).collect();
            Catalogue { entries }
        });
        &BUILTIN
    }

    /// The image that `reference` names.
    ///
    /// The reference has the form `[registry/][org/]name[:tag][@sha256:hex]` and carries a tag
    /// other than `latest`, or the image's [digest](Image::digest), or both.
    pub fn resolve(&self, reference: &str) -> Result<&Image, ImageError> {
        let reference: ImageReference = reference.parse()?;
        let entry = self.entry(&reference)?;
        let newest = entry.definition.tags.last().cloned().unwrap_or_default();
        match (&reference.tag, reference.digest) {
            (None, None) => {
                return Err(ImageError::NoTag {
                    reference: reference.to_string(),
                    newest,
                });
            }
            (Some(tag), _) if tag == "latest" => {
                return Err(ImageError::Latest {
                    reference: reference.to_string(),
                    newest,
                });
            }
            (Some(tag), _) if !entry.definition.tags.contains(tag) => {
                return Err(ImageError::UnknownTag {
                    name: entry.definition.name.clone(),
                    tag: tag.clone(),
                    known: listed(entry.definition.tags.iter()),
                });
            }
            _ => {}
        }
        let image = entry.image.as_ref().ok_or_else(|| ImageError::NotBuilt {
            name: entry.definition.name.clone(),
            available: listed(self.images().map(Image::name)),
        })?;
        match reference.digest {
            Some(digest) if digest != image.digest => Err(ImageError::OtherDigest {
                name: image.name.clone(),
                asked: digest,
                ours: image.digest,
            }),
            _ => Ok(image),
        }
    }

    /// The images that can be used.
    pub fn images(&self) -> impl Iterator<Item = &Image> {
        self.entries.iter().filter_map(|entry| entry.image.as_ref())
    }

    fn entry(&self, reference: &ImageReference) -> Result<&Entry, ImageError> {
        self.entries
            .iter()
            .find(|entry| entry.definition.is_called(&reference.repository))
            .ok_or_else(|| ImageError::UnknownImage {
                name: reference.repository.clone(),
                known: listed(self.entries.iter().map(|entry| &entry.definition.name)),
            })
    }
}

/// A curated runtime: a Python environment given by its lock file, and the serve shim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    name: String,
    description: String,
    digest: Digest,
    lock: &'static str,
}

impl Image {
    /// The canonical name, for example `mse-flask`, whatever alias named the image.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the image is for, in one line.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// What the workload's measurement covers of the image: SHA-256 over `mse-image-v1`, a zero
    /// byte, and then the name, the lock file and the serve shim, each behind its length as 8
    /// bytes, big-endian.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The lock file: a pip requirements file of exact versions with the hashes of their wheels.
    pub fn lock(&self) -> &'static str {
        self.lock
    }

    #[cfg(test)]
    pub(crate) fn for_test(name: &str, lock: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            description: String::new(),
            digest: image_digest(name, lock, SERVE_SHIM),
            lock,
        }
    }

    fn new(definition: &Definition, lock: &'static str) -> Self {
        Self {
            name: definition.name.clone(),
            description: definition.description.clone(),
            digest: image_digest(&definition.name, lock, SERVE_SHIM),
            lock,
        }
    }
}

/// Why a reference names no image that can be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ImageError {
    /// The text does not have the form of a reference.
    #[error("`{reference}` is not an image reference: {problem}")]
    Malformed {
        /// The text, cut at 512 characters.
        reference: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Neither tag nor digest: what runs would depend on the day.
    #[error("image `{reference}` has no tag: write `{reference}:{newest}`")]
    NoTag {
        /// The reference.
        reference: String,
        /// The image's newest tag.
        newest: String,
    },
    /// The tag that means another image every time.
    #[error(
        "image `{reference}`: the tag `latest` is refused because it does not say what runs: use `{newest}`"
    )]
    Latest {
        /// The reference.
        reference: String,
        /// The image's newest tag.
        newest: String,
    },
    /// No image of this name or alias.
    #[error("image `{name}` is not known: use one of {known}")]
    UnknownImage {
        /// The name in the reference.
        name: String,
        /// The names of all images.
        known: String,
    },
    /// The image exists, its tag does not.
    #[error("image `{name}` has no tag `{tag}`: use one of {known}")]
    UnknownTag {
        /// The image.
        name: String,
        /// The tag in the reference.
        tag: String,
        /// The tags of the image.
        known: String,
    },
    /// The image is in the list, but nobody has built and tested it.
    #[error("image `{name}` is defined but not built yet: use one of {available}")]
    NotBuilt {
        /// The image.
        name: String,
        /// The names of the images that can be used.
        available: String,
    },
    /// The reference pins other content than this binary holds.
    #[error(
        "image `{name}` has the digest `sha256:{ours}`, not `sha256:{asked}`: correct the reference, or use the release of MSE that has this image"
    )]
    OtherDigest {
        /// The image.
        name: String,
        /// The digest in the reference.
        asked: Digest,
        /// The digest of the image in this binary.
        ours: Digest,
    },
}

/// An image as it is written under `images/`.
struct Source {
    definition: &'static str,
    lock: Option<&'static str>,
}

/// Embeds `images/NAME/image.toml` and, if the image has been built, its lock file.
macro_rules! source {
    ($name:literal, available) => {
        Source {
            definition: include_str!(concat!("../../../images/", $name, "/image.toml")),
            lock: Some(include_str!(concat!(
                "../../../images/",
                $name,
                "/requirements.lock"
            ))),
        }
    };
    ($name:literal, defined) => {
        Source {
            definition: include_str!(concat!("../../../images/", $name, "/image.toml")),
            lock: None,
        }
    };
}

const SOURCES: &[Source] = &[
    source!("mse-flask", available),
    source!("mse-fastapi", available),
    source!("mse-ds", available),
    source!("mse-nlp", defined),
    source!("mse-pytorch", defined),
    source!("mse-tensorflow", defined),
    source!("mse-anonymization", defined),
];

#[derive(Debug)]
struct Entry {
    definition: Definition,
    image: Option<Image>,
}

impl Entry {
    fn from_source(source: &Source) -> Self {
        // Compiled in, and a test reads every one.
        let definition: Definition =
            toml::from_str(source.definition).expect("the embedded image.toml is valid");
        let image = source
            .lock
            .filter(|_| definition.status == Status::Available)
            .map(|lock| Image::new(&definition, lock));
        Self { definition, image }
    }
}

/// `image.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Definition {
    name: String,
    aliases: Vec<String>,
    description: String,
    status: Status,
    /// UTC dates `YYYYmmddHHMMSS`, oldest first.
    tags: Vec<String>,
}

impl Definition {
    fn is_called(&self, repository: &str) -> bool {
        self.name == repository || self.aliases.iter().any(|alias| alias == repository)
    }
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// Built, tested, with a lock file.
    Available,
    /// Its requirements are written down, and that is all.
    Defined,
}

fn listed(names: impl Iterator<Item = impl fmt::Display>) -> String {
    names
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = "20261123000000";

    fn refusal(reference: &str) -> ImageError {
        Catalogue::builtin().resolve(reference).unwrap_err()
    }

    #[test]
    fn names_and_aliases_resolve_to_one_image() {
        let catalogue = Catalogue::builtin();
        let image = catalogue.resolve(&format!("mse-flask:{TAG}")).unwrap();
        assert_eq!(image.name(), "mse-flask");
        assert!(image.lock().contains("flask==3.1.3"));
        for same in [
            format!("ghcr.io/cosmian/mse-flask:{TAG}"),
            format!("mse-flask@sha256:{}", image.digest()),
            format!("mse-flask:{TAG}@sha256:{}", image.digest()),
        ] {
            assert_eq!(catalogue.resolve(&same).unwrap(), image, "{same}");
        }
    }

    #[test]
    fn what_does_not_say_what_runs_is_refused_with_the_fix() {
        assert_eq!(
            refusal("mse-flask").to_string(),
            format!("image `mse-flask` has no tag: write `mse-flask:{TAG}`")
        );
        let latest = refusal("mse-flask:latest");
        assert!(matches!(latest, ImageError::Latest { .. }));
        assert!(latest.to_string().contains(TAG));
    }

    #[test]
    fn unknown_images_and_tags_are_refused_with_the_known_ones() {
        let unknown = refusal("mse-ruby:1").to_string();
        assert!(unknown.starts_with("image `mse-ruby` is not known"));
        for name in ["mse-flask", "mse-fastapi", "mse-ds", "mse-anonymization"] {
            assert!(unknown.contains(&format!("`{name}`")), "{unknown}");
        }
        assert_eq!(
            refusal("mse-flask:20230101000000").to_string(),
            format!("image `mse-flask` has no tag `20230101000000`: use one of `{TAG}`")
        );
        // An alias is a whole name: the same last part in another organisation is another image.
        assert!(matches!(
            refusal(&format!("docker.io/evil/mse-flask:{TAG}")),
            ImageError::UnknownImage { .. }
        ));
    }

    #[test]
    fn an_image_that_is_only_defined_is_refused_by_name() {
        let refused = refusal(&format!("mse-pytorch:{TAG}")).to_string();
        assert!(refused.starts_with("image `mse-pytorch` is defined but not built yet"));
        assert!(refused.contains("`mse-fastapi`"));
    }

    #[test]
    fn a_digest_must_be_the_images_own() {
        let other = Digest::of(b"another image");
        for reference in [
            format!("mse-flask@sha256:{other}"),
            format!("mse-flask:{TAG}@sha256:{other}"),
        ] {
            assert!(matches!(
                refusal(&reference),
                ImageError::OtherDigest { asked, .. } if asked == other
            ));
        }
        let own = Catalogue::builtin().images().next().unwrap().digest();
        assert!(matches!(
            refusal(&format!("mse-flask:latest@sha256:{own}")),
            ImageError::Latest { .. }
        ));
    }

    #[test]
    fn the_digest_covers_name_lock_and_shim_and_keeps_them_apart() {
        // Computed by another implementation: python3 -c 'import hashlib; f=lambda b:
        // len(b).to_bytes(8,"big")+b; print(hashlib.sha256(b"mse-image-v1\0"+f(b"name")+f(b"lock")
        // +f(b"shim")).hexdigest())'
        assert_eq!(
            image_digest("name", "lock", "shim").to_string(),
            "f8410ca9cc5c026e447c64b5b4f3a683ec292bed033b4a16d5f3c3167903647c"
        );
        let images: Vec<_> = Catalogue::builtin().images().collect();
        for image in &images {
            assert_eq!(
                image.digest(),
                image_digest(image.name(), image.lock(), SERVE_SHIM)
            );
        }
        assert_ne!(
            image_digest("name", "lock", "shim"),
            image_digest("namel", "ock", "shim")
        );
        assert_ne!(
            image_digest("name", "lock", "shim"),
            image_digest("name", "lock", "shin")
        );
        assert_ne!(images[0].digest(), images[1].digest());
    }

    #[test]
    fn every_image_is_described_consistently() {
        let mut names = Vec::new();
        for entry in &Catalogue::builtin().entries {
            let definition = &entry.definition;
            assert_eq!(
                definition.status == Status::Available,
                entry.image.is_some(),
                "{}: `status` and the lock file disagree",
                definition.name
            );
            assert!(!definition.tags.is_empty() && definition.tags.is_sorted());
            for tag in &definition.tags {
                assert!(tag.len() == 14 && tag.bytes().all(|byte| byte.is_ascii_digit()));
            }
            names.push(&definition.name);
            names.extend(&definition.aliases);
        }
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count, "a name or alias is used twice");
    }

    #[test]
    fn every_locked_package_has_hashes_and_the_server_is_among_them() {
        for image in Catalogue::builtin().images() {
            let packages = image.lock().lines().filter(|line| line.contains("=="));
            for package in packages {
                assert!(package.ends_with('\\'), "{}: {package}", image.name());
            }
            assert!(
                image
                    .lock()
                    .contains("\ngranian==2.8.7 \\\n    --hash=sha256:")
            );
            assert!(image.lock().contains("\npip=="), "{}", image.name());
        }
    }
}
