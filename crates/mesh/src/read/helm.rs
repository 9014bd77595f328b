//! Values for charts: maps, and assignments as on Helm's command line.

use mse_yaml::{Code, Content, Field, Spot, Variables, shown};
use serde_json::{Map, Value};

use super::Reader;
use crate::check::LANGUAGE;

/// The longest list that an assignment can make.
const MAX_INDEX: usize = 1000;
/// How deep an assignment can reach.
const MAX_DEPTH: usize = 16;

/// `helm_extra_values`: a map, or the text of one.
pub(super) fn values(r: &mut Reader, field: &Field<'_>) -> Option<Map<String, Value>> {
    if let Some(text) = field.scalar() {
        r.legacy(
            &field.spot,
            "`helm_extra_values` is a text here",
            "write the map itself",
        );
        let node = mse_yaml::parse(text, &LANGUAGE, &Variables::replaced(), &mut r.report)?;
        let inner = Field {
            node: &node,
            spot: field.spot.clone(),
        };
        return map(r, &inner);
    }
    map(r, field)
}

fn map(r: &mut Reader, field: &Field<'_>) -> Option<Map<String, Value>> {
    let fields = field.map(r)?;
    let entries: Vec<_> = fields
        .all()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    let read: Vec<_> = entries
        .into_iter()
        .map(|(key, field)| Some((key, value(r, &field)?)))
        .collect();
    read.into_iter().collect()
}

fn value(r: &mut Reader, field: &Field<'_>) -> Option<Value> {
    match &field.node.content {
        _ if field.node.is_null() => Some(Value::Null),
        Content::Map(_) => map(r, field).map(Value::Object),
        Content::List(_) => {
            let items = field.items(r);
            let read: Vec<_> = items.iter().map(|item| value(r, item)).collect();
            read.into_iter().collect::<Option<_>>().map(Value::Array)
        }
        Content::Scalar { is_plain, .. } => {
            let text = field.text(r)?;
            Some(if *is_plain {
                plain(text)
            } else {
                Value::from(text)
            })
        }
    }
}

/// A scalar without quotes.
fn plain(text: &str) -> Value {
    match text {
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    // A number that is not written as JSON writes it stays the text that it is.
    if let Ok(Value::Number(number)) = serde_json::from_str(text)
        && number.to_string() == text
    {
        return Value::Number(number);
    }
    Value::from(text)
}

/// Adds `chart.key[0].sub=value`, of which several may stand in a text, with commas between them.
pub(super) fn assign(
    r: &mut Reader,
    field: &Field<'_>,
    values: &mut Map<String, Value>,
) -> Option<()> {
    let text = field.text(r)?;
    for one in split(text, ',') {
        let parts = split(&one, '=');
        let Some((path, value)) = parts.split_first().filter(|(_, rest)| !rest.is_empty()) else {
            return bad(r, &field.spot, &one);
        };
        let Some(path) = steps(path) else {
            return bad(r, &field.spot, &one);
        };
        let text = value.join("=");
        let value = match text
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some(items) => split(items, ',')
                .iter()
                .filter(|item| !item.is_empty())
                .map(|item| scalar(item))
                .collect(),
            None => scalar(&text),
        };
        let mut root = Value::Object(std::mem::take(values));
        let done = put(&mut root, &path, value);
        if let Value::Object(map) = root {
            *values = map;
        }
        if done.is_none() {
            let message = format!(
                "`{}` is a list in one assignment and a map in another",
                shown(&one)
            );
            r.conflict(&field.spot, message, "write `helm_extra_values`");
            return None;
        }
    }
    Some(())
}

fn bad(r: &mut Reader, spot: &Spot, text: &str) -> Option<()> {
    r.report.error_with(
        Code::BadValue,
        spot,
        format!("`{}` is no assignment", shown(text)),
        "write `chart.key=value`, `chart.list[0]=value`, or better: `helm_extra_values`",
    );
    None
}

fn scalar(text: &str) -> Value {
    let text = unescaped(text);
    match text.as_str() {
        "null" => Value::Null,
        _ => plain(&text),
    }
}

/// A step into a value.
enum Step {
    Key(String),
    Index(usize),
}

fn steps(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for part in split(path, '.') {
        let (key, mut indices) = match part.find('[') {
            Some(at) => part.split_at(at),
            None => (part.as_str(), ""),
        };
        if key.is_empty() {
            return None;
        }
        steps.push(Step::Key(unescaped(key)));
        while !indices.is_empty() {
            let (number, rest) = indices.strip_prefix('[')?.split_once(']')?;
            let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            let index = number
                .parse()
                .ok()
                .filter(|index| is_number && *index < MAX_INDEX)?;
            steps.push(Step::Index(index));
            indices = rest;
        }
    }
    (!steps.is_empty() && steps.len() <= MAX_DEPTH).then_some(steps)
}

/// None: the path leads through something else.
fn put(at: &mut Value, path: &[Step], value: Value) -> Option<()> {
    let Some((step, rest)) = path.split_first() else {
        *at = value;
        return Some(());
    };
    match step {
        Step::Key(key) => {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            let next = at
                .as_object_mut()?
                .entry(key.clone())
                .or_insert(Value::Null);
            put(next, rest, value)
        }
        Step::Index(index) => {
            if at.is_null() {
                *at = Value::Array(Vec::new());
            }
            let list = at.as_array_mut()?;
            if list.len() <= *index {
                list.resize(index + 1, Value::Null);
            }
            put(&mut list[*index], rest, value)
        }
    }
}

/// Splits where `separator` stands outside of braces and without a backslash before it.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0usize;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let part = parts.last_mut().expect("there is one from the start");
        match character {
            '\\' => {
                part.push('\\');
                part.extend(characters.next());
            }
            _ if character == separator && depth == 0 => parts.push(String::new()),
            _ => {
                match character {
                    '{' => depth += 1,
                    '}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                part.push(character);
            }
        }
    }
    parts
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            _ => plain.push(character),
        }
    }
    plain
}
