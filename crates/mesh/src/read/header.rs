//! `apiVersion` and `kind`.

use mse_yaml::{Code, Field, Fields, shown};

use super::Reader;
use crate::check::Kind;
use crate::model::ApiVersion;

/// What the document says that it is.
pub(crate) fn kind(r: &mut Reader, root: &Field<'_>) -> Option<Kind> {
    let mut fields = root.map(r)?;
    let field = fields.require(r, "kind")?;
    match field.text(r)? {
        "genservice" => Some(Kind::Service),
        "mesh" => Some(Kind::Mesh),
        old @ ("genAppImage" | "genImage") => {
            let what = format!("`{old}` was the kind of service manifests in drafts");
            r.legacy(&field.spot, what, "write `genservice`");
            Some(Kind::Service)
        }
        other => {
            let message = format!(
                "`{}` is no kind of document that is known here",
                shown(other)
            );
            let help = mse_yaml::did_you_mean(other, &["genservice", "mesh"])
                .unwrap_or_else(|| "write `genservice` or `mesh`".to_owned());
            r.report
                .error_with(Code::UnknownKind, &field.spot, message, help);
            None
        }
    }
}

/// The version, where the kind has been read.
pub(super) fn api_version(r: &mut Reader, fields: &mut Fields<'_>) -> Option<ApiVersion> {
    fields.get("kind");
    let field = fields.require(r, "apiVersion")?;
    let version: ApiVersion = field.parse(r, Code::NeedsVersion)?;
    if version.is_unknown() {
        r.report.warn(
            Code::NeedsVersion,
            &field.spot,
            format!("of `{version}` only what `scone/5.8` has is known"),
            "write `mse/v1` or `scone/5.8` if that is all it needs",
        );
    }
    Some(version)
}
