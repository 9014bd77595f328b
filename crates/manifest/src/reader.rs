//! Typed, strict reading of a parsed TOML document that collects every fault on its way.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::diagnostic::{Diagnostic, Report};
use crate::manifest::WrittenPath;
use crate::source::{Show, Source, printable};

/// Where in the text each value stands that was read, by its dotted key.
pub(crate) type Spans = BTreeMap<String, Range<usize>>;

/// One table of the document, and which keys it may have.
pub(crate) struct Section<'t> {
    /// Dotted; empty for the document itself.
    pub(crate) path: &'static str,
    pub(crate) known: &'static [&'static str],
    pub(crate) entries: &'t DeTable<'t>,
    pub(crate) span: Option<Range<usize>>,
}

impl<'t> Section<'t> {
    fn unknown_keys(&self) -> impl Iterator<Item = &'t Spanned<DeString<'t>>> {
        let known = self.known;
        self.entries
            .keys()
            .filter(move |key| !known.contains(&key.get_ref().as_ref()))
    }

    fn has_misspelt(&self, key: &str) -> bool {
        self.unknown_keys()
            .any(|unknown| nearest(unknown.get_ref(), self.known) == Some(key))
    }
}

/// A value and its place.
pub(crate) struct Field<'t> {
    pub(crate) key: String,
    pub(crate) value: &'t DeValue<'t>,
    pub(crate) span: Range<usize>,
    pub(crate) show: Show,
}

/// What a value should have been.
#[derive(Clone, Copy)]
pub(crate) enum Expected {
    String,
    Strings,
    Table,
    DateTime,
}

pub(crate) struct Reader<'s> {
    pub(crate) source: &'s Source,
    pub(crate) report: Report,
    pub(crate) spans: Spans,
}

impl<'s> Reader<'s> {
    pub(crate) fn new(source: &'s Source) -> Self {
        Self {
            source,
            report: Report::default(),
            spans: Spans::new(),
        }
    }

    /// Refuses every key that `section` does not know. `elsewhere` is where keys of other
    /// sections belong.
    pub(crate) fn refuse_unknown(
        &mut self,
        section: &Section<'_>,
        elsewhere: &[(&'static str, &[&str])],
    ) {
        let known = section.known;
        for key in section.unknown_keys() {
            let name: &str = key.get_ref();
            let home = elsewhere.iter().find(|(_, keys)| keys.contains(&name));
            let help = match (home, nearest(name, known)) {
                (Some(("", _)), _) => format!("`{name}` belongs before the first section"),
                (Some((home, _)), _) => format!("`{name}` belongs in `[{home}]`"),
                (None, Some(near)) => format!("did you mean `{near}`?"),
                (None, None) => format!("the keys here are {}", enumerate(known)),
            };
            let error = self
                .source
                .error(
                    &dotted(section.path, &printable(name, 64)),
                    "is not a known key",
                )
                .help(help);
            self.report
                .push(self.source.place(error, &key.span(), Show::Key));
        }
    }

    /// The value of an optional key.
    pub(crate) fn find<'t>(&mut self, section: &Section<'t>, key: &str) -> Option<Field<'t>> {
        let value = section.entries.get(key)?;
        let field = Field {
            key: dotted(section.path, key),
            value: value.get_ref(),
            span: value.span(),
            show: Show::Line,
        };
        self.spans.insert(field.key.clone(), field.span.clone());
        Some(field)
    }

