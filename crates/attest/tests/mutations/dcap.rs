//! The collateral of quotes: signed documents, signatures, CRLs, and the JSON file that holds them.

use mse_attest::{Collateral, DcapCollateral};
use serde_json::Value;

use crate::{
    certificates::pem_begin,
    mutant::{Change, Effort, Mutant, Sink, flipped},
    positives::Positive,
};

pub(crate) fn mutate(positive: &Positive, effort: Effort, sink: Sink<'_>) {
    mutate_bytes(positive, effort, sink);
    mutate_documents(positive, effort, sink);
    mutate_members(positive, sink);
    mutate_file(positive, effort, sink);
}

type Bytes = (&'static str, fn(&mut DcapCollateral) -> &mut Vec<u8>);
type Text = (&'static str, fn(&mut DcapCollateral) -> &mut String);

const BYTES: [Bytes; 4] = [
    ("root_ca_crl", |dcap| &mut dcap.root_ca_crl),
    ("pck_crl", |dcap| &mut dcap.pck_crl),
    ("tcb_info_signature", |dcap| &mut dcap.tcb_info_signature),
    ("qe_identity_signature", |dcap| {
        &mut dcap.qe_identity_signature
    }),
];

const DOCUMENTS: [Text; 2] = [
    ("tcb_info", |dcap| &mut dcap.tcb_info),
    ("qe_identity", |dcap| &mut dcap.qe_identity),
];

/// CRLs and signatures, byte by byte.
fn mutate_bytes(positive: &Positive, effort: Effort, sink: Sink<'_>) {
    for (name, of) in BYTES {
        let genuine = of(&mut dcap(positive)).clone();
        let mut give = |part, what: String, bytes: Vec<u8>| {
            let mut changed = dcap(positive);
            *of(&mut changed) = bytes;
            sink(mutant(part, what, changed));
        };
        // Signatures are short: all of each.
        let stride = if genuine.len() <= 64 {
            (1, 9)
        } else {
            (3, 397)
        };
        for at in effort.positions(positive.index, genuine.len(), stride) {
            give(
                "collateral, a bit of CRL or signature",
                format!("bit {} of byte {at} of `{name}` flipped", at % 8),
                flipped(&genuine, at),
            );
        }
        for length in [0, 1, genuine.len() / 2, genuine.len() - 1] {
            give(
                "collateral, CRL or signature cut",
                format!("only {length} bytes of `{name}`"),
                genuine[..length].to_vec(),
            );
        }
        let mut longer = genuine.clone();
        longer.push(0);
        give(
            "collateral, CRL or signature longer",
            format!("a byte behind `{name}`"),
            longer,
        );
    }
}

/// The signed documents: each character, and each member of their JSON.
fn mutate_documents(positive: &Positive, effort: Effort, sink: Sink<'_>) {
    for (name, of) in DOCUMENTS {
        let text = of(&mut dcap(positive)).clone();
        let mut give = |part, what: String, text: String| {
            let mut changed = dcap(positive);
            *of(&mut changed) = text;
            sink(mutant(part, what, changed));
        };
        for at in effort.positions(positive.index, text.len(), (5, 1999)) {
            let mut changed = text.clone().into_bytes();
            changed[at] ^= 1 << (at % 7);
            let Ok(changed) = String::from_utf8(changed) else {
                continue;
            };
            give(
                "collateral, a character of a document",
                format!("bit {} of character {at} of `{name}` flipped", at % 7),
                changed,
            );
        }
        let value: Value = serde_json::from_str(&text).unwrap();
        let pointers = pointers(&value);
        for at in effort.positions(positive.index, pointers.len(), (11, 197)) {
            for (deed, change) in DEEDS {
                let mut changed = value.clone();
                let pointer = &pointers[at];
                if change(&mut changed, pointer) {
                    give(
                        "collateral, a member of a document",
                        format!("member `{pointer}` of `{name}` {deed}"),
                        changed.to_string(),
                    );
                }
            }
        }
        give(
            "collateral, a document longer",
            format!("a blank behind `{name}`"),
            format!("{text} "),
        );
    }
}

/// What is done to a member.
pub(crate) type Deed = (&'static str, fn(&mut Value, &str) -> bool);

pub(crate) const DEEDS: [Deed; 3] = [
    ("removed", |document, pointer| {
        let Some((parent, name)) = pointer.rsplit_once('/') else {
            return false;
        };
        match document.pointer_mut(parent) {
            Some(Value::Object(members)) => members.remove(name).is_some(),
            Some(Value::Array(items)) => {
                let at: usize = name.parse().unwrap();
                items.remove(at);
                true
            }
            _ => false,
        }
    }),
    ("emptied", |document, pointer| {
        let value = document.pointer_mut(pointer).unwrap();
        let empty = match value {
            Value::Object(_) => Value::Object(serde_json::Map::new()),
            Value::Array(_) => Value::Array(Vec::new()),
            Value::String(_) => Value::String(String::new()),
            _ => Value::Null,
        };
        *value != empty && {
            *value = empty;
            true
        }
    }),
    ("changed", |document, pointer| {
        match document.pointer_mut(pointer).unwrap() {
            Value::Number(number) => {
                let next = number.as_u64().unwrap_or_default() + 1;
                *number = next.into();
                true
            }
            Value::String(text) => {
                let first = if text.starts_with('0') { "1" } else { "0" };
                text.replace_range(..text.len().min(1), first);
                true
            }
            _ => false,
        }
    }),
];

/// Where the members of `document` are, inner ones too.
pub(crate) fn pointers(document: &Value) -> Vec<String> {
    let mut pointers = Vec::new();
    collect(document, &mut String::new(), &mut pointers);
    pointers
}

fn collect(value: &Value, pointer: &mut String, pointers: &mut Vec<String>) {
    let length = pointer.len();
    let mut member = |name: &str, value: &Value| {
        pointer.push('/');
        pointer.push_str(name);
        pointers.push(pointer.clone());
        collect(value, pointer, pointers);
        pointer.truncate(length);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| member(name, value)),
        Value::Array(items) => {
            for (at, value) in items.iter().enumerate() {
                member(&at.to_string(), value);
            }
        }
        _ => (),
    }
}

/// Each member of the collateral: gone from the file, or empty.
fn mutate_members(positive: &Positive, sink: Sink<'_>) {
    let Some(json) = &positive.json else {
        return;
    };
    let file: Value = serde_json::from_slice(json).unwrap();
    let mut give = |what: String, changed: &Value| {
        sink(Mutant {
            part: "collateral, a member",
            what,
            change: Change::Json(changed.to_string().into_bytes()),
        });
    };
    let names: Vec<_> = file.as_object().unwrap().keys().cloned().collect();
    for name in &names {
        let mut changed = file.clone();
        changed.as_object_mut().unwrap().remove(name);
        give(
            format!("member `{name}` of the collateral removed"),
            &changed,
        );
        for (deed, empty) in [("emptied", Value::from("")), ("null", Value::Null)] {
            let mut changed = file.clone();
            changed[name] = empty;
            give(
                format!("member `{name}` of the collateral {deed}"),
                &changed,
            );
        }
        for other in &names {
            if other != name && file[other] != file[name] {
                let mut changed = file.clone();
                changed[name] = file[other].clone();
                give(format!("`{other}` in place of `{name}`"), &changed);
            }
        }
    }
    give(
        "no collateral at all".into(),
        &Value::Object(serde_json::Map::new()),
    );
}

/// The file, character by character.
fn mutate_file(positive: &Positive, effort: Effort, sink: Sink<'_>) {
    let Some(json) = &positive.json else {
        return;
    };
    // What the other mutants change in the decoded members, these change in their text.
    for at in effort.positions(positive.index, json.len(), (29, 4999)) {
        sink(Mutant {
            part: "collateral, a bit of the file",
            what: format!(
                "bit {} of byte {at} of the collateral's file flipped",
                at % 8
            ),
            change: Change::Json(flipped(json, at)),
        });
    }
}

/// Whether the JSON text says what the genuine one says.
pub(crate) fn is_same_collateral(positive: &Positive, mutant: &Mutant) -> bool {
    match &mutant.change {
        Change::Json(json) => {
            Collateral::from_json(json).is_ok_and(|changed| changed == positive.collateral)
        }
        _ => false,
    }
}

/// Where the fields of a quote begin; of other evidence, nothing.
pub(crate) fn field_borders(evidence: &[u8]) -> Vec<usize> {
    let Some(lengths) = length_fields(evidence) else {
        return Vec::new();
    };
    let signature = lengths[0] + 4;
    let mut borders = vec![2, 4, 8, 10, 12, 28, 48, 50, 54];
    borders.extend([signature - 4, signature, signature + 64, signature + 128]);
    for length in lengths {
        borders.extend([length - 2, length, length + 4]);
    }
    let certificates = pem_begin(evidence).unwrap_or_default();
    borders.extend([certificates - 6 - 32 - 2, certificates - 6 - 32 - 2 - 64]);
    borders
}

/// Where the lengths stand that reach to the end of a quote with a PEM chain: of the signature
/// data, of the outer certification data (from version 4 on) and of the chain.
pub(crate) fn length_fields(quote: &[u8]) -> Option<Vec<usize>> {
    let chain = pem_begin(quote)? - 4;
    let body = match (quote[0], quote[4]) {
        (3 | 4, 0) => 48 + 384,
        (4, _) => 48 + 584,
        (5, _) => {
            let size = u32::from_le_bytes(quote[50..54].try_into().ok()?);
            54 + usize::try_from(size).ok()?
        }
        _ => return None,
    };
    let mut fields = vec![body];
    if quote[0] != 3 {
        fields.push(body + 4 + 64 + 64 + 2);
    }
    fields.push(chain);
    Some(fields)
}

fn dcap(positive: &Positive) -> DcapCollateral {
    positive.collateral.dcap.clone().unwrap()
}

fn mutant(part: &'static str, what: String, dcap: DcapCollateral) -> Mutant {
    Mutant {
        part,
        what,
        change: Change::Collateral(Box::new(dcap.into())),
    }
}
