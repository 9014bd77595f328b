//! Launches enclaves, and holds the curated runtimes they run.
//!
//! | module | what |
//! | --- | --- |
//! | [`process`] | enclaves as process trees of this machine, measured by the simulated platform |
//! | [`limits`] | memory, cores and process numbers of an enclave, by control groups |
//! | [`images`] | the curated runtimes that `docker = "…"` names |
//! | [`python`] | the Python environment of a curated runtime, made once and cached |

pub mod images;
pub mod limits;
pub mod process;
pub mod python;
