//! References to secrets: `$$SCONE::name[:previous][:format][|escape(json)]$$`, or `$$MSE::…$$`.

use std::fmt;

use mse_secrets::{Format, Kind, UnknownFormat};

use crate::model::{InvalidName, SecretName};

/// A reference: what takes its place is known only where the secret is.
///
/// `Display` writes the form that begins with `$$MSE::`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    target: Target,
    edition: Edition,
    suffix: String,
    escape: Escape,
}

/// What a reference stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A secret of the session.
    Secret(SecretName),
    /// `self::software_identity`: what the program that asks has proven to be.
    SoftwareIdentity,
}

/// Which value of a secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Edition {
    /// The one that counts now.
    #[default]
    Current,
    /// The one before, while it is still accepted after a rotation; otherwise the current one. So
    /// a program that accepts both accepts just the one when there is just one. Ours.
    Previous,
    /// The one to show to who accepts both: the one before in the first half of the grace, so that
    /// all who accept have the new one by then, and the current one from then on. Ours.
    Presented,
}

impl Edition {
    fn suffix(self) -> &'static str {
        match self {
            Self::Current => "",
            Self::Previous => ":previous",
            Self::Presented => ":presented",
        }
    }

    /// Which one a suffix begins with, and what is left of it.
    fn split(suffix: &str) -> (Self, &str) {
        for edition in [Self::Previous, Self::Presented] {
            match suffix.strip_prefix(edition.suffix()) {
                Some(rest) if rest.is_empty() || rest.starts_with(':') => return (edition, rest),
                _ => {}
            }
        }
        (Self::Current, suffix)
    }
}

/// What happens to the value before it takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Escape {
    /// Nothing.
    None,
    /// It becomes the inside of a JSON string (RFC 8259 §7), without the quotes.
    Json,
}

impl Reference {
    /// What it stands for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The secret's name, if it is one of the session.
    pub fn secret(&self) -> Option<&SecretName> {
        match &self.target {
            Target::Secret(name) => Some(name),
            Target::SoftwareIdentity => None,
        }
    }

    /// Which value of the secret.
    pub fn edition(&self) -> Edition {
        self.edition
    }

    /// The form as written, with its colon (or, in the legacy spelling, its dot): `:crt:pem`.
    pub fn suffix(&self) -> &str {
        &self.suffix
    }

    /// The form for a secret of this kind.
    pub fn format(&self, kind: Kind) -> Result<Format, UnknownFormat> {
        Format::parse(kind, &self.suffix)
    }

    /// Name and form, as between the dollars.
    pub fn body(&self) -> String {
        match &self.target {
            Target::Secret(name) => format!("{name}{}{}", self.edition.suffix(), self.suffix),
            Target::SoftwareIdentity => SOFTWARE_IDENTITY.to_owned(),
        }
    }

    /// What happens to the value.
    pub fn escape(&self) -> Escape {
        self.escape
    }

    /// Writes the form as it is written first for this kind: `.crt`, `:crt` and `:crt:pem` are
    /// one.
    pub(crate) fn normalise(&mut self, kind: Kind) -> Result<(), UnknownFormat> {
        let format = self.format(kind)?;
        if let Some(first) =
            Format::suffixes(kind).find(|suffix| Format::parse(kind, suffix) == Ok(format))
        {
            first.clone_into(&mut self.suffix);
        }
        Ok(())
    }

    /// Reads what stands between the prefix and the closing dollars: `name:format|escape(json)`.
    pub(crate) fn parse_body(body: &str, escape: Escape) -> Result<Self, InvalidName> {
        let (name, suffix) = if body == SOFTWARE_IDENTITY {
            return Ok(Self {
                target: Target::SoftwareIdentity,
                edition: Edition::Current,
                suffix: String::new(),
                escape,
            });
        } else if let Some(colon) = body.find(':') {
            body.split_at(colon)
        } else {
            split_legacy(body)
        };
        let (edition, suffix) = Edition::split(suffix);
        Ok(Self {
            target: Target::Secret(name.parse()?),
            edition,
            suffix: suffix.to_owned(),
            escape,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$$MSE::{}", self.body())?;
        if self.escape == Escape::Json {
            f.write_str(ESCAPE_JSON)?;
        }
        f.write_str("$$")
    }
}

const SOFTWARE_IDENTITY: &str = "self::software_identity";
pub(crate) const ESCAPE_JSON: &str = "|escape(json)";
/// Forms before version 0.3.5. A secret's name cannot end like one.
pub(crate) const LEGACY_SUFFIXES: [&str; 4] = [".crt", ".key", ".chain", ".hex"];

fn split_legacy(body: &str) -> (&str, &str) {
    let name = LEGACY_SUFFIXES
        .iter()
        .find_map(|suffix| body.strip_suffix(suffix))
        .unwrap_or(body);
    body.split_at(name.len())
}

/// What to write in the place of a form that secrets of this kind do not have.
pub fn help_with_formats(kind: Kind) -> String {
    let known: Vec<String> = Format::suffixes(kind)
        .filter(|suffix| suffix.starts_with(':'))
        .map(|suffix| format!("`{suffix}`"))
        .collect();
    if known.is_empty() {
        "write the name only".to_owned()
    } else {
        format!("write one of {}", known.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_every_kind_is_read_and_normalised_to_the_same_form() {
        for kind in Kind::ALL {
            for suffix in Format::suffixes(kind) {
                let body = format!("a{suffix}");
                let mut reference = Reference::parse_body(&body, Escape::None).unwrap();
                assert_eq!(reference.secret().unwrap().as_str(), "a", "{body}");
                let format = reference.format(kind).unwrap();
                assert_eq!(Ok(format), Format::parse(kind, suffix));
                reference.normalise(kind).unwrap();
                assert_eq!(reference.format(kind), Ok(format), "{body}");
            }
            let unknown = Reference::parse_body("a:nonsense", Escape::None).unwrap();
            assert!(unknown.format(kind).is_err());
        }
    }

    #[test]
    fn the_value_before_is_asked_for_in_any_form() {
        for (body, edition, suffix) in [
            ("a:previous", Edition::Previous, ""),
            ("a:previous:hex", Edition::Previous, ":hex"),
            ("a:presented:crt:pem", Edition::Presented, ":crt:pem"),
            ("a:hex", Edition::Current, ":hex"),
            ("a:previously", Edition::Current, ":previously"),
        ] {
            let reference = Reference::parse_body(body, Escape::None).unwrap();
            assert_eq!((reference.edition(), reference.suffix()), (edition, suffix));
            assert_eq!(reference.body(), body);
        }
    }

    #[test]
    fn names_are_names() {
        for bad in ["", ":hex", "a b", ".crt"] {
            assert!(Reference::parse_body(bad, Escape::None).is_err(), "{bad}");
        }
        let own = Reference::parse_body("self::software_identity", Escape::Json).unwrap();
        assert_eq!(own.target(), &Target::SoftwareIdentity);
        assert_eq!(
            own.to_string(),
            "$$MSE::self::software_identity|escape(json)$$"
        );
    }
}
