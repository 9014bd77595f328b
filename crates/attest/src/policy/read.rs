//! Strict reading of a parsed TOML document: every value with its key and line.

use std::{
    ops::{Range, RangeInclusive},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::{civil, tz::Offset};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
    value::Datetime,
};

use super::PolicyError;
use crate::TrustAnchorError;

/// A table of the document.
#[derive(Clone)]
pub(super) struct Section<'t> {
    text: &'t str,
    /// Dotted; empty for the document itself.
    path: String,
    line: usize,
    entries: &'t DeTable<'t>,
}

impl<'t> Section<'t> {
    pub(super) fn of_document(text: &'t str, document: &'t DeTable<'t>) -> Self {
        Self {
            text,
            path: String::new(),
            line: 1,
            entries: document,
        }
    }

    /// Refuses every key that is not `known`; `elsewhere` says where keys of other sections
    /// belong.
    pub(super) fn refuse_unknown(
        &self,
        known: &[&str],
        is_known: impl Fn(&str) -> bool,
        elsewhere: impl Fn(&str) -> Option<&'static str>,
    ) -> Result<(), PolicyError> {
        let unknown = self
            .entries
            .keys()
            .find(|key| !known.contains(&key.get_ref().as_ref()) && !is_known(key.get_ref()));
        let Some(key) = unknown else { return Ok(()) };
        let name = key.get_ref().as_ref();
        let help = match (elsewhere(name), nearest(name, known)) {
            (Some(section), _) => format!("it belongs in `[{section}]`"),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("the keys here are {}", known.join(", ")),
        };
        Err(PolicyError::UnknownKey {
            line: line_of(self.text, &key.span()),
            key: shown(&dotted(&self.path, name)),
            help,
        })
    }

    pub(super) fn find(&self, key: &str) -> Option<Item<'t>> {
        let value = self.entries.get(key)?;
        Some(Item::of(self.text, dotted(&self.path, key), value))
    }

    pub(super) fn require(&self, key: &str, help: &'static str) -> Result<Item<'t>, PolicyError> {
        self.find(key).ok_or_else(|| PolicyError::Missing {
            line: self.line,
            key: dotted(&self.path, key),
            help,
        })
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'t str> {
        let entries = self.entries;
        entries.keys().map(|key| key.get_ref().as_ref())
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }
}

/// A value with its place.
#[derive(Clone)]
pub(super) struct Item<'t> {
    text: &'t str,
    pub(super) key: String,
    line: usize,
    span: Range<usize>,
    value: &'t DeValue<'t>,
}

impl<'t> Item<'t> {
    fn of(text: &'t str, key: String, value: &'t Spanned<DeValue<'t>>) -> Self {
        Self {
            text,
            key,
            line: line_of(text, &value.span()),
            span: value.span(),
            value: value.get_ref(),
        }
    }

