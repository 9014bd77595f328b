//! vTPM evidence: files of JSON, YAML and protocol buffers, and what they encode.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD},
};
use mse_attest::{Collateral, Evidence};
use serde_json::Value;

use crate::{
    certificates::{ders, pem, rearranged},
    corpus::{Corpus, at},
    dcap::{DEEDS, pointers},
    mutant::{Change, Effort, Mutant, Sink, flipped},
    positives::{Positive, Source},
};

/// Files that prove something alone: of three TDX samples the corpus has no collateral, and the
/// parts of an HCL report are changed by tests of their own.
const SAMPLES: [(&str, &str, u64); 9] = [
    (
        "azure-snp-vtpm",
        "azure-snp-vtpm/trustee-v2/evidence-v2.json",
        1_780_000_000,
    ),
    (
        "azure-snp-vtpm",
        "azure-snp-vtpm/trustee-v0/evidence-v0.json",
        1_780_000_000,
    ),
    (
        "azure-snp-vtpm",
        "azure-snp-vtpm/trustee-v1/evidence-v1.json",
        1_780_000_000,
    ),
    (
        "azure-snp-vtpm",
        "azure-snp-vtpm/trustee-genoa/evidence-genoa.json",
        1_780_000_000,
    ),
    (
        "azure-tdx-vtpm",
        "azure-tdx-vtpm/flashbots-ak-intermediates/azure-tdx-with-ak-intermediates-1780922561.yaml",
        1_780_922_561,
    ),
    (
        "tpm",
        "tpm/vaportpm-gcp-amd/test-gcp-amd-fixture.json",
        1_770_019_200,
    ),
    (
        "tpm",
        "tpm/vaportpm-nitro/test-nitro-fixture.json",
        1_770_116_400,
    ),
    ("tpm", "tpm/trustee-tpm/tpm_evidence.json", 1_780_000_000),
    (
        "tpm",
        "tpm/go-tpm-tools-gce-cos-85-no-nonce/gce-cos-85-no-nonce.pb",
        1_780_000_000,
    ),
];

const TDX_COLLATERAL: &str = "azure-tdx-vtpm/flashbots-ak-intermediates/azure-collateral-with-ak-intermediates-1780922561.yaml";

/// The accepted samples.
pub(crate) fn positives(corpus: &Corpus) -> Vec<Positive> {
    let mut of_kind = (/* the kind before */ "", 0);
    let positive = |(kind, path, now): (&'static str, &str, u64)| {
        of_kind = match of_kind {
            (before, index) if before == kind => (kind, index + 1),
            _ => (kind, 0),
        };
        let collateral = match kind {
            "azure-tdx-vtpm" => Collateral::parse(&corpus.read(TDX_COLLATERAL)).unwrap(),
            _ => Collateral::none(),
        };
        Positive::new(
            kind,
            of_kind.1,
            Source {
                id: path.to_owned(),
                claims: &toml::Table::new(),
                evidence: corpus.read(path),
                collateral,
                json: None,
                now: at(now),
            },
        )
    };
    SAMPLES.into_iter().map(positive).collect()
}

/// Whether nothing but the policy vouches for the sample's key.
pub(crate) fn has_a_pinned_key(id: &str) -> bool {
    id.starts_with("tpm/trustee") || id.starts_with("tpm/go-tpm-tools")
}

/// All mutants of a file, as a hostile attester could send them.
pub(crate) fn mutate(positive: &Positive, effort: Effort, sink: Sink<'_>) {
    let file = &positive.evidence;
    let mut give = |part, what: String, bytes: Vec<u8>| {
        sink(Mutant {
            part,
            what,
            change: Change::EvidenceFile(bytes),
        });
    };
    for at in effort.positions(positive.index, file.len(), (5, 61)) {
        give(
            "evidence, a bit of the file",
            format!("bit {} of byte {at} of the file flipped", at % 8),
            flipped(file, at),
        );
    }
    for at in effort.positions(positive.index, file.len(), (23, 97)) {
        give(
            "evidence, cut short",
            format!("only {at} bytes of the file"),
            file[..at].to_vec(),
        );
        let mut shorter = file.clone();
        shorter.remove(at);
        give(
            "evidence, a byte removed",
            format!("byte {at} of the file removed"),
            shorter,
        );
    }
    for value in [0, b'}', 0xff] {
        let mut longer = file.clone();
        longer.push(value);
        give(
            "evidence, a byte appended",
            format!("byte {value:#04x} behind the file"),
            longer,
        );
    }
    if let Ok(value) = serde_json::from_slice(file) {
        mutate_members(&value, positive.index, effort, &mut give);
    }
}

