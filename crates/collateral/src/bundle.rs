//! Collateral of several platforms in one file, for machines without a network.

use mse_attest::{Collateral, CollateralError, DcapCollateral, Evidence};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::amd::SnpPlatform;
use crate::facts::{age_of, platform_of};
use crate::platform::{Platform, PlatformError};

/// The most that a bundle may measure, as JSON text: some hundred platforms.
pub const MAX_BUNDLE_BYTES: usize = 16 * 1024 * 1024;
/// The most entries that a bundle may have.
pub const MAX_ENTRIES: usize = 1024;

/// Collateral of several platforms. Holding one says nothing about its truth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollateralBundle {
    entries: Vec<Entry>,
}

/// Collateral of one platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub platform: Platform,
    /// The collateral.
    pub collateral: Collateral,
}

impl CollateralBundle {
    /// Reads `{"format": "mse-collateral-bundle/1", "entries": […]}`, up to [`MAX_BUNDLE_BYTES`],
    /// or any form of [`Collateral::from_json`], which makes a bundle of one entry.
    ///
    /// An entry is `{"platform": {…}, "dcap": {…}, "certificates": [hex…], "crls": [hex…]}`; what it
    /// does not need may be missing. Nothing is verified: that is part of every appraisal.
    pub fn from_json(json: &[u8]) -> Result<Self, BundleError> {
        if !is_bundle(json)? {
            let collateral = Collateral::from_json(json)?;
            return Self::default().with(None, collateral);
        }
        let file: File = serde_json::from_slice(json).map_err(BundleError::Json)?;
        if file.entries.len() > MAX_ENTRIES {
            return Err(BundleError::TooMany {
                count: file.entries.len(),
            });
        }
        let entries = file
            .entries
            .into_iter()
            .map(EntryFile::read)
            .collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// The JSON form.
    pub fn to_json(&self) -> String {
        let file = File {
            format: Format::V1,
            entries: self.entries.iter().map(EntryFile::of).collect(),
        };
        serde_json::to_string_pretty(&file).unwrap_or_default()
    }

    /// The entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Adds collateral: of `platform`, or of that which its documents name. Of two sets for one
    /// platform, the newer stays.
    pub fn with(
        mut self,
        platform: Option<Platform>,
        collateral: Collateral,
    ) -> Result<Self, BundleError> {
        let platform = match platform {
            Some(platform) => platform,
            None => platform_of(&collateral).ok_or(BundleError::NoPlatform)?,
        };
        let entry = Entry {
            platform,
            collateral,
        };
        let known = self
            .entries
            .iter_mut()
            .find(|known| known.platform == entry.platform);
        if let Some(known) = known {
            if age_of(&known.collateral) < age_of(&entry.collateral) {
                *known = entry;
            }
            return Ok(self);
        }
        if self.entries.len() >= MAX_ENTRIES {
            return Err(BundleError::TooMany {
                count: self.entries.len() + 1,
            });
        }
        self.entries.push(entry);
        Ok(self)
    }

    /// Adds all entries of another bundle.
    pub fn merged(self, other: Self) -> Result<Self, BundleError> {
        other.entries.into_iter().try_fold(self, |bundle, entry| {
            bundle.with(Some(entry.platform), entry.collateral)
        })
    }

    /// The collateral for `evidence`: none is needed for evidence that carries all of it.
    pub fn select(&self, evidence: &Evidence) -> Result<Collateral, BundleError> {
        match Platform::of(evidence)? {
            None => Ok(Collateral::none()),
            Some(platform) => self.find(&platform),
        }
    }

    /// The newest collateral for `platform`.
    pub fn find(&self, platform: &Platform) -> Result<Collateral, BundleError> {
        self.entries
            .iter()
            .filter(|entry| fits(&entry.platform, platform))
            .max_by_key(|entry| age_of(&entry.collateral))
            .map(|entry| entry.collateral.clone())
            .ok_or_else(|| BundleError::NotFound {
                platform: platform.to_string(),
            })
    }
}

/// A file with collateral, in any of its forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollateralFile {
    /// Of one platform: given for whatever evidence is to be appraised.
    One(Box<Collateral>),
    /// Of several: evidence selects its own.
    Several(CollateralBundle),
}

impl CollateralFile {
    /// Reads a bundle, or any form of [`Collateral::from_json`].
    pub fn from_json(json: &[u8]) -> Result<Self, BundleError> {
        if is_bundle(json)? {
            CollateralBundle::from_json(json).map(Self::Several)
        } else {
            Ok(Self::One(Box::new(Collateral::from_json(json)?)))
        }
    }

