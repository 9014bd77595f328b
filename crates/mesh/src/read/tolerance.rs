//! How strictly a CAS is attested: `trust`, and the flags that it replaces.

use std::fmt;
use std::str::FromStr;

use mse_session::{Hex, KeyHash, Terms};
use mse_yaml::{Code, Field, Spot, did_you_mean, optional, shown};

use super::{Reader, list, parsed, word_of};
use crate::model::{CasTolerance, CasTrust, Effect, Pins, SimulatedTrust, TrustTolerance};

/// Reads `trust`.
pub(super) fn trust(r: &mut Reader, field: &Field<'_>) -> Option<CasTrust> {
    let mut fields = field.map(r)?;
    let pins = match fields.get("pins") {
        Some(field) => pins(r, &field),
        None => Some(Pins::default()),
    };
    let tolerate_field = fields.get("tolerate");
    let tolerate = list(r, tolerate_field.clone(), |r, field| {
        let (word, terms) = Terms::beside(r, field, "what")?;
        let text = word.text(r)?;
        let known = CasTolerance::ALL.map(CasTolerance::as_str);
        let what = word_of(r, &word.spot, text, "tolerance", &known, |text| {
            CasTolerance::ALL
                .into_iter()
                .find(|one| one.as_str() == text)
        })?;
        warn(r, &field.spot, what, terms.as_ref());
        Some(TrustTolerance { what, terms })
    });
    let simulated = optional(fields.get("simulated"), |field| {
        let text = field.line(r, 4096)?;
        r.report.warn(
            Code::SimulatedEvidence,
            &field.spot,
            "a SIMULATED CAS is believed: no hardware protects it",
            "remove `simulated` for production",
        );
        Some(match text.as_str() {
            "this-machine" => SimulatedTrust::ThisMachine,
            _ => SimulatedTrust::Anchor(text),
        })
    });
    fields.finish(r);
    let trust = CasTrust {
        pins: pins?,
        tolerate: tolerate?,
        simulated: simulated?,
    };
    if let Some(field) = tolerate_field {
        let spots: Vec<_> = field.items(r).into_iter().map(|item| item.spot).collect();
        let names = trust.tolerate.iter().map(|one| one.what.as_str());
        r.unique("tolerance", names.zip(&spots));
        check(r, &field.spot, &trust);
    }
    Some(trust)
}

fn pins(r: &mut Reader, field: &Field<'_>) -> Option<Pins> {
    let mut fields = field.map(r)?;
    let mut hashes = |r: &mut Reader, key| match fields.get(key) {
        Some(field) => {
            let items = field.one_or_many(r);
            let read: Vec<_> = items
                .iter()
                .map(|item| item.parse::<Hex<32>>(r, Code::BadValue))
                .collect();
            read.into_iter().collect::<Option<Vec<_>>>()
        }
        None => Some(Vec::new()),
    };
    let mrenclave = hashes(r, "mrenclave");
    let mrsigner = hashes(r, "mrsigner");
    let isvprodid = optional(fields.get("isvprodid"), |field| field.number(r));
    let isvsvn = optional(fields.get("isvsvn"), |field| field.number(r));
    let software_key = parsed(r, fields.get("software_key"), Code::BadValue);
    fields.finish(r);
    Some(Pins {
        mrenclave: mrenclave?,
        mrsigner: mrsigner?,
        isvprodid: isvprodid?,
        isvsvn: isvsvn?,
        software_key: software_key?,
    })
}

/// What a `tolerance` says.
#[derive(Default)]
pub(super) struct Flags {
    pub(super) trust: CasTrust,
    /// The hash of the key of the CAS.
    pub(super) cas_key: Option<KeyHash>,
}

/// What a flag does.
#[derive(Clone, Copy)]
enum Flag {
    Tolerates(CasTolerance),
    Enclave,
    Signer,
    Product,
    Version,
    CasKey,
    SoftwareKey,
}

const FLAGS: [(&str, Flag); 20] = [
    ("-C", Flag::Tolerates(CasTolerance::ConfigurationNeeded)),
    (
        "--accept-configuration-needed",
        Flag::Tolerates(CasTolerance::ConfigurationNeeded),
    ),
    (
        "--insecure-configuration",
        Flag::Tolerates(CasTolerance::ConfigurationNeeded),
    ),
    ("-G", Flag::Tolerates(CasTolerance::OutdatedTcb)),
    (
        "--accept-group-out-of-date",
        Flag::Tolerates(CasTolerance::OutdatedTcb),
    ),
    ("--outdated-tcb", Flag::Tolerates(CasTolerance::OutdatedTcb)),
    ("-S", Flag::Tolerates(CasTolerance::SoftwareHardeningNeeded)),
    (
        "--accept-sw-hardening-needed",
        Flag::Tolerates(CasTolerance::SoftwareHardeningNeeded),
    ),
    (
        "--software-hardening-needed",
        Flag::Tolerates(CasTolerance::SoftwareHardeningNeeded),
    ),
    (
        "--only_for_testing-debug",
        Flag::Tolerates(CasTolerance::DebugMode),
    ),
    (
        "--only_for_testing-ignore-signer",
        Flag::Tolerates(CasTolerance::AnySigner),
    ),
    (
        "--only_for_testing-trust-any",
        Flag::Tolerates(CasTolerance::AnyEnclave),
    ),
    ("--mrenclave", Flag::Enclave),
    ("--mrsigner", Flag::Signer),
    ("--isvprodid", Flag::Product),
    ("--isvsvn", Flag::Version),
    ("-c", Flag::CasKey),
    ("--cas-key-hash", Flag::CasKey),
    ("-s", Flag::SoftwareKey),
    ("--cas-software-key-hash", Flag::SoftwareKey),
];

