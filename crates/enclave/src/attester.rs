//! Where the enclave's evidence comes from.

use mse_attest::Evidence;

use crate::host::{HostError, HostLink};

/// A source of evidence about this very enclave.
#[derive(Clone)]
pub(crate) enum Attester {
    /// The launcher's simulated quoting service, over the launch socket.
    Simulated(HostLink),
}

impl Attester {
    /// Fresh evidence with `report_data`.
    pub(crate) async fn evidence(&self, report_data: &[u8; 64]) -> Result<Evidence, AttesterError> {
        let quote = match self {
            Self::Simulated(host) => host.quote(report_data).await?,
        };
        let evidence = Evidence::parse(&quote)?;
        if evidence.stated_report_data().as_ref() == Some(report_data) {
            Ok(evidence)
        } else {
            Err(AttesterError::OtherReportData)
        }
    }
}

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttesterError {
    /// The quoting service was not reached or refused.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What came back is no quote.
    #[error("the quoting service gave something that is no quote: {0}")]
    Quote(#[from] mse_attest::EvidenceError),
    /// A quote about something else.
    #[error("the quoting service gave a quote with other report data than asked for")]
    OtherReportData,
}
