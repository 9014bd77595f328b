//! The checks of vTPM evidence, in the order in which they decide.

use super::{
    azure, certificates,
    claims::{VtpmClaims, signed_pcrs},
    evidence::{Binding, Stated, TpmQuote, VtpmEvidence},
    key::AttestationKey,
    nitrotpm,
};
use crate::{
    CheckName, Claims, Reason, ReferenceValues,
    appraise::Case,
    judge::{NOT_GIVEN, join, judge_nonce, judge_references},
    ledger::{Failure, Fault, Holds, Ledger, hint_for},
};

pub(crate) fn appraise(ledger: &mut Ledger, evidence: &VtpmEvidence, case: &Case<'_>) {
    let stated = &evidence.0;
    ledger.passed(
        CheckName::EvidenceFormat,
        match stated.hcl() {
            Some(hcl) => format!(
                "HCL report of header version {} about {}, {} TPM quotes",
                hcl.header_version,
                hcl.hardware.as_str(),
                stated.quotes.len()
            ),
            None => format!("{} TPM quotes", stated.quotes.len()),
        },
        "the layout of HCL reports and TPM structures",
    );
    let expected = Expected::split(case.expected, stated);

    // What vouches for the key comes first: without it the rest only repeats what somebody says.
    let below = case.with_expected(&expected.below);
    match &stated.binding {
        Binding::AzureSnp { hcl, vek } => azure::judge_snp(ledger, hcl, vek, &below),
        Binding::AzureTdx { hcl, td_quote } => {
            azure::judge_tdx(ledger, hcl, td_quote.as_deref(), &below);
        }
        Binding::Nitro(document) => nitrotpm::judge(ledger, stated, document, &below),
        Binding::Certificates(chain) => certificates::judge(ledger, stated, chain, case),
    }
    let claims = VtpmClaims::of(stated, ledger.take_claims());
    ledger.set_claims(Claims::Vtpm(Box::new(claims)));

    judge_signatures(ledger, stated);
    judge_pcr_digests(ledger, stated);
    judge_values(ledger, stated, &expected.here, case);
    judge_challenge(ledger, stated, &expected.here);
}

/// What the caller expects, by who has it.
struct Expected {
    /// Of the TPM.
    here: ReferenceValues,
    /// Of the hardware report or document below it.
    below: ReferenceValues,
}

impl Expected {
    fn split(expected: &ReferenceValues, stated: &Stated) -> Self {
        let mut here = expected.clone();
        let mut below = ReferenceValues::default();
        if !matches!(stated.binding, Binding::Certificates(_)) {
            below.mrenclave = here.mrenclave.take();
            below.mrsigner = here.mrsigner.take();
            here.claims.retain(|name, value| {
                let is_here = is_ours(name);
                if !is_here {
                    below.claims.insert(name.clone(), value.clone());
                }
                is_here
            });
        }
        Self { here, below }
    }
}

/// Whether a claim of this name is the TPM's own.
fn is_ours(name: &str) -> bool {
    [USER_DATA, AK_SHA256].contains(&name)
        || name.strip_prefix("pcr").is_some_and(|index| {
            !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit())
        })
}

const USER_DATA: &str = "user_data";
const AK_SHA256: &str = "ak_sha256";

/// Each quote is signed by the attestation key.
fn judge_signatures(ledger: &mut Ledger, stated: &Stated) {
    let with = stated
        .ak()
        .map_or_else(|| "no attestation key".to_owned(), AttestationKey::describe);
    if stated.quotes.is_empty() {
        ledger.failed(
            CheckName::QuoteSignature,
            "no TPM quote".into(),
            with.clone(),
            Failure {
                reason: Reason::Malformed,
                why: "nothing is signed by the TPM: PCRs and challenge are unknown".into(),
                hint: "give the TPM quote that belongs to this report",
            },
        );
    }
    for quote in &stated.quotes {
        let holds = stated
            .ak()
            .is_some_and(|ak| ak.verifies(&quote.message, &quote.signature));
        ledger.compare(
            CheckName::QuoteSignature,
            format!("TPM quote, {}", quote.signature.scheme()),
            with.clone(),
            Holds(holds),
            || Failure {
                reason: Reason::Forged,
                why: "the TPM quote's signature is not one of its attestation key".into(),
                hint: hint_for(Reason::Forged),
            },
        );
    }
}

