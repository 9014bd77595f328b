//! What fields of sessions may be, besides the types that all documents have.

use mse_yaml::{Code, Field};

use super::Reader;
use crate::model::{Feature, Hex, OrReference, SecretKey32};
use crate::reference::Reference;
use crate::template::{HostArguments, Template};

/// References to secrets, and things that may come from one.
pub(crate) trait SessionField {
    /// A text with references.
    fn template(&self, r: &mut Reader, host: HostArguments) -> Option<Template>;

    /// As [`Self::template`], of a text that stands in the field.
    fn template_of(&self, r: &mut Reader, text: &str, host: HostArguments) -> Option<Template>;

    /// The reference, if the field is one and nothing else: then it comes from a secret.
    fn reference(&self, r: &mut Reader) -> Option<Reference>;

    /// A section, or something in one, that may come from a secret.
    fn or_reference<T>(
        &self,
        r: &mut Reader,
        read: impl FnOnce(&Self, &mut Reader) -> Option<T>,
    ) -> Option<OrReference<T>>;

    /// A file system's key: 64 hex digits, or from a secret.
    fn file_system_key(&self, r: &mut Reader) -> Option<OrReference<SecretKey32>>;

    /// A file system's tag: 32 hex digits.
    fn file_system_tag(&self, r: &mut Reader) -> Option<Hex<16>>;

    /// Warns that something secret stands in the text.
    fn warn_of_explicit(&self, r: &mut Reader, what: &str);
}

impl SessionField for Field<'_> {
    fn template(&self, r: &mut Reader, host: HostArguments) -> Option<Template> {
        let text = self.text(r)?;
        self.template_of(r, text, host)
    }

    fn template_of(&self, r: &mut Reader, text: &str, host: HostArguments) -> Option<Template> {
        let parsed = Template::parse(text, host);
        let parsed = self.or_report(r, Code::BadReference, parsed)?;
        for reference in &parsed.unterminated {
            r.report.warn(
                Code::UnterminatedReference,
                &self.spot,
                format!("the reference to `{}` has no end", reference.body()),
                format!("write `$$SCONE::{}$$`", reference.body()),
            );
        }
        let mut template = parsed.template;
        for reference in template.references_mut() {
            r.resolve(reference, &self.spot);
        }
        Some(template)
    }

    fn reference(&self, r: &mut Reader) -> Option<Reference> {
        let text = self.scalar()?.trim();
        if !text.starts_with("$$") || self.node.tag.is_some() {
            return None;
        }
        let parsed = Template::parse(text, HostArguments::Literal).ok()?;
        let mut reference = parsed.template.as_reference()?.clone();
        r.resolve(&mut reference, &self.spot);
        Some(reference)
    }

    fn or_reference<T>(
        &self,
        r: &mut Reader,
        read: impl FnOnce(&Self, &mut Reader) -> Option<T>,
    ) -> Option<OrReference<T>> {
        if let Some(reference) = self.reference(r) {
            r.uses(Feature::SectionReferences, &self.spot);
            return Some(OrReference::From(reference));
        }
        read(self, r).map(OrReference::Given)
    }

    fn file_system_key(&self, r: &mut Reader) -> Option<OrReference<SecretKey32>> {
        if let Some(reference) = self.reference(r) {
            r.uses(Feature::FspfKeyReference, &self.spot);
            return Some(OrReference::From(reference));
        }
        let key = SecretKey32::from_hex(self.text(r)?);
        if key.is_none() {
            r.report.error(
                Code::BadValue,
                &self.spot,
                "a key is 64 hex digits, or a reference to a binary secret",
            );
        } else {
            self.warn_of_explicit(r, "the key");
        }
        key.map(OrReference::Given)
    }

    fn file_system_tag(&self, r: &mut Reader) -> Option<Hex<16>> {
        self.parse(r, Code::BadValue)
    }

    fn warn_of_explicit(&self, r: &mut Reader, what: &str) {
        r.report.warn(
            Code::ExplicitSecret,
            &self.spot,
            format!("{what} stands in the text, where everybody who handles it reads it"),
            "let the CAS generate it, or encrypt the session",
        );
    }
}