/// Reads `tolerance`: flags of a command, as SCONE's Meshfiles have them.
pub(super) fn flags(r: &mut Reader, field: &Field<'_>) -> Option<Flags> {
    let text = field.text(r)?;
    r.legacy(
        &field.spot,
        "`tolerance` is a command line in a text",
        "write `trust: {pins: …, tolerate: […]}`; `mse manifest convert` does",
    );
    let spot = &field.spot;
    let mut flags = Flags::default();
    let mut words = text
        .split_whitespace()
        .flat_map(|word| match word.split_once('=') {
            Some((name, value)) if name.starts_with("--") => vec![name, value],
            _ => vec![word],
        });
    let mut is_whole = true;
    while let Some(word) = words.next() {
        let Some(found) = flag(r, spot, word) else {
            is_whole = false;
            continue;
        };
        for flag in found {
            is_whole &= apply(r, spot, &mut flags, (word, flag), &mut words).is_some();
        }
    }
    if !is_whole {
        return None;
    }
    flags.trust.tolerate.sort_by_key(|one| one.what);
    for one in &flags.trust.tolerate {
        warn(r, spot, one.what, None);
    }
    check(r, spot, &flags.trust);
    Some(flags)
}

/// What a word stands for: one flag, or some of one letter each.
fn flag(r: &mut Reader, spot: &Spot, word: &str) -> Option<Vec<Flag>> {
    let known = |word: &str| {
        FLAGS
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, flag)| *flag)
    };
    if let Some(flag) = known(word) {
        return Some(vec![flag]);
    }
    if let Some(letters) = word.strip_prefix('-')
        && !letters.is_empty()
        && letters.bytes().all(|b| matches!(b, b'C' | b'G' | b'S'))
    {
        return letters
            .chars()
            .map(|letter| known(&format!("-{letter}")))
            .collect();
    }
    let names = FLAGS.map(|(name, _)| name);
    let help =
        did_you_mean(word, &names).unwrap_or_else(|| format!("known are {}", names.join(", ")));
    let message = format!("`{}` is no flag of attestation that is known", shown(word));
    r.bad_value(spot, message, help);
    None
}

fn apply<'w>(
    r: &mut Reader,
    spot: &Spot,
    flags: &mut Flags,
    (word, flag): (&str, Flag),
    words: &mut impl Iterator<Item = &'w str>,
) -> Option<()> {
    let pins = &mut flags.trust.pins;
    match flag {
        Flag::Tolerates(what) => {
            if flags.trust.tolerate.iter().all(|one| one.what != what) {
                let terms = None;
                flags.trust.tolerate.push(TrustTolerance { what, terms });
            }
        }
        Flag::Enclave => pins.mrenclave.push(value(r, spot, word, words)?),
        Flag::Signer => pins.mrsigner.push(value(r, spot, word, words)?),
        Flag::Product => pins.isvprodid = Some(value(r, spot, word, words)?),
        Flag::Version => pins.isvsvn = Some(value(r, spot, word, words)?),
        Flag::CasKey => flags.cas_key = Some(value(r, spot, word, words)?),
        Flag::SoftwareKey => pins.software_key = Some(value(r, spot, word, words)?),
    }
    Some(())
}

fn value<'w, T>(
    r: &mut Reader,
    spot: &Spot,
    word: &str,
    words: &mut impl Iterator<Item = &'w str>,
) -> Option<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    let Some(text) = words.next() else {
        r.report
            .error(Code::BadValue, spot, format!("`{word}` needs a value"));
        return None;
    };
    match text.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            r.report
                .error(Code::BadValue, spot, format!("`{word}`: {error}"));
            None
        }
    }
}

/// Warns of what a tolerance does.
fn warn(r: &mut Reader, spot: &Spot, what: CasTolerance, terms: Option<&Terms>) {
    let (harm, word) = (what.harm(), what.as_str());
    match terms {
        Some(terms) => r.report.warn(
            Code::WeakAttestation,
            spot,
            format!("`{word}`: {harm}, until {}", terms.until),
            format!("remove `{word}` before that"),
        ),
        None if what.effect() == Effect::Weaker => r.report.warn(
            Code::WeakAttestation,
            spot,
            format!("`{word}`: {harm}"),
            format!("write `{{what: {word}, reason: …, until: 2027-01-31}}`"),
        ),
        None => r.report.warn(
            Code::WeakAttestation,
            spot,
            format!("`{word}`: {harm}, WITHOUT A REASON AND FOR EVER"),
            format!("write `{{what: {word}, reason: …, until: 2027-01-31}}`"),
        ),
    }
}

/// What belongs together.
fn check(r: &mut Reader, spot: &Spot, trust: &CasTrust) {
    let has = |what| trust.tolerate.iter().any(|one| one.what == what);
    if has(CasTolerance::AnySigner)
        && trust.pins.mrenclave.is_empty()
        && !has(CasTolerance::AnyEnclave)
    {
        r.conflict(
            spot,
            "where any signer is believed, the program must be pinned",
            "pin `mrenclave`",
        );
    }
    if has(CasTolerance::AnyEnclave) && !has(CasTolerance::DebugMode) {
        r.conflict(
            spot,
            "any program is believed only if it may be debuggable",
            "tolerate `debug-mode`, too, or pin `mrenclave`",
        );
    }
}
