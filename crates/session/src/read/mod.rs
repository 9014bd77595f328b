//! From nodes to the model: every fault is reported, and where there is one, nothing comes out.

mod access;
mod attestation;
mod field;
mod image;
mod secret;
mod security;
mod service;
mod session;
mod sharing;
mod volume;

use std::collections::{BTreeMap, BTreeSet};

use mse_secrets::Kind;
use mse_yaml::{Code, Report, Reporting, Severity, Spot, did_you_mean, shown};

use crate::check::Compatibility;
use crate::model::{Feature, LanguageVersion, SessionName};
use crate::reference::{Escape, Reference, help_with_formats};

pub(crate) use self::access::{acl, policy};
pub(crate) use self::attestation::entries as attestation_entries;
pub(crate) use self::field::SessionField;
pub(crate) use self::security::{security, settings};
pub(crate) use self::session::session;

/// What is known while a session is read.
pub(crate) struct Reader {
    pub(crate) report: Report,
    pub(crate) compatibility: Compatibility,
    pub(crate) version: LanguageVersion,
    /// None: its name is at fault.
    pub(crate) session: Option<SessionName>,
    pub(crate) declared: Declared,
    /// Features that were complained about.
    refused: BTreeSet<Feature>,
}

/// The names that the session gives, whatever else is wrong with their bearers: one fault is
/// reported once.
#[derive(Default)]
pub(crate) struct Declared {
    /// The kind is None for imports that do not say it, and where it is at fault.
    pub(crate) secrets: BTreeMap<String, Option<Kind>>,
    pub(crate) images: BTreeSet<String>,
    pub(crate) volumes: BTreeSet<String>,
    /// A part of a session has no names of its own, and its references are not looked up.
    pub(crate) is_fragment: bool,
}

impl Reporting for Reader {
    fn report(&mut self) -> &mut Report {
        &mut self.report
    }
}

impl Reader {
    pub(crate) fn new(report: Report, compatibility: Compatibility) -> Self {
        Self {
            report,
            compatibility,
            version: LanguageVersion::NEWEST,
            session: None,
            declared: Declared::default(),
            refused: BTreeSet::new(),
        }
    }

    /// Notes that the session uses something, which its version must have.
    pub(crate) fn uses(&mut self, feature: Feature, spot: &Spot) {
        let since = feature.since();
        if self.version >= since || !self.refused.insert(feature) {
            return;
        }
        let severity = match self.compatibility {
            Compatibility::Strict => Severity::Error,
            Compatibility::Import => Severity::Warning,
        };
        let message = format!(
            "{} came with version {since}, and the session says {}",
            feature.what(),
            self.version
        );
        let help = Some(format!("write `version: {since}` or later"));
        self.report
            .push(severity, Code::NeedsVersion, spot, message, help);
    }

    /// Checks that a secret is there, and is of one of `kinds`.
    pub(crate) fn expect_secret(&mut self, name: &str, kinds: &[Kind], spot: &Spot) {
        if self.declared.is_fragment {
            return;
        }
        let Some(kind) = self.declared.secrets.get(name) else {
            self.unresolved("secret", name, spot);
            return;
        };
        if let Some(kind) = kind
            && !kinds.is_empty()
            && !kinds.contains(kind)
        {
            let wanted: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
            self.report.error(
                Code::WrongKind,
                spot,
                format!(
                    "the secret `{name}` is of the kind `{kind}`, and here it must be {}",
                    wanted.join(" or ")
                ),
            );
        }
    }

    /// Checks that an image is there.
    pub(crate) fn expect_image(&mut self, name: &str, spot: &Spot) {
        if !self.declared.images.contains(name) {
            self.unresolved("image", name, spot);
        }
    }

    /// Checks that a volume is there.
    pub(crate) fn expect_volume(&mut self, name: &str, spot: &Spot) {
        if !self.declared.volumes.contains(name) {
            self.unresolved("volume", name, spot);
        }
    }

    fn unresolved(&mut self, what: &str, name: &str, spot: &Spot) {
        if self.report.is_full() {
            return;
        }
        let known: Vec<&str> = match what {
            "image" => self.declared.images.iter().map(String::as_str).collect(),
            "volume" => self.declared.volumes.iter().map(String::as_str).collect(),
            _ => self.declared.secrets.keys().map(String::as_str).collect(),
        };
        let message = format!("the session has no {what} `{}`", shown(name));
        let help = did_you_mean(name, &known).unwrap_or_else(|| format!("add it under `{what}s`"));
        self.report
            .error_with(Code::UnresolvedName, spot, message, help);
    }

    /// Checks a reference against the secrets of the session, and writes its format in the form
    /// that all spellings of it share.
    pub(crate) fn resolve(&mut self, reference: &mut Reference, spot: &Spot) {
        if self.report.is_full() {
            return;
        }
        self.gate_format(reference, spot);
        let Some(name) = reference.secret().map(|name| name.as_str().to_owned()) else {
            return;
        };
        self.expect_secret(&name, &[], spot);
        let Some(Some(kind)) = self.declared.secrets.get(&name).copied() else {
            return;
        };
        if let Err(error) = reference.normalise(kind) {
            let help = help_with_formats(kind);
            self.report
                .error_with(Code::UnknownFormat, spot, error.to_string(), help);
        }
    }

    fn gate_format(&mut self, reference: &Reference, spot: &Spot) {
        let suffix = reference.suffix();
        let feature = match suffix {
            ":base32" | ":base32nopad" | ":base64url" => Some(Feature::Base32),
            ":base64" => Some(Feature::Base64),
            ":pkcs12-with-private-key" => Some(Feature::Pkcs12),
            _ if suffix.starts_with(':') => Some(Feature::ColonFormats),
            _ => None,
        };
        if let Some(feature) = feature {
            self.uses(feature, spot);
        }
        if reference.escape() == Escape::Json {
            self.uses(Feature::JsonEscape, spot);
        }
    }
}
