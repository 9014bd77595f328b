//! Bytes as lower-case hexadecimal text in serialised results.

use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer, B: AsRef<[u8]>>(
    bytes: B,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    hex::decode(&text).map_err(serde::de::Error::custom)
}
