//! Base images from Debian's packages, without their maintainer scripts and without root.
//!
//! apt resolves, downloads and verifies, in a state of its own that knows of no installed package;
//! `dpkg-deb` opens the packages. What their scripts would do and a program needs at run time is
//! done here, the same on every machine ([`files`]).

mod apt;
mod files;
mod java;
mod open;

pub use apt::{Apt, AptError};
pub(crate) use open::{DebError, open_single};

use std::path::PathBuf;

use crate::layer::{Layer, LayerWriter};
use crate::lock::DebianPackage;
use crate::spec::Kind;

/// What every base has: folders and names of the system, a shell, its usual commands, and the
/// certificate authorities of the world.
const ALWAYS: &[&str] = &["base-files", "ca-certificates", "coreutils", "dash"];

/// Packages that others depend on only for their scripts at installation, or for their own
/// documentation. They are left out unless the spec names them.
const ONLY_FOR_SCRIPTS: &[&str] = &[
    "adduser",
    "debconf",
    "dpkg",
    "gcc-12-base",
    "gcc-14-base",
    "init-system-helpers",
    "libmd0",
    "lsb-base",
    "mawk",
    "openssl",
    "passwd",
    "perl-base",
    "sensible-utils",
    "sysvinit-utils",
    "tar",
    "ucf",
];

/// The packages that a tool chain is.
pub(crate) fn packages_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Python => &["python3"],
        Kind::Java => &["default-jre-headless"],
    }
}

/// What to ask apt for.
pub(crate) fn wanted(packages: &[String]) -> Vec<String> {
    let mut all: Vec<String> = ALWAYS.iter().map(ToString::to_string).collect();
    all.extend(packages.iter().cloned());
    all.sort();
    all.dedup();
    all
}

/// Whether a package that apt chose is in the image; `named` are those that the spec names, and
/// `without` those that it does not want.
pub(crate) fn belongs(name: &str, named: &[String], without: &[String]) -> bool {
    let is_in = |names: &[String]| names.iter().any(|other| other == name);
    is_in(named) || !(ONLY_FOR_SCRIPTS.contains(&name) || is_in(without))
}

/// The layer of these packages, whose files are at these paths.
pub(crate) fn layer(
    packages: &[(DebianPackage, PathBuf)],

    writer: LayerWriter,
) -> Result<Layer, DebError> {
    let mut opened = open::Opened::new()?;
    for (package, deb) in packages {
        opened.take(package, deb)?;
    }
    files::complete(&mut opened)?;
    opened.write(writer)
}
