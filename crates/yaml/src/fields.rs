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
    /// Known, too, but suggested to nobody.
    legacy: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    pub(crate) fn new(spot: Spot, entries: &'n [Entry]) -> Self {
        Self {
            spot,
            entries,
            known: Vec::new(),
            legacy: Vec::new(),
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

    /// As [`Self::get`], for an older spelling, which is suggested to nobody.
    pub fn get_legacy(&mut self, key: &'static str) -> Option<Field<'n>> {
        let field = self.get(key);
        self.known.pop();
        self.legacy.push(key);
        field
    }

    /// Whether the map has the key, be it with a value or without.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// The value of `key`, or of an older spelling of it, which is warned of.
    pub fn get_renamed(
        &mut self,
        r: &mut impl Reporting,
        key: &'static str,
        old: &'static str,
    ) -> Option<Field<'n>> {
        let current = self.get(key);
        let Some(field) = self.get_legacy(old) else {
            return current;
        };
        if current.is_some() {
            r.report().error_with(
                Code::Conflict,
                &field.spot,
                format!("`{old}` is an older spelling of `{key}`, which is there, too"),
                format!("remove `{old}`"),
            );
            return current;
        }
        r.report().warn(
            Code::Legacy,
            &field.spot,
            format!("`{old}` is an older spelling, or a typing error"),
            format!("write `{key}`"),
        );
        Some(field)
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
            let key = entry.key.as_str();
            if self.known.contains(&key) || self.legacy.contains(&key) || r.report().is_full() {
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
