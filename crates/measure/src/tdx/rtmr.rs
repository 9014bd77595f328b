//! Runtime measurement registers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Sha384Digest;
use crate::digest::Sha384;

/// A runtime measurement register: what was extended into it, in this order, is all that could
/// have given its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rtmr(pub Sha384Digest);

impl Rtmr {
    /// As at the start: zeros.
    pub const START: Self = Self(Sha384Digest::ZERO);

    /// What `TDG.MR.RTMR.EXTEND` does: SHA-384 over the value and the digest.
    pub fn extend(&mut self, digest: &Sha384Digest) {
        let mut hash = Sha384::new();
        hash.update(&self.0.0);
        hash.update(&digest.0);
        self.0 = hash.finish();
    }

    /// The value after these digests.
    pub fn replay<'a>(digests: impl IntoIterator<Item = &'a Sha384Digest>) -> Self {
        let mut register = Self::START;
        for digest in digests {
            register.extend(digest);
        }
        register
    }
}

impl fmt::Display for Rtmr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
