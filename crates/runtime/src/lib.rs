//! Launches enclaves, and holds the curated runtimes they run.
//!
//! | module | what |
//! | --- | --- |
//! | [`running`] | the one interface of all runtimes |
//! | [`process`] | enclaves as process trees of this machine, measured by the simulated platform |
//! | [`container`] | services in containers of Docker or Podman, by their API |
//! | [`kubernetes`] | app enclaves as pods of a Kubernetes cluster, by its API |
//! | [`report`] | what a launcher in a container tells the runtime outside |
//! | [`limits`] | memory, cores and process numbers of an enclave, by control groups |
//! | [`images`] | the curated runtimes that `docker = "…"` names |
//! | [`python`] | the Python environment of a curated runtime, made once and cached |

pub mod container;
pub mod images;
pub mod kubernetes;
pub mod limits;
pub mod process;
pub mod python;
pub mod report;
pub mod running;
