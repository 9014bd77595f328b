//! Evidence described field by field, for people.

use serde::Serialize;

use crate::{Evidence, EvidenceError, dcap, nitro, snp, vtpm};

/// One field of a piece of evidence, for people who want to see what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    /// The field's name, with the part of the evidence it is in: `report.mrenclave`.
    pub name: String,
    /// Its value as text: numbers in decimal, bytes in hexadecimal.
    pub value: String,
    /// What it stands for.
    pub meaning: &'static str,
}

/// Describes `evidence` field by field, in the order of its bytes. Nothing is verified.
pub fn fields(evidence: &Evidence) -> Result<Vec<Field>, EvidenceError> {
    Ok(match evidence {
        Evidence::SgxDcap(quote) | Evidence::TdxDcap(quote) => {
            dcap::fields(&dcap::Quote::parse(quote)?)
        }
        Evidence::Snp(report) => snp::fields(&snp::Report::parse(report)?),
        Evidence::Nitro(document) => nitro::fields(&nitro::Document::parse(document)?),
        Evidence::Vtpm(evidence) => vtpm::fields(evidence),
    })
}
