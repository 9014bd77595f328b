//! From nodes to the model: every fault is reported, and where there is one, nothing comes out.

mod build;
mod cas;
mod connection;
mod env;
mod header;
mod helm;
mod machine;
mod manifest;
mod meshfile;
mod policy;
mod ports;
mod secret;
mod secret_rules;
mod service;
mod texts;
mod tolerance;
mod volume;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use mse_session::Reference;
use mse_yaml::{Code, Field, Report, Reporting, Spot, did_you_mean, optional, shown};

pub(crate) use self::header::kind;
pub(crate) use self::manifest::{manifest, template};
pub(crate) use self::meshfile::meshfile;

/// What is known while a document is read.
#[derive(Default)]
pub(crate) struct Reader {
    pub(crate) report: Report,
    /// The references to secrets, and where they stand.
    used: Vec<(Reference, Spot)>,
}

impl Reporting for Reader {
    fn report(&mut self) -> &mut Report {
        &mut self.report
    }
}

impl Reader {
    fn legacy(&mut self, spot: &Spot, what: impl Into<String>, help: impl Into<String>) {
        self.report.warn(Code::Legacy, spot, what, help);
    }

    fn conflict(&mut self, spot: &Spot, message: impl Into<String>, help: impl Into<String>) {
        self.report.error_with(Code::Conflict, spot, message, help);
    }

    fn bad_value(&mut self, spot: &Spot, message: impl Into<String>, help: impl Into<String>) {
        self.report.error_with(Code::BadValue, spot, message, help);
    }

    /// Complains about a name that stands for nothing.
    fn unresolved(&mut self, spot: &Spot, what: &str, name: &str, known: &[&str]) {
        let message = format!("there is no {what} `{}`", shown(name));
        let help = did_you_mean(name, known).unwrap_or_else(|| format!("add the {what}"));
        self.report
            .error_with(Code::UnresolvedName, spot, message, help);
    }

    /// Complains about names that two have.
    fn unique<'a>(&mut self, what: &str, names: impl IntoIterator<Item = (&'a str, &'a Spot)>) {
        let mut seen = BTreeSet::new();
        for (name, spot) in names {
            if !seen.insert(name) {
                let message = format!("another {what} is called `{}`, too", shown(name));
                self.report.error(Code::DuplicateName, spot, message);
            }
        }
    }
}

/// The items of a list, each read; absent is empty. None is a fault.
fn list<'n, T>(
    r: &mut Reader,
    field: Option<Field<'n>>,
    mut read: impl FnMut(&mut Reader, &Field<'n>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(field) = field else {
        return Some(Vec::new());
    };
    let items = field.items(r);
    let read: Vec<_> = items.iter().map(|item| read(r, item)).collect();
    read.into_iter().collect()
}

/// A list, or a text of words with commas between them.
fn words<'n, T>(
    r: &mut Reader,
    field: &Field<'n>,
    mut read: impl FnMut(&mut Reader, &Field<'n>, Option<&str>) -> Option<T>,
) -> Option<Vec<T>> {
    let read: Vec<_> = if field.is_list() {
        let items = field.items(r);
        items.iter().map(|item| read(r, item, None)).collect()
    } else {
        let text = field.text(r)?;
        text.split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(|word| read(r, field, Some(word)))
            .collect()
    };
    read.into_iter().collect()
}

/// A text that `T` reads, which may be absent. The outer None is a fault, the inner one absence.
#[allow(clippy::option_option)]
fn parsed<T>(r: &mut Reader, field: Option<Field<'_>>, code: Code) -> Option<Option<T>>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    optional(field, |field| field.parse(r, code))
}

/// A text on one line, which may be absent.
#[allow(clippy::option_option)]
fn line(r: &mut Reader, field: Option<Field<'_>>) -> Option<Option<String>> {
    optional(field, |field| field.line(r, 4096))
}

/// One word of a closed list, by a function that knows it.
fn word_of<T>(
    r: &mut Reader,
    spot: &Spot,
    text: &str,
    what: &str,
    known: &[&str],
    read: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let found = read(text);
    if found.is_none() {
        let help = did_you_mean(text, known).unwrap_or_else(|| {
            let known: Vec<String> = known.iter().map(|word| format!("`{word}`")).collect();
            format!("write one of {}", known.join(", "))
        });
        r.bad_value(spot, format!("`{}` is no {what}", shown(text)), help);
    }
    found
}

/// An absolute path in its one spelling: `/a//b/` is `/a/b`.
fn clean_path(r: &mut Reader, field: &Field<'_>) -> Option<String> {
    let path = field.path(r)?;
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .collect();
    Some(format!("/{}", parts.join("/")))
}

/// As [`clean_path`], but not the root.
fn path_below_root(r: &mut Reader, field: &Field<'_>) -> Option<String> {
    let path = clean_path(r, field)?;
    if path == "/" {
        r.bad_value(
            &field.spot,
            "the root of the file system cannot stand here",
            "name the folders",
        );
        return None;
    }
    Some(path)
}
