//! Tests that drive the real `mse` against a platform and enclaves that are made here: honest
//! ones, and ones that lie.

mod auditing;
mod cases;
mod collateral;
mod confidentiality;
mod contexts;
mod deploying;
mod evidence;
mod files;
mod forecasting;
mod help;
#[path = "../../../image/tests/it/tiny.rs"]
mod image_base;
// Not all of it is needed here.
#[allow(dead_code)]
#[path = "../../../image/tests/it/server.rs"]
mod image_server;
mod imaging;
mod listing;
mod localtesting;
mod logging_in;
mod manifests;
mod measuring;
mod policies;
mod proxying;
mod refusals;
mod services;
mod sessions;
#[path = "../../../pkcs11/tests/softhsm/mod.rs"]
mod softhsm;
mod support;
mod trusting;
mod verifying;
