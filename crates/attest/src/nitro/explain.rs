//! A document field by field, for people.

use super::document::{Attester, Document, Optional};
use crate::{Field, judge::date};

/// Describes `document` field by field. Nothing is verified.
pub(crate) fn fields(document: &Document<'_>) -> Vec<Field> {
    let mut fields = vec![
        field(
            "cose.protected",
            hex::encode(document.protected()),
            "the signed COSE header: {1: -35}, signed with ES384",
        ),
        field(
            "module_id",
            // Nobody has verified it: it must not steer a terminal.
            document.module_id().escape_debug().to_string(),
            "id of the Nitro module that issued the document",
        ),
        field(
            "digest",
            document.digest().to_owned(),
            "the hash that the PCRs are made with",
        ),
        field(
            "timestamp",
            format!(
                "{} ({})",
                document.timestamp(),
                date(document.timestamp() / 1000)
            ),
            "when the document was made, milliseconds since 1970",
        ),
    ];
    let (map, meanings) = match document.attester() {
        Attester::Enclave => ("pcrs", ENCLAVE_PCRS),
        Attester::NitroTpm => ("nitrotpm_pcrs", NITROTPM_PCRS),
    };
    fields.extend(document.pcrs().map(|(index, value)| {
        field(
            format!("{map}.{index}"),
            hex::encode(value),
            meanings.iter().find(|(known, _)| *known == index).map_or(
                "a register that the code itself may fill",
                |(_, meaning)| *meaning,
            ),
        )
    }));
    fields.push(field(
        "certificate",
        hex::encode(document.certificate()),
        "certificate of the key that signed the document",
    ));
    fields.extend(document.cabundle().iter().enumerate().map(|(at, der)| {
        let meaning = match at {
            0 => "the root certificate",
            _ => "a certificate issued by the one before it",
        };
        field(format!("cabundle.{at}"), hex::encode(der), meaning)
    }));
    for (name, value, meaning) in [
        (
            "public_key",
            document.public_key(),
            "a key that the code wants to be known for",
        ),
        (
            "user_data",
            document.user_data(),
            "what the code wanted to be signed",
        ),
        (
            "nonce",
            document.nonce(),
            "the challenge that the code was given",
        ),
    ] {
        let value = match value {
            Optional::Absent => "absent".to_owned(),
            Optional::Null => "null".to_owned(),
            Optional::Present(bytes) => hex::encode(bytes),
        };
        fields.push(field(name, value, meaning));
    }
    fields.push(field(
        "cose.signature",
        hex::encode(document.signature()),
        "ECDSA on P-384 with SHA-384, r ‖ s",
    ));
    fields
}

fn field(name: impl Into<String>, value: String, meaning: &'static str) -> Field {
    Field {
        name: name.into(),
        value,
        meaning,
    }
}

const ENCLAVE_PCRS: &[(u8, &str)] = &[
    (0, "the enclave image"),
    (1, "kernel and first boot file system"),
    (2, "the applications, without the first boot file system"),
    (3, "IAM role of the parent instance"),
    (4, "id of the parent instance"),
    (8, "certificate that signed the enclave image"),
];

const NITROTPM_PCRS: &[(u8, &str)] = &[
    (0, "firmware"),
    (1, "configuration of the firmware"),
    (2, "additional firmware"),
    (3, "configuration of the additional firmware"),
    (4, "boot loader and kernel"),
    (5, "configuration of the boot loader, partitions"),
    (6, "events of the platform"),
    (7, "secure boot policy"),
];
