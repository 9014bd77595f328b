//! Fetching from services on loopback that speak Intel's and AMD's forms and replay genuine
//! documents, and from services and caches that lie.

mod bundles;
mod caching;
mod fetching;
mod samples;
mod service;
mod trouble;