    /// The value of a key that must be there.
    pub(crate) fn require<'t>(
        &mut self,
        section: &Section<'t>,
        key: &str,
        help: &str,
    ) -> Option<Field<'t>> {
        let field = self.find(section, key);
        // A misspelt key was reported as such: that it is missing too is no news.
        if field.is_none() && !section.has_misspelt(key) {
            let error = self
                .source
                .error(&dotted(section.path, key), "is missing")
                .help(help);
            let error = match &section.span {
                // Only a header: an inline table would bring all its values onto the screen.
                Some(span) if self.source.text[span.start..].starts_with('[') => Diagnostic {
                    value: None,
                    ..self.source.place(error, span, Show::Line)
                },
                Some(span) => self.source.place(error, span, Show::Place),
                None => error,
            };
            self.report.push(error);
        }
        field
    }

    pub(crate) fn table<'t>(
        &mut self,
        path: &'static str,
        known: &'static [&'static str],
        field: &Field<'t>,
    ) -> Option<Section<'t>> {
        match field.value {
            DeValue::Table(entries) => Some(Section {
                path,
                known,
                entries,
                span: Some(field.span.clone()),
            }),
            _ => self.wrong_type(field, Expected::Table),
        }
    }

    /// Any string without control characters, as it stands.
    pub(crate) fn line(&mut self, field: &Field<'_>) -> Option<String> {
        let DeValue::String(text) = field.value else {
            return self.wrong_type(field, Expected::String);
        };
        if text.chars().any(char::is_control) {
            return self.refuse(field, "must not hold control characters", "remove them");
        }
        Some(text.as_ref().to_owned())
    }

    /// A trimmed string of some length, counted in characters.
    pub(crate) fn words(
        &mut self,
        field: &Field<'_>,
        lengths: RangeInclusive<usize>,
        help: &str,
    ) -> Option<String> {
        let text = self.line(field)?;
        let text = text.trim();
        let length = text.chars().count();
        if !lengths.contains(&length) {
            let problem = format!(
                "must be {} to {} characters, but has {length}",
                lengths.start(),
                lengths.end()
            );
            return self.refuse(field, &problem, help);
        }
        Some(text.to_owned())
    }

    pub(crate) fn path(&mut self, field: &Field<'_>, help: &str) -> Option<WrittenPath> {
        self.words(field, 1..=4096, help).map(WrittenPath::from)
    }

    /// A path to a file. What somebody put here in its place may be the secret itself: that is
    /// not repeated.
    pub(crate) fn file(&mut self, mut field: Field<'_>, help: &str) -> Option<WrittenPath> {
        let DeValue::String(text) = field.value else {
            field.show = Show::Place;
            return self.wrong_type(&field, Expected::String);
        };
        if text.contains("-----BEGIN") || text.contains('\n') || text.trim_start().starts_with('{')
        {
            field.show = Show::Place;
            return self.refuse(&field, "must be the path of a file, not its content", help);
        }
        self.path(&field, help)
    }

    pub(crate) fn list(&mut self, field: &Field<'_>) -> Option<Vec<String>> {
        let DeValue::Array(items) = field.value else {
            return self.wrong_type(field, Expected::Strings);
        };
        let texts: Vec<Option<String>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let item = Field {
                    key: format!("{}[{index}]", field.key),
                    value: item.get_ref(),
                    span: item.span(),
                    show: Show::Line,
                };
                self.words(&item, 1..=255, "leave empty entries out")
            })
            .collect();
        texts.into_iter().collect()
    }

    /// What a string says, where that has its own rules.
    pub(crate) fn parsed<T>(&mut self, field: &Field<'_>, help: &str) -> Option<T>
    where
        T: std::str::FromStr<Err: Error>,
    {
        let text = self.line(field)?;
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => self.refuse(field, &error.to_string(), help),
        }
    }

    pub(crate) fn wrong_type<T>(&mut self, field: &Field<'_>, expected: Expected) -> Option<T> {
        let found = match field.value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a float",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date-time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let (expected, help) = match expected {
            Expected::String => ("a string", "write one text, in quotation marks".to_owned()),
            Expected::Strings => ("a list of strings", "write `[\"one\", \"two\"]`".to_owned()),
            Expected::Table => (
                "a table",
                format!("write it as a section, `[{}]`", field.key),
            ),
            Expected::DateTime => ("a date-time", "write `2027-01-31T18:00:00Z`".to_owned()),
        };
        self.refuse(field, &format!("must be {expected}, but is {found}"), &help)
    }

    pub(crate) fn refuse<T>(&mut self, field: &Field<'_>, problem: &str, help: &str) -> Option<T> {
        let error = self.source.error(&field.key, problem).help(help);
        self.report
            .push(self.source.place(error, &field.span, field.show));
        None
    }
}

/// The candidate that `word` is likely a misspelling of.
pub(crate) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    // The distance takes time in the product of the lengths, and no key is that long.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

fn dotted(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn enumerate(keys: &[&str]) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_finds_misspellings_only() {
        let keys = ["hardware", "project", "code"];

        assert_eq!(nearest("hadrware", &keys), Some("hardware"));
        assert_eq!(nearest("Project", &keys), Some("project"));
        assert_eq!(nearest("cod", &keys), Some("code"));
        assert_eq!(nearest("secret", &keys), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), &keys), None);
    }
}