/// Each member removed, emptied or changed; and each byte of what members encode.
fn mutate_members(
    file: &Value,
    index: usize,
    effort: Effort,
    give: &mut dyn FnMut(&'static str, String, Vec<u8>),
) {
    let pointers = pointers(file);
    for at in effort.positions(index, pointers.len(), (1, 7)) {
        let pointer = &pointers[at];
        for (deed, change) in DEEDS {
            let mut changed = file.clone();
            if change(&mut changed, pointer) {
                give(
                    "evidence, a member of the file",
                    format!("member `{pointer}` {deed}"),
                    changed.to_string().into_bytes(),
                );
            }
        }
    }
    for pointer in &pointers {
        let Some(text) = file.pointer(pointer).and_then(Value::as_str) else {
            continue;
        };
        for (what, chain) in rearranged(&ders(text), &[]) {
            let mut changed = file.clone();
            *changed.pointer_mut(pointer).unwrap() = Value::String(pem(&chain));
            give(
                "evidence, certificates",
                format!("{what} in `{pointer}`"),
                changed.to_string().into_bytes(),
            );
        }
        let Some((bytes, encode)) = decoded(text) else {
            continue;
        };
        let mut with = |part, what: String, bytes: &[u8]| {
            let mut changed = file.clone();
            *changed.pointer_mut(pointer).unwrap() = Value::String(encode(bytes));
            give(part, what, changed.to_string().into_bytes());
        };
        for at in effort.positions(index, bytes.len(), (1, 7)) {
            with(
                "evidence, a bit of a member",
                format!("bit {} of byte {at} in `{pointer}` flipped", at % 8),
                &flipped(&bytes, at),
            );
        }
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            with(
                "evidence, a member cut short",
                format!("only {length} bytes of `{pointer}`"),
                &bytes[..length],
            );
        }
        for value in [0, 0xff] {
            let longer = [bytes.as_slice(), &[value]].concat();
            with(
                "evidence, a byte behind a member",
                format!("byte {value:#04x} behind `{pointer}`"),
                &longer,
            );
        }
    }
}

type Encode = fn(&[u8]) -> String;

/// The bytes that `text` encodes, and how to encode others in the same way.
fn decoded(text: &str) -> Option<(Vec<u8>, Encode)> {
    let forms: [(Option<Vec<u8>>, Encode); 4] = [
        (hex::decode(text).ok(), |bytes| hex::encode(bytes)),
        (STANDARD.decode(text).ok(), |bytes| STANDARD.encode(bytes)),
        (URL_SAFE.decode(text).ok(), |bytes| URL_SAFE.encode(bytes)),
        (URL_SAFE_NO_PAD.decode(text).ok(), |bytes| {
            URL_SAFE_NO_PAD.encode(bytes)
        }),
    ];
    forms.into_iter().find_map(|(bytes, encode)| {
        let bytes = bytes.filter(|bytes| !bytes.is_empty())?;
        Some((bytes, encode))
    })
}

/// Whether the file says what the genuine one says.
pub(crate) fn is_same_evidence(positive: &Positive, mutant: &Mutant) -> bool {
    parsed(mutant).is_some_and(|changed| changed == positive.genuine)
}

/// Whether only the challenge that the file states is gone: the signed one is in the quote.
pub(crate) fn lacks_the_stated_challenge(positive: &Positive, mutant: &Mutant) -> bool {
    let without = edited(positive, |file| {
        file.as_object_mut()?.remove("nonce").map(|_| ())
    });
    without.is_some() && parsed(mutant) == without
}

/// Whether only the root is gone from the chain in the file.
pub(crate) fn lacks_the_root(positive: &Positive, mutant: &Mutant) -> bool {
    let without = edited(positive, |file| {
        let chain = file.pointer_mut("/attestation/gcp/ak_cert_chain")?;
        let mut certificates = ders(chain.as_str()?);
        certificates.pop();
        *chain = Value::String(pem(&certificates));
        Some(())
    });
    without.is_some() && parsed(mutant) == without
}