    pub(super) fn section(&self) -> Result<Section<'t>, PolicyError> {
        match self.value {
            DeValue::Table(entries) => Ok(Section {
                text: self.text,
                path: self.key.clone(),
                line: self.line,
                entries,
            }),
            _ => Err(self.wrong_type("a table")),
        }
    }

    /// The tables of `[[key]]`.
    pub(super) fn sections(&self) -> Result<Vec<Section<'t>>, PolicyError> {
        match self.value {
            DeValue::Array(_) => self.items()?.iter().map(Self::section).collect(),
            _ => Err(self.wrong_type("a list of tables, each under its own `[[ ]]`")),
        }
    }

    /// The entries of a list, which has some.
    pub(super) fn items(&self) -> Result<Vec<Self>, PolicyError> {
        let DeValue::Array(entries) = self.value else {
            return Err(self.wrong_type("a list"));
        };
        if entries.is_empty() {
            return Err(PolicyError::Empty {
                line: self.line,
                key: self.key.clone(),
            });
        }
        Ok(entries
            .iter()
            .enumerate()
            .map(|(at, entry)| Self::of(self.text, format!("{}[{at}]", self.key), entry))
            .collect())
    }

    /// The entries of a list, or the one value that stands for a list of it.
    pub(super) fn one_or_more(&self) -> Result<Vec<Self>, PolicyError> {
        match self.value {
            DeValue::String(_) => Ok(vec![self.clone()]),
            _ => self.items(),
        }
    }

    pub(super) fn string(&self) -> Result<&'t str, PolicyError> {
        match self.value {
            DeValue::String(text) => Ok(text.as_ref()),
            _ => Err(self.wrong_type("a string")),
        }
    }

    /// A text for people, on one line.
    pub(super) fn words(&self) -> Result<String, PolicyError> {
        let words = self
            .string()?
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        if words.is_empty() || words.chars().any(char::is_control) || words.len() > MAX_WORDS {
            return Err(self.invalid(
                format!("this is no text of 1 to {MAX_WORDS} bytes that people can read"),
                "say it in a sentence",
            ));
        }
        Ok(words)
    }

    pub(super) fn boolean(&self) -> Result<bool, PolicyError> {
        match self.value {
            DeValue::Boolean(value) => Ok(*value),
            _ => Err(self.wrong_type("`true` or `false`")),
        }
    }

    pub(super) fn integer(&self, range: RangeInclusive<u32>) -> Result<u32, PolicyError> {
        let DeValue::Integer(number) = self.value else {
            return Err(self.wrong_type("an integer"));
        };
        i64::from_str_radix(number.as_str(), number.radix())
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                self.invalid(
                    "the number is out of range",
                    format!("use {} to {}", range.start(), range.end()),
                )
            })
    }

    /// Bytes in hexadecimal; how many, `is_length` knows and `lengths` says.
    pub(super) fn hex(
        &self,
        is_length: impl Fn(usize) -> bool,
        lengths: &str,
    ) -> Result<Vec<u8>, PolicyError> {
        let text = self.string()?;
        let help = format!("write {lengths} in hexadecimal, two digits each, without `0x`");
        let bytes = hex::decode(text).map_err(|_| {
            let problem = match text.bytes().find(|byte| !byte.is_ascii_hexdigit()) {
                Some(_) => "this is not hexadecimal".to_owned(),
                None => format!("`{}` digits are no whole number of bytes", text.len()),
            };
            self.invalid(problem, help.clone())
        })?;
        if !is_length(bytes.len()) {
            return Err(self.invalid(format!("these are `{}` bytes", bytes.len()), help));
        }
        Ok(bytes)
    }

    pub(super) fn hex_array<const N: usize>(&self) -> Result<[u8; N], PolicyError> {
        let bytes = self.hex(|length| length == N, &format!("{N} bytes"))?;
        bytes
            .try_into()
            .map_err(|_| self.invalid("the length is wrong", format!("write {N} bytes")))
    }

    /// The last instant of a date (its end, in UTC), or an instant with its zone.
    pub(super) fn until(&self) -> Result<SystemTime, PolicyError> {
        let DeValue::Datetime(value) = self.value else {
            return Err(self.wrong_type("a date such as 2027-01-31, without quotation marks"));
        };
        let seconds = last_second(value).map_err(|problem| {
            self.invalid(
                problem,
                "write a date (2027-01-31) or an instant with its zone (2027-01-31T18:00:00Z)",
            )
        })?;
        Ok(UNIX_EPOCH + Duration::from_secs(seconds))
    }

    /// A number with a unit: `30d`, `12h`, `90min`, `45s`.
    pub(super) fn duration(&self) -> Result<Duration, PolicyError> {
        let text = self.string()?;
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = match unit {
            "d" => 86_400,
            "h" => 3_600,
            "min" => 60,
            "s" => 1,
            _ => 0,
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit))
            .filter(|seconds| (1..=MAX_DURATION).contains(seconds))
            .map(Duration::from_secs)
            .ok_or_else(|| {
                self.invalid(
                    "this is no duration between a second and ten years",
                    "write a number and `d`, `h`, `min` or `s`, such as `30d`",
                )
            })
    }

    pub(super) fn invalid(
        &self,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) -> PolicyError {
        PolicyError::Invalid {
            line: self.line,
            key: self.key.clone(),
            value: match self.value {
                DeValue::String(text) => shown(text),
                _ => shown(self.text.get(self.span.clone()).unwrap_or_default()),
            },
            problem: problem.into(),
            help: help.into(),
        }
    }

    pub(super) fn no_anchor(&self, source: TrustAnchorError) -> PolicyError {
        PolicyError::Anchor {
            line: self.line,
            key: self.key.clone(),
            source,
        }
    }

    pub(super) fn twice(&self) -> PolicyError {
        PolicyError::Twice {
            line: self.line,
            key: self.key.clone(),
            value: match self.value {
                DeValue::String(text) => shown(text),
                _ => String::new(),
            },
        }
    }

    fn wrong_type(&self, expected: &'static str) -> PolicyError {
        PolicyError::WrongType {
            line: self.line,
            key: self.key.clone(),
            found: match self.value {
                DeValue::String(_) => "a string",
                DeValue::Integer(_) => "an integer",
                DeValue::Float(_) => "a float",
                DeValue::Boolean(_) => "a boolean",
                DeValue::Datetime(_) => "a date or time",
                DeValue::Array(_) => "a list",
                DeValue::Table(_) => "a table",
            },
            expected,
        }
    }
}

