//! Where the programs under test lie.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The folder of the programs, instead of the debug build: what is measured is the release build.
pub const PROGRAMS: &str = "MSE_PROGRAMS";

/// The program `name` of this build, or of the folder that [`PROGRAMS`] names. `./x test` builds
/// all programs first; a plain `cargo test` needs `cargo build --workspace --bins` before.
pub fn program(name: &str) -> PathBuf {
    let folder = std::env::var_os(PROGRAMS).map_or_else(|| target().join("debug"), PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.exists(),
        "`{}` is missing: run `cargo build --workspace --bins` first (./x test does)",
        path.display()
    );
    path
}

/// The statically linked program `name`, as images have it. `./x test` builds them first; by hand,
/// `./x programs` does.
pub fn static_program(name: &str) -> PathBuf {
    let path = target().join(STATIC_TARGET).join("debug").join(name);
    assert!(
        path.exists(),
        "`{}` is missing: run `./x programs` first (./x test does)",
        path.display()
    );
    path
}

/// With a target of its own, flags of the linker are not those of build scripts.
const STATIC_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The root of the repository.
pub fn repository() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or(manifest.clone(), PathBuf::from)
}

/// Where curated Python environments are kept between test runs: making one takes half a minute.
pub fn image_cache() -> PathBuf {
    target().join("mse-images")
}

/// Where layers of images are kept between test runs: Debian's packages are not fetched each time.
pub fn layer_cache() -> PathBuf {
    target().join("mse-layers")
}

/// The Python interpreter that has the packages of other RA-TLS stacks; made if it is not there.
///
/// # Panics
///
/// If it cannot be made, with what to do about it.
pub fn interop_python() -> PathBuf {
    let script = repository().join("scripts/interop-env");
    let made = Command::new(&script)
        .arg(target().join("mse-interop"))
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("`{}`: {error}", script.display()));
    assert!(
        made.status.success(),
        "the Python environment of the interoperability tests cannot be made: it takes python3 with venv and, the first time, a package registry; `./x setup` prepares it"
    );
    String::from_utf8_lossy(&made.stdout).trim().into()
}

/// Where everything that is built lies.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}
