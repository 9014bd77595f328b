//! The entries of a map, and what may be absent.

use crate::diagnostic::{Code, Spot, did_you_mean, shown};
use crate::field::{Field, Reporting};
use crate::node::Entry;

/// Reads what may be absent. The outer None is a fault, the inner one absence.
#[allow(clippy::option_option)]
pub fn optional<'n, T>(
    field: Option<Field<'n>>,
    read: impl FnOnce(Field<'n>) -> Option<T>,
) -> Option<Option<T>> {
    match field {
        Some(field) => read(field).map(Some),
        None => Some(None),
    }
}

/// Reads what has a default where it is absent. None is a fault.
pub fn or_default<'n, T: Default>(
    field: Option<Field<'n>>,
    read: impl FnOnce(Field<'n>) -> Option<T>,
) -> Option<T> {
    match field {
        Some(field) => read(field),
        None => Some(T::default()),
    }
}

/// The entries of a map. Each key that is asked for is known; the others are at fault.
pub struct Fields<'n> {
    /// Where the map stands.
    pub spot: Spot,
    entries: &'n [Entry],
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    pub(crate) fn new(spot: Spot, entries: &'n [Entry]) -> Self {
        Self {
            spot,
            entries,
            known: Vec::new(),
        }
    }

    /// The value, unless it is missing or nothing (`~`).
    pub fn get(&mut self, key: &'static str) -> Option<Field<'n>> {
        self.known.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        if entry.value.is_null() {
            return None;
        }
        Some(self.field(entry))
    }

    /// The value, which must be there.
    pub fn require(&mut self, r: &mut impl Reporting, key: &'static str) -> Option<Field<'n>> {
        let field = self.get(key);
        if field.is_none() {
            let message = format!("`{key}` is missing");
            r.report().error(Code::MissingKey, &self.spot, message);
        }
        field
    }

    /// All entries, for maps whose keys are the author's.
    pub fn all(&self) -> impl Iterator<Item = (&'n str, Field<'n>)> + use<'n, '_> {
        self.entries
            .iter()
            .map(|entry| (entry.key.as_str(), self.field(entry)))
    }

    /// Complains about the keys that nobody asked for.
    pub fn finish(self, r: &mut impl Reporting) {
        for entry in self.entries {
            if self.known.contains(&entry.key.as_str()) || r.report().is_full() {
                continue;
            }
            let spot = Spot {
                path: self.path_of(&entry.key),
                at: entry.at,
            };
            let message = format!("the key `{}` is not known here", shown(&entry.key));
            let help = did_you_mean(&entry.key, &self.known).unwrap_or_else(|| {
                let known: Vec<String> = self.known.iter().map(|key| format!("`{key}`")).collect();
                format!("known are {}", known.join(", "))
            });
            r.report()
                .error_with(Code::UnknownKey, &spot, message, help);
        }
    }

    fn field(&self, entry: &'n Entry) -> Field<'n> {
        Field {
            node: &entry.value,
            spot: Spot {
                path: self.path_of(&entry.key),
                at: entry.value.at,
            },
        }
    }

    fn path_of(&self, key: &str) -> String {
        let key = shown(key);
        if self.spot.path.is_empty() {
            key
        } else {
            format!("{}.{key}", self.spot.path)
        }
    }
}