/// The unix second with which a TOML date or date-time ends.
fn last_second(value: &Datetime) -> Result<u64, &'static str> {
    let date = value.date.ok_or("this time has no date")?;
    let date = i16::try_from(date.year)
        .ok()
        .zip(i8::try_from(date.month).ok())
        .zip(i8::try_from(date.day).ok())
        .and_then(|((year, month), day)| civil::Date::new(year, month, day).ok())
        .ok_or("the calendar does not have this day")?;
    let (time, offset) = match (value.time, value.offset) {
        (None, _) => (
            civil::Time::new(23, 59, 59, 0).map_err(|_| "this is no time")?,
            Offset::UTC,
        ),
        (Some(_), None) => return Err("this time has no zone, and nobody knows which is meant"),
        (Some(time), Some(offset)) => {
            let minutes = match offset {
                toml::value::Offset::Z => 0,
                toml::value::Offset::Custom { minutes } => i32::from(minutes),
            };
            let part = |part: u8| i8::try_from(part).map_err(|_| "this is no time");
            let time = civil::Time::new(
                part(time.hour)?,
                part(time.minute)?,
                // A leap second is the end of its minute.
                part(time.second.unwrap_or(0).min(59))?,
                0,
            )
            .map_err(|_| "this is no time")?;
            let offset = Offset::from_seconds(minutes * 60).map_err(|_| "there is no such zone")?;
            (time, offset)
        }
    };
    offset
        .to_timestamp(date.to_datetime(time))
        .ok()
        .and_then(|instant| u64::try_from(instant.as_second()).ok())
        .ok_or("this is before 1970")
}

/// The candidate that `word` is likely a misspelling of.
pub(super) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    // The distance takes time in the product of the lengths, and no key is that long.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    candidates
        .iter()
        .map(|candidate| (distance(&word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many bytes must be changed, left out or put in to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, wanted) in other.bytes().enumerate() {
            let substituted = diagonal + usize::from(byte != wanted);
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// Text of the file in a message: on one line, and not too much of it.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_SHOWN)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(MAX_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.get(..span.start).unwrap_or_default();
    1 + before.matches('\n').count()
}

fn dotted(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

const MAX_SHOWN: usize = 160;
const MAX_WORDS: usize = 2000;
const MAX_DURATION: u64 = 10 * 365 * 86_400;
