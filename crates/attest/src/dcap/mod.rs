//! Quotes of the DCAP form: Intel SGX and TDX, and simulated platforms.
//!
//! A quote is a report about an enclave or trust domain, signed by an *attestation key* of the
//! platform's quoting enclave (QE). The QE's own report binds the key and is signed by the
//! platform's *PCK* key, whose certificate ends in Intel's root. TCB info and QE identity, signed
//! by Intel as well, say how well patched platform, TDX module and QE are.
//!
//! Specifications: Intel SGX ECDSA QuoteLibReference (quote version 3), Intel TDX DCAP Quoting
//! Library API (versions 4 and 5), Intel PCS API v4 (collateral), and for the PCK certificate
//! Intel SGX PCK Certificate and CRL Profile.

mod endorse;
mod explain;
mod judge;
mod outlook;
mod pck;
mod qe_identity;
mod quote;
mod report;
mod signed_json;
mod tcb;
mod tcb_info;

pub use pck::{PckCa, PckCertificate, PckError};
pub use quote::{Body, MAX_QUOTE_BYTES, Quote, QuoteError};
pub use report::{EnclaveReport, SgxClaims, TdReport, TdxClaims};

pub(crate) use endorse::Endorsement;
pub(crate) use explain::fields;
pub(crate) use outlook::{NewestLevel, Outlook, outlook};

use crate::{
    CheckName, DcapCollateral, Reason, Tee, TrustAnchor,
    appraise::Case,
    ledger::{Failure, Fault, Ledger},
    memory::{Key, Remembered},
    x509::PemChain,
};

/// Appraises a quote that was given as one of `tee`: whoever takes evidence for what its variant
/// says must not be handed the other kind.
pub(crate) fn appraise_as(ledger: &mut Ledger, tee: Tee, raw: &[u8], case: &Case<'_>) {
    let Some(quote) = parse(ledger, raw) else {
        return;
    };
    let found = quote.body.tee();
    if found == tee {
        return appraise_quote(ledger, &quote, raw.len(), case);
    }
    let name = |tee| match tee {
        Tee::Sgx => "an SGX enclave",
        _ => "a TDX trust domain",
    };
    let (found, wanted) = (name(found), name(tee));
    ledger.failed(
        CheckName::EvidenceFormat,
        format!("a quote about {found}"),
        format!("a quote about {wanted}"),
        Failure {
            reason: Reason::Mismatch,
            why: format!("the quote is about {found} and was given as one about {wanted}"),
            hint: "let `Evidence::parse` find out what the quote is about",
        },
    );
}

/// Appraises a quote: all that [`crate::appraise`] promises, in its order.
pub(crate) fn appraise(ledger: &mut Ledger, raw: &[u8], case: &Case<'_>) {
    if let Some(quote) = parse(ledger, raw) {
        appraise_quote(ledger, &quote, raw.len(), case);
    }
}

/// The quote, or `None` when the ledger says why it is none.
fn parse<'a>(ledger: &mut Ledger, raw: &'a [u8]) -> Option<Quote<'a>> {
    Quote::parse(raw)
        .map_err(|error| {
            ledger.malformed(
                CheckName::EvidenceFormat,
                format!("{} bytes", raw.len()),
                LAYOUT,
                error.to_string(),
            );
        })
        .ok()
}

fn appraise_quote(ledger: &mut Ledger, quote: &Quote<'_>, size: usize, case: &Case<'_>) {
    ledger.passed(
        CheckName::EvidenceFormat,
        format!("quote version {}, {size} bytes", quote.version),
        LAYOUT,
    );
    ledger.set_claims(quote.body.claims());

    let anchor = Anchored::find(ledger, quote, case);
    let endorsement = anchor
        .as_ref()
        .and_then(|anchored| anchored.endorsement(ledger, quote, case));
    match &endorsement {
        Some(endorsement) => {
            ledger.set_tcb(endorsement.tcb());
            judge::judge_platform(ledger, endorsement, case);
        }
        None => judge::skip_unproven(ledger),
    }
    let anchor = anchor.map(|anchored| anchored.anchor);
    judge::judge_code(ledger, &quote.body, anchor, case);
}

/// A quote's chain and collateral, and the anchor in which the chain ends.
struct Anchored<'a> {
    collateral: &'a DcapCollateral,
    chain: PemChain,
    anchor: &'a TrustAnchor,
}

impl<'a> Anchored<'a> {
    /// `None` when the ledger says what is missing.
    fn find(ledger: &mut Ledger, quote: &Quote<'_>, case: &Case<'a>) -> Option<Self> {
        let Some(collateral) = &case.collateral.dcap else {
            ledger.malformed(
                CheckName::CollateralFormat,
                "none".into(),
                "TCB info, QE identity and CRLs of this platform",
                "the quote cannot be appraised without its collateral".into(),
            );
            return None;
        };
        ledger.passed(
            CheckName::CollateralFormat,
            format!("{} bytes", case.collateral.size()),
            "the limit",
        );
        let chain = match endorse::pck_chain(quote, collateral) {
            Ok(chain) => chain,
            Err(fault) => {
                ledger.fault("certificate chain of the quote", "PEM up to a root", fault);
                return None;
            }
        };
        let anchor = judge::find_anchor(ledger, &chain, case.policy)?;
        ledger.set_tee(anchor.tee_of(quote.body.tee()));
        Some(Self {
            collateral,
            chain,
            anchor,
        })
    }

    /// What the signature chain proves, or `None` when the ledger says why it proves nothing.
    fn endorsement(
        &self,
        ledger: &mut Ledger,
        quote: &Quote<'_>,
        case: &Case<'_>,
    ) -> Option<Endorsement> {
        let result = if case.has_memory() {
            self.remembered(quote, case)
        } else {
            endorse::endorse(quote, &self.chain, self.collateral, self.anchor)
        };
        judge::record_endorsement(ledger, self.anchor, result, case.now)
    }

    /// As [`endorse::endorse`], unless it was done before for the same bytes.
    fn remembered(&self, quote: &Quote<'_>, case: &Case<'_>) -> Result<Endorsement, Fault> {
        // Everything but the quote's own signature is the same for each quote of one quoting
        // enclave.
        let mut parts = vec![self.anchor.root_key(), quote.endorsed];
        parts.extend(quote.body.tcb_selectors());
        parts.extend(self.collateral.parts());
        let key = Key::of("dcap", &parts);
        match case.recall(&key) {
            Some(Remembered::Dcap(endorsement)) => {
                endorse::verify_quote_signature(quote).map(|()| endorsement)
            }
            _ => endorse::endorse(quote, &self.chain, self.collateral, self.anchor)
                .inspect(|endorsement| case.remember(key, Remembered::Dcap(endorsement.clone()))),
        }
    }
}

const LAYOUT: &str = "the layout of an ECDSA quote of version 3, 4 or 5";
