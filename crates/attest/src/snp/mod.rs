//! stub
use crate::appraise::Case;
use crate::ledger::Ledger;
use crate::*;
pub const REPORT_BYTES: usize = 1184;
pub struct Report<'a>(&'a [u8]);
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct ReportError;
impl<'a> Report<'a> {
    pub fn parse(_: &'a [u8]) -> Result<Self, ReportError> {
        Err(ReportError)
    }
    pub fn report_data(&self) -> &'a [u8; 64] {
        self.0.first_chunk().unwrap()
    }
}
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SnpClaims {
    #[serde(with = "crate::hex_form")]
    pub report_data: [u8; 64],
}
#[derive(Clone, Debug, Default)]
pub(crate) struct SnpPolicy;
pub(crate) fn hardware_anchors() -> Vec<TrustAnchor> {
    vec![]
}
pub(crate) fn appraise(_: &mut Ledger, _: &[u8], _: &Case<'_>) {}
pub(crate) fn fields(_: &Report<'_>) -> Vec<Field> {
    vec![]
}
