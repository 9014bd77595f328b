//! What differs between two documents.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::commands::session::secrecy::Documents;

/// One difference.
#[derive(Serialize, Debug, PartialEq)]
pub(super) struct Change {
    /// `services[api].environment.PATH`
    pub(super) path: String,
    #[serde(rename = "change")]
    pub(super) what: What,
    /// What was there, as it may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) old: Option<Value>,
    /// What is there, as it may be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) new: Option<Value>,
}

#[derive(Serialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    Added,
    Removed,
    Changed,
}

/// A place in a document: as it is, and as it may be shown. Both are the same maps and lists down
/// to what is hidden.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    real: &'a Value,
    shown: &'a Value,
}

impl<'a> Side<'a> {
    pub(super) fn of(documents: &'a Documents) -> Self {
        Self {
            real: &documents.real,
            shown: &documents.shown,
        }
    }

    fn entry(self, key: &str) -> Option<Self> {
        Some(Self {
            real: self.real.get(key)?,
            shown: self.shown.get(key)?,
        })
    }

    fn items(self) -> Vec<Self> {
        let list = |value: &'a Value| value.as_array().into_iter().flatten();
        list(self.real)
            .zip(list(self.shown))
            .map(|(real, shown)| Self { real, shown })
            .collect()
    }

    fn value(self) -> Value {
        self.shown.clone()
    }
}

/// All differences, in the order of the documents. There is none only if both are the same.
pub(super) fn changes(old: Side<'_>, new: Side<'_>) -> Vec<Change> {
    let mut found = Vec::new();
    compare("", Some(old), Some(new), &mut found);
    found
}

fn compare(path: &str, old: Option<Side<'_>>, new: Option<Side<'_>>, found: &mut Vec<Change>) {
    let (what, old, new) = match (old, new) {
        (None, None) => return,
        (Some(old), Some(new)) if old.real == new.real => return,
        (Some(old), Some(new)) => match (old.shown, new.shown) {
            (Value::Object(before), Value::Object(after)) => {
                for key in keys(before, after) {
                    let path = match path {
                        "" => key.to_owned(),
                        path => format!("{path}.{key}"),
                    };
                    compare(&path, old.entry(key), new.entry(key), found);
                }
                return;
            }
            (Value::Array(_), Value::Array(_)) => return compare_lists(path, old, new, found),
            _ => (What::Changed, Some(old.value()), Some(new.value())),
        },
        (Some(old), None) => (What::Removed, Some(old.value()), None),
        (None, Some(new)) => (What::Added, None, Some(new.value())),
    };
    found.push(Change {
        path: path.to_owned(),
        what,
        old,
        new,
    });
}

fn keys<'a>(before: &'a Map<String, Value>, after: &'a Map<String, Value>) -> BTreeSet<&'a str> {
    before
        .keys()
        .chain(after.keys())
        .map(String::as_str)
        .collect()
}

fn compare_lists(path: &str, old: Side<'_>, new: Side<'_>, found: &mut Vec<Change>) {
    let (before, after) = (old.items(), new.items());
    match (by_name(&before), by_name(&after)) {
        (Some(before), Some(after)) => compare_named(path, &before, &after, found),
        _ => compare_placed(path, &before, &after, found),
    }
}

/// Items and their names, if each has one of its own.
fn by_name<'a>(items: &[Side<'a>]) -> Option<Vec<(&'a str, Side<'a>)>> {
    let named: Vec<_> = items
        .iter()
        .map(|item| Some((item.real.get("name")?.as_str()?, *item)))
        .collect::<Option<_>>()?;
    let names: BTreeSet<_> = named.iter().map(|(name, _)| *name).collect();
    (names.len() == named.len()).then_some(named)
}

