//! What an image says about itself.

use std::path::Path;

use mse_crypto::Digest;
use serde::{Deserialize, Serialize};

use super::root::is_measured;
use crate::Base;
use crate::measurement::EnclaveDigest;

/// The version of the facts' format that this code reads and writes.
pub const FACTS_FORMAT: u32 = 1;

/// Facts in JSON are never larger: 64 KiB.
pub const MAX_FACTS_JSON: usize = 64 * 1024;

/// What of an image goes into the workloads of services that run it. Nothing in it is secret, and
/// nothing in it is trusted: the enclave recomputes the digests from the files that it finds, and
/// wrong ones give another measurement than that of any session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageFacts {
    /// Version of this format: [`FACTS_FORMAT`].
    pub format: u32,
    /// The name of the service that the image was built for.
    pub name: String,
    /// The digest of the root file system ([`super::RootHasher`]).
    pub root: Digest,
    /// SHA-256 of the `mse-enclave` in the image.
    pub enclave: EnclaveDigest,
    /// The encrypted part, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<SealedPart>,
    /// Absolute paths that the manifest leaves unprotected, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmeasured: Vec<String>,
}

/// The encrypted part of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedPart {
    /// The bundle digest.
    pub bundle: Digest,
    /// The check value of the image key ([`mse_crypto::CodeKey::check_value`]): which key it is,
    /// without telling the key.
    pub key_check: Digest,
}

impl ImageFacts {
    /// Reads the JSON form; unknown fields and other formats are refused.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidImageFacts> {
        if json.len() > MAX_FACTS_JSON {
            return Err(InvalidImageFacts::TooLarge(json.len()));
        }
        let facts: Self = serde_json::from_slice(json)?;
        if facts.format != FACTS_FORMAT {
            return Err(InvalidImageFacts::Format(facts.format));
        }
        facts
            .base()
            .check()
            .map_err(InvalidImageFacts::Unmeasured)?;
        Ok(facts)
    }

    /// The canonical form: RFC 8785 JSON.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("facts have only strings, integers and lists")
    }

    /// The base of every workload that runs the image.
    pub fn base(&self) -> Base {
        Base::Image {
            sealed: self.sealed.as_ref().map(|sealed| sealed.bundle),
            unmeasured: self.unmeasured.clone(),
        }
    }
}

/// Whether `unmeasured` is as it must be: absolute clean paths, in order, none inside another or
/// in what is never measured. `Err` is the first that is not.
pub(crate) fn check_unmeasured(unmeasured: &[String]) -> Result<(), String> {
    for (at, path) in unmeasured.iter().enumerate() {
        let is_clean = path.len() > 1
            && Path::new(path).components().count() == path.split('/').count()
            && path.starts_with('/')
            && !path.split('/').any(|part| part == "." || part == "..")
            && !path.contains('\0');
        let in_order = at == 0 || unmeasured[at - 1] < *path;
        if !is_clean || !in_order || !is_measured(path, &unmeasured[..at]) {
            return Err(path.escape_debug().to_string());
        }
    }
    Ok(())
}

/// Facts of an image that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidImageFacts {
    /// Larger than [`MAX_FACTS_JSON`].
    #[error(
        "what the image says about itself is {0} bytes long: at most {MAX_FACTS_JSON} are read"
    )]
    TooLarge(usize),
    /// Not JSON, or not of this shape.
    #[error("what the image says about itself is malformed: {0}")]
    Json(#[from] serde_json::Error),
    /// A format of another time.
    #[error(
        "what the image says about itself has format {0}: this program reads format {FACTS_FORMAT}"
    )]
    Format(u32),
    /// An unprotected path that cannot be.
    #[error(
        "the image's `unmeasured` has `{0}`: absolute paths are needed, in order, each once and not inside another"
    )]
    Unmeasured(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> ImageFacts {
        ImageFacts {
            format: FACTS_FORMAT,
            name: "web".into(),
            root: Digest::of(b"root"),
            enclave: EnclaveDigest(Digest::of(b"enclave")),
            sealed: Some(SealedPart {
                bundle: Digest::of(b"bundle"),
                key_check: Digest::of(b"key"),
            }),
            unmeasured: vec!["/etc/ssl/certs".into(), "/var/cache".into()],
        }
    }

    #[test]
    fn facts_survive_their_canonical_form() {
        assert_eq!(
            ImageFacts::from_json(&example().canonical()).unwrap(),
            example()
        );
        let plain = ImageFacts {
            sealed: None,
            unmeasured: Vec::new(),
            ..example()
        };
        let json = String::from_utf8(plain.canonical()).unwrap();
        assert!(
            !json.contains("sealed") && !json.contains("unmeasured"),
            "{json}"
        );
        assert_eq!(ImageFacts::from_json(json.as_bytes()).unwrap(), plain);
    }

    #[test]
    fn strange_facts_are_refused() {
        let refused = |change: fn(&mut serde_json::Value)| {
            let mut value = serde_json::to_value(example()).unwrap();
            change(&mut value);
            ImageFacts::from_json(value.to_string().as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(refused(|v| v["format"] = 9.into()).contains("format 9"));
        assert!(refused(|v| v["rooot"] = "x".into()).contains("rooot"));
        for paths in [
            vec!["etc"],
            vec!["/"],
            vec!["/a/../b"],
            vec!["/a/"],
            vec!["/b", "/a"],
            vec!["/a", "/a"],
            vec!["/a", "/a/b"],
            vec!["/mse/bin"],
            vec!["/proc/self"],
        ] {
            let facts = ImageFacts {
                unmeasured: paths.iter().map(ToString::to_string).collect(),
                ..example()
            };
            let error = ImageFacts::from_json(&facts.canonical()).unwrap_err();
            assert!(
                matches!(error, InvalidImageFacts::Unmeasured(_)),
                "{paths:?}"
            );
        }
        let large = vec![b' '; MAX_FACTS_JSON + 1];
        assert!(matches!(
            ImageFacts::from_json(&large),
            Err(InvalidImageFacts::TooLarge(_))
        ));
    }
}