/// Whether only the certificate of a key that the policy pins was changed: in the one sample that
/// has both, it is at the end.
pub(crate) fn differs_in_a_needless_certificate(positive: &Positive, mutant: &Mutant) -> bool {
    const CERTIFICATE_BYTES: usize = 1340;
    let (genuine, Change::EvidenceFile(changed)) = (&positive.evidence, &mutant.change) else {
        return false;
    };
    let begin = genuine.len() - CERTIFICATE_BYTES;
    positive.id.contains("go-tpm-tools")
        && genuine.len() == changed.len()
        && genuine[..begin] == changed[..begin]
}

/// Whether a whole part of go-tpm-tools' message is gone, and nothing else was changed: a quote of
/// another bank, the event log, the key's certificate. A field with another number is one that
/// nobody knows. All that is said is said by the genuine message too.
pub(crate) fn lacks_a_part(positive: &Positive, mutant: &Mutant) -> bool {
    let (Some(changed), true) = (parsed(mutant), positive.id.contains("go-tpm-tools")) else {
        return false;
    };
    let said = |evidence: &Evidence| -> Vec<(String, String)> {
        mse_attest::fields(evidence)
            .unwrap_or_default()
            .into_iter()
            .map(|field| (field.name.clone(), field.value.clone()))
            .collect()
    };
    let (genuine, changed) = (said(&positive.genuine), said(&changed));
    !changed.is_empty() && changed.iter().all(|field| genuine.contains(field))
}

/// Whether only the number of the HCL report's header version was changed.
pub(crate) fn differs_in_hcl_version(positive: &Positive, mutant: &Mutant) -> bool {
    differs_in_hcl_report_at(positive, mutant, |at| at == 4)
}

/// Whether only `CPUSVN` or the MAC of a TD report in an HCL report was changed.
pub(crate) fn differs_in_local_td_report(positive: &Positive, mutant: &Mutant) -> bool {
    positive.kind == "azure-tdx-vtpm"
        && differs_in_hcl_report_at(
            positive,
            mutant,
            |at| matches!(at - 0x20, 16..32 | 224..256),
        )
}

fn differs_in_hcl_report_at(
    positive: &Positive,
    mutant: &Mutant,
    may_differ: impl Fn(usize) -> bool,
) -> bool {
    let Change::EvidenceFile(changed) = &mutant.change else {
        return false;
    };
    let (Some(genuine), Some(changed)) = (hcl_report(&positive.evidence), hcl_report(changed))
    else {
        return false;
    };
    let different: Vec<_> = (0..genuine.len().max(changed.len()))
        .filter(|at| genuine.get(*at) != changed.get(*at))
        .collect();
    !different.is_empty() && different.into_iter().all(may_differ)
}

/// The HCL report in a file: numbers, Base64, or Base64 in YAML.
fn hcl_report(file: &[u8]) -> Option<Vec<u8>> {
    if let Ok(json) = serde_json::from_slice::<Value>(file) {
        return match (json.get("report"), json.get("hcl_report")) {
            (Some(numbers), _) => serde_json::from_value(numbers.clone()).ok(),
            (_, Some(text)) => decoded(text.as_str()?).map(|(bytes, _)| bytes),
            _ => None,
        };
    }
    let text = str::from_utf8(file).ok()?;
    let mut lines = text
        .lines()
        .skip_while(|line| !line.starts_with("hcl_report"));
    lines.next()?;
    let folded: String = lines
        .take_while(|line| line.starts_with(' '))
        .map(|line| line.trim().replace('+', "-").replace('/', "_"))
        .collect();
    URL_SAFE_NO_PAD.decode(folded.trim_end_matches('=')).ok()
}

fn parsed(mutant: &Mutant) -> Option<Evidence> {
    match &mutant.change {
        Change::EvidenceFile(file) => Evidence::parse(file).ok(),
        _ => None,
    }
}

/// The evidence of the sample's file after `edit`, if that applies to it.
fn edited(positive: &Positive, edit: impl FnOnce(&mut Value) -> Option<()>) -> Option<Evidence> {
    let mut file = serde_json::from_slice(&positive.evidence).ok()?;
    edit(&mut file)?;
    Evidence::parse(file.to_string().as_bytes()).ok()
}
