//! What is to be verified: a domain, the app of a context, or a file with evidence.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::verification::{Domain, InvalidDomain};

/// What the user named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Domain(Domain),
    /// An exported context: the app that it is about.
    Context(PathBuf),
    /// Evidence, or a certificate that carries it.
    File(PathBuf),
}

impl FromStr for Target {
    type Err = InvalidDomain;

    /// A file if there is one of this name, or if only a file can be meant by it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = Path::new(text);
        let is_path = text.contains('/') && !text.starts_with("https://");
        let extension = path.extension().and_then(|extension| extension.to_str());
        if extension == Some(CONTEXT_EXTENSION) {
            return Ok(Self::Context(path.to_owned()));
        }
        let has_extension = extension.is_some_and(|extension| EXTENSIONS.contains(&extension));
        if path.is_file() || is_path || has_extension {
            return Ok(Self::File(path.to_owned()));
        }
        text.parse().map(Self::Domain)
    }
}

/// What `mse context --export` writes.
const CONTEXT_EXTENSION: &str = "mse";

/// Extensions of evidence files that are no top-level domains: a mistyped name of a file is not
/// looked up in the DNS.
const EXTENSIONS: &[&str] = &[
    "bin", "cbor", "cose", "crt", "dat", "der", "hex", "json", "pb", "pem", "txt", "yaml", "yml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_file_is_one() {
        for text in ["./quote", "quotes/one", "quote.bin", "/tmp/q", "doc.cose"] {
            assert_eq!(text.parse(), Ok(Target::File(text.into())), "{text}");
        }
    }

    #[test]
    fn a_context_is_known_by_its_extension() {
        for text in ["context.mse", "./given/app.mse"] {
            assert_eq!(text.parse(), Ok(Target::Context(text.into())), "{text}");
        }
    }

    #[test]
    fn what_looks_like_a_domain_is_one() {
        for text in [
            "app.example.com",
            "localhost:20000",
            "https://app.example.com/",
            "[::1]:443",
        ] {
            assert!(matches!(text.parse(), Ok(Target::Domain(_))), "{text}");
        }
        assert!("not a domain".parse::<Target>().is_err());
    }
}
