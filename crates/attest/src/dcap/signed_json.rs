//! What TCB info and QE identity have in common: JSON that is signed character by character.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, de};

use crate::{
    CheckName, TcbStatus,
    ledger::Fault,
    x509::{Certificate, Validity},
};

/// Verifies the signature (`r ‖ s`) of `signer` over the text, and only then reads it.
pub(super) fn read<'a, T: Deserialize<'a>>(
    check: CheckName,
    text: &'a str,
    signature: &[u8],
    signer: &Certificate<'_>,
) -> Result<T, Fault> {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signer.public_key())
        .verify(text.as_bytes(), signature)
        .map_err(|_| {
            Fault::forged(
                check,
                format!("the document is not signed by `{}`", signer.subject()),
            )
        })?;
    serde_json::from_str(text).map_err(|error| {
        Fault::malformed(
            check,
            format!("the signed document is not as specified: {error}"),
        )
    })
}

/// Issue date and date of the next update of a document.
pub(super) fn validity(
    check: CheckName,
    issue_date: &str,
    next_update: &str,
) -> Result<Validity, Fault> {
    let seconds = |member: &str, text: &str| {
        text.parse::<jiff::Timestamp>()
            .ok()
            .and_then(|date| u64::try_from(date.as_second()).ok())
            .ok_or_else(|| {
                Fault::malformed(
                    check,
                    format!(
                        "`{member}` of the signed document is `{text}`, which is not an RFC 3339 date after 1970"
                    ),
                )
            })
    };
    Ok(Validity {
        from: seconds("issueDate", issue_date)?,
        until: seconds("nextUpdate", next_update)?,
    })
}

/// One level: the security versions that reach it, and what applies to those who do.
#[derive(Debug)]
pub(super) struct Level<T> {
    pub(super) tcb: T,
    pub(super) standing: Standing,
}

/// What applies to those who reach a level, of platform, module or quoting enclave.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) status: TcbStatus,
    pub(super) date: String,
    pub(super) advisory_ids: Vec<String>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Level<T> {
    // By hand, since serde would keep every value twice to flatten one struct into another.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Members<T> {
            tcb: T,
            #[serde(rename = "tcbStatus")]
            status: TcbStatus,
            #[serde(rename = "tcbDate", deserialize_with = "date_in_utc")]
            date: String,
            #[serde(default, rename = "advisoryIDs")]
            advisory_ids: Vec<String>,
        }

        let Members {
            tcb,
            status,
            date,
            advisory_ids,
        } = Members::deserialize(deserializer)?;
        Ok(Self {
            tcb,
            standing: Standing {
                status,
                date,
                advisory_ids,
            },
        })
    }
}

/// RFC 3339 in UTC to the second, so that text sorts as time does.
fn date_in_utc<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() == "2026-01-31T00:00:00Z".len()
        && text.ends_with('Z')
        && text.parse::<jiff::Timestamp>().is_ok()
    {
        Ok(text)
    } else {
        Err(de::Error::custom(format!(
            "`tcbDate` is `{text}`, which is not a date of the form `2026-01-31T00:00:00Z`"
        )))
    }
}

/// A fixed number of bytes in hexadecimal, upper or lower case.
pub(super) fn hex_bytes<'de, D: Deserializer<'de>, const N: usize>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    let mut bytes = [0; N];
    hex::decode_to_slice(text.as_bytes(), &mut bytes)
        .map_err(|_| de::Error::custom(format!("`{text}` is not `{N}` bytes in hexadecimal")))?;
    Ok(bytes)
}
