//! Values that stand in the session.

use mse_crypto::Zeroizing;
use mse_secrets::Kind;
use mse_yaml::{Code, Content, Field};
use serde_json::{Map, Number, Value};

use super::named;
use crate::model::{Explicit, Feature};
use crate::read::{Reader, SessionField};
use crate::template::HostArguments;

/// Of a value that stands in the session.
const MAX_BYTES: usize = 64 * 1024;

pub(super) fn explicit(
    r: &mut Reader,
    field: &Field<'_>,
    kind: Kind,
    private_key: Option<&Field<'_>>,
) -> Option<Explicit> {
    match kind {
        Kind::ConfigFragment => return fragment(r, field).map(Explicit::Fragment),
        Kind::PgpKey | Kind::Jwt | Kind::AadToken => {
            r.report.error_with(
                Code::Conflict,
                &field.spot,
                format!("a secret of the kind `{kind}` has no `value`: the CAS makes it"),
                "remove it, or choose the kind `ascii`",
            );
            return None;
        }
        Kind::X509 | Kind::X509Ca => r.uses(Feature::ExplicitCertificates, &field.spot),
        Kind::Ascii | Kind::Binary | Kind::PrivateKey | Kind::PublicKey => {}
    }
    let mut template = field.template(r, HostArguments::Literal)?;
    if let Some(text) = template.as_literal() {
        if text.len() > MAX_BYTES {
            let message = format!("a value has at most {MAX_BYTES} bytes");
            r.report.error(Code::TooLarge, &field.spot, message);
            return None;
        }
        let wanted = match kind {
            Kind::Binary => {
                let is_hex = hex::decode(text.trim()).is_ok_and(|bytes| !bytes.is_empty());
                (!is_hex).then_some("an even number of hex digits")
            }
            Kind::PrivateKey => (!is_pem(text, "PRIVATE KEY")).then_some("PKCS#8 in PEM"),
            Kind::PublicKey => (!is_pem(text, "PUBLIC KEY")).then_some("SPKI in PEM"),
            Kind::X509 | Kind::X509Ca => (!is_certificate(text)).then_some("PEM"),
            _ => None,
        };
        if let Some(wanted) = wanted {
            let message = format!("the value of a secret of the kind `{kind}` is {wanted}");
            r.report.error(Code::BadValue, &field.spot, message);
            return None;
        }
        if matches!(kind, Kind::Ascii | Kind::Binary | Kind::PrivateKey)
            || text.contains("PRIVATE KEY-----")
        {
            field.warn_of_explicit(r, "the secret");
        }
        if kind == Kind::Binary {
            // Digits in either case are the same bytes.
            let digits = Zeroizing::new(text.trim().to_lowercase());
            template = field.template_of(r, &digits, HostArguments::Literal)?;
        }
    }
    let private_key = match private_key {
        Some(field) => Some(named(r, field, &[Kind::PrivateKey])?),
        None => None,
    };
    Some(Explicit::Text {
        value: template,
        private_key,
    })
}

/// A certificate, those that issued it, and perhaps the private key.
fn is_certificate(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("-----BEGIN CERTIFICATE-----")
        && ["CERTIFICATE", "PRIVATE KEY"]
            .iter()
            .any(|label| text.ends_with(&format!("-----END {label}-----")))
}

fn is_pem(text: &str, label: &str) -> bool {
    let text = text.trim();
    text.starts_with(&format!("-----BEGIN {label}-----"))
        && text.ends_with(&format!("-----END {label}-----"))
}

/// YAML as the JSON that it stands for. Numbers are whole ones that every reader of JSON holds; all
/// others stay the text that they are written as.
fn fragment(r: &mut Reader, field: &Field<'_>) -> Option<Value> {
    match &field.node.content {
        _ if field.node.is_null() => Some(Value::Null),
        Content::Scalar {
            text,
            is_plain: true,
            ..
        } => plain(r, field, text),
        Content::Scalar { .. } => field.text(r).map(|text| Value::String(text.to_owned())),
        Content::List(_) => {
            let items: Vec<_> = field
                .items(r)
                .iter()
                .map(|item| fragment(r, item))
                .collect();
            items.into_iter().collect::<Option<_>>().map(Value::Array)
        }
        Content::Map(_) => {
            let entries: Vec<_> = field.map(r)?.all().collect();
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| {
                    if key.len() > 256 || key.contains(char::is_control) {
                        r.report.error(
                            Code::BadName,
                            &value.spot,
                            "a key has more than 256 bytes, or a control character",
                        );
                        return None;
                    }
                    Some(((*key).to_owned(), fragment(r, value)?))
                })
                .collect();
            entries
                .into_iter()
                .collect::<Option<Map<_, _>>>()
                .map(Value::Object)
        }
    }
}

fn plain(r: &mut Reader, field: &Field<'_>, text: &str) -> Option<Value> {
    match text {
        "true" | "True" | "TRUE" => return Some(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Some(Value::Bool(false)),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_integer = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    // What a double holds exactly: RFC 8785 knows no other numbers. Longer ones are measurements
    // and hashes that happen to have no letter.
    const MOST: i64 = (1 << 53) - 1;
    if is_integer
        && let Ok(number) = text.parse::<i64>()
        && (-MOST..=MOST).contains(&number)
    {
        return Some(Value::Number(Number::from(number)));
    }
    field.text(r).map(|text| Value::String(text.to_owned()))
}
