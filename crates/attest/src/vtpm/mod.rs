//! stub
use crate::appraise::Case;
use crate::ledger::Ledger;
use crate::*;
#[derive(Clone, PartialEq, Eq)]
pub struct VtpmEvidence;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct VtpmError;
impl VtpmEvidence {
    pub fn from_json(_: &[u8]) -> Result<Self, VtpmError> {
        Err(VtpmError)
    }
    pub fn kind(&self) -> EvidenceKind {
        EvidenceKind::Tpm
    }
    pub fn quote(&self) -> &[u8] {
        &[]
    }
}
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct VtpmClaims;
#[derive(Clone, Debug, Default)]
pub(crate) struct VtpmPolicy;
pub(crate) fn appraise(_: &mut Ledger, _: &VtpmEvidence, _: &Case<'_>) {}
pub(crate) fn fields(_: &VtpmEvidence) -> Vec<Field> {
    vec![]
}
