//! Texts with mesh variables and references to secrets.

use std::collections::BTreeMap;

use mse_crypto::Zeroizing;
use mse_secrets::Kind;
use mse_session::{HostArguments, Piece, Reference, SecretName, Template, help_with_formats};
use mse_yaml::{Code, Field, Spot, did_you_mean};

use super::Reader;
use crate::model::Secrets;
use crate::text::{MeshPiece, MeshText};

/// Stands for a value that is not known yet. It could be part of any name.
const UNKNOWN: &str = "unknown-mesh-value";

/// A text. References to secrets in it are well-formed; those without end are given one.
pub(super) fn text(r: &mut Reader, field: &Field<'_>) -> Option<MeshText> {
    let text = field.text(r)?;
    read(r, field, text, HostArguments::Literal)
}

/// A command line: words of the host's may stand in it.
pub(super) fn command(r: &mut Reader, field: &Field<'_>) -> Option<MeshText> {
    let line = field.command_line(r)?;
    let text = read(r, field, &line, HostArguments::Allowed)?;
    if text.words().is_none() {
        r.report.error(
            Code::BadValue,
            &field.spot,
            "a quotation mark is not closed",
        );
        return None;
    }
    if text.as_literal().is_some_and(|text| text.trim().is_empty()) {
        r.report.error(
            Code::BadValue,
            &field.spot,
            "a command has at least one word",
        );
        return None;
    }
    Some(text)
}

fn read(r: &mut Reader, field: &Field<'_>, text: &str, host: HostArguments) -> Option<MeshText> {
    let text = MeshText::parse(text);
    let mut shape = Zeroizing::new(String::new());
    for piece in text.pieces() {
        match piece {
            MeshPiece::Literal(literal) => shape.push_str(literal),
            MeshPiece::Variable(_) => shape.push_str(UNKNOWN),
        }
    }
    let parsed = Template::parse(&shape, host);
    let parsed = field.or_report(r, Code::BadReference, parsed)?;
    for reference in &parsed.unterminated {
        r.report.warn(
            Code::UnterminatedReference,
            &field.spot,
            format!("the reference to `{}` has no end", reference.body()),
            format!("write `$$SCONE::{}$$`", reference.body()),
        );
    }
    let known = parsed.template.references().filter(|reference| {
        let body = reference.body();
        !body.contains(UNKNOWN)
    });
    r.used
        .extend(known.map(|reference| (reference.clone(), field.spot.clone())));
    if parsed.unterminated.is_empty() {
        return Some(text);
    }
    Some(
        text.map_literals(|literal| match Template::parse(literal, host) {
            Ok(parsed) => written(&parsed.template),
            // A mesh variable stands in a reference: it is read again when its value is known.
            Err(_) => Zeroizing::new(literal.to_owned()),
        }),
    )
}

/// The text with an end to each reference.
fn written(template: &Template) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::new());
    for piece in template.pieces() {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Reference(reference) => text.push_str(&reference.to_string()),
            Piece::HostArgument(number) => text.extend(["@@", &number.to_string()]),
        }
    }
    text
}

/// Checks the references against the secrets that are defined, each of its kind, and those that are
/// imported.
pub(super) fn check_references(r: &mut Reader, secrets: &Secrets) {
    let defined = secrets.global.iter();
    let mut kinds: BTreeMap<&str, Option<Kind>> = defined
        .map(|secret| (secret.name.as_str(), Some(secret.kind)))
        .collect();
    kinds.extend(secrets.import.iter().map(|name| (name.as_str(), None)));
    for (reference, spot) in std::mem::take(&mut r.used) {
        let Some(name) = reference.secret().map(SecretName::as_str) else {
            continue;
        };
        match kinds.get(name) {
            Some(Some(kind)) => check_format(r, &reference, *kind, &spot),
            Some(None) => {}
            None => {
                let known: Vec<&str> = kinds.keys().copied().collect();
                let message = format!("the secret `{name}` is neither defined nor imported here");
                let help = did_you_mean(name, &known).unwrap_or_else(|| {
                    "add it under `secrets.global` or `secrets.import`".to_owned()
                });
                r.report.warn(Code::UnresolvedName, &spot, message, help);
            }
        }
    }
}

fn check_format(r: &mut Reader, reference: &Reference, kind: Kind, spot: &Spot) {
    if let Err(error) = reference.format(kind) {
        r.report.error_with(
            Code::UnknownFormat,
            spot,
            error.to_string(),
            help_with_formats(kind),
        );
    }
}
