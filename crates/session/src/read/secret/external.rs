//! Values in key-value stores and hardware modules.

use std::num::NonZeroU32;

use mse_secrets::Kind;
use mse_yaml::{Code, Field, Spot, optional};

use super::token::name_or_reference;
use crate::model::{External, Feature, KvImport, KvPath, KvUrl, Pkcs11Import};
use crate::read::Reader;

/// What a text from a key-value store can be.
const KV_KINDS: [Kind; 6] = [
    Kind::Ascii,
    Kind::Binary,
    Kind::PrivateKey,
    Kind::PublicKey,
    Kind::X509,
    Kind::X509Ca,
];
/// What the bytes of an object can be. Keys that never leave their token are not among them.
const PKCS11_KINDS: [Kind; 2] = [Kind::Ascii, Kind::Binary];
/// Certificates that vouch for a server.
const MAX_CA: usize = 64 * 1024;

pub(super) fn kv(r: &mut Reader, field: &Field<'_>, kind: Kind) -> Option<External> {
    r.uses(Feature::ExternalSources, &field.spot);
    let is_kind = expect_kind(r, &field.spot, kind, &KV_KINDS, "a key-value store");
    let mut fields = field.map(r)?;
    let url = fields.require(r, "url").and_then(|field| {
        let url: KvUrl = field.parse(r, Code::BadValue)?;
        if url.is_plain() {
            r.report.warn(
                Code::PlainTransport,
                &field.spot,
                format!("`{url}` is not encrypted: whoever runs the machine of the CAS reads the token and the secret"),
                "write `https://`; this is for tests only",
            );
        }
        Some(url)
    });
    let mount = match fields.get("mount") {
        Some(field) => field.parse(r, Code::BadValue),
        None => Some(KvPath::default_mount()),
    };
    let path = fields
        .require(r, "path")
        .and_then(|field| field.parse::<KvPath>(r, Code::BadValue));
    let name = fields
        .require(r, "field")
        .and_then(|field| field.line(r, 256));
    let version = optional(fields.get("version"), |field| field.number::<NonZeroU32>(r));
    let token = fields
        .require(r, "token")
        .and_then(|field| name_or_reference(r, &field, &[Kind::Ascii]));
    let ca = optional(fields.get("ca"), |field| ca(r, &field));
    fields.finish(r);
    is_kind?;
    Some(External::Kv(KvImport {
        url: url?,
        mount: mount?,
        path: path?,
        field: name?,
        version: version?,
        token: token?,
        ca: ca?,
    }))
}

pub(super) fn pkcs11(r: &mut Reader, field: &Field<'_>, kind: Kind) -> Option<External> {
    r.uses(Feature::ExternalSources, &field.spot);
    let is_kind = expect_kind(r, &field.spot, kind, &PKCS11_KINDS, "a PKCS#11 token");
    let mut fields = field.map(r)?;
    let module = fields
        .require(r, "module")
        .and_then(|field| field.parse(r, Code::BadName));
    let token = fields
        .require(r, "token")
        .and_then(|field| field.parse(r, Code::BadName));
    let object = fields
        .require(r, "object")
        .and_then(|field| field.line(r, 256));
    let pin = optional(fields.get("pin"), |field| {
        name_or_reference(r, &field, &[Kind::Ascii])
    });
    fields.finish(r);
    is_kind?;
    Some(External::Pkcs11(Pkcs11Import {
        module: module?,
        token: token?,
        object: object?,
        pin: pin?,
    }))
}

fn expect_kind(r: &mut Reader, spot: &Spot, kind: Kind, kinds: &[Kind], place: &str) -> Option<()> {
    if kinds.contains(&kind) {
        return Some(());
    }
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
    r.report.error_with(
        Code::WrongKind,
        spot,
        format!("a secret of the kind `{kind}` cannot be in {place}"),
        format!("it may be of the kind {}", kinds.join(", ")),
    );
    None
}

/// One or more certificates. Whether they can vouch for anybody is seen when they are used.
fn ca(r: &mut Reader, field: &Field<'_>) -> Option<String> {
    let text = field.text(r)?.trim();
    let why = if text.len() > MAX_CA {
        format!("`ca` has at most {MAX_CA} bytes")
    } else if certificates(text).is_none() {
        "`ca` is one or more certificates in PEM, and nothing else".to_owned()
    } else {
        return Some(format!("{text}\n"));
    };
    r.report.error(Code::BadValue, &field.spot, why);
    None
}

fn certificates(text: &str) -> Option<()> {
    let blocks = mse_crypto::pem::decode_all(text).ok()?;
    let is_certificate = |der: &[u8]| {
        x509_parser::parse_x509_certificate(der).is_ok_and(|(rest, _)| rest.is_empty())
    };
    (!blocks.is_empty()
        && blocks
            .iter()
            .all(|block| block.label == "CERTIFICATE" && is_certificate(&block.der)))
    .then_some(())
}
