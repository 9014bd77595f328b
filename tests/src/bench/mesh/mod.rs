//! The second way in, as its users meet it: an image is built, a mesh is applied, a container
//! answers. The real `mse` and `mse-cas` do all of it; nothing goes to a registry.

pub(super) mod apply;
pub(super) mod containers;
pub(super) mod image;

use std::time::Instant;

use serde_json::Value;

use super::asset;
use crate::owner::Owner;

/// An owner with the service of `tests/bench/service`.
fn owner() -> Owner {
    let owner = Owner::new();
    owner.take(&asset("service"));
    owner
}

/// How many seconds `mse` takes with these words, and what it tells.
fn timed(owner: &Owner, words: &[&str]) -> (f64, Value) {
    let began = Instant::now();
    let told = owner.json(words);
    (began.elapsed().as_secs_f64(), told)
}