fn compare_named(
    path: &str,
    before: &[(&str, Side<'_>)],
    after: &[(&str, Side<'_>)],
    found: &mut Vec<Change>,
) {
    let index = |list: &[(&str, Side<'_>)]| -> BTreeSet<String> {
        list.iter().map(|(name, _)| (*name).to_owned()).collect()
    };
    let (old_names, new_names) = (index(before), index(after));
    let new_items: BTreeMap<_, _> = after.iter().copied().collect();
    for (name, old) in before {
        let new = new_items.get(name).copied();
        compare(&format!("{path}[{name}]"), Some(*old), new, found);
    }
    for (name, new) in after {
        if !old_names.contains(*name) {
            compare(&format!("{path}[{name}]"), None, Some(*new), found);
        }
    }
    // The order is part of the canonical form.
    let order = |list: &[(&str, Side<'_>)], other: &BTreeSet<String>| -> Vec<Value> {
        list.iter()
            .filter(|(name, _)| other.contains(*name))
            .map(|(name, _)| Value::from(*name))
            .collect()
    };
    let (old, new) = (order(before, &new_names), order(after, &old_names));
    if old != new {
        found.push(Change {
            path: format!("{path} (order)"),
            what: What::Changed,
            old: Some(old.into()),
            new: Some(new.into()),
        });
    }
}

fn compare_placed(path: &str, before: &[Side<'_>], after: &[Side<'_>], found: &mut Vec<Change>) {
    let is_same = |(old, new): &(&Side<'_>, &Side<'_>)| old.real == new.real;
    let start = before.iter().zip(after).take_while(is_same).count();
    let (before, after) = (&before[start..], &after[start..]);
    let end = before
        .iter()
        .rev()
        .zip(after.iter().rev())
        .take_while(is_same)
        .count();
    let (before, after) = (&before[..before.len() - end], &after[..after.len() - end]);
    for index in 0..before.len().max(after.len()) {
        let path = format!("{path}[{}]", start + index);
        let (old, new) = (before.get(index), after.get(index));
        compare(&path, old.copied(), new.copied(), found);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn between(old: &Value, new: &Value) -> Vec<Change> {
        let side = |value| Side {
            real: value,
            shown: value,
        };
        changes(side(old), side(new))
    }

    fn paths(old: &Value, new: &Value) -> Vec<(String, What)> {
        between(old, new)
            .into_iter()
            .map(|change| (change.path, change.what))
            .collect()
    }

    #[test]
    fn named_items_are_matched_by_name() {
        let old = json!({ "s": [{ "name": "a", "x": 1 }, { "name": "b" }] });
        let new = json!({ "s": [{ "name": "c" }, { "name": "a", "x": 2 }] });
        assert_eq!(
            paths(&old, &new),
            [
                ("s[a].x".to_owned(), What::Changed),
                ("s[b]".to_owned(), What::Removed),
                ("s[c]".to_owned(), What::Added),
            ]
        );
        let swapped = json!({ "s": [{ "name": "b" }, { "name": "a", "x": 1 }] });
        assert_eq!(
            paths(&old, &swapped),
            [("s (order)".to_owned(), What::Changed)]
        );
    }

    #[test]
    fn other_items_by_place() {
        let old = json!({ "l": ["a", "b", "c"] });
        for (new, expected) in [
            (json!({ "l": ["a", "x", "b", "c"] }), ("l[1]", What::Added)),
            (json!({ "l": ["a", "c"] }), ("l[1]", What::Removed)),
            (json!({ "l": ["a", "y", "c"] }), ("l[1]", What::Changed)),
            (json!({ "l": "a" }), ("l", What::Changed)),
            (json!({}), ("l", What::Removed)),
        ] {
            assert_eq!(
                paths(&old, &new),
                [(expected.0.to_owned(), expected.1)],
                "{new}"
            );
        }
    }

    #[test]
    fn what_is_hidden_is_compared_and_not_shown() {
        let (old, new) = (json!({ "v": { "a": 1 } }), json!({ "v": { "a": 2 } }));
        let shown = json!({ "v": "hidden" });
        let side = |real| Side {
            real,
            shown: &shown,
        };
        let found = changes(side(&old), side(&new));
        assert_eq!(
            found,
            [Change {
                path: "v".to_owned(),
                what: What::Changed,
                old: Some("hidden".into()),
                new: Some("hidden".into()),
            }]
        );
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            (0..3_u8).prop_map(Value::from),
            "[ab]".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("name|a|b", inner, 0..3)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn there_are_changes_exactly_if_something_differs(old in documents(), new in documents()) {
            prop_assert_eq!(between(&old, &new).is_empty(), old == new);
            prop_assert!(between(&old, &old.clone()).is_empty());
        }
    }
}
