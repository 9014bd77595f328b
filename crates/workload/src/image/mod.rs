//! A service's image: its root file system, and what the image says about itself.
//!
//! | part of the image | who protects it |
//! | --- | --- |
//! | the root file system | measured: [`RootHasher`]'s digest is the workload's `tree` |
//! | [`SEALED`] | encrypted under the image key, which a CAS releases; its bundle digest is measured |
//! | paths in `unmeasured`, and [`ALWAYS_UNMEASURED`] | nobody: the host may change them |
//! | [`FACTS`] | nobody needs to: whoever believes a lie in it computes another measurement |

mod facts;
mod root;

pub(crate) use facts::check_unmeasured;
pub use facts::{FACTS_FORMAT, ImageFacts, InvalidImageFacts, MAX_FACTS_JSON, SealedPart};
pub use root::{ALWAYS_UNMEASURED, Entry, EntryKind, InvalidEntry, RootHasher, is_measured};

/// The folder of the image that is this system's own; never part of the root file system that a
/// program sees or that is measured.
pub const OWN: &str = "/mse";
/// The program that the container starts.
pub const LAUNCHER: &str = "/mse/bin/mse-launch";
/// The program that runs in the TEE.
pub const ENCLAVE: &str = "/mse/bin/mse-enclave";
/// What the image says about itself: [`ImageFacts`] in JSON.
pub const FACTS: &str = "/mse/image.json";
/// What the service's manifest says to whoever makes policies of it, JSON of `mse-mesh`.
pub const TEMPLATE: &str = "/mse/service.json";
/// The encrypted files: a [bundle](crate::bundle) over the root.
pub const SEALED: &str = "/mse/sealed.tar";
/// Where a session injects the image key, 64 hexadecimal digits. The enclave takes it; the program
/// never has it.
pub const IMAGE_KEY: &str = "/mse/image.key";
