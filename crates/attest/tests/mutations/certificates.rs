//! Certificates and CRLs: changed, removed, doubled, swapped, replaced.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use mse_attest::{Collateral, DcapCollateral, Evidence};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    mutant::{Change, Effort, Mutant, Sink, flipped},
    positives::Positive,
};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// A PEM chain of the collateral: its name and how to reach it.
type Chain = (&'static str, fn(&mut DcapCollateral) -> &mut String);

const CHAINS: [Chain; 3] = [
    ("pck_crl_issuer_chain", |dcap| {
        &mut dcap.pck_crl_issuer_chain
    }),
    ("tcb_info_issuer_chain", |dcap| {
        &mut dcap.tcb_info_issuer_chain
    }),
    ("qe_identity_issuer_chain", |dcap| {
        &mut dcap.qe_identity_issuer_chain
    }),
];

/// All mutants of the certificates and CRLs of `positive`.
pub(crate) fn mutate(positive: &Positive, all: &[Positive], effort: Effort, sink: Sink<'_>) {
    // One other sample of each index: all of them would be the square of the corpus.
    let others = all
        .iter()
        .filter(|other| other.kind == positive.kind && other.id != positive.id);
    let others: Vec<_> = match effort {
        Effort::All => others.collect(),
        Effort::Some => others.skip(positive.index).take(2).collect(),
    };
    if let Some(text) = pem_text(&positive.evidence) {
        let foreign = others.iter().filter_map(|other| pem_text(&other.evidence));
        let foreign: Vec<_> = foreign.map(ders).collect();
        for (what, chain) in rearranged(&ders(text), &foreign) {
            let Some(quote) = with_pem(&positive.evidence, &pem(&chain)) else {
                continue;
            };
            sink(Mutant {
                part: "evidence, certificates",
                what: format!("{what} in the chain of the evidence"),
                change: Change::Evidence(positive.as_given(quote)),
            });
        }
    }
    if positive.collateral.dcap.is_some() {
        for (name, of) in CHAINS {
            mutate_pem_chain(positive, &others, (name, of), effort, sink);
        }
    }
    mutate_ders(positive, &others, effort, sink);
}

fn mutate_pem_chain(
    positive: &Positive,
    others: &[&Positive],
    (name, of): Chain,
    effort: Effort,
    sink: Sink<'_>,
) {
    let mut genuine = positive.collateral.clone();
    let text = of(genuine.dcap.as_mut().unwrap()).clone();
    let mut give = |part, what: String, text: String| {
        let mut collateral = positive.collateral.clone();
        *of(collateral.dcap.as_mut().unwrap()) = text;
        sink(Mutant {
            part,
            what,
            change: Change::Collateral(Box::new(collateral)),
        });
    };
    let foreign: Vec<_> = others
        .iter()
        .filter_map(|other| other.collateral.dcap.clone())
        .map(|mut dcap| ders(of(&mut dcap)))
        .collect();
    for (what, chain) in rearranged(&ders(&text), &foreign) {
        give(
            "collateral, certificates",
            format!("{what} in `{name}`"),
            pem(&chain),
        );
    }
    for at in effort.positions(positive.index, text.len(), (11, 1499)) {
        let mut changed = text.clone().into_bytes();
        // Seven bits: ASCII stays ASCII, as a text has to.
        changed[at] ^= 1 << (at % 7);
        let changed = String::from_utf8(changed).unwrap();
        give(
            "collateral, a character of PEM",
            format!("bit {} of character {at} of `{name}` flipped", at % 7),
            changed,
        );
    }
}

/// The certificates and CRLs that are beside the evidence, in DER.
fn mutate_ders(positive: &Positive, others: &[&Positive], effort: Effort, sink: Sink<'_>) {
    let genuine = &positive.collateral;
    let mut give = |part, what: String, change: &mut dyn FnMut(&mut Collateral)| {
        let mut collateral = genuine.clone();
        change(&mut collateral);
        sink(Mutant {
            part,
            what,
            change: Change::Collateral(Box::new(collateral)),
        });
    };
    let foreign: Vec<_> = others
        .iter()
        .map(|other| other.collateral.certificates.clone())
        .collect();
    for (what, chain) in rearranged(&genuine.certificates, &foreign) {
        give(
            "collateral, certificates",
            format!("{what} in the chain"),
            &mut |collateral| {
                collateral.certificates.clone_from(&chain);
            },
        );
    }
    for (number, der) in genuine.certificates.iter().enumerate() {
        for at in effort.positions(positive.index, der.len(), (7, 197)) {
            give(
                "collateral, a bit of a certificate",
                format!(
                    "bit {} of byte {at} of certificate {number} flipped",
                    at % 8
                ),
                &mut |collateral| collateral.certificates[number] = flipped(der, at),
            );
        }
        give(
            "collateral, a byte behind a certificate",
            format!("a byte behind certificate {number}"),
            &mut |collateral| collateral.certificates[number].push(0),
        );
    }
    for (number, der) in genuine.crls.iter().enumerate() {
        for at in effort.positions(positive.index, der.len(), (7, 197)) {
            give(
                "collateral, a bit of a CRL",
                format!("bit {} of byte {at} of CRL {number} flipped", at % 8),
                &mut |collateral| collateral.crls[number] = flipped(der, at),
            );
        }
    }
}

/// Each certificate removed, doubled, swapped with the next, and replaced by that of another
/// sample in the same place.
pub(crate) fn rearranged(
    chain: &[Vec<u8>],
    foreign: &[Vec<Vec<u8>>],
) -> Vec<(String, Vec<Vec<u8>>)> {
    let mut all = Vec::new();
    for at in 0..chain.len() {
        let mut removed = chain.to_vec();
        removed.remove(at);
        all.push((format!("certificate {at} removed"), removed));
        let mut doubled = chain.to_vec();
        doubled.insert(at, chain[at].clone());
        all.push((format!("certificate {at} doubled"), doubled));
        if at + 1 < chain.len() {
            let mut swapped = chain.to_vec();
            swapped.swap(at, at + 1);
            all.push((format!("certificates {at} and {} swapped", at + 1), swapped));
        }
        for (number, other) in foreign.iter().enumerate() {
            if let Some(other) = other.get(at)
                && *other != chain[at]
            {
                let mut replaced = chain.to_vec();
                replaced[at].clone_from(other);
                all.push((
                    format!("certificate {at} replaced by that of sample {number}"),
                    replaced,
                ));
            }
        }
    }
    all
}

/// Whether only white space of a PEM text was changed.
pub(crate) fn differs_in_white_space_only(positive: &Positive, mutant: &Mutant) -> bool {
    let visible = |text: &str| -> String { text.split_ascii_whitespace().collect() };
    match &mutant.change {
        Change::Evidence(evidence) => {
            let (genuine, changed) = (&positive.evidence, evidence.as_bytes());
            let Some(begin) = pem_begin(genuine) else {
                return false;
            };
            // All before the chain is the same, but for lengths that are told apart by parsing.
            genuine.len() == changed.len()
                && genuine[..begin] == changed[..begin]
                && matches!(
                    (str::from_utf8(&genuine[begin..]), str::from_utf8(&changed[begin..])),
                    (Ok(genuine), Ok(changed)) if visible(genuine) == visible(changed)
                )
        }
        Change::Collateral(changed) => {
            let normal = |collateral: &Collateral| {
                let mut collateral = collateral.clone();
                if let Some(dcap) = &mut collateral.dcap {
                    for (_, of) in CHAINS {
                        let text = of(dcap);
                        *text = visible(text);
                    }
                }
                collateral
            };
            normal(&positive.collateral) == normal(changed)
        }
        // In the TD quote that is in the file; zeros pad it.
        Change::EvidenceFile(file) => {
            let (Evidence::Vtpm(genuine), Ok(Evidence::Vtpm(changed))) =
                (&positive.genuine, Evidence::parse(file))
            else {
                return false;
            };
            let parts = |quote: &[u8]| -> Option<(Vec<u8>, String)> {
                let begin = pem_begin(quote)?;
                let text = str::from_utf8(&quote[begin..]).ok()?;
                Some((
                    quote[..begin].to_vec(),
                    visible(text.trim_end_matches('\0')),
                ))
            };
            let genuine = genuine.td_quote().and_then(parts);
            genuine.is_some() && genuine == changed.td_quote().and_then(parts)
        }
        Change::Json(json) => Collateral::from_json(json).is_ok_and(|collateral| {
            differs_in_white_space_only(
                positive,
                &Mutant {
                    part: "",
                    what: String::new(),
                    change: Change::Collateral(Box::new(collateral)),
                },
            )
        }),
    }
}

/// Whether only the first certificate of the evidence's chain is another, and that one says the
/// same of the same key but for its dates.
pub(crate) fn has_a_reissued_leaf_only(positive: &Positive, mutant: &Mutant) -> bool {
    let Change::Evidence(evidence) = &mutant.change else {
        return false;
    };
    let (Some(genuine), Some(changed)) =
        (pem_text(&positive.evidence), pem_text(evidence.as_bytes()))
    else {
        return false;
    };
    let (genuine, changed) = (ders(genuine), ders(changed));
    let (Some((leaf, rest)), Some((new_leaf, new_rest))) =
        (genuine.split_first(), changed.split_first())
    else {
        return false;
    };
    let says = |der: &[u8]| {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let extensions: Vec<_> = certificate
            .extensions()
            .iter()
            .map(|extension| (extension.oid.to_id_string(), extension.value.to_vec()))
            .collect();
        Some((
            certificate.raw_serial().to_vec(),
            certificate.issuer().as_raw().to_vec(),
            certificate.subject().as_raw().to_vec(),
            certificate.public_key().raw.to_vec(),
            extensions,
        ))
    };
    rest == new_rest && says(leaf).is_some() && says(leaf) == says(new_leaf)
}

/// Whether only the root is missing in the chain of a VEK.
pub(crate) fn lacks_the_root_only(positive: &Positive, mutant: &Mutant) -> bool {
    let genuine = &positive.collateral.certificates;
    matches!(
        (&mutant.change, genuine.split_last()),
        (Change::Collateral(changed), Some((_, rest)))
            if positive.kind == "snp" && genuine.len() == 3 && changed.certificates == rest
    )
}

/// Whether only a byte behind the PEM chain was changed, into NUL or white space.
pub(crate) fn differs_in_final_nul_only(positive: &Positive, mutant: &Mutant) -> bool {
    let Change::Evidence(evidence) = &mutant.change else {
        return false;
    };
    let (Some(genuine), Some(changed)) =
        (pem_end(&positive.evidence), pem_end(evidence.as_bytes()))
    else {
        return false;
    };
    let tail = &evidence.as_bytes()[changed..];
    positive.evidence[..genuine] == evidence.as_bytes()[..changed]
        && positive.evidence.len() == evidence.as_bytes().len()
        && tail
            .iter()
            .all(|byte| *byte == 0 || byte.is_ascii_whitespace())
}

/// Where the PEM text in `evidence` begins, if there is one.
pub(crate) fn pem_begin(evidence: &[u8]) -> Option<usize> {
    let begin = BEGIN.as_bytes();
    evidence
        .windows(begin.len())
        .position(|window| window == begin)
}

fn pem_end(evidence: &[u8]) -> Option<usize> {
    let end = END.as_bytes();
    evidence
        .windows(end.len())
        .rposition(|window| window == end)
        .map(|at| at + end.len())
}

fn pem_text(evidence: &[u8]) -> Option<&str> {
    let text = &evidence[pem_begin(evidence)?..pem_end(evidence)?];
    str::from_utf8(text).ok()
}

/// The certificates of a PEM text. Written for these tests: what is tested has its own.
pub(crate) fn ders(text: &str) -> Vec<Vec<u8>> {
    text.split(BEGIN)
        .skip(1)
        .filter_map(|part| {
            let body: String = part.split(END).next()?.split_whitespace().collect();
            STANDARD.decode(body).ok()
        })
        .collect()
}

pub(crate) fn pem(ders: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for der in ders {
        text.extend([BEGIN, "\n", &STANDARD.encode(der), "\n", END, "\n"]);
    }
    text
}

/// The quote with another PEM chain at its end, and all lengths right.
fn with_pem(quote: &[u8], text: &str) -> Option<Vec<u8>> {
    let begin = pem_begin(quote)?;
    let mut changed = quote[..begin].to_vec();
    changed.extend(text.as_bytes());
    for at in crate::dcap::length_fields(quote)? {
        let length = u32::try_from(changed.len() - at - 4).ok()?;
        changed[at..at + 4].copy_from_slice(&length.to_le_bytes());
    }
    let is_quote = Evidence::parse(&changed).is_ok();
    assert!(is_quote, "a quote with another chain is a quote");
    Some(changed)
}
