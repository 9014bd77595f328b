//! stub
use crate::appraise::Case;
use crate::ledger::Ledger;
use crate::*;
pub(crate) fn looks_like_document(bytes: &[u8]) -> bool {
    matches!(bytes, [0x84, 0x44, 0xa1, 0x01, 0x38, ..])
}
pub struct Document<'a>(&'a [u8]);
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct DocumentError;
impl<'a> Document<'a> {
    pub fn parse(_: &'a [u8]) -> Result<Self, DocumentError> {
        Err(DocumentError)
    }
}
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NitroClaims;
#[derive(Clone, Debug, Default)]
pub(crate) struct NitroPolicy;
pub(crate) fn hardware_anchors() -> Vec<TrustAnchor> {
    vec![]
}
pub(crate) fn appraise(_: &mut Ledger, _: &[u8], _: &Case<'_>) {}
pub(crate) fn fields(_: &Document<'_>) -> Vec<Field> {
    vec![]
}
