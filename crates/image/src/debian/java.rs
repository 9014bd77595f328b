//! The trust store of Java, which its package has a Java program make.
//!
//! The format is JKS, version 2, of certificates only: a count and, per certificate, its alias, a
//! date, its type and its DER; then a check sum under the password that everybody knows.

use mse_crypto::digest::sha1_checksum;
use mse_crypto::pem;

use super::open::DebError;

/// Where Debian's Java looks.
pub(super) const TRUST_STORE: &str = "/etc/ssl/certs/java/cacerts";

const MAGIC: u32 = 0xfeed_feed;
const VERSION: u32 = 2;
const TRUSTED_CERTIFICATE: u32 = 1 << 1;
/// Java's own: trust stores have nothing to hide.
const PASSWORD: &str = "changeit";
const WHITENER: &[u8] = b"Mighty Aphrodite";

/// A trust store of these certificates: name and PEM.
pub(super) fn trust_store(authorities: &[(String, String)]) -> Result<Vec<u8>, DebError> {
    let mut store = Vec::new();
    let number = |store: &mut Vec<u8>, value: u32| store.extend(value.to_be_bytes());
    number(&mut store, MAGIC);
    number(&mut store, VERSION);
    number(&mut store, u32::try_from(authorities.len()).unwrap_or(0));
    for (name, text) in authorities {
        let der =
            pem::decode(text, "CERTIFICATE").map_err(|_| DebError::Authority(name.clone()))?;
        number(&mut store, TRUSTED_CERTIFICATE);
        string(&mut store, &format!("debian:{}", ascii(name)));
        store.extend([0; 8]);
        string(&mut store, "X.509");
        number(&mut store, u32::try_from(der.len()).unwrap_or(0));
        store.extend_from_slice(&der);
    }
    let mut checked: Vec<u8> = PASSWORD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    checked.extend_from_slice(WHITENER);
    checked.extend_from_slice(&store);
    store.extend(sha1_checksum(&checked));
    Ok(store)
}

/// Java writes strings with their length in front; in its own UTF-8, which ASCII is a part of.
fn string(store: &mut Vec<u8>, text: &str) {
    store.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

/// Aliases are told apart without regard to case.
fn ascii(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' => char::from(byte).to_string(),
            b'A'..=b'Z' => char::from(byte).to_ascii_lowercase().to_string(),
            byte => format!("%{byte:02x}"),
        })
        .collect()
}