    /// The collateral for `evidence`.
    pub fn select(&self, evidence: &Evidence) -> Result<Collateral, BundleError> {
        match self {
            Self::One(collateral) => Ok((**collateral).clone()),
            Self::Several(bundle) => bundle.select(evidence),
        }
    }
}

/// Whether a file of bounded size says that it is a bundle.
fn is_bundle(json: &[u8]) -> Result<bool, BundleError> {
    if json.len() > MAX_BUNDLE_BYTES {
        return Err(BundleError::TooLarge { size: json.len() });
    }
    let probe: Probe = serde_json::from_slice(json).map_err(BundleError::Json)?;
    Ok(probe.format.as_ref().and_then(|format| format.as_str()) == Some(FORMAT))
}

/// Whether collateral of `kept` is that of `wanted`. Old SNP reports do not name their product
/// line: the chip decides.
fn fits(kept: &Platform, wanted: &Platform) -> bool {
    match (kept, wanted) {
        (Platform::Snp(kept), Platform::Snp(wanted)) => {
            let SnpPlatform {
                product,
                key,
                chip_id,
                tcb,
            } = kept;
            (wanted.product.is_none() || wanted.product == *product)
                && (wanted.key, &wanted.chip_id, wanted.tcb) == (*key, chip_id, *tcb)
        }
        (kept, wanted) => kept == wanted,
    }
}

const FORMAT: &str = "mse-collateral-bundle/1";

/// Tells the forms apart, so that an error is about the form that was meant.
#[derive(Deserialize)]
struct Probe {
    format: Option<serde_json::Value>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: Format,
    entries: Vec<EntryFile>,
}

#[derive(Serialize, Deserialize)]
enum Format {
    #[serde(rename = "mse-collateral-bundle/1")]
    V1,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    platform: Platform,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dcap: Option<Box<DcapCollateral>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    certificates: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    crls: Vec<String>,
}

impl EntryFile {
    fn of(entry: &Entry) -> Self {
        let Collateral {
            dcap,
            certificates,
            crls,
        } = &entry.collateral;
        Self {
            platform: entry.platform.clone(),
            dcap: dcap.clone().map(Box::new),
            certificates: certificates.iter().map(hex::encode).collect(),
            crls: crls.iter().map(hex::encode).collect(),
        }
    }

    fn read(self) -> Result<Entry, BundleError> {
        let from_hex = |member, values: &[String]| {
            values
                .iter()
                .map(|value| hex::decode(value).map_err(|_| BundleError::Hex { member }))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Entry {
            collateral: Collateral {
                dcap: self.dcap.map(|dcap| *dcap),
                certificates: from_hex("certificates", &self.certificates)?,
                crls: from_hex("crls", &self.crls)?,
            },
            platform: self.platform,
        })
    }
}

/// Why a bundle cannot be read, or has nothing for a platform.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Larger than any genuine bundle could be.
    #[error(
        "the collateral file has `{size}` bytes, more than the limit of {MAX_BUNDLE_BYTES}; make it again with `mse collateral bundle`"
    )]
    TooLarge {
        /// The size found, in bytes.
        size: usize,
    },
    /// Too many platforms.
    #[error(
        "the bundle has `{count}` entries, more than the limit of {MAX_ENTRIES}; make several bundles"
    )]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Not JSON, a member missing or of the wrong type.
    #[error(
        "the file is no collateral bundle in the form `mse-collateral-bundle/1`: {0}; make it again with `mse collateral bundle`"
    )]
    Json(#[source] serde_json::Error),
    /// Taken for collateral of one platform.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
    /// A certificate or CRL that is not hexadecimal.
    #[error(
        "`{member}` of the bundle holds something that is not hexadecimal; make it again with `mse collateral bundle`"
    )]
    Hex {
        /// The member of the entry.
        member: &'static str,
    },
    /// Nothing says whose collateral it is.
    #[error(
        "the collateral does not say which platform it is about: it has neither a readable TCB info and PCK CRL nor a VCEK or VLEK certificate; fetch it again with `mse collateral fetch`"
    )]
    NoPlatform,
    /// The evidence does not say where it comes from.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// No entry fits.
    #[error(
        "the bundle has no collateral for `{platform}`; fetch it with `mse collateral fetch` and add it"
    )]
    NotFound {
        /// The platform.
        platform: String,
    },
}
