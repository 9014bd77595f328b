//! Evidence: what a TEE signs about the code that runs in it.

use std::fmt;

use crate::quote::{QuoteError, SgxQuote};

/// Evidence of one of the supported kinds, as raw bytes.
///
/// Holding a value says nothing about its truth: only [`crate::appraise`] does.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Evidence {
    /// An SGX ECDSA quote, DCAP version 3: header, report body and signature data, without
    /// anything after it. Real and simulated platforms share this form.
    SgxDcap(Vec<u8>),
}

impl Evidence {
    /// Finds out the kind of `bytes` and checks that they have its exact layout.
    pub fn parse(bytes: &[u8]) -> Result<Self, QuoteError> {
        SgxQuote::parse(bytes)?;
        Ok(Self::SgxDcap(bytes.to_vec()))
    }

    /// The report data that the evidence states: a claim, until [`crate::appraise`] has seen it.
    pub fn stated_report_data(&self) -> Option<[u8; 64]> {
        match self {
            Self::SgxDcap(quote) => SgxQuote::parse(quote)
                .ok()
                .map(|quote| *quote.report.report_data()),
        }
    }

    /// The bytes as the TEE made them.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::SgxDcap(quote) => quote,
        }
    }
}

impl fmt::Debug for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SgxDcap(quote) => write!(f, "SgxDcap({} bytes)", quote.len()),
        }
    }
}
