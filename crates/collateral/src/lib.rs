//! Collateral: fetched from Intel's and AMD's services or caches of them, kept on disk, renewed in
//! the background, bundled for machines without a network.
//!
//! **Nothing here is trusted**, neither services nor caches nor files: all of it is input to
//! [`mse_attest::appraise`], which verifies signatures, chains, dates and revocation each time.
//! What is checked here only makes for better messages.
//!
//! | module | what |
//! | --- | --- |
//! | [`platform`], [`amd`] | which platform evidence is from, in the words of the vendors |
//! | [`source`] | addresses and paths of services |
//! | [`document`] | what one request asks for, and whether an answer is about that |
//! | [`answer`], [`raw_json`] | reading answers, to the letter where signatures need it |
//! | [`transport`] | HTTP with bounds |
//! | [`cache`] | answers on disk |
//! | [`fetcher`] | from evidence to its collateral |
//! | [`refresh`], [`observer`] | renewal in the background; what to log and count |
//! | [`bundle`], [`facts`] | collateral of several platforms in a file; what collateral says |
//! | [`pccs`] | serving documents on, as a caching service does |

pub mod amd;
pub mod answer;
pub mod bundle;
pub mod cache;
pub mod document;
pub mod facts;
pub mod fetcher;
pub mod observer;
pub mod pccs;
pub mod platform;
pub mod raw_json;
pub mod refresh;
pub mod source;
pub mod transport;

pub use amd::{ChipId, Product, SnpPlatform, Tcb, Vek};
pub use bundle::{BundleError, CollateralBundle, CollateralFile};
pub use document::{Document, Edition};
pub use facts::Facts;
pub use fetcher::{Clock, Fetched, Fetcher, Freshness, Options};
pub use platform::{DcapPlatform, DcapTee, Fmspc, PckCa, Platform, PlatformError};
pub use refresh::Refresher;
pub use source::{BaseUrl, DcapSource, KdsSource, Sources};
pub use transport::{FetchError, Limits, SetupError};
