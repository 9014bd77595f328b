//! The control plane of MSE: API, store, gateway and runtime, all roles in one process.
//!
//! | module | what |
//! | --- | --- |
//! | [`server`] | puts everything together, and takes it apart in order |
//! | [`api`] | REST, in the types of `mse-api`; the OpenAPI document |
//! | [`deploy`] | from an accepted request to a running app, and to its end; recovery |
//! | [`gateway`] | TLS connections of users, taken to the enclaves they are meant for |
//! | [`store`] | accounts, projects, hardware and apps, in SQLite |
//! | [`blobs`] | encrypted bundles, as files |
//! | [`bundles`] | the same files, for pods of a cluster |
//! | [`logbook`] | logs of apps |
//! | [`data_dir`] | the folder in which everything is kept |
//! | [`config`] | options |
//!
//! The operator is not trusted: nothing in here ever holds an app's code, key, secrets or TLS
//! key in clear.

pub mod api;
pub mod blobs;
pub mod bundles;
pub mod config;
pub mod data_dir;
pub mod deploy;
pub mod gateway;
pub mod logbook;
pub mod server;
pub mod store;
