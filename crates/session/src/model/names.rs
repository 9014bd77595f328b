//! Names of sessions and of what is in them.

use std::fmt;
use std::str::FromStr;

/// Characters that no name needs escaped in a URL: RFC 3986's unreserved ones.
fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '~')
}

/// The name of a session: a path of namespaces, or `/` for their root.
///
/// At most 512 characters of `[A-Za-z0-9_.~-]` and `/`; no segment is empty, `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionName(String);

impl SessionName {
    /// Characters of the longest name, with its namespaces.
    pub const MAX: usize = 512;
    /// Characters of the longest name before version 0.3.11.
    pub(crate) const OLD_MAX: usize = 128;

    /// The session above all others.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace that the session is in: the root for a name without `/`, nothing for the
    /// root.
    pub fn parent(&self) -> Option<Self> {
        match self.0.rsplit_once('/') {
            _ if self.is_root() => None,
            Some((parent, _)) => Some(Self(parent.to_owned())),
            None => Some(Self::root()),
        }
    }

    /// Whether it is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// Whether this session is `namespace`, or below it.
    pub fn is_within(&self, namespace: &Self) -> bool {
        namespace.is_root()
            || self == namespace
            || self
                .0
                .strip_prefix(&namespace.0)
                .is_some_and(|rest| rest.starts_with('/'))
    }

    /// The session that `path` names in this one: `a/b` as it is, `./x` a child, `../x` a sibling,
    /// `../../x` one level further up.
    pub fn resolve(&self, path: &str) -> Result<Self, InvalidName> {
        if !(path.starts_with("./") || path.starts_with("../")) {
            return path.parse();
        }
        let mut base = self.clone();
        let mut rest = path;
        loop {
            if let Some(after) = rest.strip_prefix("./") {
                rest = after;
            } else if let Some(after) = rest.strip_prefix("../") {
                base = base.parent().ok_or_else(|| InvalidName {
                    what: "session path",
                    name: path.to_owned(),
                    why: "leads out of the root namespace",
                })?;
                rest = after;
            } else {
                break;
            }
        }
        if base.is_root() {
            rest.parse()
        } else {
            format!("{base}/{rest}").parse()
        }
    }
}

impl FromStr for SessionName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let why = if text == "/" {
            return Ok(Self::root());
        } else if text.is_empty() {
            "is empty"
        } else if text.len() > Self::MAX {
            "has more than 512 characters"
        } else if text.starts_with('/') {
            "begins with `/`: names are absolute without it"
        } else if text
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
        {
            "has a segment that is empty, `.` or `..`"
        } else if !text.chars().all(|c| c == '/' || is_name_character(c)) {
            "has characters other than A-Z a-z 0-9 _ - . ~ /"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(InvalidName {
            what: "session name",
            name: text.to_owned(),
            why,
        })
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// 1 to 128 characters of `[A-Za-z0-9_.~-]`.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                simple_name($what, text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// The name of a service in its session.
    ServiceName, "service name";
    /// The name of an image in its session.
    ImageName, "image name";
    /// The name of a volume in its session.
    VolumeName, "volume name";
    /// The name of a secret in its session.
    SecretName, "secret name";
}

fn simple_name(what: &'static str, text: &str) -> Result<String, InvalidName> {
    let why = if text.is_empty() {
        "is empty"
    } else if text.len() > 128 {
        "has more than 128 characters"
    } else if !text.chars().all(is_name_character) {
        "has characters other than A-Z a-z 0-9 _ - . ~"
    } else {
        return Ok(text.to_owned());
    };
    Err(InvalidName {
        what,
        name: text.to_owned(),
        why,
    })
}

/// The name of an environment variable: not empty, at most 256 bytes, no `=`, no control
/// characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EnvironmentName(String);

impl EnvironmentName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for EnvironmentName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let why = if text.is_empty() {
            "is empty"
        } else if text.len() > 256 {
            "has more than 256 bytes"
        } else if text.contains(|c: char| c == '=' || c.is_control()) {
            "has a `=` or a control character"
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(InvalidName {
            what: "name of an environment variable",
            name: text.to_owned(),
            why,
        })
    }
}

impl fmt::Display for EnvironmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text that is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {what} `{}` {why}", mse_yaml::shown(.name))]
pub struct InvalidName {
    what: &'static str,
    name: String,
    why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> SessionName {
        text.parse().unwrap()
    }

    #[test]
    fn session_names_are_paths() {
        for good in ["/", "a", "a/b.c~d_e-f/9", &"x".repeat(512)] {
            assert_eq!(name(good).as_str(), good);
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "a/../b",
            "./a",
            "a b",
            "ä",
            &"x".repeat(513),
        ] {
            assert!(bad.parse::<SessionName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn relative_paths_start_at_the_session() {
        let session = name("a/b");
        for (path, expected) in [
            ("x/y", "x/y"),
            ("./x", "a/b/x"),
            ("../x", "a/x"),
            ("../../x", "x"),
            ("../x/y", "a/x/y"),
        ] {
            assert_eq!(session.resolve(path), Ok(name(expected)), "{path}");
        }
        for bad in ["../../../x", "./", "..", "../", "./../../../x", "./x/../y"] {
            assert!(session.resolve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn namespaces_hold_what_is_below_them() {
        assert!(name("a/b").is_within(&name("a")));
        assert!(name("a").is_within(&name("a")));
        assert!(name("a").is_within(&SessionName::root()));
        assert!(!name("ab").is_within(&name("a")));
        assert!(!name("a").is_within(&name("a/b")));
        assert_eq!(name("a").parent(), Some(SessionName::root()));
        assert_eq!(SessionName::root().parent(), None);
    }
}
