//! Certificate revocation lists, written field by field (RFC 5280 §5.1).

use std::time::{Duration, SystemTime};

use super::{
    Extension, Party,
    certificate::{name, time},
};
use crate::{
    der::{bits, element, integer, sequence},
    platform::PlatformError,
};

/// What a CRL says, besides its issuer.
#[derive(Clone, Debug)]
pub struct CrlForm {
    /// When it was issued.
    pub this_update: SystemTime,
    /// When the next one is due.
    pub next_update: Option<SystemTime>,
    /// The certificates on it.
    pub revoked: Vec<CrlEntry>,
    /// Extensions of the list.
    pub extensions: Vec<Extension>,
    /// AlgorithmIdentifier (DER) named inside of what is signed, if not the issuer's.
    pub inner_algorithm: Option<Vec<u8>>,
}

/// One certificate on a list.
#[derive(Clone, Debug)]
pub struct CrlEntry {
    /// Content of the serial number's INTEGER.
    pub serial: Vec<u8>,
    /// Extensions of the entry.
    pub extensions: Vec<Extension>,
}

impl CrlForm {
    /// A list of nothing, valid around `now`.
    pub fn empty(now: SystemTime) -> Self {
        Self {
            this_update: now - DAY,
            next_update: Some(now + 30 * DAY),
            revoked: Vec::new(),
            // cRLNumber, which every list has to have.
            extensions: vec![Extension::id_ce(20, false, integer(1))],
            inner_algorithm: None,
        }
    }

    /// A list of the certificates with these serial numbers.
    pub fn of<T: Into<Vec<u8>>>(serials: impl IntoIterator<Item = T>, now: SystemTime) -> Self {
        Self {
            revoked: serials
                .into_iter()
                .map(|serial| CrlEntry {
                    serial: serial.into(),
                    extensions: Vec::new(),
                })
                .collect(),
            ..Self::empty(now)
        }
    }

    /// The list, signed by `issuer`. DER.
    pub fn issue(&self, issuer: &Party) -> Result<Vec<u8>, PlatformError> {
        let algorithm = issuer.key.signature_algorithm();
        let mut fields = vec![
            integer(1),
            self.inner_algorithm
                .clone()
                .unwrap_or_else(|| algorithm.clone()),
            name(&issuer.name),
            time(self.this_update)?,
        ];
        if let Some(next_update) = self.next_update {
            fields.push(time(next_update)?);
        }
        if !self.revoked.is_empty() {
            let mut entries = Vec::new();
            for entry in &self.revoked {
                let mut parts = vec![element(0x02, &entry.serial), time(self.this_update)?];
                if !entry.extensions.is_empty() {
                    parts.push(sequence(entry.extensions.iter().map(Extension::der)));
                }
                entries.push(sequence(parts));
            }
            fields.push(sequence(entries));
        }
        if !self.extensions.is_empty() {
            let extensions = sequence(self.extensions.iter().map(Extension::der));
            fields.push(element(0xa0, &extensions));
        }
        let signed = sequence(fields);
        let signature = issuer.key.sign(&signed)?;
        Ok(sequence([signed, algorithm, bits(&signature)]))
    }
}

const DAY: Duration = Duration::from_hours(24);