/// The PCR values are those that were signed.
fn judge_pcr_digests(ledger: &mut Ledger, stated: &Stated) {
    for quote in &stated.quotes {
        let mut compared = describe_selection(quote);
        if quote.unsigned > 0 {
            compared = format!(
                "{compared}; {} other values are given and not signed: they are left out",
                quote.unsigned
            );
        }
        let with = format!("digest {}", hex::encode(&quote.attest.pcr_digest));
        if let Some((bank, index)) = quote.missing_pcr() {
            let why = format!(
                "PCR {index} of the bank {} is signed, and its value is not given",
                bank.name()
            );
            ledger.malformed(CheckName::PcrDigest, compared, with, why);
            continue;
        }
        let holds = quote.digest_of_pcrs() == quote.attest.pcr_digest;
        ledger.compare(CheckName::PcrDigest, compared, with, Holds(holds), || {
            Failure {
                reason: Reason::Forged,
                why: "the PCR values are not those that the TPM signed".into(),
                hint: hint_for(Reason::Forged),
            }
        });
    }
}

fn describe_selection(quote: &TpmQuote) -> String {
    join(quote.attest.selections.iter().map(|selection| {
        format!(
            "{} values of the bank {}",
            selection.pcrs.len(),
            selection.bank.name()
        )
    }))
}

/// PCRs, user data and key against the values that policy and caller name.
fn judge_values(ledger: &mut Ledger, stated: &Stated, here: &ReferenceValues, case: &Case<'_>) {
    let (bank, pcrs) = signed_pcrs(stated);
    if bank.is_none() && !stated.quotes.is_empty() {
        ledger.failed(
            CheckName::PcrDigest,
            join(stated.quotes.iter().map(describe_selection)),
            "PCRs of the bank sha256, sha384 or sha512".into(),
            Failure {
                reason: Reason::Policy,
                why: "only PCRs of a bank that is too weak are signed".into(),
                hint: "quote the bank sha256",
            },
        );
    }
    let named: Vec<(String, Vec<u8>)> = pcrs
        .into_iter()
        .map(|(index, value)| (format!("pcr{index}"), value))
        .collect();
    let fingerprint = stated.ak().map(AttestationKey::fingerprint);
    let user_data = stated.hcl().and_then(|hcl| hcl.user_data.as_deref());
    let mut measured: Vec<(&str, &[u8])> = named
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    measured.extend(user_data.map(|data| (USER_DATA, data)));
    measured.extend(
        fingerprint
            .as_ref()
            .map(|hash| (AK_SHA256, hash.as_slice())),
    );
    // Also refuses a quote over fewer PCRs than the policy names.
    judge_references(ledger, SECTION, &measured, case.policy, here);
}

const SECTION: &str = "vtpm";

/// All quotes answer one challenge, and it is the expected one.
fn judge_challenge(ledger: &mut Ledger, stated: &Stated, here: &ReferenceValues) {
    let nonce = stated.quotes.first().map(|quote| &quote.attest.nonce);
    let others = stated.quotes.iter().map(|quote| &quote.attest.nonce);
    let differs = |other: &Vec<u8>| nonce.is_some_and(|nonce| nonce != other);
    let other = others.chain(&stated.nonce).find(|other| differs(other));
    if let (Some(nonce), Some(other)) = (nonce, other) {
        ledger.fault(
            hex::encode(nonce),
            hex::encode(other),
            Fault::mismatch(
                CheckName::Nonce,
                "the evidence has two challenges: its parts were not made together",
            ),
        );
        return;
    }
    match nonce {
        Some(nonce) => judge_nonce(ledger, Some(nonce), here),
        None if here.nonce.is_none() && here.report_data.is_none() => {
            ledger.skipped(CheckName::Nonce, "none", NOT_GIVEN);
        }
        None => judge_nonce(ledger, None, here),
    }
}
